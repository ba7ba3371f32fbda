"""Judgement is read as data: every entry with its line, its form held to a schema, and told in words."""

import json
from pathlib import Path

import jsonschema
import pytest

from llorch_core.postmortem.case import create
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.judgement.forms import sentences
from llorch_core.postmortem.judgement.judgement import (
    KINDS,
    Bug,
    Cause,
    Decision,
    Guardrail,
    Lesson,
    Team,
    read_judgement,
)
from tests.postmortem.example import CASE, make_repository

SCHEMA = Path(__file__).parents[2] / "specs" / "schema" / "judgement.schema.json"
LESSON = "lessons:\n  - id: learn\n    title: Learn\n    findings: []\n"
GUARDRAIL = "  - {id: a_rail, title: A rail, stub: empty}\n"


@pytest.fixture(scope="module")
def example():
    """The judgement of the worked example."""
    return read_judgement(CASE)


def read(folder, file, text):
    """Return the judgement of a case with one file."""
    (folder / file).write_text(text, encoding="utf-8")
    return read_judgement(folder)


def told(judgement):
    """Return the problems of a judgement in short."""
    return [(p.kind, p.line, p.entry) for p in judgement.problems]


def test_the_schema_is_one(example):
    """And every file of the example keeps to it."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert [*schema["properties"]] == [*KINDS] == [*example.files]
    assert example.problems == []


def test_every_entry_knows_its_file_and_line(example):
    """As an editor counts them."""
    bugs = [(bug.id, bug.at.file, bug.at.line) for bug in example.of(Bug)]
    assert bugs == [("cents_cut_off", "bugs.yaml", 2), ("printer_drops_cents", "bugs.yaml", 21)]
    claim = example.of(Team)[0].claimed[0]
    assert (claim.at.line, [reference.at.line for reference in claim.evidence]) == (7, [11, 12])
    assert example.find("see_it_fail").title == "See a test fail before you count it"
    assert example.find("nobody") is None


def test_dates_and_hashes_are_texts_as_they_were_written(tmp_path):
    """YAML would read a day as a date and a hash of digits as a number."""
    text = (
        "bugs:\n  - id: a_bug\n    title: A bug\n    introduced: 12345678\n    evidence:\n"
        "      - {commit: 0123456, path: a.py, line: 3, text: 100}\n"
    )
    bug = read(tmp_path, "bugs.yaml", text).of(Bug)[0]
    assert bug.introduced == "12345678"
    assert (bug.evidence[0].commit, bug.evidence[0].text, bug.evidence[0].line) == ("0123456", "100", 3)
    assert read_judgement(CASE).of(Decision)[0].date == "2024-03-04"


def test_a_decision_answers_by_its_own_names(example):
    """Its reason is why, its outcome the impact, its alternative what should have happened."""
    decision = example.of(Decision)[0]
    assert decision.why == "Somebody had asked for news."
    assert decision.impact == "The document said that the sum is right while it was wrong."
    assert decision.should_have == "The test of the sum is the news."


def test_the_place_in_the_list_is_the_rank_of_a_cause(tmp_path):
    """The first weighs most."""
    text = "causes:\n  - {id: one, title: The first}\n  - {id: two, title: The second}\n"
    assert [(c.id, c.rank) for c in read(tmp_path, "causes.yaml", text).of(Cause)] == [("one", 1), ("two", 2)]


def test_a_file_that_is_missing_or_empty_holds_nothing(tmp_path):
    """It is no problem: the work is not that far yet."""
    (tmp_path / "teams.yaml").write_text("")
    (tmp_path / "causes.yaml").write_text("causes:\n")
    judgement = read(tmp_path, "bugs.yaml", "bugs: []\n")
    assert ([*judgement], judgement.problems) == ([], [])


def test_what_only_leaves_something_out_is_read_and_told(tmp_path):
    """So that a report can be written early."""
    judgement = read(
        tmp_path, "lessons.yaml", "lessons:\n  - id: learn\n    title: Learn\n    findings: []\n"
    )
    assert judgement.of(Lesson)[0].guardrails == ()
    assert told(judgement) == [
        ("incomplete", 2, "learn"),
        ("no guardrail", 2, "learn"),
        ("incomplete", 4, "learn"),
    ]
    assert [p.says for p in judgement.problems][::2] == ["lesson is left out", "findings is left out"]


@pytest.mark.parametrize(
    ("text", "line", "wanted", "got"),
    [
        ("  - {id: Bad Name, title: A rail, stub: empty}\n", 3, "words that last", '"Bad Name"'),
        (
            "  - {id: two, title: A rail, stub: a, gate: b}\n",
            3,
            "one of rule, gate and stub",
            '"gate"',
        ),
        ("  - {id: two, title: A rail}\n", 3, "one of rule, gate and stub", '"two"'),
        ("  - {id: two, title: A rail, check: make}\n", 3, "check with fails_when", '"make"'),
        (
            "  - id: two\n    title: Rail\n    stubs: empty\n    stub: empty\n",
            5,
            "some of id, title",
            "stubs",
        ),
        ("  - id: two\n    title: 7\n    stub: empty\n", 4, "one line", "7"),
        ("  - a word\n", 3, "one of rule", "a word"),
    ],
)
def test_what_has_another_form_is_left_out_and_told(tmp_path, text, line, wanted, got):
    """With what was wanted; the entries beside it are read, and its id is known."""
    judgement = read(tmp_path, "guardrails.yaml", f"guardrails:\n{GUARDRAIL}{text}")
    assert [g.id for g in judgement.of(Guardrail)] == ["a_rail"]
    assert {p.kind for p in judgement.problems} == {"form"}
    assert {p.line for p in judgement.problems} == {line}
    assert any(wanted in p.wanted and got in p.got for p in judgement.problems)
    assert "two" in judgement.ids or "id: two" not in text


def test_an_entry_without_an_id_is_left_out_and_told(tmp_path):
    """Nothing could point to it."""
    judgement = read(tmp_path, "guardrails.yaml", f"guardrails:\n{GUARDRAIL}  - {{title: Two, stub: a}}\n")
    assert [g.id for g in judgement.of(Guardrail)] == ["a_rail"]
    assert [(p.line, p.says) for p in judgement.problems] == [(3, "id is left out")]


def test_a_reference_of_no_kind_is_told_and_its_entry_left_out(tmp_path):
    """A line without a text shows nothing."""
    text = "bugs:\n  - id: a_bug\n    title: A bug\n    evidence:\n      - {path: a.py, line: 3}\n"
    judgement = read(tmp_path, "bugs.yaml", text)
    assert judgement.of(Bug) == ()
    form = [p for p in judgement.problems if p.kind == "form"]
    assert form[0].wanted.startswith("path, line and text; commit and subject;")
    assert {p.line for p in form} == {5}


@pytest.mark.parametrize(
    ("text", "kind"),
    [("bugs:\n  - id: b\n", "form"), ("- a\n- b\n", "form"), ("guardrails: 3\n", "form")],
)
def test_a_file_with_another_list_is_told(tmp_path, text, kind):
    """And nothing of it is read."""
    judgement = read(tmp_path, "guardrails.yaml", text)
    assert [p.kind for p in judgement.problems] == [kind]
    assert [*judgement] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bugs:\n  - id: a\n    id: b\n", r"bugs\.yaml:3: id is given twice"),
        ("bugs:\n  - [a\n", r"bugs\.yaml:\d: it is not YAML"),
        ("bugs: !!python/object:os.x {}\n", r"bugs\.yaml:1: "),
        (f"bugs: {'[' * 30}{']' * 30}\n", "nested more than 20 deep"),
        ("bugs: &a [*a]\n", "repeats itself"),
        (b"bugs: \xff\n", "is not UTF-8 at byte 6"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(tmp_path, text, says):
    """With file and line."""
    (tmp_path / "bugs.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PostmortemError, match=says):
        read_judgement(tmp_path)


def test_a_new_case_has_a_file_for_each_kind_that_says_what_to_fill_in(tmp_path):
    """Each name of the form stands in its head; nothing is written over."""
    make_repository(tmp_path / "repository")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "teams.yaml").write_text("teams: [] # mine\n")
    create(tmp_path / "case", tmp_path / "repository", "HEAD", "till", "UTC")
    judgement = read_judgement(tmp_path / "case")
    assert ([*judgement], judgement.problems, [*judgement.files]) == ([], [], [*KINDS])
    assert (tmp_path / "case" / "teams.yaml").read_text() == "teams: [] # mine\n"
    head = (tmp_path / "case" / "bugs.yaml").read_text()
    for name in ("severity", "verdict", "how_missed", "evidence", "should_have"):
        assert f"#   {name}: " in head
    assert "introduced:  the commit that brought it (may be left out)" in head
    assert max(map(len, head.splitlines())) <= 110


def test_texts_are_told_from_quotes_and_names():
    """Figures are looked for in the former only."""
    assert {"title", "what", "why", "says", "reason", "lesson", "statement", "shows"} <= sentences()
    assert not {"text", "subject", "id", "row", "path", "check", "component"} & sentences()
