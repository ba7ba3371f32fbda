"""How numbers of a measurement are written for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT = "–"
MEASURES = {
    "first": "first token",
    "cold": "cold start",
    "load": "load",
    "memory": "memory",
    "mapped": "mapped",
}


def number(x: float) -> str:
    """Return three digits that matter: 0.0123, 1.23, 45.6, 1,234."""
    if x == 0 or not 1e-3 <= abs(x) < 1e3:
        return f"{x:,.0f}" if abs(x) >= 1e3 or x == 0 else f"{x:.1e}"
    digits = 2 if abs(x) < 10 else 1 if abs(x) < 100 else 0
    return f"{x:.3g}" if abs(x) < 1 else f"{x:.{digits}f}"


def size(x: float) -> str:
    """Return bytes in the largest unit that leaves a number of 1 or more: 494 MB."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if x >= 10**power:
            return f"{number(x / 10**power)} {unit}"
    return f"{x:.0f} B"


def seconds(x: float) -> str:
    """Return 3 ms, 0.27 s, 41 s."""
    return f"{x * 1000:.0f} ms" if x < 0.1 else f"{number(x)} s"


def within(found: Mapping[str, float] | None, write: Any = number) -> str:
    """Return a median with the least and the most: 48.1 (46.0 to 49.9); one of them where all read alike."""
    if not found:
        return ABSENT
    middle, low, high = (write(found[key]) for key in ("median", "min", "max"))
    return str(middle) if low == middle == high else f"{middle} ({low} to {high})"


def how(measure: str) -> Any:
    """Return the function that writes a measure."""
    if measure in ("memory", "mapped"):
        return size
    return seconds if measure in MEASURES else number
