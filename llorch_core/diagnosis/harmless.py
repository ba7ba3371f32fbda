"""Errors that can change no probability: softmax does not see what is added to a whole row."""

from __future__ import annotations

import numpy as np

from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Wanted

MOST = 0.1  # a softmax that moves further than this share is another one, however wide the tolerance


def harmless(wanted: Wanted, got: Tensor) -> bool:
    """Whether a wrong tensor gives the right probabilities.

    Scores and logits do where their softmax is right; keys do where each is off by the same vector, which
    adds one number to each row of scores.
    """
    name = wanted.checkpoint.rpartition(".")[2]
    if name in ("scores", "logits"):
        return _same_softmax(got, wanted.value, wanted.bound)
    if name != "k" or got.shape[-2] < 2 or not np.isfinite(got).all():
        return False
    error = got - wanted.value
    return bool((np.abs(error - np.median(error, axis=-2, keepdims=True)) <= 2 * wanted.bound).all())


def _same_softmax(got: Tensor, wanted: Tensor, bound: Tensor) -> bool:
    """Whether two tensors have one softmax, but for what the tolerance of its inputs lets it move."""
    if np.isnan(got).any() or not np.isfinite(got.max(axis=-1)).all():
        return False
    factor = np.expm1(np.minimum(2 * bound.max(axis=-1, keepdims=True), MOST))
    right = _softmax(wanted)
    return bool((np.abs(_softmax(got) - right) <= factor * right + 2.0**-126).all())


def _softmax(x: Tensor) -> Tensor:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    total: Tensor = powers / powers.sum(axis=-1, keepdims=True)
    return total
