"""Finish a proof bundle: what follows from its evidence, and the manifest that seals it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llorch_core.spec.model import ModelSpec
from llorch_core.subject.protocol import Subject
from llorch_core.trace import origin, proof
from llorch_core.trace.jobs import Order, Run
from llorch_core.trace.junit import junit
from llorch_core.trace.proof import Proof
from llorch_core.trace.report import report
from llorch_core.trace.run import suite, tags_of
from llorch_core.trace.trace import Trace, make_trace, rule_digests


def origins(spec: ModelSpec) -> dict[str, Any]:
    """Return what evidence is about, digested before it is made: a file that changes meanwhile is seen."""
    return {
        "suite": origin.suite_files(),
        "code": origin.code_files(),
        "rules": rule_digests(spec),
        "versions": origin.versions(),
        "machine": origin.machine(),
    }


def finish_verify(
    order: Order, subject: Subject, spec: ModelSpec, run: Run, origins: Mapping[str, Any], seconds: float
) -> Trace:
    """Finish the bundle that `llorch verify` began; return its trace."""
    folder = order.proof
    assert folder is not None
    counts = suite().counts(tags_of(order.component))
    proof.write(folder / proof.READING, run.reading)
    proof.write(folder / proof.LINES, run.ran)
    about = {
        "at": proof.now(),
        "seconds": round(seconds, 3),
        "commands": [proof.command()],
        "engine": {
            "name": subject.name,
            "asked": order.engine,
            "precision": subject.precision,
            "traced": order.traced,
        },
        "model": {"name": subject.folder.name, "files": origin.model_files(subject.folder)},
        "component": order.component,
        "features": [suite().file(i) for i, count in enumerate(counts) if count],
        "collected": sum(counts),
        "git": origin.checkout(folder),
        **origins,
    }
    outcomes = proof.outcomes_of(folder, about["features"])  # as whoever reads the bundle will find them
    return _finish(Proof(folder, about, outcomes, run.reading, run.ran), spec)


def finish_prove(
    found: Proof, spec: ModelSpec, trials: Sequence[Mapping[str, Any]], windows: Mapping[str, Any]
) -> Trace:
    """Finish the bundle to which `llorch prove` added what became of each mistake; return its trace."""
    proof.write(found.folder / proof.WINDOWS, windows)
    dropped = ("llorch_proof", "counts", "not_run", "files", proof.SEAL)
    about = {key: value for key, value in found.manifest.items() if key not in dropped}
    about["commands"] = [*about["commands"][:1], proof.command()]
    more: dict[str, Any] = {"trials": [dict(trial) for trial in trials], "windows": dict(windows)}
    return _finish(replace(found, manifest=about, **more), spec)


def _finish(found: Proof, spec: ModelSpec) -> Trace:
    """Write what follows from the evidence, then the manifest."""
    folder, about = found.folder, found.manifest
    for name in proof.DERIVED:
        (folder / name).unlink(missing_ok=True)
    about["files"] = proof.file_digests(folder)
    trace = make_trace(found, spec)
    proof.write(folder / proof.VERDICTS, verdicts_of(trace))
    proof.write(folder / proof.JUNIT, junit(trace).encode())
    proof.write(folder / proof.REPORT, report(trace).encode())
    del about["files"]
    proof.seal(folder, {**about, "counts": counts_of(found), "not_run": not_run(found)})
    return trace


def verdicts_of(trace: Trace) -> dict[str, Any]:
    """Return what a trace says of each rule, in short."""
    kept = ("status", "why", "digest", "elements", "of", "scenarios")
    return {rule["rule"]: {key: rule[key] for key in kept} for rule in trace["rules"]}


def counts_of(found: Proof) -> dict[str, int]:
    """Return how many scenarios, comparisons and elements a bundle holds, and scenarios by status."""
    comparisons = [c for outcome in found.outcomes for c in outcome.evidence]
    return {
        "scenarios": len(found.outcomes),
        "comparisons": len(comparisons),
        "elements": sum(0 if c.shapes else c.elements for c in comparisons),
        "of": sum(c.elements for c in comparisons),
        "trials": len(found.trials),
        **{
            f"{status} scenarios": n
            for status, n in sorted(Counter(o.status for o in found.outcomes).items())
        },
    }


def not_run(found: Proof) -> list[dict[str, Any]]:
    """Return each scenario that was not run, with its rules and what it lacks."""
    return [
        {"rules": list(o.rules), "scenario": o.id, "why": o.message}
        for o in found.outcomes
        if o.status == "not run"
    ]
