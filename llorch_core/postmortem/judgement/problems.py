"""Problems of a case: what each kind is. Terminal and JSON both read this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KINDS: Mapping[str, str] = {
    "form": "An entry does not keep to its form.",
    "incomplete": "An entry leaves out something that it has to say.",
    "no evidence": "A finding or a claim shows nothing.",
    "not there": "The evidence does not show what it should: text, commit, figure or row is not there.",
    "no guardrail": "A root cause or a lesson has nothing that enforces it.",
    "no such guardrail": "A guardrail names a rule, setting or kind that llorch does not have.",
    "guardrail fails": "The check of a guardrail fails, or does not fail where it should.",
    "unknown": "An id or a figure is named that does not exist.",
    "twice": "Two entries have one id.",
    "open again": "Something was ruled out on files that have changed since.",
    "stale": "The facts were measured at another commit, or with other settings.",
    "by hand": "A figure written by hand differs from what was measured.",
}


@dataclass(frozen=True)
class Problem:
    """One problem: its kind, where it stands, the entry that it is about, and what to do next."""

    kind: str
    file: str  # from the folder of the case
    line: int
    entry: str  # its id, or ""
    says: str
    wanted: str
    got: str
    next: str

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)
