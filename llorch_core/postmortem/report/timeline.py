"""Geometry of what happened when: an axis of time, marks in lanes, commits as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

from llorch_core.postmortem.facts import Facts, Value
from llorch_core.postmortem.report.wording import count

# The units of the drawings, which scale with the page.
WIDE, LEFT, RIGHT = 720.0, 96.0, 22.0
LANE, TOP = 26.0, 8.0  # height of a lane, and what is above the first
HIGH = 120.0  # of the tallest column
NEAR = 4.0  # what one column of a dense lane stands for
MOST_TICKS, MOST_COLUMNS, MOST_BROAD = 9, 120, 34.0
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Mark:
    """Something that happened. `kind` is a class of the stylesheet; `high` is 1 where a lane is full."""

    x: float
    kind: str
    title: str
    high: float = 1.0


@dataclass(frozen=True)
class Lane:
    """Marks in order of time. Those of a `dense` lane are drawn as columns, each for all that is near."""

    name: str
    y: float
    marks: tuple[Mark, ...]
    dense: bool
    total: int


@dataclass(frozen=True)
class Column:
    """The commits of one day, week or month. `label` is written above it."""

    x: float
    y: float
    width: float
    height: float
    title: str
    label: str


@dataclass(frozen=True)
class Axis:
    """Time from left to right. `first` and `last` are seconds since 1970, in the zone of the case."""

    first: float
    last: float

    def at(self, second: float) -> float:
        """Return where a moment stands."""
        share = (second - self.first) / max(self.last - self.first, 1.0)
        return round(LEFT + share * (WIDE - LEFT - RIGHT), 2)

    def holds(self, second: float) -> bool:
        """Return whether a moment is on the axis."""
        return self.first <= second <= self.last

    def ticks(self) -> list[tuple[float, str]]:
        """Return where round moments stand, and their names."""
        span = self.last - self.first
        for hours in (3, 6, 12, 24, 48, 168, 336):
            if span / (hours * HOUR) <= MOST_TICKS:
                return self.regular(hours * HOUR)
        for months in (1, 2, 3, 6, 12, 24, 60, 120):
            if span / (months * 30.4 * DAY) <= MOST_TICKS:
                return self.calendar(months)
        return []

    def regular(self, step: float) -> list[tuple[float, str]]:
        """Return ticks that are equally far apart, from midnight on."""
        second = midnight(self.first)
        layout = "{0.day} {0:%b}" if step >= DAY else "{0:%H:%M}"
        found = []
        while second <= self.last:
            if second >= self.first:
                at = moment_of(second)
                text = layout if at.hour or step >= DAY else "{0.day} {0:%b}"
                found.append((self.at(second), text.format(at)))
            second += step
        return found

    def calendar(self, months: int) -> list[tuple[float, str]]:
        """Return ticks at the first day of every so many months, years by their number."""
        at, found = moment_of(self.first), []
        month = (at.year * 12 + at.month - 1) // months * months
        while (second := seconds(datetime(month // 12, month % 12 + 1, 1))) <= self.last:
            if second >= self.first:
                year = f"{month // 12}"
                text = year if months >= 12 else f"{moment_of(second):%b} {year}"
                found.append((self.at(second), text))
            month += months
        return found


def seconds(at: datetime) -> float:
    """Return a moment of the zone of the case as seconds; its offset is dropped, for all are of one zone."""
    return (at.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()


def moment_of(second: float) -> datetime:
    """Return the moment of so many seconds."""
    return datetime(1970, 1, 1) + timedelta(seconds=second)


def midnight(second: float) -> float:
    """Return the beginning of a day."""
    return second // DAY * DAY


def parsed(text: Value) -> float | None:
    """Return the seconds of an ISO 8601 moment, or None for what is none."""
    try:
        return seconds(datetime.fromisoformat(str(text)))
    except ValueError:
        return None


def axis(facts: Facts) -> Axis | None:
    """Return the axis from the first day of the history to the end of its last, or None without days."""
    table = facts.tables.get("history.days")
    days = [s for row in table.dicts() if (s := parsed(row["day"])) is not None] if table else []
    return Axis(min(days), max(days) + DAY) if days else None


def lane(name: str, number: int, along: Axis, what: Iterable[tuple[Value, str, str]]) -> Lane:
    """Return a lane of marks: when (ISO 8601), kind and title of each."""
    found = [(second, kind, title) for when, kind, title in what if (second := parsed(when)) is not None]
    marks = tuple(Mark(along.at(second), kind, title) for second, kind, title in sorted(found))
    dense = crowded(marks)
    return Lane(name, TOP + LANE * number, tuple(together(marks)) if dense else marks, dense, len(marks))


def crowded(marks: Sequence[Mark]) -> bool:
    """Return whether marks would hide one another as dots."""
    return sum(b.x - a.x < 5 for a, b in pairwise(marks)) > 6


def together(marks: Sequence[Mark]) -> list[Mark]:
    """Return one mark for those of one kind that stand within NEAR, the higher the more they are."""
    found: dict[tuple[int, str], list[Mark]] = {}
    for one in marks:
        found.setdefault((int(one.x / NEAR), one.kind), []).append(one)
    most = max(map(len, found.values()))
    return [
        Mark(
            round((at + 0.5) * NEAR, 2),
            kind,
            some[0].title if len(some) == 1 else f"{len(some):,}, the first: {some[0].title}",
            round(max(len(some) / most, 0.1), 2),
        )
        for (at, kind), some in found.items()
    ]


@dataclass(frozen=True)
class Columns:
    """Commits over time. `each` is what one column stands for: day, week or month."""

    each: str
    columns: tuple[Column, ...]
    grid: tuple[tuple[float, str], ...]  # where numbers of commits stand


def commits(facts: Facts, along: Axis) -> Columns:
    """Return the commits of each day as columns; of each week or month where the days are too many."""
    days = [
        (moment_of(s).date(), int(row["commits"] or 0))
        for row in facts.tables["history.days"].dicts()
        if (s := parsed(row["day"])) is not None
    ]
    each = period(along)
    sums: dict[date, int] = {}
    for day, n in days:
        begin = begins(day, each)
        sums[begin] = sums.get(begin, 0) + n
    most, highest = max(sums.values(), default=0), max(sums, key=lambda day: sums[day], default=None)
    columns = []
    for begin, n in sorted(sums.items()):
        x0 = along.at(max(seconds(datetime.combine(begin, datetime.min.time())), along.first))
        x1 = along.at(min(seconds(datetime.combine(ends(begin, each), datetime.min.time())), along.last))
        broad = max(min((x1 - x0) * 0.84, MOST_BROAD), 1.0)
        tall = round(HIGH * n / most, 2) if most else 0.0
        label = f"{n:,}" if begin == highest or len(sums) <= 16 else ""
        columns.append(
            Column(
                *(round((x0 + x1 - broad) / 2, 2), round(TOP + 10 + HIGH - tall, 2), round(broad, 2), tall),
                *(f"{called(begin, each)}: {count(n, 'commit')}", label),
            )
        )
    grid = (
        tuple((round(TOP + 10 + HIGH - HIGH * n / most, 2), f"{n:,}") for n in rounds(most)) if most else ()
    )
    return Columns(each, tuple(columns), grid)


def period(along: Axis) -> str:
    """Return what a column stands for, so that there are at most MOST_COLUMNS, or months."""
    days = (along.last - along.first) / DAY
    return "day" if days <= MOST_COLUMNS else "week" if days / 7 <= MOST_COLUMNS else "month"


def begins(day: date, each: str) -> date:
    """Return the first day of the day, week (Monday) or month that a day is in."""
    if each == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if each == "month" else day


def called(begin: date, each: str) -> str:
    """Return the name of a day, week or month."""
    if each == "month":
        return f"{begin:%B %Y}"
    return f"{'the week from ' if each == 'week' else ''}{begin.day} {begin:%B %Y}"


def ends(begin: date, each: str) -> date:
    """Return the first day after a day, week or month."""
    if each == "month":
        return (begin + timedelta(days=32)).replace(day=1)
    return begin + timedelta(days=7 if each == "week" else 1)


def rounds(most: int) -> list[int]:
    """Return two to four round numbers up to the greatest."""
    step = next(n * 10**e for e in range(9) for n in (1, 2, 5) if most <= 4 * n * 10**e)
    return list(range(0, most + 1, step))
