"""How an engine computes: the same equations in a lower precision, and sums in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float64]
LANES = 8


@dataclass(frozen=True)
class Arithmetic:
    """What every operation is rounded to, and how numbers are added up.

    round  rounds each result of an operation
    total  adds up the last axis, and keeps it
    """

    name: str
    round: Callable[[Tensor], Tensor]
    total: Callable[[Tensor], Tensor]

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a @ b, each product rounded and each sum added up in this order."""
        terms = self.round(a[..., :, None, :] * np.swapaxes(b, -1, -2)[..., None, :, :])
        return self.total(terms)[..., 0]


def to_float32(x: Tensor) -> Tensor:
    """Round to float32."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float64).astype(np.float32).astype(np.float64)


def to_float16(x: Tensor) -> Tensor:
    """Round to float16."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float64).astype(np.float16).astype(np.float64)


def to_bfloat16(x: Tensor) -> Tensor:
    """Round to bfloat16, to the nearest even: float32 without the lower half of its bits."""
    bits = np.asarray(x, np.float64).astype(np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    finite = np.isfinite(x)
    upper: Tensor = (
        (np.where(finite, rounded, bits) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)
    )
    return upper


def _pairwise(x: Tensor) -> Tensor:
    total: Tensor = np.sum(x.astype(np.float32), axis=-1, keepdims=True).astype(np.float64)
    return total


def _forward(x: Tensor) -> Tensor:
    if not x.shape[-1]:
        return np.zeros((*x.shape[:-1], 1))
    total: Tensor = np.add.accumulate(x.astype(np.float32), axis=-1)[..., -1:].astype(np.float64)
    return total


def _backward(x: Tensor) -> Tensor:
    return _forward(x[..., ::-1])


def _in_lanes(x: Tensor) -> Tensor:
    short = -x.shape[-1] % LANES
    padded = np.concatenate([x, np.zeros((*x.shape[:-1], short))], axis=-1)
    lanes = padded.reshape(*x.shape[:-1], -1, LANES)
    return _forward(_forward(np.swapaxes(lanes, -1, -2))[..., 0])


def _shuffled(x: Tensor) -> Tensor:
    return _forward(x[..., np.random.default_rng(0).permutation(x.shape[-1])])


FLOAT32 = tuple(
    Arithmetic(f"float32, {name}", to_float32, total)
    for name, total in {
        "summed in pairs": _pairwise,
        "summed forwards": _forward,
        "summed backwards": _backward,
        "summed in lanes": _in_lanes,
        "summed in any order": _shuffled,
    }.items()
)

_current: ContextVar[Arithmetic | None] = ContextVar("arithmetic", default=None)


def current() -> Arithmetic | None:
    """Return the arithmetic that equations are computed in; None is float64."""
    return _current.get()


@contextmanager
def computed_in(arithmetic: Arithmetic) -> Iterator[None]:
    """Compute equations as an engine with this arithmetic would."""
    token = _current.set(arithmetic)
    try:
        yield
    finally:
        _current.reset(token)
