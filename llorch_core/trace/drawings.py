"""Geometry of the report's drawings: data in, coordinates out; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llorch_core.spec.difference import MISTAKE_MARGIN
from llorch_core.spec.window import NOISE_MARGIN
from llorch_core.trace.words import Trace, number, short, statuses

FARTHEST = 1e7  # tolerances; what is farther away stands there


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from 10**first to 10**last tolerances. What lies beyond stands at its end."""

    first: int
    last: int
    length: float

    def at(self, share: float) -> float:
        """Return where a number stands; NaN is as far away as can be."""
        if share <= 10.0**self.first:
            return 0.0
        decades = math.log10(min(share, FARTHEST)) if not math.isnan(share) else self.last
        return round(min((decades - self.first) / (self.last - self.first), 1.0) * self.length, 2)

    def ticks(self, most: int = 7) -> list[tuple[float, str]]:
        """Return where powers of ten stand, the tolerance among them, and their names."""
        every = -(-(self.last - self.first) // most)
        exponents = [e for e in range(self.first, self.last + 1) if e % every == 0]
        return [(self.at(10.0**e), f"{10.0**e:g}" if abs(e) < 4 else short(10.0**e)) for e in exponents]


def _last(shares: Sequence[float], least: int) -> int:
    """Return the power of ten that is above all of them, `least` or more."""
    finite = [min(share, FARTHEST) for share in shares if not math.isnan(share) and share > 0]
    return max(least, math.ceil(math.log10(max(finite, default=1.0))))


# Rules by status


@dataclass(frozen=True)
class Segment:
    """The rules of one status, as a part of a bar."""

    status: str
    rules: int
    x: float
    width: float


BAR, LEAST = 640.0, 6.0  # length of the bar; one rule of a thousand is seen


def status_bar(found: Sequence[tuple[str, int]]) -> list[Segment]:
    """Return the parts of a bar in proportion, none narrower than LEAST."""
    total = sum(n for _, n in found)
    wide = [max(LEAST, BAR * n / total) for _, n in found] if total else []
    scale, segments, x = BAR / sum(wide) if wide else 0.0, [], 0.0
    for (status, n), width in zip(found, wide, strict=True):
        segments.append(Segment(status, n, round(x, 2), round(width * scale, 2)))
        x += width * scale
    return segments


def whole_bar(trace: Trace) -> list[Segment]:
    """Return the bar of all rules."""
    return status_bar(statuses(trace))


# Worst errors by layer


@dataclass(frozen=True)
class Mark:
    """The worst error of one checkpoint in one block."""

    x: float
    y: float
    kind: str  # in, out, or exact
    name: str
    title: str


@dataclass(frozen=True)
class Chart:
    """The worst errors of one checkpoint, block by block. limit: where the tolerance is."""

    checkpoint: str
    text: str
    width: float
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    limit: float


LEFT, TOP, HIGH, STEP = 44.0, 10.0, 96.0, 26.0  # of a chart, in its own units
MOST_WIDE = 560.0


def errors(component: Mapping[str, Any]) -> list[Chart]:
    """Return a chart for each checkpoint of a component, all on one scale."""
    shares = [number(e["share"]) for found in component["errors"] for e in found["layers"]]
    axis = Axis(-4, _last(shares, 0) if any(s > 1 or math.isnan(s) for s in shares) else 0, HIGH)
    ticks = tuple((round(TOP + HIGH - x, 2), text) for x, text in axis.ticks(5))
    limit = round(TOP + HIGH - axis.at(1.0), 2)
    charts = []
    for found in component["errors"]:
        step = min(STEP, MOST_WIDE / max(len(found["layers"]), 1))
        marks = tuple(_mark(entry, i, step, axis) for i, entry in enumerate(found["layers"]))
        farthest = max((number(e["share"]) for e in found["layers"]), default=math.nan)
        text = "exact" if farthest == 0 else f"at most {short(farthest)}"
        width = round(LEFT + step * len(marks) + 14, 2)
        charts.append(Chart(found["checkpoint"], text, width, marks, ticks, limit))
    return charts


def _mark(entry: Mapping[str, Any], i: int, step: float, axis: Axis) -> Mark:
    share, layer = number(entry["share"]), entry["layer"]
    kind = "exact" if share == 0 else "in" if share <= 1 else "out"
    place = "" if layer is None else f"block {layer}: "
    title = f"{place}{'exact' if share == 0 else short(share) + ' of its tolerance'}"
    name = "" if layer is None or (step < STEP and layer % math.ceil(STEP / step)) else str(layer)
    x, y = LEFT + step * (i + 0.5), TOP + HIGH - axis.at(share)
    return Mark(round(x, 2), round(y, 2), kind, name, title)


# The window of a tolerance


@dataclass(frozen=True)
class Label:
    """A text at a place of an axis, and which side of it is anchored there."""

    x: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Window:
    """Noise of honest engines, the tolerance, and the nearest mistake, on one axis.

    honest, wrong  how far the first reaches, and where the second begins
    quarter, four  what noise must stay below, and a mistake must reach
    """

    honest: float
    wrong: float
    quarter: float
    four: float
    limit: float
    labels: tuple[Label, Label]
    ticks: tuple[tuple[float, str], ...]
    text: str


WIDE = 360.0


def window(component: Mapping[str, Any]) -> Window | None:
    """Return the window of a component's tolerance, or None where nothing was measured."""
    found = component["window"]
    if found is None:
        return None
    noise, nearest = number(found["noise"]), number(found["nearest"])
    axis = Axis(-3, _last([nearest], 3), WIDE)
    honest, wrong = axis.at(noise), axis.at(nearest)
    left = Label(
        honest, f"noise {short(noise)}" if noise else "no noise", "end" if honest > WIDE / 4 else "start"
    )
    right = Label(wrong, f"nearest mistake {short(nearest)}", "start" if wrong < WIDE * 0.6 else "end")
    honestly = f"use up to {short(noise)} of the tolerance" if noise else "are exact"
    far = f"{short(nearest)} tolerances away" if math.isfinite(nearest) else "past any tolerance"
    text = f"Honest engines {honestly}; {found['mistake']}, the mistake nearest to it, is {far}."
    return Window(
        *(honest, wrong, axis.at(NOISE_MARGIN), axis.at(MISTAKE_MARGIN), axis.at(1.0)),
        *((left, right), tuple(axis.ticks()), text),
    )


# The rules nearest to their tolerance


def strip(share: float) -> float:
    """Return how much of a short bar a worst error fills, in percent: 0.0001 is none of it, 1 all."""
    return Axis(-4, 0, 100.0).at(share)
