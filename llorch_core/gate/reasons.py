"""Reasons against a merge: what each kind is, worst first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llorch_core.trace.problems import KINDS as PROBLEMS

KINDS = {  # worst first
    "tampered": "A file of the proof bundle is not as it was sealed.",
    "incomplete": "The proof bundle was not finished, or lacks a file.",
    "hidden": "The proof bundle says more than its evidence does.",
    "nothing executed": "No scenario compared an element.",
    "miscounted": "The proof bundle does not hold what was collected.",
    "other tree": "The proof bundle is about other specs, features or code than those that are here.",
    "dirty tree": "The proof was made with changes that no commit has.",
    **{kind: text for kind, text in PROBLEMS.items() if kind not in ("not run", "line without rule")},
    "not compared": "An element that the engine showed was compared by no scenario.",
    "cannot fail": "A test of the project cannot fail.",
    "coverage": "Too few lines or branches were run.",
    "not run": "A scenario was not run, and no allowance names it.",
    "allowance": "An allowance of the policy has expired, or allows nothing.",
}


@dataclass(frozen=True)
class Reason:
    """One reason against a merge: its kind, what it is about, what is wrong, and what to do next."""

    kind: str
    what: str
    says: str
    next: str
    file: str | None = None
    line: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it in the form that problems of a trace have."""
        return {
            "kind": self.kind,
            "what": self.what,
            "file": self.file,
            "line": self.line,
            "says": self.says,
            "next": self.next,
        }


def worst_first(reasons: list[Reason]) -> list[Reason]:
    """Return the reasons by their kinds, worst first; of one kind, as they came."""
    order = list(KINDS)
    return sorted(reasons, key=lambda reason: order.index(reason.kind))
