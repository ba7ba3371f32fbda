"""The pictures of the page: which facts and findings each of them shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llorch_core.postmortem.facts import Facts, Value
from llorch_core.postmortem.judgement.judgement import Decision, Judgement, Team
from llorch_core.postmortem.report.bars import Bars, bars
from llorch_core.postmortem.report.report import Report
from llorch_core.postmortem.report.timeline import LANE, TOP, Axis, Columns, Lane, axis, commits, lane, parsed
from llorch_core.postmortem.report.wording import count, moment

# Lanes of events: the kinds in each, and their classes in the stylesheet.
EVENTS = {
    "ends and tags": {"first": "e0", "last": "e0", "tag": "e1"},
    "authors": {"author": "e4"},
    "folders": {"folder": "e1", "gone": "k-bad"},
    "large commits": {"added": "k-plain", "deleted": "k-bad"},
    "bursts, pauses": {"burst": "e3", "pause": "e5"},
}
# What a class stands for, where a lane has marks of several.
MEANS = {
    "folders": (("e1", "a new folder"), ("k-bad", "a folder that is gone")),
    "large commits": (("k-plain", "many lines added"), ("k-bad", "many lines deleted")),
    "bursts, pauses": (("e3", "a burst of commits begins"), ("e5", "the longest pause ends")),
}
LEFT_OUT = frozenset({"revert"})  # has a lane of its own
OUTCOMES = ("held", "never checked", "withdrawn", "disproved")


@dataclass(frozen=True)
class Timeline:
    """What happened when: lanes of marks, and commits as columns below the same axis."""

    axis: Axis
    lanes: tuple[Lane, ...]
    columns: Columns
    high: float
    says: str


def timeline(report: Report) -> Timeline | None:
    """Return the timeline, or None where no day was measured."""
    along = axis(report.facts)
    if along is None:
        return None
    found = [*events(report.facts), *claims(report.facts), *reverts(report.facts), *decided(report.judgement)]
    kept = [(name, some) for name, marks in found if (some := within(along, marks))]
    lanes = tuple(lane(name, n, along, marks) for n, (name, marks) in enumerate(kept))
    told = ", ".join(f"{one.name} {one.total:,}" for one in lanes)
    return Timeline(along, lanes, commits(report.facts, along), TOP + LANE * len(lanes) + 22, told)


Marks = list[tuple[Value, str, str]]


def within(along: Axis, marks: Marks) -> Marks:
    """Return the marks that have a moment on the axis."""
    return [one for one in marks if (at := parsed(one[0])) is not None and along.holds(at)]


def events(facts: Facts) -> Iterator[tuple[str, Marks]]:
    """Give the events of the history in lanes; kinds that nobody expected share the last."""
    table = facts.tables.get("history.events")
    rows = table.dicts() if table else []
    known = {kind for lane in EVENTS.values() for kind in lane} | LEFT_OUT
    others = {str(row["kind"]): "e5" for row in rows if row["kind"] not in known}
    for name, kinds in (EVENTS | {"other": others}).items():
        some = [row for row in rows if row["kind"] in kinds]
        yield name, [mark(r["when"], kinds[str(r["kind"])], f"{r['kind']}: {r['subject']}") for r in some]


def claims(facts: Facts) -> Iterator[tuple[str, Marks]]:
    """Give the claims, with those that were withdrawn in another colour."""
    table = facts.tables.get("claims.made")
    rows = table.dicts() if table else []
    for name, kind, some in (
        ("claims", "k-plain", [row for row in rows if not row["withdrawn"]]),
        ("withdrawn", "k-bad", [row for row in rows if row["withdrawn"]]),
    ):
        yield name, [mark(row["when"], kind, f"{row['word']}: {row['text']}") for row in some]


def reverts(facts: Facts) -> Iterator[tuple[str, Marks]]:
    """Give the reverts."""
    table = facts.tables.get("history.reverts")
    yield "reverts", [mark(row["when"], "k-unsure", row["subject"]) for row in table.dicts()] if table else []


def decided(judgement: Judgement) -> Iterator[tuple[str, Marks]]:
    """Give the decisions that were judged."""
    yield "decisions", [mark(one.date, "e3", one.title) for one in judgement.of(Decision)]


def mark(when: Value, kind: str, text: Value) -> tuple[Value, str, str]:
    """Return when, kind and title of something that happened."""
    return when, kind, f"{moment(str(when))}: {text}"


def outcomes(judgement: Judgement) -> Bars | None:
    """Return what teams claimed, and what came of it."""
    teams = [team for team in judgement.of(Team) if team.claimed]
    if not teams:
        return None
    lines = []
    for team in teams:
        counted = Counter(claim.outcome or "never checked" for claim in team.claimed)
        numbers = [counted[outcome] for outcome in OUTCOMES]
        lines.append((team.title, numbers, (len(team.claimed), *numbers)))
    kinds = ("k-good", "k-plain", "k-unsure", "k-bad")
    columns = ("claims", *OUTCOMES)
    return bars("team", columns, tuple(zip(kinds, OUTCOMES, strict=True)), lines)


def days_say(columns: Columns) -> str:
    """Return the picture of commits in words."""
    highest = max(columns.columns, key=lambda column: column.height, default=None)
    much = count(len(columns.columns), f"{columns.each} with commits", f"{columns.each}s with commits")
    return f"{much}; the most: {highest.title.replace(': ', ', ')}" if highest else much


def lane_keys(found: Timeline) -> list[tuple[str, str]]:
    """Return what the colours stand for, of the lanes that have marks of several."""
    return [key for one in found.lanes for key in MEANS.get(one.name, ())]
