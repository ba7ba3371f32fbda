"""From one row of logits to one token: repetition penalty, temperature, top-k, top-p, softmax, draw.

Each step is a function of its own. A row is (n_vocab,) in any float dtype, which the steps keep; a
token that may not be drawn has the logit -inf. Of equal logits the lowest id comes first, everywhere.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine.errors import UsageError

Row = NDArray[np.floating[Any]]

_LEAST, _LARGEST = 5e-324, sys.float_info.max  # of the positive floats
_SETTINGS: dict[str, tuple[tuple[type, ...], float, float, str]] = {  # types, least, most, in words
    "temperature": ((int, float), 0, _LARGEST, "a finite number from 0 up. 0 is greedy, 1 changes nothing"),
    "top_k": ((int,), 0, _LARGEST, "an integer from 0 up. 0 keeps every token"),
    "top_p": ((int, float), _LEAST, 1, "a number above 0 and up to 1. 1 keeps every token"),
    "repetition_penalty": ((int, float), _LEAST, _LARGEST, "a finite number above 0. 1 changes nothing"),
    "seed": ((int, type(None)), 0, 2**64 - 1, "an integer from 0 to 2**64 - 1, or None for a fresh one"),
}


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; the defaults draw from the model's own distribution. Spec: sampling.

    temperature         divides the logits; 0 takes the most probable token
    top_k               keeps this many tokens; 0 keeps all
    top_p               keeps the most probable tokens that together have this probability
    repetition_penalty  makes tokens less probable that were there before (above 1), or more (below 1)
    seed                makes the run repeatable; None draws a fresh one

    Raises UsageError for a value out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))


class Sampler:
    """Chooses token after token, in the order of Hugging Face's processors.

    seed  what the draws depend on: the one asked for, or a fresh one of the operating system

    Spec: sampling.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        self._random = np.random.Generator(np.random.PCG64(self.seed))

    def choose(self, logits: Row, previous_ids: Sequence[int] | NDArray[np.integer[Any]]) -> int:
        """Return the id of the next token; one random number is spent on it, none when greedy.

        logits        (n_vocab,)  of the last position
        previous_ids  (T,)        prompt and what was generated, for the repetition penalty

        Raises UsageError for logits whose largest is not a finite number.
        """
        best = argmax(logits)
        if not np.isfinite(logits[best]):
            raise UsageError(
                f"the largest of the logits is {logits[best]}, at id {best} (wanted a finite number).\n"
                "The model overflowed, or every token was excluded: look at its earlier checkpoints."
            )
        if self.sampling.repetition_penalty != 1:
            logits = repetition_penalty(logits, previous_ids, self.sampling.repetition_penalty)
            best = argmax(logits)
        if self.sampling.temperature == 0:
            return best
        logits = temperature(logits, self.sampling.temperature)
        logits = top_p(top_k(logits, self.sampling.top_k), self.sampling.top_p)
        return draw(softmax(logits), self._random.random())


def argmax(logits: Row) -> int:
    """Return the id of the largest logit, the lowest id of equals.

    Raises UsageError for NaN, which is neither larger nor smaller, and for anything but a row.
    Spec: argmax.
    """
    if logits.ndim != 1 or not logits.size or not np.issubdtype(logits.dtype, np.floating):
        raise UsageError(
            f"the logits are {logits.dtype} {list(logits.shape)} (wanted floats [n_vocab]).\n"
            "Pass the row of one position, the last one."
        )
    best = int(np.argmax(logits))  # the first NaN, if there is any
    if np.isnan(logits[best]):
        raise UsageError(
            f"the logits hold NaN, first at id {best} (wanted numbers).\n"
            "The model is at fault, or its weights: find its first checkpoint that holds NaN."
        )
    return best


def repetition_penalty(
    logits: Row, previous_ids: Sequence[int] | NDArray[np.integer[Any]], penalty: float
) -> Row:
    """Divide the positive and multiply the other logits of ids that were there before, each id once.

    Returns a new row. Raises UsageError for an id that the row does not have.
    Spec: repetition_penalty. Source: Keskar et al. 2019, section 4.1, with the sign respected as
    transformers does.
    """
    _check("repetition_penalty", penalty)
    ids = np.unique(np.asarray(previous_ids, np.int64))
    if ids.size and not 0 <= ids[0] <= ids[-1] < logits.size:
        raise UsageError(
            f"previous ids reach from {ids[0]} to {ids[-1]} (wanted 0 to {logits.size - 1}).\n"
            "They belong to another vocabulary than the logits."
        )
    penalised = logits.copy()
    with _no_overflow("repetition_penalty", penalty):
        seen = logits[ids]
        penalised[ids] = np.where(seen > 0, seen / penalty, seen * penalty)
    return penalised


def temperature(logits: Row, temperature: float) -> Row:
    """Divide the logits: below 1 the large ones win more often, above 1 less often.

    Raises UsageError for 0, where there is nothing to draw: take `argmax`.
    Spec: temperature.
    """
    _check("temperature", temperature)
    with _no_overflow("temperature", temperature):
        return logits / temperature


def top_k(logits: Row, k: int) -> Row:
    """Keep exactly the k largest logits, the lowest ids of equals; the others become -inf. 0 keeps all.

    Spec: top_k.
    """
    _check("top_k", k)
    if k == 0 or k >= logits.size:
        return logits
    smallest = np.partition(logits, -k)[-k]
    larger = np.flatnonzero(logits > smallest)
    equal = np.flatnonzero(logits == smallest)[: k - larger.size]
    return _keep(logits, np.concatenate([larger, equal]))


def top_p(logits: Row, p: float) -> Row:
    """Keep the smallest set of the most probable tokens whose mass is at least p; others become -inf.

    The token that crosses p belongs to the set, so that it is never empty. p = 1 keeps all.
    Spec: top_p. Source: Holtzman et al. 2020, section 3.1.
    """
    _check("top_p", p)
    if p == 1:
        return logits
    probabilities = softmax(logits)
    total = probabilities.sum(dtype=np.float64)
    # Sort a few, not all: the others have less than (1 - p) / 2 together, so that p is reached before them.
    likely = np.flatnonzero(probabilities >= (1 - p) / (2 * logits.size))
    order = likely[np.argsort(-logits[likely], kind="stable")]
    mass = np.cumsum(probabilities[order], dtype=np.float64)
    return _keep(logits, order[: np.searchsorted(mass, p * total) + 1])


def softmax(x: Row) -> Row:
    """Turn logits into probabilities along the last axis; -inf becomes 0.

    x  (..., n)  each row with a finite maximum, which is subtracted: nothing overflows
    """
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def draw(probabilities: Row, u: float) -> int:
    """Return the first id whose cumulative probability exceeds u: the inverse of the distribution.

    probabilities  (n_vocab,)  of any positive sum; summed in float64, in ascending order of ids
    u              scalar      uniform in [0, 1)

    Never returns an id of probability 0.
    Spec: draw.
    """
    cumulative = np.cumsum(probabilities, dtype=np.float64)
    total = cumulative[-1]
    if not (0 <= u < 1 and 0 < total < np.inf and probabilities.min() >= 0):
        raise UsageError(
            f"u is {u}, the probabilities sum to {total}, the least is {probabilities.min()} "
            "(wanted u in [0, 1), no probability below 0, and a finite sum above 0).\n"
            "Pass what `softmax` returns."
        )
    return int(np.searchsorted(cumulative / total, u, side="right"))  # ends at 1 exactly: u stays inside


def _keep(logits: Row, ids: NDArray[np.int64]) -> Row:
    kept = np.full_like(logits, -np.inf)
    kept[ids] = logits[ids]
    return kept


def _check(name: str, value: object) -> None:
    types, least, most, wanted = _SETTINGS[name]
    known = isinstance(value, types) and not isinstance(value, bool)  # True is no number here
    if not known or not (value is None or least <= value <= most):  # type: ignore[operator]
        raise UsageError(f"{name} is {value!r} (wanted {wanted}).\nCorrect it, or leave it out.")


@contextmanager
def _no_overflow(name: str, value: float) -> Iterator[None]:
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except FloatingPointError:
        raise UsageError(
            f"{name} {value!r} takes the logits out of the range of their dtype (wanted finite logits).\n"
            "Choose a value nearer to 1; temperature 0 is greedy."
        ) from None
