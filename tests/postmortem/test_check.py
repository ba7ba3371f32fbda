"""A case is refused for what nothing shows: one fault is planted at a time, and exactly that one is told."""

import json
import shutil
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import jsonschema
import pytest

from llorch_core.postmortem.case import open_case
from llorch_core.postmortem.dig import write
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.facts import read_facts
from llorch_core.postmortem.judgement.check import check
from llorch_core.postmortem.judgement.evidence import sources_of
from llorch_core.postmortem.judgement.guardrails import Enforced
from tests.postmortem.example import make_case, make_facts

SCHEMA = Path(__file__).parents[2] / "specs" / "schema" / "postmortem-check.schema.json"
ENFORCED = Enforced({"layer_norm.population_variance"}, {"cannot fail", "coverage.engine"})
NUMBERS = count()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the worked example, its repository beside it."""
    case, _ = make_case(tmp_path_factory.mktemp("post"))
    return case


@pytest.fixture
def case(made):
    """A copy of the worked example that a test may spoil."""
    copy = made.parent / f"case-{next(NUMBERS)}"
    shutil.copytree(made, copy)
    return copy


def spoil(case, file, old, new):
    """Replace the one place of a text in a file of a case."""
    text = (case / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
    (case / file).write_text(text.replace(old, new), encoding="utf-8")


@cache
def opened(top):
    """Return the repository of the example, opened once: a process of git costs more than a look."""
    return sources_of(open_case(top.parent / "case"))


def checked(folder, run=False, elsewhere=None):
    """Return what a check finds."""
    case = open_case(folder)
    sources = sources_of(case, elsewhere) if elsewhere or not here(folder) else opened(here(folder))
    facts = read_facts(case.facts_file) if case.facts_file.exists() else None
    return check(case, replace(sources, facts=facts), ENFORCED, run)


def here(folder):
    """Return the repository beside a case, or None."""
    top = folder.parent / "repository"
    return top if top.is_dir() else None


def test_the_worked_example_holds(made):
    """Sixteen looks: twelve references, a commit, a digest, the facts, and a check that is run."""
    found = checked(made, run=True)
    assert (found.problems, found.not_opened, found.exit_code()) == ([], [], 0)
    assert (found.entries, found.opened) == (16, 16)


PLANTED = [
    # file, what stands there, what is planted, kind, line, entry, a part of what is said
    (
        "bugs.yaml",
        "\n    evidence:\n      - {absent: printer, path: till, shows: No printer at all.}",
        "",
        "no evidence",
        21,
        "printer_drops_cents",
        "evidence is left out",
    ),
    (
        "teams.yaml",
        "\n        evidence:\n          - {commit: HEAD~2, path: till/total.py, line: 3, text: int(price)}",
        "",
        "no evidence",
        14,
        "bob",
        "evidence is left out of delivered.0",
    ),
    (
        "causes.yaml",
        "    guardrails: [no_empty_test]\n",
        "",
        "no guardrail",
        2,
        "tests_that_cannot_fail",
        "guardrails is left out",
    ),
    ("lessons.yaml", "[no_victory]", "[]", "no guardrail", 12, "no_success_in_a_document", "left out"),
    (
        "process.yaml",
        "    why: The test passed before and after, and nobody wondered.\n",
        "",
        "incomplete",
        2,
        "repair_without_a_failing_test",
        "why is left out",
    ),
    (
        "bugs.yaml",
        "    how_missed: The only test of the sum has an empty body.\n",
        "",
        "incomplete",
        2,
        "cents_cut_off",
        "how_missed is left out",
    ),
    (
        "bugs.yaml",
        "verdict: false lead",
        "verdict: fine",
        "form",
        26,
        "printer_drops_cents",
        "verdict has not",
    ),
    (
        "bugs.yaml",
        "component: printer",
        "component: printer\n    part: 1",
        "form",
        25,
        "printer_drops_cents",
        "the entry has not",
    ),
    (
        "causes.yaml",
        "[no_empty_test]",
        "[no_full_test]",
        "unknown",
        9,
        "tests_that_cannot_fail",
        "no_full_test",
    ),
    (
        "chains.yaml",
        "[repair_without_a_failing_test]",
        "[nothing]",
        "unknown",
        8,
        "",
        "findings names nothing",
    ),
    (
        "chains.yaml",
        "[repair_without_a_failing_test]",
        "[see_it_fail]",
        "unknown",
        8,
        "",
        "names see_it_fail",
    ),
    ("process.yaml", "teams: [bob]", "teams: [rob]", "unknown", 9, "repair_without_a_failing_test", "rob"),
    ("lessons.yaml", "id: see_it_fail", "id: cents_cut_off", "twice", 2, "cents_cut_off", "two entries"),
    (
        "guardrails.yaml",
        "stub: empty",
        "stub: emtpy",
        "no such guardrail",
        2,
        "no_empty_test",
        "no stub 'emtpy'",
    ),
    (
        "guardrails.yaml",
        "gate: cannot fail",
        "gate: luck",
        "no such guardrail",
        6,
        "tests_turn_red",
        "gate 'luck'",
    ),
    (
        "guardrails.yaml",
        "norm.population",
        "norm.popular",
        "no such guardrail",
        14,
        "variance_over_all",
        "no rule",
    ),
    (
        "ruled_out.yaml",
        "163fb4d25418",
        "000000000000",
        "open again",
        8,
        "not_the_readme",
        "README.md has changed",
    ),
    (
        "ruled_out.yaml",
        "{path: README.md, digest",
        "{path: NO.md, digest",
        "open again",
        8,
        "not_the_readme",
        "NO.md",
    ),
    ("bugs.yaml", "fc18473f", "12345678", "not there", 2, "cents_cut_off", "no commit '12345678'"),
    ("bugs.yaml", "line: 3", "line: 2", "not there", 20, "cents_cut_off", "quoted text in line 2"),
    ("teams.yaml", "subject: all", "subject: most", "not there", 11, "bob", "does not say it"),
    (
        "bugs.yaml",
        "absent: printer",
        "absent: round",
        "not there",
        34,
        "printer_drops_cents",
        "'round' is there",
    ),
    ("process.yaml", "value: 0", "value: 3", "not there", 11, "repair_without_a_failing_test", "otherwise"),
    (
        "assumptions.yaml",
        "rows: 1",
        "rows: 2",
        "not there",
        13,
        "a_test_that_passes_tests",
        "tests.cannot_fail",
    ),
    (
        "decisions.yaml",
        "Somebody had asked",
        "In 711 commits somebody had asked",
        "by hand",
        6,
        "one_document_for_each_repair",
        "'711 commits' is no measured figure",
    ),
    ("bugs.yaml", "{history.commits}", "{history.comits}", "unknown", 15, "cents_cut_off", "history.comits"),
]


@pytest.mark.parametrize(("file", "old", "new", "kind", "line", "entry", "says"), PLANTED)
def test_one_fault_gives_one_problem(case, file, old, new, kind, line, entry, says):
    """Of its kind, with file, line and entry."""
    spoil(case, file, old, new)
    found = checked(case)
    assert [(p.kind, p.file, p.line) for p in found.problems] == [(kind, file, line)]
    assert found.problems[0].entry == (entry or "from_an_empty_test_to_wrong_bills")
    assert says in found.problems[0].says
    assert found.problems[0].wanted and found.problems[0].got and found.problems[0].next
    assert found.exit_code() == 1


def test_a_figure_by_hand_is_told_with_the_figures_of_its_unit(case):
    """And with how to refer to the nearest."""
    spoil(case, "decisions.yaml", "Somebody had asked", "Over 5,000 lines somebody had asked")
    problem = checked(case).problems[0]
    assert problem.wanted == "one of those in lines: history.lines_added 1,234.0"
    assert "{history.lines_added}" in problem.next


@pytest.mark.parametrize(
    "says",
    [
        "In {history.commits} commits somebody had asked",
        "In 4 commits somebody had asked",
        "About 1,200 lines later somebody had asked",
        "In 7 villages somebody had asked",
    ],
)
def test_a_figure_that_was_measured_or_is_of_no_measured_unit_is_left_alone(case, says):
    """Also a rounded one that says so."""
    spoil(case, "decisions.yaml", "Somebody had asked", says)
    assert checked(case).problems == []


def test_what_others_wrote_may_be_quoted_where_the_evidence_has_it(case):
    """And nowhere else."""
    spoil(case, "teams.yaml", 'that "all tests pass"', 'that "all tests pass" and "12 lines"')
    assert [p.kind for p in checked(case).problems] == ["by hand"]


def test_rows_for_evidence_give_the_figures_of_their_entry(case):
    """The one commit of Bob, which no figure has; and there are two rows, of whatever is counted."""
    spoil(case, "process.yaml", "The repair brought the fault.", "1 commit of 2 lines brought the fault.")
    assert [p.got for p in checked(case).problems] == ["1 commit", "2 lines"]
    row = "evidence:\n      - {table: history.authors, where: {author: Bob Roe}}"
    spoil(case, "process.yaml", "evidence:", row)
    assert [p.got for p in checked(case).problems] == ["2 lines"]
    spoil(case, "process.yaml", row, f"{row}\n      - {{table: history.authors}}")
    assert checked(case).problems == []


def test_stale_facts_are_told(case):
    """Facts of an earlier commit, or of another path."""
    facts = make_facts("3a8bda80ac1eea8e4ba0ea9f2f9165d67356383b")
    write(facts, case / "facts.json")
    found = checked(case).problems
    assert [(p.kind, p.file) for p in found] == [("stale", "facts.json")]
    assert found[0].got.startswith("3a8bda80ac1e")
    assert found[0].wanted.startswith("ec8384db06c7")


@pytest.mark.parametrize(
    ("about", "got"),
    [
        ({"path": "till"}, "path till, zone UTC"),
        ({"zone": "Asia/Tokyo"}, "zone Asia/Tokyo"),
        ({"requirement_ids": ["M0-W-[0-9]+"]}, "ids M0-W-[0-9]+"),
    ],
)
def test_facts_of_other_settings_are_stale(case, about, got):
    """Path, zone, and the patterns of ids where they were written down."""
    facts = json.loads((case / "facts.json").read_text())
    facts["about"] |= about
    (case / "facts.json").write_text(json.dumps(facts))
    found = checked(case).problems
    assert [(p.kind, p.entry) for p in found] == [("stale", "")]
    assert got in found[0].got


def test_without_facts_what_rests_on_them_is_not_opened(case):
    """And the rest is."""
    (case / "facts.json").unlink()
    found = checked(case, run=True)
    assert [n.what for n in found.not_opened] == [
        "whether the facts are about this commit",
        "tests.cannot_fail of facts.json",
        "tests.changed_with_a_fix of facts.json",
    ]
    assert (found.opened, found.problems, found.exit_code()) == (13, [], 2)


def test_without_the_repository_nothing_is_claimed_about_it(case, tmp_path):
    """What needs no repository is checked all the same."""
    shutil.move(case, tmp_path / "case")
    found = checked(tmp_path / "case", run=True)
    assert (found.opened, len(found.not_opened), found.problems) == (2, 14, [])
    assert {n.why for n in found.not_opened} == {"the repository is not on this machine"}
    assert (found.exit_code(), found.exit_code(allow_unopened=True)) == (2, 0)
    spoil(tmp_path / "case", "lessons.yaml", "[no_victory]", "[]")
    assert checked(tmp_path / "case").exit_code(allow_unopened=True) == 1


def test_the_repository_may_lie_elsewhere(case, made, tmp_path):
    """As --repository says."""
    shutil.move(case, tmp_path / "case")
    found = checked(tmp_path / "case", run=True, elsewhere=made.parent / "repository")
    assert (found.problems, found.not_opened) == ([], [])


def test_checks_are_run_on_demand_only(case, tmp_path):
    """A case from a stranger runs nothing."""
    spoil(case, "guardrails.yaml", "! git grep -q", f"touch {tmp_path}/ran; ! git grep -q")
    found = checked(case)
    assert [n.at.entry for n in found.not_opened] == ["no_victory"]
    assert not (tmp_path / "ran").exists()
    assert checked(case, run=True).exit_code() == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("! git grep -q", "echo bad; git grep -q", "its check fails"),
        ("'^# FIXED' HEAD", "'^# FIXED' HEAD~2:", "its check fails"),
        ("'^# FIXED' HEAD -- docs", "'^# FIXED' HEAD -- till", "its check passes though broken_by"),
        ("echo '# FIXED' >", "echo '# FIXED' > /nowhere/", "broken_by cannot break a copy"),
    ],
)
def test_a_check_passes_and_can_fail(case, old, new, says):
    """Else it is no guardrail. The repository itself is never broken."""
    spoil(case, "guardrails.yaml", old, new)
    found = checked(case, run=True).problems
    assert [(p.kind, p.entry) for p in found] == [("guardrail fails", "no_victory")]
    assert says in found[0].says
    assert not (case.parent / "repository" / "docs" / "NEWS.md").exists()


def test_broken_yaml_is_refused_with_its_line(case):
    """It could not tell."""
    spoil(case, "causes.yaml", "causes:", "causes: [")
    with pytest.raises(PostmortemError, match=r"causes\.yaml:\d+: it is not YAML"):
        checked(case)


def test_the_json_keeps_to_its_schema(case):
    """With a problem, and with something that was not opened."""
    spoil(case, "lessons.yaml", "[no_victory]", "[]")
    found = checked(case).as_json("the till", False)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(found)
    assert (found["verdict"], len(found["problems"]), len(found["not_opened"])) == ("problems", 1, 1)
