"""Mistakes that no single element shows: the amount of each, from all elements together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import numpy as np

from llorch_core.diagnosis.cause import At, Suspects
from llorch_core.diagnosis.weigh import Estimate, Weight, scale, weigh
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Wanted

HALF = ("float16", "bfloat16")  # precisions in which any mistake may hide
LOWERED = 0.05  # of the error: a mistake that lowers it by more is there
SUSPICIOUS = 8.0  # standard errors away from none: honest engines were seen at 5
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
            try:
                wrong = self.suspects.make(mistake, at).value
            except SpecError:  # such as a position past the last one: no engine got so far
                continue
            weight = weigh(got, wanted.value, wrong, unit, eps)
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

    def _estimates(self) -> dict[str, Estimate]:
        return {mistake: self.weight(mistake).by_noise for mistake in self.places}

    def found(self) -> list[str]:
        """Return the mistakes that are there, the surest first."""
        estimates = self._estimates()
        return sorted((m for m, e in estimates.items() if there(e)), key=lambda m: -estimates[m].explains)

    def alone(self, mistake: str) -> At | None:
        """Return the first checkpoint that shows a mistake by itself, or None."""
        for at, weight in self.places.get(mistake, {}).items():
            if there(weight.by_noise):
                return at
        return None

    def suspected(self) -> list[str]:
        """Return what the numbers lean to without proving it, in sentences."""
        return [
            f"{m} may be there: its amount is {e.amount:.2f} ± {e.standard_error:.2f}, and it lowers the "
            f"error by {e.explains:.2%}; about {self._more(m, LOWERED / e.explains)} elements more would tell"
            for m, e in self._estimates().items()
            if 0 < e.explains <= LOWERED and AMOUNT[0] < e.amount < AMOUNT[1] and sure(e)
        ]

    def open(self) -> list[str]:
        """Return the mistakes that these numbers cannot tell from none, in one sentence."""
        wide = {
            m: e.standard_error for m, e in self._estimates().items() if SHARP < e.standard_error < np.inf
        }
        if not wide:
            return []
        most = max(wide, key=lambda m: wide[m])
        return [
            f"on these data {', '.join(wide)} cannot be told from none in {self.suspects.precision}; about "
            f"{self._more(most, (wide[most] / SHARP) ** 2)} elements more would tell"
        ]

    def _more(self, mistake: str, times: float) -> str:
        """Return how many elements are missing where `times` as many are needed, to two digits."""
        more = max(self.weight(mistake).elements * (times - 1), 1.0)
        return f"{int(float(f'{more:.1e}')):,}" if more < 1e12 else f"{more:.1e}"


def there(found: Estimate) -> bool:
    """Whether a mistake is there: it lowers the error, and its amount is about 1, and sure."""
    return found.explains > LOWERED and AMOUNT[0] < found.amount < AMOUNT[1] and sure(found)


def sure(found: Estimate) -> bool:
    """Whether the amount of a mistake is far from none."""
    return found.amount > SUSPICIOUS * found.standard_error
