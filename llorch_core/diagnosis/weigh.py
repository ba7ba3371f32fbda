"""How much of a mistake is in a tensor: least squares, with every element weighed by its noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llorch_core.spec.language import Tensor

KIND = 1e6  # what -inf in the place of a number, or the reverse, counts: as so many tolerances
FAR = 1e12  # further than so many tolerances is as far as that
BINS = 40  # kinds of elements, by how large their last digit is beside their tolerance, in powers of 2
MANY = 32  # elements of a kind that its noise can be measured by
QUIET = 1e-4  # no engine is more exact than this share of the tolerance, as far as weights are concerned


def scale(wanted: Tensor, bound: Tensor, eps: float) -> Tensor:
    """Return by what the error of each element is weighed: its tolerance, and for copies one rounding."""
    finite = np.abs(wanted[np.isfinite(wanted)])
    floor = max(eps * float(finite.max(initial=0.0)), 2.0**-1000)
    return np.where(bound > 0, bound, floor)


def errors(got: Tensor, wanted: Tensor, unit: Tensor) -> Tensor:
    """Return got - wanted in units of `unit`; where only one of them is finite it counts KIND."""
    with np.errstate(all="ignore"):
        away = np.clip((got - wanted) / unit, -FAR, FAR)
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    kinds = np.where(np.isfinite(got), 1.0, 0.0) - np.where(np.isfinite(wanted), 1.0, 0.0)
    odd = ~(np.isfinite(got) & np.isfinite(wanted))
    away = np.where(odd, np.where(kinds == 0, KIND, kinds * KIND), away)
    return np.where(same, 0.0, away)


@dataclass(frozen=True)
class Estimate:
    """How much of a mistake there is.

    amount          0 is none, 1 is all of it
    standard_error  of the amount
    explains        share of the error that goes away where the mistake takes the place of the right equation
    """

    amount: float
    standard_error: float
    explains: float


@dataclass(frozen=True, eq=False)
class Weight:
    """Sums over elements, from which the amount of a mistake follows; those of several tensors add up.

    Errors are in tolerances. Elements are kept apart in BINS kinds, by how large their own rounding is beside
    their tolerance.

    n   [BINS], elements
    rr  [BINS], sum of squares of got - wanted
    rd  [BINS], sum of products of got - wanted with wrong - wanted
    dd  [BINS], sum of squares of wrong - wanted
    """

    n: Tensor
    rr: Tensor
    rd: Tensor
    dd: Tensor

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.n + other.n, self.rr + other.rr, self.rd + other.rd, self.dd + other.dd)

    @cached_property
    def left(self) -> Tensor:
        """What is left of `rr` where the mistake takes the place of the right equation."""
        return np.maximum(self.rr - 2 * self.rd + self.dd, 0.0)

    @property
    def elements(self) -> int:
        """How many elements were weighed."""
        return int(self.n.sum())

    @property
    def shows(self) -> bool:
        """Whether the mistake changes more than the last digits of a float64."""
        return bool(self.dd.sum() > QUIET**2 * self.n.sum())

    @cached_property
    def by_tolerance(self) -> Estimate:
        """The estimate where the noise of each element is taken to be a share of its tolerance."""
        n, rr, rd, dd = (float(x.sum()) for x in (self.n, self.rr, self.rd, self.dd))
        if not dd or n < 2:
            return Estimate(0.0, float("inf"), 0.0)
        over = max(rr - rd**2 / dd, 0.0) / (n - 1)
        explains = 1 - float(self.left.sum()) / rr if rr else 0.0
        return Estimate(rd / dd, float(np.sqrt(over / dd)), explains)

    @cached_property
    def by_noise(self) -> Estimate:
        """The estimate where the noise of each kind of element is measured, by the better reading."""
        noise = np.minimum(self.rr, self.left) / np.maximum(self.n, 1)
        by = np.where(self.n >= MANY, 1 / np.maximum(noise, QUIET**2), 0.0)
        rr, rd, dd, left = (float(np.sum(x * by)) for x in (self.rr, self.rd, self.dd, self.left))
        if not dd:
            return Estimate(0.0, float("inf"), 0.0)
        return Estimate(rd / dd, dd**-0.5, 1 - left / rr if rr else 0.0)


def weigh(got: Tensor, wanted: Tensor, wrong: Tensor, unit: Tensor, eps: float) -> Weight:
    """Return how much of `wrong` is in `got`; all of one shape.

    unit  the tolerance of each element
    eps   of the engine's precision
    """
    r, d = errors(got, wanted, unit).ravel(), errors(wrong, wanted, unit).ravel()
    with np.errstate(all="ignore"):
        rounding = np.log2(np.abs(wanted) * eps / unit).ravel()
    kind = np.clip(np.nan_to_num(rounding, nan=0, neginf=-BINS) + BINS // 2, 0, BINS - 1).astype(np.int64)

    def total(x: Tensor) -> Tensor:
        return np.bincount(kind, x, BINS).astype(np.float64)

    return Weight(total(np.ones_like(r)), total(r * r), total(r * d), total(d * d))
