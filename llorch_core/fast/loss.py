"""What smaller weights lose: how surprised two models are by a text, and how far apart they predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.model import Model


@dataclass(frozen=True)
class Loss:
    """Both models on one text.

    tokens                that were predicted
    perplexity, original  exp of the mean surprise, in nats, at each token
    divergence            mean of KL(original || quantised) of the predictions, in nats
    same_first            share of tokens for which both find the same id likeliest
    """

    tokens: int
    perplexity: float
    original: float
    divergence: float
    same_first: float


def compare_on(ids: Ids, original: Model, quantised: Model, on_tokens: Callable[[int], None]) -> Loss:
    """Read `ids` (at least two) in windows of the model's context with both models."""
    surprise = {"original": 0.0, "quantised": 0.0}
    divergence, same, tokens = 0.0, 0, 0
    for window in _windows(ids, original.config.n_ctx):
        wanted = window[1:]
        right, got = (_log_probabilities(m.logits(window[:-1])) for m in (original, quantised))
        rows = np.arange(len(wanted))
        surprise["original"] -= float(right[rows, wanted].sum())
        surprise["quantised"] -= float(got[rows, wanted].sum())
        divergence += float((np.exp(right) * (right - got)).sum())
        same += int((right.argmax(axis=1) == got.argmax(axis=1)).sum())
        tokens += len(wanted)
        on_tokens(len(wanted))
    perplexity = {name: float(np.exp(total / tokens)) for name, total in surprise.items()}
    return Loss(tokens, perplexity["quantised"], perplexity["original"], divergence / tokens, same / tokens)


def _windows(ids: Ids, n_ctx: int) -> Iterator[Ids]:
    """Cut ids so that each but the first is predicted once, from at most `n_ctx` before it."""
    for start in range(0, len(ids) - 1, n_ctx):
        yield ids[start : start + n_ctx + 1]


def _log_probabilities(logits: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
