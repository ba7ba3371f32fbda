"""Mistakes that no single element shows: the amount of each, from all elements together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add

from llorch_core.diagnosis.cause import At, Suspects
from llorch_core.diagnosis.weigh import Weight, scale, weigh
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Wanted

HALF = ("float16", "bfloat16")  # precisions in which any mistake may hide
LOWERED = 0.05  # of the error: a mistake that lowers it by more is there
SUSPICIOUS = 4.0  # standard errors away from none: not proved, and no honest engine either
AMOUNT = (0.5, 1.5)  # of a mistake that is there, measured through rounding
SHARP = 0.2  # standard error of an amount that tells 0 from 1


@dataclass
class Hidden:
    """What all elements together say of the mistakes that hide in a precision.

    places  for each mistake what each checkpoint says of it, in the order of the data flow
    """

    suspects: Suspects
    places: dict[str, dict[At, Weight]] = field(default_factory=dict)
    component: dict[str, str] = field(default_factory=dict)

    def add(self, wanted: Wanted, got: Tensor) -> None:
        """Add a checkpoint that conforms."""
        at = (wanted.step, wanted.checkpoint)
        eps = PRECISIONS[self.suspects.precision][0]
        unit = scale(wanted.value, wanted.bound, eps)
        for mistake in self._mistakes(wanted):
            weight = weigh(got, wanted.value, self.suspects.make(mistake, at).value, unit, eps)
            if weight.shows:
                self.places.setdefault(mistake, {})[at] = weight
                self.component[mistake] = wanted.component

    def _mistakes(self, wanted: Wanted) -> Iterator[str]:
        """Yield the mistakes that may hide in this checkpoint."""
        component = self.suspects.oracle.spec.components[wanted.component]
        last = wanted.checkpoint.rpartition(".")[2]
        output = last if last in component.outputs else "out"
        for part in (component, *component.uses.values()):
            for name, mistake in part.mistakes.items():
                own = (
                    component.changes(name, output)
                    if part is component
                    else part.id in component.behind[output]
                )
                if own and (mistake.hidden_in or self.suspects.precision in HALF):
                    yield mistake.id

    def weight(self, mistake: str) -> Weight:
        """Return what all checkpoints together say of a mistake."""
        return reduce(add, self.places[mistake].values())

    def found(self) -> list[str]:
        """Return the mistakes that are there, the surest first."""
        weights = {mistake: self.weight(mistake) for mistake in self.places}
        return sorted((m for m in weights if there(weights[m])), key=lambda m: -weights[m].explains)

    def first(self, mistake: str) -> At:
        """Return the first checkpoint that shows a mistake by itself, or if none does, the first of all."""
        alone = (at for at, weight in self.places[mistake].items() if there(weight) and sure(weight))
        return next(alone, next(iter(self.places[mistake])))

    def suspected(self) -> list[str]:
        """Return what the numbers lean to without proving it, in sentences."""
        weights = {mistake: self.weight(mistake) for mistake in self.places}
        return [
            f"{m} may be there: its amount is {w.amount:.2f} ± {w.standard_error:.2f}, and it lowers the "
            f"error by {w.explains:.2%}; about {_more(w, LOWERED / w.explains):,} elements more would tell"
            for m, w in weights.items()
            if 0 < w.explains <= LOWERED and AMOUNT[0] < w.amount < AMOUNT[1] and sure(w)
        ]

    def open(self) -> list[str]:
        """Return the mistakes that these numbers cannot tell from none, in sentences."""
        weights = {mistake: self.weight(mistake) for mistake in self.places}
        return [
            f"{m} cannot be told from none in {self.suspects.precision}: its amount is known to "
            f"± {w.standard_error:.2g}; about {_more(w, (w.standard_error / SHARP) ** 2):,} elements more "
            "would tell"
            for m, w in weights.items()
            if w.standard_error > SHARP
        ]


def there(weight: Weight) -> bool:
    """Whether a mistake is there: it lowers the error, and its amount is about 1."""
    return weight.explains > LOWERED and AMOUNT[0] < weight.amount < AMOUNT[1]


def sure(weight: Weight) -> bool:
    """Whether the amount of a mistake is far from none."""
    return weight.amount > SUSPICIOUS * weight.standard_error


def _more(weight: Weight, times: float) -> int:
    """Return how many elements are missing where `times` as many are needed, to two digits."""
    return int(float(f"{max(weight.elements * (times - 1), 1.0):.1e}"))
