"""Percentiles, rates, and whether memory stays where it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

PERCENTS = (50, 95, 99)
GROWTH, NOISE = 0.05, 8e6  # of memory: what is called flat


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that so many percent of the values do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99."""
    return {f"p{percent}": percentile(values, percent) for percent in PERCENTS}


@dataclass(frozen=True)
class Timed:
    """One answer that was checked: when it was asked for, and when each token came, in seconds."""

    asked: float
    came: tuple[float, ...]

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.came[0] - self.asked

    @property
    def between(self) -> list[float]:
        """Seconds between tokens. Those that came in one message came at one time."""
        return [b - a for a, b in zip(self.came, self.came[1:], strict=False)]


def figures(answers: Sequence[Timed]) -> dict[str, object]:
    """Return the rate of all answers together in tokens a second, and the percentiles of their delays."""
    begin, end = min(a.asked for a in answers), max(a.came[-1] for a in answers)
    tokens = sum(len(a.came) for a in answers)
    between = [gap for a in answers for gap in a.between]
    return {
        "tokens_per_s": tokens / (end - begin),
        "tokens": tokens,
        "seconds": end - begin,
        "first_s": percentiles([a.first for a in answers]),
        "between_s": percentiles(between) if between else None,
    }


def flatness(samples: Sequence[float]) -> dict[str, float | bool]:
    """Compare the last quarter of samples of memory, in bytes, with the second one; the first warms up.

    Returns both medians, and whether the memory is flat: it grew by no more than GROWTH and NOISE together.
    """
    quarter = len(samples) // 4
    if not quarter:
        return {"early": 0.0, "late": 0.0, "flat": False}
    early, late = median(samples[quarter : 2 * quarter]), median(samples[-quarter:])
    return {"early": early, "late": late, "flat": late - early <= GROWTH * early + NOISE}
