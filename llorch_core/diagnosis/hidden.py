"""Mistakes that no single element shows: the amount of each, from all elements together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from llorch_core.diagnosis.cause import At, Suspects
from llorch_core.diagnosis.weigh import Weight, scale, weigh
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Wanted

LOWERED = 0.05  # of the error: a mistake that lowers it by more is there
SUSPICIOUS = 4.0  # standard errors away from none: not proved, and no honest engine either
AMOUNT = (0.5, 1.5)  # of a mistake that is there, measured through rounding
SHARP = 0.2  # standard error of an amount that tells 0 from 1


@dataclass
class Hidden:
    """What all elements together say of the mistakes that hide in a precision."""

    suspects: Suspects
    weights: dict[str, Weight] = field(default_factory=dict)
    first: dict[str, tuple[At, str]] = field(
        default_factory=dict
    )  # where it was looked for, and the component

    def add(self, wanted: Wanted, got: Tensor) -> None:
        """Add a checkpoint that conforms."""
        at = (wanted.step, wanted.checkpoint)
        unit = scale(wanted.value, wanted.bound, PRECISIONS[self.suspects.precision][0])
        for mistake in self._mistakes(wanted):
            weight = weigh(got, wanted.value, self.suspects.make(mistake, at).value, unit)
            if weight.dd:
                self.weights[mistake] = self.weights.get(mistake, Weight()) + weight
                self.first.setdefault(mistake, (at, wanted.component))

    def _mistakes(self, wanted: Wanted) -> Iterator[str]:
        """Yield the mistakes of the component which hide in some precision, and change this checkpoint."""
        component = self.suspects.oracle.spec.components[wanted.component]
        name = wanted.checkpoint.rpartition(".")[2]
        output = name if name in component.outputs else "out"
        for part in (component, *component.uses.values()):
            for name, mistake in part.mistakes.items():
                own = (
                    component.changes(name, output)
                    if part is component
                    else part.id in component.behind[output]
                )
                if mistake.hidden_in and own:
                    yield mistake.id

    def found(self) -> list[str]:
        """Return the mistakes that are there, the surest first."""
        there = [
            m for m, w in self.weights.items() if w.explains > LOWERED and AMOUNT[0] < w.amount < AMOUNT[1]
        ]
        return sorted(there, key=lambda m: -self.weights[m].explains)

    def suspected(self) -> list[str]:
        """Return what the numbers lean to without proving it, in sentences."""
        return [
            f"{m} may be there: its amount is {w.amount:.2f} ± {w.standard_error:.2f}, and it lowers the "
            f"error by {w.explains:.2%}; about {_more(w, LOWERED / w.explains):,} elements more would tell"
            for m, w in self.weights.items()
            if 0 < w.explains <= LOWERED
            and AMOUNT[0] < w.amount < AMOUNT[1]
            and w.amount > SUSPICIOUS * w.standard_error
        ]

    def open(self) -> list[str]:
        """Return the mistakes that these numbers cannot tell from none, in sentences."""
        return [
            f"{m} cannot be told from none in {self.suspects.precision}: its amount is known to "
            f"± {w.standard_error:.2g}; about {_more(w, (w.standard_error / SHARP) ** 2):,} elements more "
            "would tell"
            for m, w in self.weights.items()
            if w.standard_error > SHARP
        ]


def _more(weight: Weight, times: float) -> int:
    """Return how many elements are missing where `times` as many are needed, to two digits."""
    more = max(weight.n * (times - 1), 1.0)
    return int(float(f"{more:.1e}"))
