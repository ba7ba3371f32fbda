"""The comparison of one tensor with what it should be: every element, always."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llorch_core.spec.difference import shares
from llorch_core.spec.oracle import Oracle, Step, Wanted


class MismatchError(AssertionError):
    """The engine on trial is not right: which element, wanted, got, and how many tolerances away."""


@dataclass(frozen=True)
class Comparison:
    """One tensor, compared.

    what       name of the checkpoint, or of the output of a component
    step       forward call, 0 is the prefill; None for a component on its own
    elements   how many are wanted, and were compared: all of them, unless the shapes differ
    outside    how many are past their tolerance
    share      the worst error, as a share of its tolerance: above 1 is wrong
    index      where the worst element is; what is got and wanted is meant there
    shapes     how the shapes differ, where they do: then no element was compared
    tolerance  how far from what is wanted that element may be
    digests    SHA-256 of what was got and of what was wanted: type, shape and numbers
    one_buffer whether both sides are the same memory, which compares nothing
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
    tolerance: float = np.nan
    digests: tuple[str, str] = ("", "")
    one_buffer: bool = False

    @property
    def error(self) -> float:
        """How far the worst element is from what is wanted; 0 where the two are equal."""
        return 0.0 if self.share == 0 else abs(self.got - self.wanted)

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
    digests = (digest(got), digest(wanted))
    if got.shape != wanted.shape:
        text = f"got the shape {list(got.shape)}, wanted {list(wanted.shape)}"
        return Comparison(
            what, step, wanted.size, wanted.size, np.inf, (), np.nan, np.nan, text, digests=digests
        )
    share = shares(got, wanted, bound)
    if not share.size:
        return Comparison(what, step, 0, 0, 0.0, (), np.nan, np.nan, digests=digests)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(share)), share.shape))
    return Comparison(
        what,
        step,
        elements=share.size,
        outside=int(np.count_nonzero(share > 1)),
        share=float(share[index]),
        index=index,
        got=float(got[index]),
        wanted=float(wanted[index]),
        tolerance=float(np.broadcast_to(bound, share.shape)[index]),
        digests=digests,
        one_buffer=np.may_share_memory(got, wanted),
    )


def digest(x: NDArray[Any]) -> str:
    """Return the SHA-256 of a tensor: type and shape, such as `<f4[2, 3]`, then its numbers in C order."""
    found = hashlib.sha256(f"{x.dtype.str}{list(x.shape)}".encode())
    found.update(np.ascontiguousarray(x).data)
    return found.hexdigest()


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
    c = comparison
    return {
        "checkpoint": c.what,
        "step": c.step,
        "elements": 0 if c.shapes else c.elements,
        "of": c.elements,
        "outside": c.outside,
        "error": number(c.error),
        "tolerance": number(c.tolerance),
        "share": number(c.share),
        "margin": number(c.tolerance - c.error),
        "index": list(c.index),
        "got": number(c.got),
        "wanted": number(c.wanted),
        "shapes": c.shapes,
        "digests": {"got": c.digests[0], "wanted": c.digests[1]},
    }


def from_json(data: Mapping[str, Any]) -> Comparison:
    """Return the comparison that `as_json` wrote."""
    return Comparison(
        data["checkpoint"],
        data["step"],
        elements=data["of"],
        outside=data["outside"],
        share=float(data["share"]),
        index=tuple(data["index"]),
        got=float(data["got"]),
        wanted=float(data["wanted"]),
        shapes=data["shapes"],
        tolerance=float(data["tolerance"]),
        digests=(data["digests"]["got"], data["digests"]["wanted"]),
    )


def number(x: Any) -> Any:
    """Return a number as JSON can hold it: what is not finite becomes text."""
    return str(x) if isinstance(x, float) and not np.isfinite(x) else x
