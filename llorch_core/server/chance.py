"""How probable a token was, and what might have stood in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llorch_core.engine.layers import Array


@dataclass(frozen=True)
class Chance:
    """A token with the logarithm of its probability, and the likeliest tokens of the same row, best first."""

    id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


def chance_of(row: Array, token: int, count: int) -> Chance:
    """Return the chance of a token in a row of logits (n_vocab,), beside the `count` likeliest ones.

    The model's own probabilities: before temperature, penalties and what else chooses. In float64.
    """
    shifted = row.astype(np.float64) - row.max()
    logprobs = shifted - np.log(np.exp(shifted).sum())
    return Chance(token, float(logprobs[token]), tuple((i, float(logprobs[i])) for i in _best(row, count)))


def _best(row: Array, count: int) -> list[int]:
    """Return the ids of the largest logits, best first, the lowest id of equals; without sorting all."""
    count = min(count, row.size)
    if not count:
        return []
    near = np.flatnonzero(row >= np.partition(row, -count)[-count])
    ids: list[int] = near[np.argsort(-row[near], kind="stable")][:count].tolist()
    return ids
