"""A number before the unit of measured figures is one of them, rounded where it says so."""

import pytest

from llorch_core.postmortem.judgement.figures_by_hand import by_hand, by_unit, unknown_names
from tests.postmortem.example import make_facts

MEASURED = {
    "commits": [("history.commits", 711.0), ("history.merges", 12.0)],
    "lines": [("structure.lines", 85601.0)],
    "days": [("history.span", 6.4)],
    "percent": [("tests.share", 9.3)],
    "dependencies": [("structure.dependencies", 31.0)],
    "test files": [("tests.files", 37.0)],
}


def found(text, *quotes):
    """Return what is said of the figures of a text that were not measured."""
    return [miss.got for miss in by_hand(text, MEASURED, quotes)]


@pytest.mark.parametrize(
    "text",
    [
        "711 commits",
        "85,601 lines",
        "85601 lines",
        "6.4 days",
        "In 12 commits",
        "about 700 commits",
        "About 710 Commits",
        "roughly 86,000 lines",
        "about 6 days",
        "~6 days",
        "more than 700 commits",
        "over 85,000 lines",
        "at least 711 commits",
        "nearly 90,000 lines",
        "fewer than 720 commits",
        "at most 711 commits",
        "9.3 % of it",
        "9.3 percent of it",
        "31 dependencies",
        "37 test files",
        "the 711-commit history",
        "5 of 711 commits",
        "3 villages, 24 layers, line 17, GPT-2, version 1.2",
        "commits 5 and 6",
        "#13 commits by its number",
        "711\n commits",
    ],
)
def test_what_was_measured_or_is_none_is_left_alone(text):
    """Exactly, in any form of the unit, or rounded as it says."""
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("There were 710 commits.", "710 commits"),
        ("1 commit", "1 commit"),
        ("23 days", "23 days"),
        ("about 23 days", "about 23 days"),
        ("6 days", "6 days"),
        ("about 600 commits", "about 600 commits"),
        ("about 720 commits", "about 720 commits"),
        ("more than 711 commits", "more than 711 commits"),
        ("more than 5 days and more than 2 lines", "more than 2 lines"),
        ("fewer than 700 commits", "fewer than 700 commits"),
        ("10 %", "10 %"),
        ("1 dependency", "1 dependency"),
        ("36 test files", "36 test files"),
        ("85,602 lines", "85,602 lines"),
    ],
)
def test_what_differs_is_told(text, said):
    """As it was written, with its rounding."""
    assert found(text) == [said]


def test_the_figures_of_the_unit_are_named_the_nearest_first():
    """And how to refer to it."""
    miss = next(by_hand("13 commits", MEASURED))
    assert miss.wanted == "one of those in commits: history.merges 12.0, history.commits 711.0"
    assert "Write {history.merges}" in miss.next


def test_a_quotation_is_left_alone_where_the_evidence_has_it():
    """Else it could say anything."""
    text = 'The report says "85,602 lines in 23 days".'
    assert found(text, "It took 85,602  lines in 23\ndays of work") == []
    assert found(text, "It took long") == ["85,602 lines", "23 days"]
    assert found("`805 lines` passed", "805 lines") == []


def test_units_are_those_of_the_measured_numbers():
    """However percent is written; a date is no number."""
    facts = make_facts("0" * 40)
    facts.figure("tests.share", 4.2, "per cent", "", "")
    facts.figure("lines.share", 88.7, "%", "", "")
    facts.figure("history.first", "2024-03-04", "date in UTC", "", "")
    measured = by_unit(facts)
    assert [name for name, _ in measured.pop("percent")] == ["tests.share", "lines.share"]
    assert measured["commits"] == [("history.commits", 4.0)]
    assert sorted(measured) == ["authors", "commits", "lines", "tests"]


def test_names_of_figures_that_nobody_measured_are_told():
    """With those that are near."""
    facts = make_facts("0" * 40)
    misses = [*unknown_names("{history.commits} and {history.comits}, {x} and {ln_1}", facts)]
    assert [miss.got for miss in misses] == ["history.comits"]
    assert "history.commits" in misses[0].wanted
