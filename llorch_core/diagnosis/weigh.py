"""How much of a mistake is in a tensor: least squares, with every element weighed by its tolerance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llorch_core.spec.language import Tensor

KIND = 1e6  # what -inf in the place of a number, or the reverse, counts: as so many tolerances
FAR = 1e12  # further than so many tolerances is as far as that


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
class Weight:
    """Sums over elements, from which the amount of a mistake follows; weights of several tensors add up.

    n   elements
    rr  sum of squares of got - wanted
    rd  sum of products of got - wanted with wrong - wanted
    dd  sum of squares of wrong - wanted
    """

    n: int = 0
    rr: float = 0.0
    rd: float = 0.0
    dd: float = 0.0

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.n + other.n, self.rr + other.rr, self.rd + other.rd, self.dd + other.dd)

    @property
    def amount(self) -> float:
        """How much of the mistake there is: 0 is none, 1 is all of it."""
        return self.rd / self.dd if self.dd else 0.0

    @property
    def standard_error(self) -> float:
        """The standard error of the amount, from what the best amount leaves over."""
        if not self.dd or self.n < 2:
            return float("inf")
        left = max(self.rr - self.rd**2 / self.dd, 0.0)
        return float(np.sqrt(left / (self.n - 1) / self.dd))

    @property
    def explains(self) -> float:
        """The share of the error that goes away where the mistake takes the place of the right equation."""
        return (2 * self.rd - self.dd) / self.rr if self.rr else 0.0


def weigh(got: Tensor, wanted: Tensor, wrong: Tensor, unit: Tensor) -> Weight:
    """Return how much of `wrong` is in `got`; all of one shape."""
    r, d = errors(got, wanted, unit), errors(wrong, wanted, unit)
    return Weight(r.size, float(np.sum(r * r)), float(np.sum(r * d)), float(np.sum(d * d)))
