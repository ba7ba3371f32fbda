"""The lessons of a trace: what each rests on now, and what nothing enforces, the same in every form."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from llorch_core.cli.trace import print_trace, show
from llorch_core.spec.lessons import Lesson, Link
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.trace import words
from llorch_core.trace.lessons import lessons
from llorch_core.trace.markdown import markdown
from llorch_core.trace.report import report
from tests.trace.test_report import Page
from tests.trace.traces import learned, rule, trial, whole, with_lessons

RULE, OTHER, TEST = (
    Link("rule", "norm.root"),
    Link("rule", "norm.centred"),
    Link("test", "tests/test_a.py::b"),
)
MISTAKE = Link("mistake", "norm.wrong")


def told(*links, root="proved", centred="proved", trials=("caught",), **more):
    """Return what a trace tells of a lesson with these links, where the rules have these statuses."""
    given = Lesson(
        **{"id": "G-01", "kind": "guardrail", "says": "Say.", "happened": "It did.", "evidence": ("B1",)},
        **{"verdict": None, "links": links, "apart_from": None, "not_enforced": None},
        **{"file": suite_folder() / "specs" / "lessons" / "a.yaml", "line": 7},
    )
    tried = [trial(status=status) for status in trials]
    rules = [rule("norm.root", root), rule("norm.centred", centred, mistakes=tried)]
    (found,) = lessons([replace(given, **more)], rules)
    return found


def on_terminal(tell, *arguments):
    out = Console(file=io.StringIO(), width=200, no_color=True)
    tell(out, *arguments)
    return out.file.getvalue()


# What a lesson rests on


@pytest.mark.parametrize("status", sorted({*words.STATUSES} - {"proved"}))
def test_a_lesson_is_open_where_no_rule_of_it_is_proved_whatever_a_test_says(status):
    assert told(RULE, root=status)["status"] == "open"
    assert told(RULE, TEST, root=status)["status"] == "open"
    assert told(RULE, OTHER, root=status)["status"] == "proved"


def test_each_rule_of_a_lesson_has_the_status_of_this_trace():
    found = told(RULE, OTHER, root="stale")
    assert [(x["name"], x["status"]) for x in found["enforced_by"]] == [
        ("norm.root", "stale"),
        ("norm.centred", "proved"),
    ]
    assert [x["name"] for x in words.weak(found)] == ["norm.root"]
    assert (found["file"], found["line"]) == ("specs/lessons/a.yaml", 7)


@pytest.mark.parametrize(
    ("trials", "status", "of_lesson"),
    [
        (("caught",), "caught", "proved"),
        (("caught", "not run"), "caught", "proved"),
        (("not tried", "caught"), "caught", "proved"),
        (("caught", "missed"), "missed", "open"),
        (("missed", "caught"), "missed", "open"),
        (("not run", "crashed"), "crashed", "open"),
        (("not tried",), "not tried", "open"),
        (("not tried", "not run"), "not run", "open"),
    ],
)
def test_a_mistake_has_to_be_caught_by_every_rule_that_tried_it(trials, status, of_lesson):
    found = told(MISTAKE, trials=trials)
    assert (found["enforced_by"][0]["status"], found["status"]) == (status, of_lesson)


def test_what_no_trace_holds_has_no_status_and_a_rule_of_another_component_was_not_asked():
    absent = Link("rule", "mlp.biases_added")
    assert told(TEST)["status"] == "enforced"
    assert told(TEST)["enforced_by"][0]["status"] is None
    assert told(absent)["enforced_by"][0]["status"] == "not asked"
    assert told(absent)["status"] == told(absent, TEST)["status"] == "not asked"
    assert told(absent, RULE)["status"] == "proved"
    assert told(not_enforced="Nothing looks.")["status"] == "not enforced"


# What is shown


def test_the_tally_counts_each_lesson_once():
    assert words.lessons_tally(with_lessons()) == (
        "5 lessons: 2 enforced, 1 of them by a rule that is proved here and 1 by a test, the gate or the "
        "stub detector (1 but for a part); 1 whose rules do not hold here; 1 that this trace is not about; "
        "1 that nothing enforces"
    )


def test_the_terminal_names_what_nothing_enforces_and_what_does_not_hold():
    text = on_terminal(print_trace, with_lessons(), ())
    assert "5 lessons: 2 enforced" in text
    assert "R1  nothing enforces it: Lesson R1." in text
    assert "A1  open, with norm.root failed" in text
    assert "G-01  proved, with file.skips missed" in text
    assert "Lesson G-02." not in text


def test_the_terminal_shows_one_lesson_with_all_that_enforces_it():
    text = on_terminal(show, with_lessons(), "G-01")
    for part in (
        *("G-01  proved", "Lesson G-01.", "Story G-01. (bugs B1)", "specs/lessons/a.yaml:3"),
        *("rule  norm.centred  proved", "mistake  file.skips  missed", "not enforced: The moon is left out."),
    ):
        assert part in text
    assert "nothing: No check sees the weather." in on_terminal(show, with_lessons(), "R1")
    assert "assumed, and wrong: Story A1." in on_terminal(show, with_lessons(), "A1")
    assert "llorch prove, run by tests/test_c.py::test_d" in on_terminal(show, with_lessons(), "G-02")


def test_markdown_has_a_row_for_each_lesson():
    text = markdown(with_lessons())
    rows = {row[3:].partition("`")[0]: row for row in text.splitlines() if re.match(r"\| `[ARG]", row)}
    assert list(rows) == ["A1", "R1", "G-01", "G-02", "G-03"]
    assert "**nothing**: No check sees the weather." in rows["R1"]
    assert "| not enforced |" in rows["R1"]
    assert (
        "Lesson A1. (assumed: wrong) | Story A1. (bugs B1) | open | rule `norm.root` (failed) |" in rows["A1"]
    )
    assert (
        "mistake `file.skips` (missed); mistake `norm.wrong` (caught). Not enforced: The moon" in rows["G-01"]
    )
    assert "stub `no check`; gate `coverage.rules`; test `tests/test_a.py::test_b`" in rows["G-02"]


def test_the_page_has_a_row_for_each_lesson_with_links_to_its_rules():
    text = report(with_lessons())
    page = Page(text)
    assert "No check sees the weather." in page.text("lesson-R1")
    assert "not enforced" in page.text("lesson-R1")
    assert "wrong: Story A1. bugs B1" in page.text("lesson-A1")
    assert "rule norm.root failed" in page.text("lesson-A1")
    assert "mistake file.skips missed" in page.text("lesson-G-01")
    assert "Not enforced: The moon is left out." in page.text("lesson-G-01")
    assert "command llorch prove, run by tests/test_c.py::test_d" in page.text("lesson-G-02")
    assert "rule other.rule not asked" in page.text("lesson-G-03")
    row = text[text.index('id="lesson-G-01"') :].partition("</tr>")[0]
    assert '<a href="#rule-norm.centred">norm.centred</a>' in row
    assert '<a href="#mistake-norm.wrong">norm.wrong</a>' in row
    above = text[text.index('id="lessons"') : text.index('id="lesson-A1"')]
    assert '<a href="#lesson-R1">R1</a>' in above  # what nothing enforces is named before the tables
    assert '<a href="#lesson-A1">A1</a>' in above


def test_without_lessons_nothing_is_said_of_them():
    for trace in ({**whole(), "lessons": []}, whole()):
        shown = (on_terminal(print_trace, trace, ()), markdown(trace), report(trace))
        assert not [
            text for text in shown if "esson" in text.partition("</style>")[2] or "esson" in text[:200]
        ]
        assert "esson" not in shown[0] + shown[1]


def test_specs_without_a_folder_of_lessons_have_none(tmp_path):
    spec = load_specs()
    elsewhere = replace(spec, file=replace(spec.file, path=tmp_path / "specs" / "model" / "gpt2.yaml"))
    assert elsewhere.lessons == ()
    assert len(spec.lessons) > 60


def test_every_status_is_explained_and_planted_here():
    assert {entry["status"] for entry in learned()} == {*words.LESSONS}
    assert {x["kind"] for entry in learned() for x in entry["enforced_by"]} == {
        *("rule", "mistake", "stub", "gate", "test", "command")
    }
    assert Path(learned()[0]["file"]).parts[:2] == ("specs", "lessons")
