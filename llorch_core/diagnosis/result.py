"""What a diagnosis says: one object, which the terminal, JSON and HTML show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llorch_core.check.compare import Comparison, number
from llorch_core.spec.language import Tensor

CONFORMS, DIVERGES, UNDECIDED = "conforms", "diverges", "undecided"
EXIT_CODES = {CONFORMS: 0, DIVERGES: 1, UNDECIDED: 2}


@dataclass(frozen=True)
class Cause:
    """A mistake that may have made a wrong tensor, and how much speaks for it.

    mistake         COMPONENT.MISTAKE of the specs, or signature.NAME where only its look is known
    amount          how much of the mistake is in the tensor: 0 is innocent, 1 is guilty
    standard_error  of the amount
    explains        share of the (weighed) error that goes away when the mistake takes the place of the right
                    equation; 1 is all of it
    confirmed       whether the mistake, recomputed, gives every recorded element within its tolerance
    text            what the mistake is, in a sentence
    seen_in         where others have made it
    same_numbers    other mistakes that give the same numbers on this data
    """

    mistake: str
    amount: float
    standard_error: float
    explains: float
    confirmed: bool
    text: str
    seen_in: tuple[str, ...] = ()
    same_numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Divergence:
    """One checkpoint that is not what its equations make of what was recorded before it.

    comparison  what was compared, its step, and the worst element
    component   the component that makes the checkpoint
    layer       the block, or None outside the blocks
    sequence    which sequence of the batch, 0 where there is one
    causes      the likeliest first, several where one does not explain it; none: unlike anything listed
    harmless    whether it cannot change any probability
    hidden      whether each element is within its tolerance, and only all of them together show the mistake
    note        what else is to be said of it, or ""
    shown       "got", "wanted", "bound" and, where there is a cause, "suspected": the tensor as it was
                recorded, as it should be, the tolerance of each element, and the tensor as the first cause
                makes it; for pictures, never in JSON
    """

    comparison: Comparison
    component: str
    layer: int | None
    sequence: int = 0
    causes: tuple[Cause, ...] = ()
    harmless: bool = False
    hidden: bool = False
    note: str = ""
    shown: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Progress:
    """What a fix changed, by the first wrong number of two diagnoses: the only thing that counts.

    verdict  later, same, earlier, gone, new (there was none before), or unknown
    text     the same in a sentence, with the reason where it is unknown
    before   the first wrong number of the earlier diagnosis, as in its JSON, or None
    after    that of this one, or None
    """

    verdict: str
    text: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True)
class Diagnosis:
    """The whole answer.

    verdict       conforms, diverges or undecided
    reason        why it is undecided, or ""
    engine        what was put on trial: a name, or the dump's file name
    model         name of the model's folder
    precision     float64, float32, float16 or bfloat16: the unit of the tolerances
    comparisons   every recorded checkpoint, in the order of the data flow, sequence by sequence
    not_observed  checkpoints that the engine did not show
    divergences   every checkpoint that is wrong in itself, in the order of the data flow; the first of them
                  is the first wrong number
    notes         what was accepted, and why, and what cannot be ruled out
    reading       the ids that were read: for each sequence, those of each forward call; () where not known
    progress      what a fix changed since an earlier diagnosis, where one was given
    """

    verdict: str
    reason: str
    engine: str
    model: str
    precision: str
    comparisons: tuple[Comparison, ...] = ()
    not_observed: tuple[str, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    notes: tuple[str, ...] = ()
    reading: tuple[tuple[tuple[int, ...], ...], ...] = ()
    progress: Progress | None = None

    @property
    def first(self) -> Divergence | None:
        """The first wrong number, or None."""
        return self.divergences[0] if self.divergences else None

    @property
    def exit_code(self) -> int:
        """0 conforms, 1 does not, 2 could not tell."""
        return EXIT_CODES[self.verdict]

    def before_first(self) -> tuple[int, int]:
        """Return how many checkpoints conform before the first divergence, and their elements."""
        good = list(self.comparisons)
        if self.first is not None:
            good = good[: good.index(self.first.comparison)]
        return len(good), sum(c.elements for c in good)

    def as_json(self) -> dict[str, Any]:
        """Return what `llorch diagnose --json` prints; its form is specs/schema/diagnosis.schema.json."""
        shown = [_divergence(d) for d in self.divergences]
        first = shown[0] if shown else None
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "engine": self.engine,
            "model": self.model,
            "precision": self.precision,
            "reading": [[list(call) for call in sequence] for sequence in self.reading],
            "compared": {
                "checkpoints": len(self.comparisons),
                "elements": sum(c.elements for c in self.comparisons),
                "not_observed": list(self.not_observed),
            },
            "first_divergence": first,
            "causes": first["causes"] if first else [],
            "others": shown[1:],
            "notes": list(self.notes),
            "progress": None if self.progress is None else vars(self.progress),
        }


def _divergence(d: Divergence) -> dict[str, Any]:
    c = d.comparison
    return {
        "sequence": d.sequence,
        "step": c.step,
        "checkpoint": c.what,
        "component": d.component,
        "layer": d.layer,
        "index": list(c.index),
        "got": number(c.got),
        "wanted": number(c.wanted),
        "tolerances": number(c.share),
        "outside": c.outside,
        "of": c.elements,
        "harmless": d.harmless,
        "hidden": d.hidden,
        "note": d.note or c.shapes,
        "causes": [
            {
                "mistake": cause.mistake,
                "amount": number(cause.amount),
                "standard_error": number(cause.standard_error),
                "explains": number(cause.explains),
                "confirmed": cause.confirmed,
                "text": cause.text,
                "seen_in": list(cause.seen_in),
                "same_numbers": list(cause.same_numbers),
            }
            for cause in d.causes
        ],
    }
