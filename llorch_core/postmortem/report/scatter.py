"""Geometry of the map of hot spots: churn from left to right, complexity upwards, both logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.report.wording import count

WIDE, HIGH = 720.0, 340.0  # units of the drawing, which scales with the page
LEFT, RIGHT, TOP, BOTTOM = 52.0, 24.0, 16.0, 40.0
LEAST, MOST = 3.5, 15.0  # radius of a file
MOST_FILES, MOST_LABELS = 120, 9
LETTER, LINE = 5.9, 12.0  # what a letter of a label takes


@dataclass(frozen=True)
class Spot:
    """One file."""

    x: float
    y: float
    radius: float
    hot: bool
    title: str


@dataclass(frozen=True)
class Label:
    """The name of a file beside its spot. `anchor` is the side that stands at x."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Map:
    """The files that were changed most and are hardest to change, and where the axes have their numbers."""

    spots: tuple[Spot, ...]
    labels: tuple[Label, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    left_out: int


def hot_spots(facts: Facts) -> Map | None:
    """Return the map, or None where nothing was measured or no file has both."""
    table = facts.tables.get("history.hot_spots")
    rows = [row for row in table.dicts() if positive(row)] if table else []
    if not rows:
        return None
    shown = rows[:MOST_FILES]
    wide = Log([float(row["churn"] or 1) for row in shown], LEFT, WIDE - RIGHT)
    high = Log([float(row["complexity"] or 1) for row in shown], HIGH - BOTTOM, TOP)
    most = max(int(row["commits"] or 1) for row in shown)
    spots = [spot(row, rank, wide, high, most) for rank, row in enumerate(shown)]
    return Map(
        tuple(reversed(spots)),  # the hottest on top
        tuple(labels(spots[:MOST_LABELS], [str(row["file"]) for row in shown])),
        tuple(wide.ticks()),
        tuple(high.ticks()),
        len(rows) - len(shown),
    )


def positive(row: dict[str, Any]) -> bool:
    """Return whether a file has both churn and complexity."""
    return (row["churn"] or 0) > 0 and (row["complexity"] or 0) > 0


def spot(row: dict[str, Any], rank: int, wide: Log, high: Log, most: int) -> Spot:
    """Return the place and the size of a file, by the commits that changed it."""
    commits = int(row["commits"] or 1)
    title = (
        f"{row['file']}: {count(commits, 'commit')}, {row['churn']:,} lines added or deleted,"
        f" complexity {row['complexity']:,}"
    )
    radius = LEAST + (MOST - LEAST) * math.sqrt(commits / most)
    x, y = wide.at(float(row["churn"])), high.at(float(row["complexity"]))
    return Spot(x, y, round(radius, 2), rank < MOST_LABELS, title)


class Log:
    """A logarithmic axis that holds all of some numbers above 0."""

    def __init__(self, numbers: Sequence[float], begin: float, end: float) -> None:
        self.first = math.log10(min(numbers)) - 0.15
        self.last = max(math.log10(max(numbers)) + 0.15, self.first + 0.5)
        self.begin, self.end = begin, end

    def at(self, number: float) -> float:
        """Return where a number stands."""
        share = (math.log10(number) - self.first) / (self.last - self.first)
        return round(self.begin + share * (self.end - self.begin), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Return where round numbers stand, and how they are written."""
        steps = (1,) if self.last - self.first > 2.5 else (1, 2, 5)
        found = [n * 10**e for e in range(math.floor(self.first), math.ceil(self.last) + 1) for n in steps]
        return [
            (self.at(n), f"{n:,.0f}") for n in found if n >= 1 and self.first <= math.log10(n) <= self.last
        ]


def labels(spots: Sequence[Spot], files: Sequence[str]) -> Iterator[Label]:
    """Give the names of the hottest files, the hottest first, where there is room for them."""
    taken = [around(one, one.radius * 0.7) for one in spots]
    for at, one in enumerate(spots):
        text = short(files[at], files)
        for label, box in places(one, text):
            if inside(box) and not any(overlap(box, b) for i, b in enumerate(taken) if i != at):
                taken.append(box)
                yield label
                break


def around(one: Spot, far: float) -> tuple[float, float, float, float]:
    """Return the box around a spot."""
    return one.x - far, one.y - far, one.x + far, one.y + far


def short(file: str, files: Sequence[str]) -> str:
    """Return the last part of a path, with its folder where other files are called the same."""
    parts = file.split("/")
    same = sum(1 for other in files if other.split("/")[-1] == parts[-1])
    return "/".join(parts[-2:] if same > 1 else parts[-1:])


def places(one: Spot, text: str) -> Iterator[tuple[Label, tuple[float, float, float, float]]]:
    """Give the places of a label beside its spot, the best first: right, left, above, below."""
    broad, r = LETTER * len(text), one.radius + 4
    for x, y, anchor, left in (
        (one.x + r, one.y + 4, "start", one.x + r),
        (one.x - r, one.y + 4, "end", one.x - r - broad),
        (one.x, one.y - r, "middle", one.x - broad / 2),
        (one.x, one.y + r + 8, "middle", one.x - broad / 2),
    ):
        yield Label(round(x, 2), round(y, 2), text, anchor), (left, y - LINE + 2, left + broad, y + 3)


def inside(box: tuple[float, float, float, float]) -> bool:
    """Return whether a box is within the drawing."""
    return box[0] >= LEFT and box[2] <= WIDE - 2 and box[1] >= 0 and box[3] <= HIGH - BOTTOM + 2


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Return whether two boxes share something."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
