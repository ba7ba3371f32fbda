"""What the facts say in sentences; each names its figures, and is said where they were all measured."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.fill import names

SENTENCES = {
    "history": (
        "{history.commits} commits by {history.authors} authors in {history.days} days, from {history.first}"
        " to {history.last}; {history.merges} merges beside them.",
        "Commits on {history.active_days} days, the most on {history.busiest_day}:"
        " {history.busiest_day_commits}. The longest pause: {history.longest_pause_days} days.",
        "{history.added} lines added, {history.deleted} lines deleted; {history.lines_now} lines are there"
        " now, {history.lines_now_percent} of what was added.",
        "Files now: {history.files_now}; names that files ever had: {history.files_ever}; renames:"
        " {history.renames}.",
        "Commits with a fix in their subject: {history.fixes}; with a revert: {history.reverts}. Bursts of"
        " commits: {history.bursts}.",
    ),
    "structure": (),
    "documents": (),
    "requirements": (
        "{requirements.ids} ids of requirements. Code cites {requirements.in_code} of them, tests"
        " {requirements.in_tests}, documents {requirements.in_documents}; neither code nor tests cite"
        " {requirements.uncited}, and nothing cites {requirements.nowhere}.",
        "Cited, and defined nowhere: {requirements.unknown} ids. Removed from code and tests, and in none of"
        " them now: {requirements.lost} ids, of which {requirements.lost_still_required} are still required.",
    ),
    "tests": (),
    "claims": (),
}
# The figures that people ask for first, in one sentence each.
HEADLINES = (
    "{history.commits} commits by {history.authors} authors in {history.days} days, from {history.first} to"
    " {history.last}.",
    "Of {requirements.ids} ids of requirements, neither code nor tests cite {requirements.uncited}.",
)
# The figures at the top of the page: name, and the words above it.
NUMBERS = (
    ("history.commits", "commits"),
    ("history.days", "days"),
    ("history.lines_now", "lines now"),
    ("requirements.uncited", "requirements without code and test"),
)


def sentences(section: str, facts: Facts) -> list[str]:
    """Return the sentences of a section whose figures were all measured, not filled in yet."""
    return said(SENTENCES.get(section, ()), facts)


def said(templates: Sequence[str], facts: Facts) -> list[str]:
    """Return those sentences whose figures were all measured; the names of the others as not measured."""
    missing = [name for one in templates for name in names(one) if name not in facts.figures]
    found = [one for one in templates if all(name in facts.figures for name in names(one))]
    return [*found, *([f"Not measured: {', '.join(dict.fromkeys(missing))}."] if missing else [])]
