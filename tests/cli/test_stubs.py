"""llorch stubs, as a user meets it."""

import json
from pathlib import Path

import jsonschema
import pytest

from llorch_core.stubs.kinds import KINDS
from tests import commands

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "specs" / "schema" / "stubs.schema.json").read_text(encoding="utf-8"))
TEXT = """\
from shop import total


def test_total():
    pass


def test_runs():
    total([1])


# llorch: allow constant check because the text of it is judged elsewhere
def test_constant():
    # llorch: allow constant check because it is an example
    assert True
"""


def llorch(*arguments, cwd=ROOT):
    ran = commands.llorch("stubs", *arguments, cwd=cwd)
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "shop.py").write_text("def total(prices):\n    return sum(prices)\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_shop.py").write_text(TEXT)
    return tmp_path


def test_stubs_are_listed_by_file_with_line_kind_and_reason(folder):
    ran = llorch(folder)
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert lines[0] == "tests/test_shop.py"
    assert lines[1].split() == ["4", "empty", "test_total", "it", "has", "no", "statement"]
    assert "idle excuse" in lines[2]
    assert "only runs" not in ran.stdout
    assert "allowed tests/test_shop.py:15: constant check, because it is an example" in ran.stdout
    assert lines[-1].startswith(f"{folder} has tests that cannot fail: 3 tests of pytest, 2 files, 2 sure, ")
    assert lines[-1].endswith(" 1 doubtful (--all), 1 allowed, exit code 1")


def test_what_is_doubtful_is_shown_on_demand(folder):
    assert "only runs" in llorch(folder, "--all").stdout


def test_one_kind_can_be_asked_for(folder):
    ran = llorch(folder, "--only", "only runs")
    assert ran.returncode == 0
    assert "test_runs" in ran.stdout
    assert "test_total" not in ran.stdout


def test_the_json_keeps_to_its_schema(folder):
    ran = llorch(folder, "--json")
    assert ran.returncode == 1
    found = json.loads(ran.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert [f["kind"] for f in found["findings"]] == ["empty", "only runs", "idle excuse"]
    assert found["kinds"].keys() == KINDS.keys()
    assert found["tests"] == {"pytest": 3, "unittest": 0, "behave": 0}


def test_sarif_names_files_from_the_top_of_the_project(folder, tmp_path):
    out = tmp_path / "out.sarif"
    assert llorch(folder / "tests", "--all", "--sarif", out).returncode == 1
    (run,) = json.loads(out.read_text(encoding="utf-8"))["runs"]
    assert len(run["tool"]["driver"]["rules"]) == len(KINDS)
    places = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]]
    assert places == ["tests/test_shop.py"] * 3
    assert [r["level"] for r in run["results"]] == ["error", "warning", "error"]


def test_without_tests_it_cannot_tell(tmp_path):
    ran = llorch(tmp_path)
    assert ran.returncode == 2
    assert "no test was found" in ran.stdout


def test_a_path_that_is_not_there_is_refused(tmp_path):
    ran = llorch(tmp_path / "nowhere")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is not there (wanted a folder with tests, or a file)" in ran.stderr


def test_a_kind_that_does_not_exist_is_refused(folder):
    ran = llorch(folder, "--only", "lazy")
    assert ran.returncode == 2
    assert "there is no kind 'lazy'. There are: empty, todo," in ran.stderr


def test_a_sarif_file_that_cannot_be_written_is_refused(folder):
    ran = llorch(folder, "--sarif", folder / "no" / "out.sarif")
    assert ran.returncode == 2
    assert "cannot be written" in ran.stderr


def test_the_kinds_are_explained():
    ran = llorch("--kinds")
    assert ran.returncode == 0
    for name, kind in KINDS.items():
        assert f"{name} ({kind.level}): {kind.what}" in ran.stdout


def test_the_help_text_opens_with_a_sentence_and_ends_with_an_example():
    lines = [line.strip() for line in llorch("--help").stdout.splitlines() if line.strip()]
    assert lines[1] == "List the tests of a repository that cannot fail."
    assert lines[-1].startswith("Example: llorch stubs ")


def test_the_page_explains_every_kind():
    page = (ROOT / "docs" / "stubs.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        assert f"| `{name}` | {kind.level} | {kind.what} {kind.why} |" in page
