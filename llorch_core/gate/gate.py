"""May this be merged? Every demand of the policy, and every reason against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from llorch_core.gate.bundle import believe
from llorch_core.gate.covered import shares
from llorch_core.gate.policy import Allowance, Floors, Policy
from llorch_core.gate.reasons import Reason, worst_first
from llorch_core.spec.model import ModelSpec
from llorch_core.stubs.report import find
from llorch_core.stubs.tree import python_files
from llorch_core.trace.trace import Trace

AGAIN = "Make it again: llorch verify -o PROOF && llorch prove -o PROOF"
WRONG = ("error", "failed", "stub", "orphaned", "stale", "untested")  # statuses that no level excuses
WRONG_TRACE = ("missed mistake", "lost", "without source", "without rule", "duplicate")


@dataclass
class Judgement:
    """The answer of the gate.

    trace    of the bundle; None where it cannot be believed at all
    reasons  against a merge, worst first; none: it may be merged
    asked    each demand of the policy, what was found, and whether it is met
    """

    trace: Trace | None
    reasons: list[Reason] = field(default_factory=list)
    asked: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether it may be merged."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """Return the judgement as JSON can hold it."""
        return {
            "verdict": "open" if self.open else "closed",
            "reasons": [reason.as_json() for reason in self.reasons],
            "asked": [{"demand": d, "found": f, "met": met} for d, f, met in self.asked],
            "totals": self.trace["totals"] if self.trace else None,
            "proof": self.trace["made"] if self.trace else None,
        }


def judge(policy: Policy, folder: Path, spec: ModelSpec, today: date | None = None) -> Judgement:
    """Hold a proof bundle, and the tests of the project, to a policy.

    folder  the proof bundle
    today   for allowances that expire; if not given, this day
    """
    trace, reasons = believe(folder, spec, policy.allow_dirty)
    judgement = Judgement(trace)

    def ask(demand: str, found: str, against: list[Reason]) -> None:
        judgement.asked.append((demand, found, not against))
        judgement.reasons += against

    made = trace["made"] if trace else None
    sealed = f"sealed, of commit {(made['commit'] or 'none')[:10]}" if made else "not believed"
    ask("the proof is whole, and of this tree", sealed, reasons)
    if trace is not None:
        for demand, found, against in _of_trace(policy, trace, today or date.today()):
            ask(demand, found, list(against))
        if trace["code"] or "coverage" in policy.given:
            ask(*_coverage(policy, trace))
    ask(*_tests(policy))
    judgement.reasons = worst_first(judgement.reasons)
    return judgement


def _of_trace(policy: Policy, trace: Trace, today: date) -> Iterator[tuple[str, str, list[Reason]]]:
    """Yield the demands on the trace: what is asked, what was found, and the reasons against."""
    totals = trace["totals"]
    statuses = ", ".join(f"{n} {status}" for status, n in totals["statuses"].items())
    whole = "every rule was asked for"
    if len(trace["components"]) < 2:
        says = f"it is about {trace['components'][0]['id']} alone"
        yield whole, says, [Reason("incomplete", "proof", says, AGAIN)]
    levels = (
        "every " + " and ".join(level.upper() for level in policy.proved) + " is proved, and no rule fails"
    )
    yield levels, f"{totals['rules']} rules: {statuses}", list(_unproved(policy, trace))
    problems = [p for p in trace["problems"] if p["kind"] in WRONG_TRACE]
    against = [
        Reason(**{k: p[k] for k in ("kind", "what", "says", "next", "file", "line")}) for p in problems
    ]
    yield "no rule is lost, said twice, or without source or scenario", f"{len(against)} are", against
    yield from _allowed(policy, trace, today)
    found = f"{totals['caught']} of {totals['mistakes']} were caught"
    least = policy.mistakes / 100 * totals["mistakes"]
    short = (
        [] if totals["caught"] >= least else [Reason("missed mistake", "mistakes", found, _next_of(trace))]
    )
    yield f"{policy.mistakes:g} % of the mistakes are caught", found, short
    found = f"{totals['elements']:,} of {totals['of']:,} were compared"
    least = policy.elements / 100 * totals["of"]
    next_step = "Compare every checkpoint that the engine shows, whole."
    short = [] if totals["elements"] >= least else [Reason("not compared", "elements", found, next_step)]
    yield f"{policy.elements:g} % of the elements are compared", found, short


def _next_of(trace: Trace) -> str:
    return "llorch prove -o PROOF puts them on trial" if not trace["totals"]["tried"] else "llorch prove"


def _unproved(policy: Policy, trace: Trace) -> Iterator[Reason]:
    """Yield each rule that is wrong, and each that has to be proved and is not."""
    for rule in trace["rules"]:
        demanded = rule["level"] in policy.proved and rule["status"] not in ("proved", "not run")
        if rule["status"] not in WRONG and not demanded:
            continue
        kind = rule["status"] if rule["status"] in WRONG else "unproved"
        next_step, place = AGAIN, (rule["file"], rule["line"])
        for p in trace["problems"]:
            if p["what"] == rule["rule"] and p["kind"] == kind:
                next_step, place = p["next"], (p["file"], p["line"])
        says = f"{rule['says'] or ''} {rule['why']}".strip()
        yield Reason(kind, rule["rule"], says, next_step, *place)


def _allowed(policy: Policy, trace: Trace, today: date) -> Iterator[tuple[str, str, list[Reason]]]:
    """Yield what was not run: it has to be allowed by name, for a reason that has not expired."""
    used: set[Allowance] = set()
    reasons, count = [], 0
    for scenario in trace["scenarios"]:
        if scenario["status"] != "not run":
            continue
        count += 1
        for rule in scenario["rules"]:
            fits = [a for a in policy.not_run if a.fits(rule, scenario["title"])]
            used |= set(fits)
            if not any(a.expires >= today for a in fits):
                expired = f"; its allowance expired on {fits[0].expires}" if fits else ""
                says = f"{scenario['title']}: it lacks {scenario['message']}{expired}"
                next_step = (
                    "Bring what it lacks, or name it under [[tool.llorch.gate.not_run]] with a reason."
                )
                reasons.append(Reason("not run", rule, says, next_step, scenario["file"], scenario["line"]))
    for allowance in policy.not_run:
        if allowance not in used:
            says = "it allows something to be not run that was run, or does not exist"
            reasons.append(Reason("allowance", allowance.rule, says, "Delete it from the policy."))
    named = f"{count} scenarios were not run, {len(used)} allowances name them"
    yield "what is not run is allowed by name, for a reason, until a day", named, reasons


def _coverage(policy: Policy, trace: Trace) -> tuple[str, str, list[Reason]]:
    """Hold what tests and scenarios ran to the floors of the policy."""
    demand = (
        f"of the package {_floors(policy.package)} ran, of the engine {_floors(policy.engine)}, "
        f"and {policy.rules:g} % of its lines by a scenario of some rule"
    )
    reasons, found = [], []
    data = policy.folder / policy.data
    measured = shares(data, policy.folder / "pyproject.toml")
    if measured is None:
        if any((policy.package.line, policy.package.branch, policy.engine.line, policy.engine.branch)):
            says = f"there is no data of coverage.py in {policy.data}"
            reasons.append(Reason("coverage", policy.data, says, "Run the tests under coverage: make test"))
    else:
        for name, floors in (("package", policy.package), ("engine", policy.engine)):
            for kind, floor in (("line", floors.line), ("branch", floors.branch)):
                share = getattr(measured[name], kind)
                if share is None and not floor:
                    continue
                found.append(f"{name} {kind} {share or 0:.1f} %")
                if (share or 0) < floor:
                    kinds = {"line": "lines", "branch": "branches"}[kind]
                    says = f"{share or 0:.1f} % of its {kinds} ran, and {floor:g} % have to"
                    reasons.append(
                        Reason("coverage", name, says, "coverage report --show-missing names them")
                    )
    totals = trace["totals"]
    if totals["lines"]:
        share = 100 * totals["lines_run"] / totals["lines"]
        found.append(f"by rules {share:.1f} %")
        if share < policy.rules:
            says = f"scenarios run {share:.1f} % of the engine's lines, and {policy.rules:g} % have to be run"
            reasons.append(Reason("coverage", "engine", says, "llorch trace names the lines without a rule"))
    return demand, ", ".join(found) or "nothing was measured", reasons


def _floors(floors: Floors) -> str:
    return f"{floors.line:g} % of lines and {floors.branch:g} % of branches"


def _tests(policy: Policy) -> tuple[str, str, list[Reason]]:
    """Look for tests and steps that cannot fail, and for switches in the product that only tests use."""
    reasons = []
    files = []
    for name in policy.tests:
        path = policy.folder / name
        if path.exists():
            files += python_files(path)
        elif "tests" in policy.given:
            says = f"the policy names {name}, which is not there"
            reasons.append(Reason("cannot fail", name, says, "Correct tests = [...] of the policy."))
    report = find(policy.folder, files=files)
    for left in report.not_read:
        if left.matters:
            says = f"it was not judged: it {left.says}"
            reasons.append(Reason("cannot fail", left.file, says, "Correct it.", left.file, left.line))
    for finding in report.sure:
        says = f"{finding.kind}: {finding.says}"
        reasons.append(Reason("cannot fail", finding.test, says, finding.next, finding.file, finding.line))
    found = f"{sum(report.tests.values()):,} tests and steps were read, {len(reasons)} cannot fail"
    return "no test and no step is unable to fail", found, reasons
