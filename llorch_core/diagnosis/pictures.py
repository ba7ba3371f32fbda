"""Pictures of errors in tolerances: colours, geometry, and a PNG that is written by hand."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch_core.diagnosis.lookup import block, flow, maker
from llorch_core.diagnosis.result import Diagnosis, Divergence
from llorch_core.diagnosis.words import count, numbered, tolerances
from llorch_core.spec.difference import shares
from llorch_core.spec.language import Tensor
from llorch_core.spec.suite import load_specs

Colour = tuple[int, int, int, float]

# One scale for all pictures: blue within the tolerance, yellow to purple past it, by the logarithm.
INSIDE, NOTHING = (58, 134, 180), 1e-3
OUTSIDE = ((245, 190, 60), (238, 126, 48), (217, 52, 43), (168, 24, 104))
MOST = 1e6  # tolerances that the last colour stands for
MOST_CELLS, MOST_CELLS_OF_A_HEAD = 128, 64
MOST_STEPS, MOST_HEADS = 6, 32


def colour(share: float) -> Colour:
    """Return red, green, blue (0 to 255) and opacity (0 to 1) of an error in tolerances."""
    if share <= NOTHING:
        return (*INSIDE, 0.10)
    if share <= 1:
        return (*INSIDE, round(0.15 + 0.6 * (1 - math.log10(share) / math.log10(NOTHING)), 2))
    at = min(math.log10(min(share, MOST)) / math.log10(MOST), 1.0) * (len(OUTSIDE) - 1)
    low = min(int(at), len(OUTSIDE) - 2)
    red, green, blue = (
        round(a + (b - a) * (at - low)) for a, b in zip(OUTSIDE[low], OUTSIDE[low + 1], strict=True)
    )
    return red, green, blue, 1.0


def css(share: float) -> str:
    """Return the colour as CSS writes it."""
    red, green, blue, opacity = colour(share)
    return f"rgb({red} {green} {blue} / {opacity:g})"


LEGEND = [
    (css(share), text)
    for share, text in (
        *((0.0, "0"), (0.03, "0.03"), (0.3, "0.3"), (1.0, "1")),
        *((3.0, "3"), (100.0, "100"), (1e4, "10⁴"), (math.inf, "10⁶ or more")),
    )
]


# Where the errors are: blocks × checkpoints


@dataclass(frozen=True)
class Cell:
    """One checkpoint of one block. kind: right, wrong, first (the first wrong number), or absent."""

    x: int
    y: int
    fill: str
    kind: str
    title: str
    label: str = ""  # beside it, where no column names it


@dataclass(frozen=True)
class Grid:
    """The checkpoints of one forward call."""

    step: int | None
    width: int
    height: int
    columns: tuple[tuple[int, str], ...]
    rows: tuple[tuple[int, str], ...]
    cells: tuple[Cell, ...]


LEFT, TOP, WIDE, HIGH = 62, 62, 24, 18  # of a grid, in its own units


def grids(diagnosis: Diagnosis) -> tuple[list[Grid], str]:
    """Return a grid for each forward call, and a sentence on those that are left out."""
    steps = sorted({c.step for c in diagnosis.comparisons}, key=lambda step: -1 if step is None else step)
    shown = steps[:MOST_STEPS]
    if diagnosis.first and diagnosis.first.comparison.step not in shown:
        shown[-1] = diagnosis.first.comparison.step
    left_out = [step for step in steps if step is not None and step not in shown]
    bad = {d.comparison.step for d in diagnosis.divergences} & set(left_out)
    wrong = f"; something is wrong in {numbered('call', bad)}" if bad else ""
    text = f"Not drawn: {numbered('forward call', left_out)}{wrong}." if left_out else ""
    return [_grid(diagnosis, step) for step in shown], text


def _grid(diagnosis: Diagnosis, step: int | None) -> Grid:
    names = flow(load_specs())
    inside = [name for name in names if name.startswith("h.N.")]
    before, after = names[: names.index(inside[0])], names[names.index(inside[-1]) + 1 :]
    layers = [b for c in diagnosis.comparisons if (b := block(c.what)) is not None]
    count_of_blocks = max(layers, default=-1) + 1
    places = {name: (column, 0, name) for column, name in enumerate(before)}
    for n in range(count_of_blocks):
        places |= {name.replace("h.N.", f"h.{n}."): (column, n + 1, "") for column, name in enumerate(inside)}
    places |= {name: (column * 3, count_of_blocks + 1, name) for column, name in enumerate(after)}
    share: dict[str, float] = {}
    for c in diagnosis.comparisons:
        if c.step == step:
            share[c.what] = max(c.share, share.get(c.what, 0.0))
    wrong = {d.comparison.what: d for d in reversed(diagnosis.divergences) if d.comparison.step == step}
    cells = []
    for name, (column, row, label) in places.items():
        at = LEFT + column * WIDE, TOP + row * HIGH
        d = wrong.get(name)
        kind = "absent" if name not in share else "right" if d is None else "wrong"
        kind = "first" if d is not None and d is diagnosis.first else kind
        title = f"{name}: not observed"
        if name in share:
            title = f"{name}: {'exact' if share[name] == 0 else tolerances(share[name])}"
        if d is not None:
            title += ", wrong" + "".join(f", {cause.mistake}" for cause in d.causes)
        cells.append(Cell(*at, css(share.get(name, 0.0)), kind, title, label))
    rows = tuple((TOP + (n + 1) * HIGH, f"block {n}") for n in range(count_of_blocks))
    columns = tuple((LEFT + i * WIDE, name.removeprefix("h.N.")) for i, name in enumerate(inside))
    width, height = LEFT + len(inside) * WIDE + 30, TOP + (count_of_blocks + 2) * HIGH + 4
    return Grid(step, width, height, columns, rows, tuple(cells))


# The failing tensor


@dataclass(frozen=True)
class Panel:
    """A heat map of a matrix: a PNG as data URI, its size, and the middle of its worst cell, or None."""

    title: str
    png: str
    width: int
    height: int
    worst: tuple[float, float] | None


@dataclass(frozen=True)
class HeatMap:
    """The error of every element of a tensor, one panel for each head."""

    panels: tuple[Panel, ...]
    rows: str
    columns: str
    text: str


def heat_map(d: Divergence) -> HeatMap | None:
    """Return the heat map of a divergence, or None where its tensors are not at hand."""
    if (error := _error(d, "wanted")) is None:
        return None
    made = maker(load_specs(), d.comparison.what)
    axes = made.axes if made and len(made.axes) == error.ndim else ("index",) * error.ndim
    stack = error.reshape(-1, *error.shape[-2:]) if error.ndim > 1 else error.reshape(1, 1, -1)
    several = len(stack) > 1
    most = MOST_CELLS_OF_A_HEAD if several else MOST_CELLS
    worst = np.unravel_index(int(np.argmax(stack)), stack.shape)
    panels = []
    for i in _chosen(len(stack), int(worst[0])):
        small, (high, wide) = pool(stack[i], most)
        there = ((worst[2] // wide) + 0.5, (worst[1] // high) + 0.5) if i == worst[0] else None
        title = f"{axes[0]} {i}" if several else d.comparison.what
        panels.append(Panel(title, png(small), small.shape[1], small.shape[0], there))
    cell = f"the worst of {high} × {wide} elements" if high * wide > 1 else "one element"
    more = "" if len(panels) == len(stack) else f" {len(panels)} of {len(stack)} are drawn."
    text = (
        f"{' × '.join(f'{n:,}' for n in error.shape)} elements; each cell is {cell}. "
        f"The ring is around the worst one.{more}"
    )
    rows, columns = ("", axes[-1]) if error.ndim == 1 else axes[-2:]
    return HeatMap(tuple(panels), rows, columns, text)


def _chosen(panels: int, worst: int) -> list[int]:
    shown = list(range(min(panels, MOST_HEADS)))
    return shown if worst in shown else [*shown[:-1], worst]


def _error(d: Divergence, against: str) -> NDArray[np.float64] | None:
    """Return the error of every element in tolerances, or None where a tensor is not at hand."""
    tensors = [np.asarray(d.shown[name]) for name in ("got", against, "bound") if name in d.shown]
    if len(tensors) < 3 or not tensors[0].size or tensors[0].shape != tensors[1].shape:
        return None
    return shares(*tensors)


def pool(x: Tensor, most: int) -> tuple[Tensor, tuple[int, int]]:
    """Return the matrix with at most `most` rows and columns, each cell the worst of its elements.

    Returns the cells, and how many rows and columns of elements each stands for.
    """
    high, wide = (-(-n // most) for n in x.shape)
    padded = np.pad(x, ((0, -x.shape[0] % high), (0, -x.shape[1] % wide)))  # an error of 0 changes no maximum
    rows, columns = padded.shape[0] // high, padded.shape[1] // wide
    return padded.reshape(rows, high, columns, wide).max(axis=(1, 3)), (high, wide)


def png(x: Tensor) -> str:
    """Return a matrix of errors as a PNG in a data URI, with a palette of 256 colours of the scale."""
    low, high = math.log10(NOTHING), math.log10(MOST)
    with np.errstate(divide="ignore"):
        at = (np.log10(x) - low) / (high - low) * 254
    index = np.where(x > NOTHING, np.clip(at, 0, 254) + 1, 0).astype(np.uint8)
    one = round(-low / (high - low) * 254)  # what is rounded to the tolerance itself is put on its side
    index = np.where(
        (x > 1) & (index <= one + 1), one + 2, np.where(x <= 1, np.minimum(index, one + 1), index)
    )
    entries = [colour(0.0), *(colour(10 ** (low + i / 254 * (high - low))) for i in range(255))]
    entries[one + 1] = colour(1.0)
    palette = bytes(v for entry in entries for v in entry[:3])
    opacity = bytes(round(entry[3] * 255) for entry in entries)
    rows, columns = index.shape
    lines = b"".join(b"\0" + row.tobytes() for row in index.astype(np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"tRNS", opacity)
    body += chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


# Histograms


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in its own units. outside: past the tolerance."""

    x: float
    y: float
    width: float
    height: float
    outside: bool
    title: str


@dataclass(frozen=True)
class Histogram:
    """How many elements have an error of each size."""

    title: str
    text: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    tolerance: float


BROAD, TALL = 320, 110  # of a histogram, in its own units
FIRST, PER_DECADE = -3, 2  # the first edge is 10**FIRST tolerances


def histograms(d: Divergence) -> list[Histogram]:
    """Return the errors if the equations are right, and if the first cause is, on the same axes."""
    kinds = [("if the equations are right", _error(d, "wanted"))]
    if d.causes:
        kinds.append((f"if it is {d.causes[0].mistake}", _error(d, "suspected")))
    found = [(title, error) for title, error in kinds if error is not None]
    finite = [float(e[np.isfinite(e)].max(initial=1.0)) for _, e in found]
    last = math.floor(math.log10(min(max(finite, default=1.0), 1e12))) + 1
    return [_histogram(title, error, last) for title, error in found]


def _histogram(title: str, error: NDArray[np.float64], last: int) -> Histogram:
    bins = (last - FIRST) * PER_DECADE
    with np.errstate(divide="ignore"):
        logs = np.nan_to_num(np.log10(error.ravel()), neginf=FIRST - 1, posinf=last + 1)
    # a share of exactly 1 conforms: bins are open below and closed above
    at = np.clip(np.ceil((logs - FIRST) * PER_DECADE), 0, bins + 1).astype(int)
    counts = np.bincount(at, minlength=bins + 2)
    most, wide = math.log(1 + error.size), BROAD / (bins + 2)
    bars = []
    for i, n in enumerate(int(n) for n in counts):
        edges = [FIRST + (i - 1) / PER_DECADE, FIRST + i / PER_DECADE]
        height = max(3.0, TALL * math.log(1 + n) / most) if n else 0.0
        low, high = (f"{10**edge:.2g}" for edge in edges)
        text = f"up to {high}" if i == 0 else f"more than {low}" if i > bins else f"{low} to {high}"
        title_of_bar = f"{count(n, 'element')}: {text} tolerances"
        bars.append(Bar(i * wide, TALL - height, wide, height, edges[0] >= 0, title_of_bar))
    ticks = tuple(
        ((1 + (decade - FIRST) * PER_DECADE) * wide, f"{10**decade:g}") for decade in _ticks(FIRST, last)
    )
    outside = int(np.count_nonzero(error > 1))
    text = f"{outside:,} of {count(error.size, 'element')} outside"
    return Histogram(title, text, tuple(bars), ticks, (1 - FIRST * PER_DECADE) * wide)


def _ticks(first: int, last: int) -> Sequence[int]:
    every = -(-(last - first) // 6)
    return [decade for decade in range(first, last + 1) if decade % every == 0]
