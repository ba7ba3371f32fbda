"""What a wrong tensor looks like, where no listed mistake explains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

import numpy as np

from llorch_core.check.compare import compare
from llorch_core.diagnosis.result import Cause
from llorch_core.diagnosis.weigh import Estimate, weigh
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.language import Tensor
from llorch_core.spec.window import ROUND

ENOUGH = 0.9  # a signature that explains less is no likeness
LOWER = {"float64": ("float32", "bfloat16", "float16"), "float32": ("bfloat16", "float16")}

Look = tuple[str, str, Tensor]
"""Name, what it says, and the tensor that it would be."""


def find_signature(
    got: Tensor,
    wanted: Tensor,
    bound: Tensor,
    unit: Tensor,
    precision: str,
    others: Iterable[Look] = (),
) -> tuple[Cause, Tensor] | None:
    """Return what the error looks like, and the tensor that this would be; None where it is like nothing.

    others  more that it could look like
    """
    if not np.isfinite(got[np.isfinite(wanted)]).all():
        return _not_finite(got, wanted)
    best: tuple[Cause, Tensor] | None = None
    for name, text, value in _looks(got, wanted, unit, precision, others):
        found = weigh(got, wanted, value, unit, PRECISIONS[precision][0]).by_tolerance
        if found.explains < ENOUGH or (best is not None and found.explains <= best[0].explains):
            continue
        best = _cause(name, text, got, value, bound, found), value
        if best[0].confirmed:
            return best
    return best


def _cause(name: str, text: str, got: Tensor, value: Tensor, bound: Tensor, found: Estimate) -> Cause:
    confirmed = compare(name, got, value, bound).conforms
    return Cause(f"signature.{name}", found.amount, found.standard_error, found.explains, confirmed, text)


def _not_finite(got: Tensor, wanted: Tensor) -> tuple[Cause, Tensor]:
    finite = np.isfinite(wanted)
    nan, inf = int(np.isnan(got[finite]).sum()), int(np.isinf(got[finite]).sum())
    text = f"{nan:,} elements are NaN and {inf:,} are infinite, where numbers are wanted"
    return Cause("signature.not_finite", 1.0, 0.0, 1.0, True, text), got


def _looks(
    got: Tensor,
    wanted: Tensor,
    unit: Tensor,
    precision: str,
    others: Iterable[Look],
) -> Iterator[Look]:
    """Yield everything that the tensor could be, the simplest first."""
    yield "zero", "every element is 0, as in a buffer that nobody wrote", np.zeros_like(wanted)
    yield from _same_number(got, wanted)
    yield from _permuted(got, wanted)
    yield from _rounded(got, wanted, precision)
    yield from (look for look in others if look[2].shape == wanted.shape)
    yield from _fitted(got, wanted, unit)
    yield from _dropped(got, wanted)


def _same_number(got: Tensor, wanted: Tensor) -> Iterator[Look]:
    if got.size > 1 and np.all(got == got.flat[0]):
        yield "constant", f"every element is {got.flat[0]:.6g}", np.full_like(wanted, got.flat[0])


def _permuted(got: Tensor, wanted: Tensor) -> Iterator[Look]:
    """Yield the wanted tensor shifted, reversed, transposed, and with slices of an axis in another order."""
    axes = ("row", "column") if wanted.ndim == 2 else ("head", "row", "column")
    for axis, what in enumerate(axes[-wanted.ndim :]):
        if wanted.shape[axis] < 3:
            continue
        for by in (1, -1):
            shifted = np.roll(wanted, by, axis)
            yield (
                "shifted",
                f"every {what} is where the {'next' if by == 1 else 'former'} one belongs",
                shifted,
            )
            edge = [slice(None)] * wanted.ndim
            edge[axis] = slice(0, 1) if by == 1 else slice(-1, None)
            shifted = shifted.copy()
            shifted[tuple(edge)] = got[tuple(edge)]
            text = f"every {what} but one is where the {'next' if by == 1 else 'former'} one belongs"
            yield "shifted", text, shifted
        yield "reversed", f"the {what}s stand in reverse order", np.flip(wanted, axis)
        order = _matching_order(got, wanted, axis)
        if order is not None:
            moved = [f"{i} is {j}" for i, j in enumerate(order) if i != j]
            text = (
                f"the {what}s stand in another order: {', '.join(moved[:6])}{' …' if len(moved) > 6 else ''}"
            )
            yield "permuted", text, np.take(wanted, order, axis)
    for axes_order in permutations(range(wanted.ndim)):
        if axes_order != tuple(range(wanted.ndim)):
            turned = wanted.transpose(axes_order)
            text = f"its axes were transposed to {list(axes_order)}"
            yield "transposed", text, turned.reshape(wanted.shape)  # the numbers, in the order of memory
            shape = tuple(np.argsort(axes_order))
            back = wanted.reshape([wanted.shape[i] for i in shape]).transpose(axes_order)
            if back.shape == wanted.shape:
                yield "transposed", "its memory was read with the axes the other way round", back


def _matching_order(got: Tensor, wanted: Tensor, axis: int) -> list[int] | None:
    """Return which slice of `wanted` each slice of `got` is nearest to, if that is a reordering."""
    a = np.moveaxis(got, axis, 0).reshape(got.shape[axis], -1)
    b = np.moveaxis(wanted, axis, 0).reshape(wanted.shape[axis], -1)
    if not 1 < len(a) <= 4096:
        return None
    finite = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    a, b = a[:, finite], b[:, finite]
    distance = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)
    order = [int(j) for j in np.argmin(distance, axis=1)]
    return order if sorted(order) == list(range(len(a))) and order != sorted(order) else None


def _fitted(got: Tensor, wanted: Tensor, unit: Tensor) -> Iterator[Look]:
    """Yield the wanted tensor times a number, plus a number, plus one of each row, and of each column."""
    finite = np.isfinite(wanted) & np.isfinite(got)
    g, w, weight = np.where(finite, got, 0), np.where(finite, wanted, 0), np.where(finite, 1 / unit**2, 0)
    by = float((weight * g * w).sum() / max((weight * w * w).sum(), 1e-300))
    with np.errstate(invalid="ignore"):
        yield "scaled", f"it is {by:.6g} times what it should be", np.where(finite, by * wanted, wanted)
    r = g - w
    offset = float((weight * r).sum() / max(weight.sum(), 1e-300))
    yield "offset", f"{offset:.6g} was added to every element", wanted + offset
    if wanted.ndim >= 2 and wanted.shape[-2] >= 3:
        by_column = _mean(r, weight, -2)
        yield (
            "offset_by_column",
            "each column has a constant added, as by a bias that is wrong",
            wanted + by_column,
        )
    if wanted.shape[-1] >= 3:
        by_row = _mean(r, weight, -1)
        yield "offset_by_row", "each row has a constant added", wanted + by_row
        per_row = (weight * g * w).sum(-1, keepdims=True) / np.maximum(
            (weight * w * w).sum(-1, keepdims=True), 1e-300
        )
        with np.errstate(invalid="ignore"):
            scaled = np.where(finite, per_row * wanted, wanted)
        yield "scaled_by_row", "each row is scaled by a number of its own", scaled


def _mean(r: Tensor, weight: Tensor, axis: int) -> Tensor:
    total: Tensor = (weight * r).sum(axis, keepdims=True) / np.maximum(
        weight.sum(axis, keepdims=True), 1e-300
    )
    return total


def _dropped(got: Tensor, wanted: Tensor) -> Iterator[Look]:
    zero = (got == 0) & (wanted != 0)
    share = zero.mean()
    if 0.01 < share < 0.99:
        text = (
            f"{share:.1%} of the elements are 0, the others are {1 / (1 - share):.3g} times as large: dropout"
        )
        kept = np.where(zero, 0.0, 1.0)
        by = float((got * wanted * kept).sum() / max((wanted * wanted * kept).sum(), 1e-300))
        yield "dropout", text, np.where(zero, 0.0, by * wanted)


def _rounded(got: Tensor, wanted: Tensor, precision: str) -> Iterator[Look]:
    for lower in LOWER.get(precision, ()):
        if np.array_equal(ROUND[lower](got), got, equal_nan=True):
            yield "lower_precision", f"every element is rounded to {lower}", ROUND[lower](wanted)
            return


def where(share: Tensor) -> str:
    """Return in words which part of a tensor is wrong, where it is one head, row or column of several."""
    wrong = share > 1
    axes = ("row", "column") if share.ndim == 2 else ("head", "row", "column")
    for axis, what in enumerate(axes[-share.ndim :]):
        slices = np.flatnonzero(wrong.any(axis=tuple(i for i in range(share.ndim) if i != axis)))
        if len(slices) == 1 and share.shape[axis] > 1:
            return f"all of it in {what} {slices[0]} of {share.shape[axis]}"
    return ""
