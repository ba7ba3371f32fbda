"""What the scenarios say about each rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llorch_core.check.compare import Comparison, as_json
from llorch_core.spec.component import Rule
from llorch_core.spec.model import ModelSpec
from llorch_core.trace.session import Outcome

DECISIVE = ("error", "failed", "stub", "passed", "not run")  # the first that any scenario has is the rule's


@dataclass(frozen=True)
class Verdict:
    """One rule and what stands behind it.

    status    passed, failed, error (our own bug), stub, untested, orphaned (a tag without a rule), not run
    outcomes  the scenarios that are about it
    """

    id: str
    rule: Rule | None
    status: str
    outcomes: tuple[Outcome, ...]

    @property
    def elements(self) -> int:
        """How many elements were compared."""
        return sum(comparison.elements for outcome in self.outcomes for comparison in outcome.evidence)

    @property
    def worst(self) -> Comparison | None:
        """The comparison that came nearest to its tolerance, or went farthest past it."""
        comparisons = [c for outcome in self.outcomes for c in outcome.evidence]
        return max(comparisons, key=lambda c: c.share, default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON can hold it."""
        return {
            "rule": self.id,
            "says": self.rule.text if self.rule else None,
            "level": self.rule.level if self.rule else None,
            "status": self.status,
            "elements": self.elements,
            "worst": as_json(self.worst) if self.worst else None,
            "scenarios": [
                {"title": o.title, "file": o.file, "line": o.line, "status": o.status, "message": o.message}
                for o in self.outcomes
            ],
        }


def verdicts(spec: ModelSpec, outcomes: Sequence[Outcome], component: str | None = None) -> list[Verdict]:
    """Return a verdict on every rule, in the order of the data flow, then on tags that are no rule.

    component  only the rules of this one
    """
    rules = {id: rule for id, rule in spec.all_rules().items() if component in (None, id.partition(".")[0])}
    result = []
    for id, rule in rules.items():
        about = tuple(outcome for outcome in outcomes if id in outcome.rules)
        statuses = {outcome.status for outcome in about}
        status = next((s for s in DECISIVE if s in statuses), "untested")
        result.append(Verdict(id, rule, status, about))
    known = spec.all_rules()
    for id in sorted({tag for outcome in outcomes for tag in outcome.rules} - known.keys()):
        result.append(Verdict(id, None, "orphaned", tuple(o for o in outcomes if id in o.rules)))
    return result
