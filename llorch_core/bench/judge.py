"""Is an engine right? Its logits and its greedy ids are held against those of llorch with NumPy in float32.

Two engines that compute the same model in float32 differ by rounding: about 1e-6 of the spread of a row of
logits. Weights that are rounded differ by more, in proportion to the step to which they are rounded. What is
further off than a precision can be is a mistake, and has no speed.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llorch_core.bench.plan import Job
from llorch_core.bench.protocol import Answer

Row = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bound:
    """Most that a precision may be off. error: of a row of logits, relative; why: where it comes from."""

    error: float
    why: str


BOUNDS = {
    "float32": Bound(
        5e-3, "sums in any order are off by 1e-6; GELU looked up in float16, as llama.cpp does, by 1.5e-3"
    ),
    "bfloat16": Bound(5e-2, "weights of 8 bits give 4e-3; activations and cache of 8 bits give up to 2e-2"),
    "int8": Bound(
        1e-1, "weights in steps of 1/127 of their largest give 2e-2; activations in such steps 3e-2"
    ),
    "int4": Bound(6e-1, "weights in steps of 1/7 of their largest give 1e-1 to 3e-1"),
}
GAPS = 4.0  # errors by which two logits of one row may come nearer: each is off by one or two of them


class WrongError(Exception):
    """The engine computes something else; the text says where it is first seen."""


class Judge:
    """Holds what the reference answers, and judges others by it.

    answers  by measure: the reference's ids
    row      the reference's logits behind a prompt
    ask      gives a row of the reference for another prompt, where ids first differ
    """

    def __init__(self, answers: Mapping[str, Answer], row: Row, ask: Callable[[Sequence[int]], Row]) -> None:
        self._answers, self._row, self._ask = answers, row, ask
        self._rows: dict[tuple[int, ...], Row] = {}

    def logits(self, answer: Answer, precision: str) -> float:
        """Return the relative error of a row of logits. Raises WrongError where it passes the bound."""
        got = decoded(answer)
        if got.shape != self._row.shape:
            raise WrongError(f"its row of logits has {got.size} numbers (wanted {self._row.size})")
        found, most = error(got, self._row), BOUNDS[precision].error
        if not found <= most:
            raise WrongError(
                f"its logits are off by {found:.2g} of their spread (wanted at most {most:g} in {precision})"
            )
        return found

    def ids(self, job: Job, answer: Answer, precision: str) -> int:
        """Return how many ids agree before the first that is another one of two that are as likely.

        In each row, that many are compared: behind it two sequences are not the same. Raises WrongError where
        an id is one that the precision cannot mistake for the reference's, and where a row is too short.
        """
        agreed = 0
        wanted_rows = job.rows(self._answers[job.measure])
        rows = job.rows(answer)
        if not all(isinstance(row, list) for row in rows):
            raise WrongError(f"{job.measure}: its ids are no rows (wanted a list for each prompt)")
        if [len(row) for row in rows] != [len(row) for row in wanted_rows]:
            raise WrongError(f"{job.measure}: it gives {_shape(rows)} ids (wanted {_shape(wanted_rows)})")
        for n, (prompt, got, wanted) in enumerate(zip(job.prompts(), rows, wanted_rows, strict=True)):
            first = next(
                (i for i, pair in enumerate(zip(got, wanted, strict=True)) if pair[0] != pair[1]), None
            )
            if first is not None:
                self._excuse(job, n, first, prompt, got, wanted, precision)
            agreed += len(wanted) if first is None else first
        return agreed

    def _excuse(
        self,
        job: Job,
        n: int,
        first: int,
        prompt: Sequence[int],
        got: Sequence[int],
        wanted: Sequence[int],
        precision: str,
    ) -> None:
        """Raise WrongError unless the id at `first` is as likely as the wanted one, to the precision."""
        where = f"{job.measure}{f', row {n}' if len(job.prompts()) > 1 else ''}: id {first}"
        row = self._row_of([*prompt, *wanted[:first]])
        if not isinstance(got[first], int) or not 0 <= got[first] < row.size:
            raise WrongError(f"{where} is {got[first]!r} (wanted {wanted[first]}, of {row.size})")
        gap = float(row[wanted[first]] - row[got[first]]) / spread(row)
        most = GAPS * BOUNDS[precision].error
        if gap > most:
            raise WrongError(
                f"{where} is {got[first]} (wanted {wanted[first]}), which is {gap:.2g} spreads less likely "
                f"({precision} may mistake {most:g})"
            )

    def _row_of(self, prompt: Sequence[int]) -> Row:
        key = tuple(prompt)
        if key not in self._rows:
            self._rows[key] = self._ask(prompt)
        return self._rows[key]


def decoded(answer: Answer) -> Row:
    """Return the row of logits of an answer. Raises WrongError where it is none."""
    try:
        return np.frombuffer(b64decode(answer["logits"], validate=True), "<f4").astype(np.float32)
    except ValueError as error:
        raise WrongError(f"its logits cannot be read ({error})") from error


def spread(row: Row) -> float:
    """Return the standard deviation of a row, never 0."""
    return float(row.std(dtype=np.float64)) or 1.0


def error(got: Row, wanted: Row) -> float:
    """Return the root of the mean squared difference, as a share of the spread of what is wanted."""
    difference = got.astype(np.float64) - wanted
    return float(np.sqrt(np.mean(difference**2))) / spread(wanted)


def _shape(rows: Sequence[Sequence[Any]]) -> str:
    """Return 128, or 8 x 64."""
    lengths = sorted({len(row) for row in rows})
    return f"{len(rows)} x {' or '.join(map(str, lengths))}" if len(rows) > 1 else str(len(rows[0]))
