"""The choice of tokens on trial: the engine's own sampler, or one with another datum in front of it."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine.model import Model
from llorch_core.engine.sampling import (
    Row,
    Sampler,
    draw,
    repetition_penalty,
    softmax,
    temperature,
    top_k,
    top_p,
)
from llorch_core.engine.sampling import Sampling as Settings
from llorch_core.spec.suite import load_specs


class Sampling:
    """What chooses tokens; it does not depend on the weights of the model."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self._data = data

    def sampler(self, **settings: Any) -> Sampler:
        """Return a sampler with these settings, before its first token."""
        right = load_specs().after["sampling"].data
        return Sampler(Settings(**settings)) if self._data == right else Mistaken(settings, self._data, right)


class Mistaken(Sampler):
    """A sampler with one datum that is wrong."""

    def __init__(
        self, settings: Mapping[str, Any], data: Mapping[str, Any], right: Mapping[str, Any]
    ) -> None:
        honoured = {name: x for name, x in settings.items() if name in data["honoured"]}
        if data["out_of_range"] == "becomes the nearest in range":
            honoured = {name: _nearest(name, x) for name, x in honoured.items()}
        sampling = _unchecked(honoured) if data["out_of_range"] == "taken" else Settings(**honoured)
        if "seed" not in settings and isinstance(data["without_a_seed"], int):
            sampling = replace(sampling, seed=data["without_a_seed"])
        if sampling.temperature == 0 and data["temperature_zero"] == "a draw at temperature 1":
            sampling = replace(sampling, temperature=1.0)
        super().__init__(sampling)
        self._data, self._right = data, right
        if sampling.seed is None and data["without_a_seed"] != right["without_a_seed"]:
            self.seed = secrets.randbits(32 if "32" in data["without_a_seed"] else 128)
            self._random = np.random.Generator(np.random.PCG64(self.seed))
        if sampling.seed is None and data["seed_told"] == "another one":
            self.seed ^= 1

    def choose(self, logits: Row, previous_ids: Sequence[int] | NDArray[np.integer[Any]]) -> int:
        wrong = {name for name in self._data if self._data[name] != self._right[name]}
        greedy = self.sampling.temperature == 0
        if "columns" in wrong:
            logits = np.pad(logits, (0, -logits.size % 64))
        if "generator" in wrong:
            self._random = np.random.Generator(np.random.PCG64(self.seed))
        if "penalised" in wrong:
            logits = self._penalised_again(logits, previous_ids)
        if "not_a_number" in wrong and np.isnan(logits).any():
            return int(np.argmax(logits))
        if "of_equals" in wrong and greedy:
            equals = np.flatnonzero(logits == logits.max())
            return int(equals[-1] if "highest" in self._data["of_equals"] else self._random.choice(equals))
        if "temperature_zero" in wrong and greedy:
            return self._divided_by_zero(logits)
        if "order" in wrong and not greedy:
            return self._in_order(logits, previous_ids)
        return super().choose(logits, previous_ids)

    def _penalised_again(self, logits: Row, previous_ids: Sequence[int] | NDArray[np.integer[Any]]) -> Row:
        """Apply the penalty for every occurrence after the first."""
        for token, count in Counter(int(i) for i in previous_ids).items():
            for _ in range(count - 1):
                logits = repetition_penalty(logits, [token], self.sampling.repetition_penalty)
        return logits

    def _divided_by_zero(self, logits: Row) -> int:
        with np.errstate(all="ignore"):
            probabilities = softmax(logits / np.zeros(1, logits.dtype))
            reached = np.cumsum(probabilities)
        return min(int(np.searchsorted(reached, self._random.random())), logits.size - 1)

    def _in_order(self, logits: Row, previous_ids: Sequence[int] | NDArray[np.integer[Any]]) -> int:
        s = self.sampling
        for step in self._data["order"]:
            if step == "repetition_penalty":
                logits = repetition_penalty(logits, previous_ids, s.repetition_penalty)
            elif step == "temperature":
                logits = temperature(logits, s.temperature)
            elif step == "top_k":
                logits = top_k(logits, s.top_k)
            elif step == "top_p":
                logits = top_p(logits, s.top_p)
        return draw(softmax(logits), self._random.random())


RANGES = {  # settings: the least and the most that they may be
    "temperature": (0.0, sys.float_info.max),
    "top_k": (0, sys.maxsize),
    "top_p": (sys.float_info.min, 1.0),
    "repetition_penalty": (sys.float_info.min, sys.float_info.max),
    "seed": (0, 2**64 - 1),
}


def _nearest(name: str, value: Any) -> Any:
    least, most = RANGES[name]
    return min(max(least, value), most)  # the least for NaN


def _unchecked(settings: Mapping[str, Any]) -> Settings:
    """Return settings as they are, where the engine would refuse them."""
    sampling = Settings()
    for name, value in settings.items():
        object.__setattr__(sampling, name, value)
    return sampling
