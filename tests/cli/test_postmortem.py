"""llorch postmortem, as a user meets it: init, check and draft, their output and exit codes."""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import jsonschema
import pytest

from tests import commands
from tests.postmortem.example import make_case

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "specs" / "schema" / "postmortem-check.schema.json").read_text(encoding="utf-8"))


def llorch(*arguments):
    ran = commands.llorch("postmortem", *arguments)
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The worked example, with one fault: a lesson without a guardrail."""
    folder, _ = make_case(tmp_path_factory.mktemp("post"))
    lessons = folder / "lessons.yaml"
    lessons.write_text(lessons.read_text().replace("[no_victory]", "[]"))
    return folder


def test_a_problem_is_told_with_place_wanted_got_and_next_step(case):
    """By file, and exit code 1."""
    ran = llorch("check", "--case", case)
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert lines[:5] == [
        "lessons.yaml",
        "  12  no guardrail  no_success_in_a_document: guardrails is left out",
        "      wanted ids of other entries",
        "      got    nothing",
        "      next   Name what turns red when it happens again: an id of guardrails.yaml.",
    ]
    assert lines[5].startswith("not opened guardrails.yaml:9: check: ! git grep")
    assert lines[6] == (
        "the till does not hold: 16 entries, 15 looks at evidence, 1 not opened, 1 problem, exit code 1"
    )


def test_the_json_is_one_object(case):
    """With the commands run, on a copy of the repository named by hand."""
    ran = llorch("check", "--case", case, "--run", "--json", "--repository", case.parent / "repository")
    assert ran.returncode == 1
    found = json.loads(ran.stdout)
    jsonschema.validate(found, SCHEMA)
    assert (found["verdict"], found["not_opened"], found["opened"]) == ("problems", [], 16)


def test_drafts_are_written_beside_the_judgement(case):
    """The facts of the example have one author who is in no team."""
    ran = llorch("draft", "--case", case)
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        f"0 drafts are in {case / 'drafts' / 'bugs.yaml'}.",
        f"1 draft is in {case / 'drafts' / 'teams.yaml'}.",
    ]


def test_a_new_case_is_made_and_could_not_be_judged(case, tmp_path):
    """Nothing was measured or written yet; a second one is refused in the same place."""
    made = llorch("init", case.parent / "repository", "--case", tmp_path / "new")
    assert made.returncode == 0
    ran = llorch("check", "--case", tmp_path / "new", "--allow-unopened")
    assert ran.returncode == 2
    assert "repository could not be judged: 0 entries" in ran.stdout
    again = llorch("init", case.parent / "repository", "--case", tmp_path / "new")
    assert (again.returncode, again.stdout) == (2, "")
    assert "holds a case already" in again.stderr


@pytest.mark.parametrize("arguments", [("dig", "--case"), ("tests",)])
def test_without_the_extra_it_is_told_what_to_install(tmp_path, arguments):
    """And nothing is half done: no facts are written."""
    with patch.dict(sys.modules, {"lizard": None}):  # as Python does where it is not installed
        ran = commands.llorch("postmortem", *arguments, tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "reads source text with lizard, which is not installed" in ran.stderr
    assert "pip install 'llorch[postmortem]'" in ran.stderr
    assert list(tmp_path.iterdir()) == []
