"""Speculation without a second model: ids that came before are drafted, and checked several at once.

A greedy continuation that quotes its prompt, or repeats itself, can be guessed: what followed the last
ids where they stood before. One forward pass reads the whole draft, and its rows say how far the guess
was right; each id is still the largest of its own logits. Spec: generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llorch_core.engine.errors import UsageError
from llorch_core.engine.sampling import Row, Sampling

CLOSE = 2.0**-14
"""Two logits are close that are no more than this apart, in units of the largest of their row.

A row of a product of several rows may differ from the row alone in its last bits. Measured in NumPy
and in compiled kernels, on models of 1 to 12 blocks, two logits of a row moved against each other by at most
2**-17 of the largest.
Where the two best are close, neither is taken on trust: the ids are read one by one, as without drafts.
"""

_LENGTHS = (3, 2)  # of the ids that are looked for, the longer first
_LONGEST_PAUSE = 256


class Drafter(Protocol):
    """Guesses ids; whatever it guesses, the text is the same."""

    def draft(self, ids: Sequence[int], most: int) -> list[int]:
        """Return at most `most` ids that may follow, none where nothing is to be drafted."""

    def learn(self, n_drafted: int, n_made: int, seconds: float) -> None:
        """Hear what a step behind the prompt took: ids drafted, ids that came of it, and time."""


class Lookup:
    """Drafts what followed the last three ids, else the last two, where they stood before.

    most  ids drafted at once

    It drafts only while that pays: the time in which drafts are checked is held against the time in
    which as many ids are read one by one, both of this run. Where drafts lose, it pauses, longer each time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._after: dict[tuple[int, ...], int] = {}  # ids: the place behind their last occurrence
        self._indexed = 0
        self._one = 0.0  # seconds that one id alone takes
        self._gain = 0.0  # seconds that a check has won of late
        self._pause, self._next_pause = 0, 4

    def draft(self, ids: Sequence[int], most: int) -> list[int]:
        for end in range(self._indexed, len(ids)):  # the last ids themselves are not followed by anything
            for n in _LENGTHS:
                self._after[tuple(ids[max(0, end - n) : end])] = end
        self._indexed = len(ids)
        if not self._pays():
            return []
        for n in _LENGTHS:
            place = self._after.get(tuple(ids[-n:])) if len(ids) > n else None
            if place is not None:
                text = list(ids)
                for i in range(place, place + min(self._most, most)):
                    text.append(text[i])  # where the occurrences overlap, the draft repeats itself
                return text[len(ids) :]
        return []

    def _pays(self) -> bool:
        if self._pause:
            self._pause -= 1
            return False
        return self._one > 0  # nothing is drafted before it is known what an id takes

    def learn(self, n_drafted: int, n_made: int, seconds: float) -> None:
        if not n_drafted:
            self._one += (seconds - self._one) / (4 if self._one else 1)
        else:
            self._gain += (n_made * self._one - seconds - self._gain) / 2
            if self._gain < 0:
                self._pause, self._next_pause = self._next_pause, min(4 * self._next_pause, _LONGEST_PAUSE)
                self._gain = 0.0
            else:
                self._next_pause = 4


def drafter(most: int, sampling: Sampling) -> Drafter | None:
    """Return what drafts for a sequence; None where nothing is to be, or can be.

    A token that is drawn has no draft that is right or wrong. With a repetition penalty there is none
    either: it is there to prevent the repeats that drafts are made of.

    Raises UsageError where `most` is no number of ids.
    """
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise UsageError(
            f"speculate is {most!r} (wanted a whole number from 0 up: the most ids to draft at once).\n"
            "0 drafts none; 8 is a good beginning."
        )
    greedy = sampling.temperature == 0 and sampling.repetition_penalty == 1
    return Lookup(most) if most and greedy else None


def close(logits: Row) -> bool:
    """Return whether the two largest logits are so close that rounding could exchange them."""
    if logits.size < 2:
        return False
    second, best = (float(x) for x in np.partition(logits, -2)[-2:])
    return best - second <= CLOSE * float(np.abs(logits).max())
