"""Which mistake made a wrong tensor: each one that could is put in the place of the right equation."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from llorch_core.check.compare import compare
from llorch_core.diagnosis.result import Cause
from llorch_core.diagnosis.weigh import Estimate, Weight, errors, scale, weigh
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Tensor
from llorch_core.spec.model import generic
from llorch_core.spec.model import place as at_layer
from llorch_core.spec.oracle import Oracle, Step, Wanted

At = tuple[int, str]
"""Forward call and checkpoint."""

ENOUGH = 0.98  # a mistake that explains so much is named, even where something else is wrong as well
HALF = 0.5  # of the error must go away, where a mistake is to be confirmed
NEAR_ONE = 0.05  # and its amount must be so near to 1
ALIKE = 0.1  # two mistakes that are nowhere more than this many tolerances apart give the same numbers
PAIRS_OF = 12  # so many mistakes, the likeliest, are tried in pairs


@dataclass(frozen=True)
class Trial:
    """A mistake, or several, in the place of the right equations.

    value      the tensor that it makes of what was recorded
    confirmed  whether every recorded element is within its tolerance of `value`
    """

    mistakes: tuple[str, ...]
    value: Tensor
    weight: Weight
    confirmed: bool


@dataclass(frozen=True)
class Suspects:
    """The mistakes of the specs, each in an oracle that makes it; and the record that they are tried on."""

    oracle: Oracle
    record: Sequence[Step]
    precision: str
    usable: Container[At]
    _mistaken: dict[str, Oracle] = field(default_factory=dict)

    def of(self, at: At) -> list[str]:
        """Return the mistakes that can change a checkpoint, given what was recorded before it."""
        spec, n_layer = self.oracle.spec, self.oracle.config["n_layer"]
        found: dict[str, None] = {}
        for place, outputs in self.oracle.needs(self.record, at, self.usable):
            component = place.node.component
            for part in (component, *component.uses.values()):
                for name, mistake in part.mistakes.items():
                    if part is not component or any(component.changes(name, output) for output in outputs):
                        found[mistake.id] = None
            read = {generic(source) for source in place.node.sources.values()}
            for behaviour in spec.before.values():
                for mistake in behaviour.mistakes.values():
                    if isinstance(mistake.shows_as, Mapping) and not read.isdisjoint(mistake.shows_as):
                        found[mistake.id] = None
            for rewiring in spec.mistakes.values():
                made = (at_layer(name, place.node.layer, n_layer) for name in rewiring.instead)
                if not place.node.makes.keys().isdisjoint(made):
                    found[rewiring.id] = None
        return list(found)

    def make(self, mistake: str, at: At) -> Wanted:
        """Return a checkpoint as an engine with the mistake computes it from what was recorded before it.

        Raises SpecError where several mistakes cannot be made together.
        """
        if mistake not in self._mistaken:
            self._mistaken[mistake] = replace(self.oracle, mistake=mistake)
        (wanted,) = self._mistaken[mistake].local(self.record, self.precision, {at}, self.usable)
        return wanted

    def try_on(self, mistakes: Sequence[str], at: At, got: Tensor, wanted: Wanted) -> Trial | None:
        """Try mistakes on a tensor; None where they change nothing."""
        try:
            wrong = self.make(" + ".join(mistakes), at)
            value, bound = wrong.value, wrong.bound
        except SpecError:
            if len(mistakes) == 1:
                return None
            values = [self.make(mistake, at).value for mistake in mistakes]  # each replaces the same equation
            with np.errstate(invalid="ignore"):
                value, bound = sum(values) - (len(values) - 1) * wanted.value, wanted.bound
        if value.shape != got.shape:
            return None
        eps = PRECISIONS[self.precision][0]
        weight = weigh(got, wanted.value, value, scale(wanted.value, wanted.bound, eps), eps)
        if not weight.shows:
            return None
        rounded = np.where(np.isfinite(value), np.maximum(bound, eps * np.abs(value)), bound)
        confirmed = compare(wanted.checkpoint, got, value, rounded).conforms
        confirmed = confirmed and weight.by_tolerance.explains > HALF  # a mistake may make any tolerance wide
        return Trial(tuple(mistakes), value, weight, confirmed)


def find_causes(
    suspects: Suspects, at: At, got: Tensor, wanted: Wanted, likely: Sequence[str] = (), pairs: bool = True
) -> tuple[tuple[Cause, ...], Tensor | None]:
    """Return the mistakes of the specs that explain a wrong tensor, and the tensor as they make it.

    likely  mistakes that were found before, which are tried first
    pairs   whether two mistakes at once are tried
    """
    if likely:
        trial = suspects.try_on(likely, at, got, wanted)
        if trial is not None and trial.confirmed:
            return _causes(suspects, [trial], wanted), trial.value
    tried = [suspects.try_on([name], at, got, wanted) for name in suspects.of(at)]
    changing = [trial for trial in tried if trial is not None]
    singles = sorted((t for t in changing if t.weight.by_tolerance.explains > 0), key=_order)
    if singles and singles[0].confirmed:
        return _causes(suspects, singles, wanted), singles[0].value
    for pair in _pairs(suspects, changing, at, got, wanted) if pairs else ():
        if pair.confirmed:
            return _causes(suspects, [pair], wanted), pair.value
    singles = [trial for trial in singles if _enough(trial)]
    return (_causes(suspects, singles, wanted), singles[0].value) if singles else ((), None)


def _enough(trial: Trial) -> bool:
    found = trial.weight.by_tolerance
    return found.explains >= ENOUGH and abs(found.amount - 1) <= NEAR_ONE


def _pairs(
    suspects: Suspects, singles: Sequence[Trial], at: At, got: Tensor, wanted: Wanted
) -> Iterator[Trial]:
    """Yield the likeliest of the mistakes two by two."""
    # The best amount of each is taken away: a mistake that acts with another need not lower the error alone.
    likeliest = sorted(singles, key=lambda trial: -_best_amount_explains(trial.weight))
    names = [trial.mistakes[0] for trial in likeliest[:PAIRS_OF]]
    found = [
        trial
        for pair in combinations(names, 2)
        if (trial := suspects.try_on(pair, at, got, wanted)) is not None
    ]
    yield from sorted(found, key=_order)


def _order(trial: Trial) -> tuple[bool, float]:
    """The likeliest first: what is left is measured in squares of tolerances, the same for every mistake."""
    return not trial.confirmed, float(trial.weight.left.sum())


def _best_amount_explains(weight: Weight) -> float:
    """Return how much of the error goes away by the best amount of a mistake above 0."""
    by = weight.rd.sum()
    return float(by**2 / weight.dd.sum()) if by > 0 else 0.0


def _causes(suspects: Suspects, trials: Sequence[Trial], wanted: Wanted) -> tuple[Cause, ...]:
    """Return the causes of the best trial; other trials that give the same numbers stand beside it."""
    best = trials[0]
    unit = scale(wanted.value, wanted.bound, PRECISIONS[suspects.precision][0])
    alike = [
        trial.mistakes[0]
        for trial in trials[1:]
        if np.abs(errors(trial.value, best.value, unit)).max(initial=0.0) <= ALIKE
    ]
    found = best.weight.by_tolerance
    shown = _shown_as(suspects.oracle)
    return tuple(
        cause_of(
            suspects.oracle,
            mistake,
            found,
            best.confirmed,
            [*alike, *(other for same in (mistake, *alike) for other in shown.get(same, ()))],
        )
        for mistake in best.mistakes
    )


def _shown_as(oracle: Oracle) -> dict[str, list[str]]:
    """Return which mistakes of files, caches and loops show as each mistake of the equations."""
    shown: dict[str, list[str]] = {}
    for part in (*oracle.spec.before.values(), *oracle.spec.after.values()):
        for mistake in part.mistakes.values():
            if isinstance(mistake.shows_as, str):
                shown.setdefault(mistake.shows_as, []).append(mistake.id)
    return shown


def cause_of(oracle: Oracle, mistake: str, found: Estimate, confirmed: bool, alike: Sequence[str]) -> Cause:
    """Return a mistake of the specs as the cause of an error."""
    entry = oracle.spec.all_mistakes[mistake]
    return Cause(
        mistake,
        found.amount,
        found.standard_error,
        found.explains,
        confirmed,
        entry.symptom,
        entry.seen_in,
        tuple(alike),
    )
