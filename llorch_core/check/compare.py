"""The comparison of one tensor with what it should be: every element, always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llorch_core.spec.difference import shares
from llorch_core.spec.oracle import Oracle, Step, Wanted


class MismatchError(AssertionError):
    """The engine on trial is not right: which element, wanted, got, and how many tolerances away."""


@dataclass(frozen=True)
class Comparison:
    """One tensor, compared.

    what      name of the checkpoint, or of the output of a component
    step      forward call, 0 is the prefill; None for a component on its own
    elements  how many were compared: all of them
    outside   how many are past their tolerance
    share     the worst error, as a share of its tolerance: above 1 is wrong
    index     where the worst element is; what is got and wanted is meant there
    """

    what: str
    step: int | None
    elements: int
    outside: int
    share: float
    index: tuple[int, ...]
    got: float
    wanted: float
    shapes: str = ""

    @property
    def conforms(self) -> bool:
        """Whether every element is within its tolerance."""
        return self.outside == 0 and not self.shapes

    def __str__(self) -> str:
        place = self.what if self.step is None else f"step {self.step}, {self.what}"
        if self.shapes:
            return f"{place}: {self.shapes}"
        away = (
            f"{self.share:,.2g} tolerances away"
            if np.isfinite(self.share)
            else "no tolerance reaches that far"
        )
        return (
            f"{place} {list(self.index)}: got {self.got:.7g}, wanted {self.wanted:.7g}, {away}; "
            f"{self.outside:,} of {self.elements:,} elements are outside"
        )


def compare(
    what: str, got: ArrayLike, wanted: ArrayLike, bound: ArrayLike = 0.0, step: int | None = None
) -> Comparison:
    """Compare `got` with `wanted`, of the same shape, element by element.

    bound  how far apart two elements may be; 0 demands equal values, also of infinities
    """
    got, wanted, bound = np.asarray(got), np.asarray(wanted), np.asarray(bound)
    if got.shape != wanted.shape:
        text = f"got the shape {list(got.shape)}, wanted {list(wanted.shape)}"
        return Comparison(what, step, wanted.size, wanted.size, np.inf, (), np.nan, np.nan, text)
    share = shares(got, wanted, bound)
    if not share.size:
        return Comparison(what, step, 0, 0, 0.0, (), np.nan, np.nan)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(share)), share.shape))
    outside = int(np.count_nonzero(share > 1))
    worst = float(share[index])
    return Comparison(what, step, share.size, outside, worst, index, float(got[index]), float(wanted[index]))


def compare_text(what: str, got: str, wanted: str) -> Comparison:
    """Compare two texts character by character; one that is shorter or longer never conforms."""
    found = compare(what, [ord(c) for c in got], [ord(c) for c in wanted])
    return found if found.conforms else replace(found, shapes=f"got {got!r}, wanted {wanted!r}")


def compare_record(record: Sequence[Step], wanted: Iterable[Wanted]) -> list[Comparison]:
    """Compare what an engine recorded with what the oracle wants, in the order of the data flow."""
    return [compare(w.checkpoint, record[w.step][w.checkpoint], w.value, w.bound, w.step) for w in wanted]


def local(oracle: Oracle, record: Sequence[Step], precision: str) -> list[Comparison]:
    """Hold each recorded checkpoint against its equations, applied to what the engine recorded before it."""
    return compare_record(record, oracle.local(record, precision))


def everywhere(oracle: Oracle, record: Sequence[Step], precision: str) -> list[Comparison]:
    """Hold each recorded checkpoint against the oracle, run from the ids alone."""
    return compare_record(record, oracle.everywhere(record, precision))


def require(comparisons: Iterable[Comparison]) -> None:
    """Raise MismatchError at the first comparison, in data-flow order, that does not conform."""
    failed = [c for c in comparisons if not c.conforms]
    if failed:
        more = f" (and {len(failed) - 1} more checkpoints after it)" if len(failed) > 1 else ""
        raise MismatchError(f"{failed[0]}{more}")


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON can hold it: what is not finite becomes text."""
    return {
        "checkpoint": comparison.what,
        "step": comparison.step,
        "elements": comparison.elements,
        "outside": comparison.outside,
        "share": number(comparison.share),
        "index": list(comparison.index),
        "got": number(comparison.got),
        "wanted": number(comparison.wanted),
    }


def number(x: Any) -> Any:
    """Return a number as JSON can hold it: what is not finite becomes text."""
    return str(x) if isinstance(x, float) and not np.isfinite(x) else x
