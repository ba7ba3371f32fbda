"""Find the first wrong number of what an engine recorded, and the mistake that made it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llorch_core.check.compare import Comparison, compare
from llorch_core.diagnosis.align import UndecidedError, align
from llorch_core.diagnosis.cause import At, Suspects, cause_of, find_causes
from llorch_core.diagnosis.harmless import harmless
from llorch_core.diagnosis.hidden import Hidden
from llorch_core.diagnosis.lookup import block
from llorch_core.diagnosis.result import CONFORMS, DIVERGES, UNDECIDED, Cause, Diagnosis, Divergence
from llorch_core.diagnosis.signature import LOWER, Look, find_signature, where
from llorch_core.diagnosis.weigh import scale
from llorch_core.spec.difference import PRECISIONS, shares
from llorch_core.spec.language import Tensor
from llorch_core.spec.model import generic
from llorch_core.spec.oracle import Oracle, Step, Wanted, Weights
from llorch_core.spec.window import ROUND

LARGEST = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.4028235e38, "float64": np.inf}
SMALLEST = {"float16": -6.0e4}  # what the smallest number of a precision is below
MASKED = -3.0e38  # and that of all others


def diagnose(
    oracle: Oracle,
    sequences: Sequence[Sequence[Step]],
    precision: str,
    *,
    engine: str,
    model: str,
    asked: Sequence[Sequence[int]] | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Diagnosis:
    """Hold everything that an engine recorded against the specs.

    sequences  for each sequence of a batch its forward calls, each with checkpoints by name
    precision  that the engine computes in: float64, float32, float16 or bfloat16
    asked      the ids that the engine was asked to read, for each forward call; None: those that it recorded
    advance    called with the number of checkpoints that were compared since the last call
    """
    readings: list[_Reading] = []
    for number, record in enumerate(sequences):
        try:
            reading = _Reading(oracle, align(oracle, record, asked), precision, number)
        except UndecidedError as error:
            where_at = f"sequence {number}: " if len(sequences) > 1 else ""
            return Diagnosis(UNDECIDED, f"{where_at}{error}", engine, model, precision)
        reading.read(advance)
        readings.append(reading)
    divergences = tuple(d for reading in readings for d in reading.divergences)
    reasons = list(dict.fromkeys(text for reading in readings for text in reading.reasons))
    verdict = DIVERGES if divergences else UNDECIDED if reasons else CONFORMS
    return Diagnosis(
        verdict,
        "; ".join(reasons) if verdict == UNDECIDED else "",
        engine,
        model,
        precision,
        comparisons=tuple(c for reading in readings for c in reading.comparisons),
        not_observed=_not_observed(oracle, readings[0].record) if readings else (),
        divergences=divergences,
        notes=tuple(dict.fromkeys(text for reading in readings for text in reading.notes)),
        reading=tuple(
            tuple(tuple(int(i) for i in step["ids"]) for step in reading.record) for reading in readings
        ),
    )


@dataclass
class _Reading:
    """One sequence, read from its first call to its last."""

    oracle: Oracle
    record: list[Step]
    precision: str
    number: int
    comparisons: list[Comparison] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.suspects = Suspects(self.oracle, self.record, self.precision, self.oracle.usable(self.record))
        self._likely: dict[str, tuple[str, ...]] = {}  # checkpoint of any block: mistakes found there before

    def read(self, advance: Callable[[int], None]) -> None:
        """Compare every checkpoint, and find what made the wrong ones."""
        hidden = Hidden(self.suspects)
        for wanted in self.oracle.local(self.record, self.precision, usable=self.suspects.usable):
            got = np.asarray(self.record[wanted.step][wanted.checkpoint], np.float64)
            comparison = self._compare(wanted, got)
            if not comparison.conforms:
                got = self._as_masked(wanted, got)
                comparison = self._compare(wanted, got)
            self.comparisons.append(comparison)
            if not comparison.conforms:
                self.divergences.append(self._explain(wanted, got, comparison))
            else:
                hidden.add(wanted, got)
            advance(1)
        self._conclude(hidden)

    def _compare(self, wanted: Wanted, got: Tensor) -> Comparison:
        value = wanted.value
        if got.shape == value.shape and self.precision != "float64":
            beyond = (
                np.isinf(got) & np.isfinite(value) & (np.abs(value) + wanted.bound > LARGEST[self.precision])
            )
            value = np.where(beyond & (np.sign(got) == np.sign(value)), got, value)
        return compare(wanted.checkpoint, got, value, wanted.bound, wanted.step)

    # Hidden scores are recorded in three honest ways.

    def _as_masked(self, wanted: Wanted, got: Tensor) -> Tensor:
        """Return scores with -inf where keys are hidden, if what is there changes no attention weight."""
        hidden = np.isneginf(wanted.value)
        if not wanted.checkpoint.endswith(".scores") or got.shape != wanted.value.shape or not hidden.any():
            return got
        masked = np.where(hidden, -np.inf, got)
        shown = got[hidden]
        at = (wanted.step, wanted.checkpoint)
        if (shown <= SMALLEST.get(self.precision, MASKED)).all():
            how = "as the smallest number of the precision"
        elif (
            not np.isneginf(shown).any()
            and compare(
                "", got, (raw := self.suspects.make("attention_scores.mask_left_out", at)).value, raw.bound
            ).conforms
            and self._goes_on(at, masked)
        ):
            how = "before they were masked"
        else:
            return got
        self.notes.append(f"hidden scores were recorded {how}; the attention weights are those of -inf")
        self.record[wanted.step][wanted.checkpoint] = masked
        return masked

    def _goes_on(self, at: At, masked: Tensor) -> bool:
        """Whether the next checkpoint behind scores is what it should be, where these are masked."""
        names = _checkpoints(self.oracle)
        later = (n for n in names[names.index(at[1]) + 1 :] if (at[0], n) in self.suspects.usable)
        following = next(later, None)
        if following is None:
            return False
        record = list(self.record)
        record[at[0]] = {**record[at[0]], at[1]: masked}
        there = {(at[0], following)}
        (wanted,) = self.oracle.local(record, self.precision, there, self.suspects.usable)
        return compare("", record[at[0]][following], wanted.value, wanted.bound).conforms

    # What made it

    def _explain(self, wanted: Wanted, got: Tensor, comparison: Comparison) -> Divergence:
        layer = block(wanted.checkpoint)
        found = Divergence(comparison, wanted.component, layer, self.number)
        if comparison.shapes:
            return replace(found, note=comparison.shapes)
        at = (wanted.step, wanted.checkpoint)
        kind = generic(wanted.checkpoint)
        likely = self._likely.get(kind)
        causes, suspected = find_causes(self.suspects, at, got, wanted, likely or (), pairs=likely != ())
        self._likely[kind] = tuple(cause.mistake for cause in causes)
        if not causes:
            unit = scale(wanted.value, wanted.bound, PRECISIONS[self.precision][0])
            look = find_signature(
                got, wanted.value, wanted.bound, unit, self.precision, self._others(at, got.shape)
            )
            causes, suspected = ((self._listed(wanted, look[0]),), look[1]) if look else ((), None)
        shown = {"got": got, "wanted": wanted.value, "bound": wanted.bound}
        if suspected is not None:
            shown["suspected"] = suspected
        return replace(
            found,
            causes=causes,
            harmless=harmless(wanted, got),
            note=where(shares(got, wanted.value, wanted.bound)),
            shown=shown if not self.divergences else {},
        )

    def _listed(self, wanted: Wanted, look: Cause) -> Cause:
        """Return the listed mistake that a random error is, where the component has one; else its look."""
        for mistake in self.oracle.spec.components[wanted.component].mistakes.values():
            for equation in mistake.instead.values():
                if look.mistake == "signature.dropout" and "dropout" in getattr(equation, "calls", ()):
                    return replace(look, mistake=mistake.id, seen_in=mistake.seen_in)
        return look

    def _others(self, at: At, shape: tuple[int, ...]) -> Iterator[Look]:
        """Yield what may be there instead: other tensors, what other weights give, or rounded ones."""
        for k, step in enumerate(self.record):
            for name in step:
                if name != "ids" and (k, name) != at and np.shape(step[name]) == shape:
                    call = "" if k == at[0] else f" of step {k}"
                    yield "another_tensor", f"it is {name}{call}", np.asarray(step[name], np.float64)
        layer = block(at[1])
        for other in range(self.oracle.config["n_layer"] if layer is not None else 0):
            if other != layer:
                text = f"it is what the weights of block {other} give"
                yield "another_tensor", text, self._made(at, _exchanged(self.oracle.weights, layer, other))
        for lower in LOWER.get(self.precision, ()):
            yield from self._rounded(at, lower)

    def _rounded(self, at: At, lower: str) -> Iterator[Look]:
        """Yield a checkpoint made of what is rounded to a lower precision: tensors, weights, and both."""
        rounded = ROUND[lower]
        record = [
            {name: x if name == "ids" else rounded(np.asarray(x, np.float64)) for name, x in step.items()}
            for step in self.record
        ]
        weights = Weights(self.oracle.weights, lambda name: rounded(np.asarray(self.oracle.weights[name])))
        for what, steps, taken in (
            ("the tensors that it reads were", record, self.oracle.weights),
            ("its weights were", self.record, weights),
            ("the tensors and weights that it reads were", record, weights),
        ):
            value = self._made(at, taken, steps)
            yield "lower_precision", f"{what} rounded to {lower}", value
            yield "lower_precision", f"{what} rounded to {lower}, and its result", rounded(value)

    def _made(self, at: At, weights: Mapping[str, Tensor], record: Sequence[Step] | None = None) -> Tensor:
        """Return a checkpoint as it is with other weights, or of other tensors."""
        oracle = replace(self.oracle, weights=weights)
        (made,) = oracle.local(record or self.record, self.precision, {at}, self.suspects.usable)
        return made.value

    def _conclude(self, hidden: Hidden) -> None:
        """Add the mistakes that no single element shows, and what cannot be told."""
        wrong = {d.component for d in self.divergences}
        named = {c.mistake: d for d in reversed(self.divergences) for c in d.causes}
        found = hidden.found()
        hiding = [m for m in found if hidden.component[m] not in wrong]
        for mistake, divergence in named.items():  # where it hides before the first element that shows it
            at = hidden.alone(mistake)
            if at is not None and self._order(at) < self._order(_at(divergence)):
                self.divergences.append(self._together(hidden, at, [mistake]))
        if hiding:
            alike = [m for m in hiding[1:] if hidden.component[m] == hidden.component[hiding[0]]]
            at = hidden.alone(hiding[0]) or next(iter(hidden.places[hiding[0]]))
            self.divergences.append(self._together(hidden, at, [hiding[0], *alike]))
        elif not found:
            self.reasons += hidden.suspected()
        self.divergences.sort(key=lambda d: self._order(_at(d)))
        self.notes += hidden.open()

    def _order(self, at: At) -> int:
        return next(i for i, c in enumerate(self.comparisons) if (c.step, c.what) == at)

    def _together(self, hidden: Hidden, at: At, mistakes: Sequence[str]) -> Divergence:
        """Return the divergence that only all elements of a component together show."""
        weight, tensors = hidden.weight(mistakes[0]), len(hidden.places[mistakes[0]])
        found = weight.by_noise
        alike = [m for m in mistakes[1:] if hidden.weight(m).by_noise.explains > 0.9 * found.explains]
        return Divergence(
            self.comparisons[self._order(at)],
            hidden.component[mistakes[0]],
            block(at[1]),
            self.number,
            (cause_of(self.oracle, mistakes[0], found, False, alike),),
            hidden=True,
            note=f"{weight.elements:,} elements of {tensors} tensors together show it",
        )


def _at(divergence: Divergence) -> At:
    step = divergence.comparison.step
    assert step is not None
    return step, divergence.comparison.what


def _exchanged(weights: Mapping[str, Tensor], block: int | None, other: int) -> Mapping[str, Tensor]:
    """Return weights where one block has those of another."""
    return Weights(weights, lambda name: weights[re.sub(rf"^h\.{block}\.", f"h.{other}.", name)])


def _checkpoints(oracle: Oracle) -> list[str]:
    """Return every checkpoint of a forward call, in the order of the data flow."""
    return [name for place in oracle.places([[0]]) for name in place.node.makes]


def _not_observed(oracle: Oracle, record: Sequence[Step]) -> tuple[str, ...]:
    """Return the checkpoints that were not recorded; one that only some calls lack, with the call."""
    missing = []
    for name in _checkpoints(oracle):
        calls = [k for k, step in enumerate(record) if name not in step]
        if len(calls) == len(record):
            missing.append(name)
        else:
            missing += [f"step.{k}/{name}" for k in calls]
    return tuple(missing)
