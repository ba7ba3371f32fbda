"""The picture of a run: what engines reach, under what the machine's memory and arithmetic allow.

Across: bytes of weights that are read for each token (a batch shares them). Up: tokens a second. Memory
allows what lies below the falling line, the product of float32 matrices in NumPy what lies below the level
one. An SVG that follows the reader's choice of light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from llorch_core.bench.words import number, size

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 900.0, 540.0, 70.0, 34.0, 250.0, 56.0
STYLE = """
.page{fill:#ffffff}.text{fill:#1d2430}.dim{fill:#5b6472}.grid{stroke:#e3e6ea}.roof{stroke:#1d2430}
.ours{fill:#c2410c;stroke:#c2410c}.peer{fill:none;stroke:#2563eb}
text{font:12px system-ui,sans-serif}.small{font-size:11px}
@media (prefers-color-scheme:dark){.page{fill:#12161c}.text{fill:#e6e9ee}.dim{fill:#9aa4b2}
.grid{stroke:#2b323c}.roof{stroke:#e6e9ee}.ours{fill:#fb923c;stroke:#fb923c}.peer{stroke:#7aa7ff}}
"""


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis: from `low` at pixel `start` to `high` at pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, x: float) -> float:
        """Return the pixel of a number."""
        share = math.log(x / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return the powers of ten inside."""
        return [
            10.0**e for e in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        ]


@dataclass(frozen=True)
class Point:
    """One engine at one job."""

    engine: str
    ours: bool
    measure: str
    x: float
    y: float


def points(report: Mapping[str, Any]) -> list[Point]:
    """Return what engines reached at decode, prefill and batches."""
    found = []
    for job in report["jobs"]:
        if job["measure"].startswith("context"):
            continue
        shared = job["prompt"] if job["measure"] == "prefill" else job["rows"]
        for engine in report["engines"]:
            speed = engine["measures"].get(job["measure"])
            if speed:
                x = report["model"]["bytes"][engine["precision"]] / shared
                found.append(Point(engine["engine"], engine["ours"], job["measure"], x, speed["median"]))
    return found


def picture(report: Mapping[str, Any]) -> str:
    """Return the SVG of a run; where nothing was timed, it has its lines alone."""
    found = points(report)
    reads = {p: r["median"] for p, r in report["limits"]["read"].items()}
    most_flops = report["limits"]["rate"]["median"] / report["model"]["flops"]
    sizes = [report["model"]["bytes"][p] for p in reads] or [*report["model"]["bytes"].values()]
    roofs = [reads[p] / report["model"]["bytes"][p] for p in reads]
    xs, ys = [p.x for p in found] + sizes, [p.y for p in found] + roofs + [most_flops]
    x = Scale(min(xs) / 2, max(xs) * 2, LEFT, WIDTH - RIGHT)
    y = Scale(min(ys) / 2, max(ys) * 2, HEIGHT - BOTTOM, TOP)
    body = [*_axes(x, y), *_roofs(report, reads, most_flops, x, y), *(_mark(p, x, y) for p in found)]
    body += _legend(found)
    title = f"{report['model']['title']}: tokens a second against bytes read for each"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="{WIDTH:g}" height="{HEIGHT:g}"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str = "text", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _axes(x: Scale, y: Scale) -> list[str]:
    made = []
    for value in x.ticks():
        made.append(f'<path class="grid" d="M{x.at(value)} {TOP:g}V{HEIGHT - BOTTOM:g}"/>')
        made.append(_text(x.at(value), HEIGHT - BOTTOM + 18, size(value), "dim", "middle"))
    for value in y.ticks():
        made.append(f'<path class="grid" d="M{LEFT:g} {y.at(value)}H{WIDTH - RIGHT:g}"/>')
        made.append(_text(LEFT - 8, y.at(value) + 4, number(value), "dim", "end"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    made.append(_text(middle, HEIGHT - 14, "weights read for each token", "text", "middle"))
    made.append(_text(LEFT, TOP - 14, "tokens a second"))
    return made


def _roofs(
    report: Mapping[str, Any], reads: Mapping[str, float], most_flops: float, x: Scale, y: Scale
) -> list[str]:
    made = [f'<path class="roof" stroke-dasharray="6 4" d="M{x.start:g} {y.at(most_flops)}H{x.end:g}"/>']
    made.append(_text(x.end - 4, y.at(most_flops) - 6, "float32 product in NumPy", "dim small", "end"))
    if not reads:
        return made
    widest = max(reads, key=lambda p: report["model"]["bytes"][p])
    line = [(min(max(reads[widest] / at, y.low), y.high), at) for at in _steps(x)]
    inside = [(tokens, at) for tokens, at in line if y.low < tokens < y.high]
    path = "L".join(f"{x.at(at)} {y.at(tokens)}" for tokens, at in inside)
    made.append(f'<path class="roof" fill="none" d="M{path}"/>')
    for precision, read in reads.items():
        at = x.at(report["model"]["bytes"][precision])
        level = y.at(read / report["model"]["bytes"][precision])
        told = f"memory, {precision}: {read / 1e9:.1f} GB/s"
        made.append(
            f'<path class="roof" stroke-width="3" d="M{at - 9:g} {level}H{at + 9:g}">'
            f"<title>{told}</title></path>"
        )
    return made


def _steps(x: Scale, count: int = 64) -> list[float]:
    return [x.low * (x.high / x.low) ** (i / count) for i in range(count + 1)]


def _mark(point: Point, x: Scale, y: Scale) -> str:
    at, level = x.at(point.x), y.at(point.y)
    kind = "ours" if point.ours else "peer"
    told = escape(f"{point.engine}, {point.measure}: {number(point.y)} tokens a second")
    if point.measure == "decode":
        shape = f'<circle class="{kind}" cx="{at}" cy="{level}" r="5">'
        return f"{shape}<title>{told}</title></circle>"
    corners = (
        f"M{at:g} {level - 6:g}l6 11h-12z"
        if point.measure == "prefill"
        else f"M{at - 5:g} {level - 5:g}h10v10h-10z"
    )
    return f'<path class="{kind}" d="{corners}"><title>{told}</title></path>'


def _legend(found: Sequence[Point]) -> list[str]:
    left, top = WIDTH - RIGHT + 20, TOP + 6
    made = [
        _text(left, top, "○ decode   □ batch   △ prefill", "dim"),
        _text(left, top + 18, "● llorch   ○ peers", "dim"),
    ]
    decoded = sorted((p for p in found if p.measure == "decode"), key=lambda p: -p.y)
    for i, point in enumerate(decoded[:22]):
        made.append(_text(left, top + 46 + 17 * i, point.engine, "text small"))
        made.append(_text(WIDTH - 14, top + 46 + 17 * i, number(point.y), "text small", "end"))
    return made
