"""Tests that cannot fail are found in six languages, each in its line and as its kind."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from llorch_core.cli.postmortem import command
from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.tests.kinds import KINDS
from llorch_core.postmortem.tests.tests import counts, inventory, measure
from tests.postmortem.build import History, run, shell

CORPUS = Path(__file__).parent / "corpus"
MARKER = re.compile(r"\s*(?://|#): (.*)$")


def written(name):
    """The files of a corpus, and (file, line, what) of each comment "//: what" in them."""
    files, wanted = {}, set()
    for path in sorted((CORPUS / name).rglob("*.txt")):
        relative = path.relative_to(CORPUS / name).with_suffix("").as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            found = MARKER.search(line)
            wanted |= {(relative, number, what) for what in found[1].split(", ")} if found else set()
        files[relative] = "\n".join(MARKER.sub("", line) for line in lines) + "\n"
    return files, wanted


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The planted corpus in three commits: what is gone later, stubs in Rust, everything else."""
    files, wanted = written("planted")
    history = History()
    lost = {"cpp/shop/payments.h": "int pay(int);\n", "lib/payments.js": "export const card = 1;\n"}
    history.commit("begin", lost | {"Cargo.toml": files["Cargo.toml"]})
    history.commit("tests in Rust", {"tests/stubs.rs": files["tests/stubs.rs"]})
    last = history.commit("everything", files | dict.fromkeys(lost))
    folder = tmp_path_factory.mktemp("planted")
    shas = history.make(folder)
    repository = Repository(folder)
    facts = nothing_yet(repository)
    measure(repository, Settings("planted", str(folder)), facts)
    assert repository.commit == shas[last]
    return repository, wanted, facts


def what(tests):
    """(file, line, what) of each test that is blamed, ignored or of what is gone."""
    for test in tests:
        kinds = [test.why, "ignored" if test.ignored else "", "gone" if test.gone else ""]
        yield from ((test.file, test.line, kind) for kind in kinds if kind)


def test_everything_that_is_planted_is_found_and_nothing_else(planted):
    repository, wanted, _ = planted
    assert set(what(inventory(repository))) == wanted


def test_every_kind_is_planted(planted):
    _, wanted, _ = planted
    assert {kind for _, _, kind in wanted} == set(KINDS) - {"own values"} | {"ignored", "gone"}


def test_nothing_honest_is_blamed(tmp_path):
    files, _ = written("honest")
    history = History()
    history.commit("honest", files)
    history.make(tmp_path)
    tests = inventory(Repository(tmp_path))
    assert list(what(tests)) == []
    frameworks = {test.framework for test in tests}
    assert frameworks == {"rust", "proptest", "gtest", "go test", "node:test", "pytest", "gherkin"}


def test_the_figures_are_those_of_the_markers(planted):
    _, wanted, facts = planted
    marked = [kind for _, _, kind in wanted]
    value = {name: figure.value for name, figure in facts.figures.items()}
    assert value["tests.empty"] == marked.count("empty")
    assert value["tests.stubs"] == sum(marked.count(kind) for kind in ("stub", "unwritten", "marked"))
    assert value["tests.no_check"] == marked.count("no check")
    assert value["tests.constant"] == marked.count("constant")
    assert value["tests.ignored"] == marked.count("ignored")
    assert value["tests.gone"] == marked.count("gone")
    sure = [kind for kind in marked if kind in KINDS and KINDS[kind].level == "sure"]
    assert value["tests.cannot_fail"] == len(sure)
    assert value["tests.share_cannot_fail"] == round(100 * len(sure) / value["tests.tests"], 1)


def test_lines_that_grep_counts_are_counted_alike(planted):
    """The commands of the figures that plain git can give are run, and print the value."""
    repository, _, facts = planted
    plain = {name: one for name, one in facts.figures.items() if one.command.startswith("git grep")}
    told = {name: shell(repository.top, one.command) for name, one in plain.items()}
    assert told == {name: str(one.value) for name, one in plain.items()}
    assert told["tests.rust_ignores"] == "1"
    assert told["tests.gtest_macros"] == "11"


def test_each_test_that_cannot_fail_names_the_commit_that_brought_it(planted):
    repository, _, facts = planted
    rows = facts.tables["tests.cannot_fail"].dicts()
    assert len(rows) == facts.figures["tests.cannot_fail"].value
    for row in rows[:3] + rows[-3:]:
        told = run(
            repository.top, "blame", "-l", "-L", f"{row['line']},+1", repository.commit, "--", row["file"]
        )
        assert told.lstrip("^").split()[0] == row["commit"]
    assert {row["commit"] for row in rows if row["file"] == "tests/stubs.rs"} == {
        run(repository.top, "rev-parse", "HEAD~1")
    }


def test_the_command_prints_a_figure_and_nothing_else(planted):
    repository, _, facts = planted
    told = CliRunner().invoke(command, ["tests", str(repository.top), "--count", "cannot_fail"])
    assert told.output == f"{facts.figures['tests.cannot_fail'].value}\n"


def test_a_repository_without_tests_has_shares_of_nothing():
    assert counts([])["share_cannot_fail"] == 0
