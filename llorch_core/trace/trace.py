"""The trace: every rule and what stands behind it, in one object that every renderer reads.

Forwards it leads from a rule to its scenarios, the lines of the engine that they ran, the elements that
they compared and the mistakes that were caught; backwards from a line to the rules that ran it. Its form
is specs/schema/trace.schema.json.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llorch_core.check.compare import Comparison, as_json, number
from llorch_core.spec.behaviour import Behaviour
from llorch_core.spec.component import Component, Rule, show_shape
from llorch_core.spec.model import ModelSpec, generic
from llorch_core.spec.suite import suite_folder
from llorch_core.trace import origin
from llorch_core.trace.lessons import lessons
from llorch_core.trace.lines import PACKAGE, lines_of, mark_idle, statements
from llorch_core.trace.problems import problems
from llorch_core.trace.proof import Proof, content_digest
from llorch_core.trace.session import Outcome
from llorch_core.trace.verdict import Verdict, verdicts

Trace = dict[str, Any]
Part = Component | Behaviour | ModelSpec


def make_trace(proof: Proof, spec: ModelSpec) -> Trace:
    """Return the trace of a proof bundle, held against the specs and the code as they are now."""
    manifest = proof.manifest
    ours = bool(manifest["engine"]["traced"])
    if ours:
        mark_idle(proof.outcomes, proof.ran)
    whole = manifest["component"] is None
    found = verdicts(spec, proof.outcomes, manifest["component"])
    trials: dict[str, list[dict[str, Any]]] = {}
    for trial in proof.trials:
        trials.setdefault(trial["rule"], []).append(trial)
    changed = changed_files(proof)
    lines = {o.id: lines_of(proof.ran, o.id, sorted(o.shared)) for o in proof.outcomes}
    rules = [_rule(verdict, spec, proof, trials.get(verdict.id, []), changed, lines) for verdict in found]
    untested = [rule for rule in rules if rule["status"] == "untested"]
    removals = _removals() if untested else {}
    for rule in untested:
        rule["lost"] = removals.get(rule["rule"])
    index = {rule["rule"]: i for i, rule in enumerate(rules)}
    code = _code(proof, index, lines) if ours else []
    trace: Trace = {
        "llorch_trace": "1",
        "engine": manifest["engine"]["name"],
        "model": manifest["model"]["name"],
        "precision": manifest["engine"]["precision"],
        "made": {
            **{key: manifest[key] for key in ("at", "seconds", "commands", "versions", "machine")},
            **{key: manifest["git"][key] for key in ("commit", "dirty")},
            "digest": content_digest(manifest["files"]),
        },
        "totals": {},
        "components": [
            _component(part, spec, proof)
            for part in spec.parts()
            if whole or part.id == manifest["component"]
        ],
        "rules": rules,
        "scenarios": [_scenario(outcome, lines[outcome.id]) for outcome in proof.outcomes],
        "code": code,
        "lessons": lessons(spec.lessons, rules),
        "problems": [],
    }
    trace["totals"] = _totals(trace, proof)
    trace["problems"] = problems(trace, proof)
    return trace


def rule_digest(rule: Rule, part: Part) -> str:
    """Return the digest of a rule: its words, and the equations or data of its component."""
    said = {"level": rule.level, "text": rule.text, "source": rule.source, "catches": sorted(rule.catches)}
    kept = ("inputs", "constants", "equations", "output", "tolerance", "conditions", "data", "cases", "steps")
    formula = {key: part.file.data[key] for key in kept if key in part.file.data}
    return hashlib.sha256(json.dumps([said, formula], sort_keys=True, default=str).encode()).hexdigest()


def rule_digests(spec: ModelSpec) -> dict[str, str]:
    """Return the digest of every rule."""
    return {rule.id: rule_digest(rule, part) for part in spec.parts() for rule in part.rules.values()}


def changed_files(proof: Proof) -> set[str]:
    """Return the files of steps and features, and of our engine, that differ from those of the evidence."""
    was, now = proof.manifest["suite"], origin.suite_files()
    changed = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
    if proof.manifest["engine"]["traced"]:
        was, now = proof.manifest["code"], origin.code_files()
        engine = {n for n in was.keys() | now.keys() if n.startswith("llorch_core/engine/")}
        changed |= {name for name in engine if was.get(name) != now.get(name)}
    return {name for name in changed if not name.startswith("specs/")}


def _rule(
    verdict: Verdict,
    spec: ModelSpec,
    proof: Proof,
    trials: Sequence[Mapping[str, Any]],
    changed: set[str],
    lines: Mapping[str, dict[str, list[int]]],
) -> dict[str, Any]:
    rule, part = verdict.rule, next((p for p in spec.parts() if verdict.id.partition(".")[0] == p.id), None)
    digest = rule_digest(rule, part) if rule and part else None
    mistakes = _mistakes(rule, trials)
    status, why = _status(verdict, mistakes, digest, proof, changed)
    elements = sum(0 if c.shapes else c.elements for c in _evidence(verdict))
    shared = [lines[outcome.id] for outcome in verdict.outcomes]
    return {
        "rule": verdict.id,
        "component": verdict.id.partition(".")[0],
        "says": rule.text if rule else None,
        "level": rule.level if rule else None,
        "source": rule.source if rule else None,
        "digest": digest,
        "file": part.file.path.relative_to(suite_folder()).as_posix() if rule and part else None,
        "line": part.file.lines[("rules", verdict.id.partition(".")[2])] if rule and part else None,
        "status": status,
        "why": why,
        "elements": elements,
        "of": verdict.elements,
        "worst": as_json(verdict.worst) if verdict.worst else None,
        "scenarios": [outcome.id for outcome in verdict.outcomes],
        "mistakes": mistakes,
        "lines": {
            file: sorted({line for ran in shared for line in ran.get(file, ())})
            for file in sorted({file for ran in shared for file in ran})
        },
        "lost": None,
    }


def _evidence(verdict: Verdict) -> list[Comparison]:
    return [comparison for outcome in verdict.outcomes for comparison in outcome.evidence]


def _mistakes(rule: Rule | None, trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what became of each mistake that a rule claims to catch."""
    tried = {trial["mistake"]: trial for trial in trials}
    found = []
    for mistake in rule.catches if rule else ():
        trial = tried.get(mistake, {"status": "not tried", "scenario": None, "found": None})
        seen = trial["found"] or {"checkpoint": None, "share": None}
        found.append(
            {
                "mistake": mistake,
                "status": trial["status"],
                "scenario": trial["scenario"],
                "checkpoint": seen["checkpoint"],
                "tolerances": seen["share"],
            }
        )
    return found


def _status(
    verdict: Verdict,
    mistakes: Sequence[Mapping[str, Any]],
    digest: str | None,
    proof: Proof,
    changed: set[str],
) -> tuple[str, str]:
    """Return the status of a rule, and why it is not proved."""
    if verdict.status == "untested":
        return "untested", "no scenario has its tag"
    if verdict.status == "orphaned":
        return "orphaned", "a tag of a scenario that is no rule"
    if verdict.status != "passed":
        return verdict.status, next(o.message for o in verdict.outcomes if o.status == verdict.status)
    if digest != proof.manifest["rules"].get(verdict.id):
        return "stale", "its text, its equations or its tolerance changed since the evidence was made"
    touched = sorted(changed & {o.file for o in verdict.outcomes}) or sorted(
        name for name in changed if not name.startswith("features/")
    )
    if touched:
        return "stale", f"{', '.join(touched[:3])} changed since the evidence was made"
    if any(c.shapes or not c.elements for c in _evidence(verdict)) or not verdict.elements:
        return "passed", "not every element was compared"
    left = [m for m in mistakes if m["status"] != "caught"]
    if left:
        words = Counter(m["status"] for m in left)
        return (
            "passed",
            f"{', '.join(f'{n} {word}' for word, n in words.items())} of {len(mistakes)} mistakes",
        )
    return "proved", ""


def _removals() -> dict[str, dict[str, str]]:
    """Return for each rule the last commit that took mentions of it away from the features."""
    said = origin.git(
        "log", "-p", "-U0", "--no-renames", "--no-color", "--no-ext-diff", "-G@[a-z]",
        "--format=%x00%H%x00%cs%x00%s", "--", "features", folder=suite_folder(),
    )  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    parts = (said or "").split("\0")[1:]
    for commit, date, rest in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        subject, _, patch = rest.partition("\n")
        more: Counter[str] = Counter()
        files: dict[str, str] = {}
        file = ""
        for line in patch.splitlines():
            if line.startswith("--- a/"):
                file = line.removeprefix("--- a/")
            for rule in re.findall(r"@([a-z0-9_]+\.[a-z0-9_]+)", line) if line[:1] in "+-" else ():
                more[rule] += 1 if line[0] == "+" else -1
                if line[0] == "-":
                    files.setdefault(rule, file)
        for rule in (rule for rule, n in more.items() if n < 0):
            found.setdefault(rule, {"commit": commit, "date": date, "subject": subject, "file": files[rule]})
    return found


def _component(part: Part, spec: ModelSpec, proof: Proof) -> dict[str, Any]:
    data = part.file.data
    kind = {Component: "arithmetic", Behaviour: "behaviour", ModelSpec: "model"}[type(part)]
    tolerance = None
    inputs: list[dict[str, str]] = []
    if isinstance(part, Component):
        bounds = {name: equation.text for name, equation in part.bounds.items()}
        tolerance = {"bounds": bounds, "why": part.why}
        inputs = [
            {"name": name, "shape": show_shape(entry.shape), "meaning": entry.meaning}
            for name, entry in part.inputs.items()
        ]
    return {
        "id": part.id,
        "kind": kind,
        "title": part.title,
        "purpose": part.purpose,
        "source": list(part.source),
        "file": part.file.path.relative_to(suite_folder()).as_posix(),
        "inputs": inputs,
        "constants": dict(data.get("constants", {})),
        "equations": {name: str(text) for name, text in data.get("equations", {}).items()},
        "data": dict(data.get("data", {})),
        "tolerance": tolerance,
        "window": proof.windows.get(part.id),
        "appears_as": list(data.get("appears_as", ())),
        "mistakes": [
            {
                "id": f"{part.id}.{name}",
                "symptom": entry["symptom"],
                "instead": entry.get("instead") or {"policy": entry.get("policy")},
                "seen_in": list(entry.get("seen_in", ())),
                "hidden_in": list(entry.get("hidden_in", ())),
            }
            for name, entry in data["mistakes"].items()
        ],
        "rules": [rule.id for rule in part.rules.values()],
        "errors": _errors(data.get("appears_as", ()), proof.outcomes),
    }


def _errors(checkpoints: Sequence[str], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the worst error of each checkpoint in each block, in tolerances, of all that was compared."""
    worst: dict[str, dict[int | None, float]] = {name: {} for name in checkpoints}
    for comparison in (c for o in outcomes if o.status != "not run" for c in o.evidence):
        name = generic(comparison.what)
        if name in worst and comparison.step is not None:
            block = re.match(r"h\.(\d+)\.", comparison.what)
            layer = int(block[1]) if block else None
            worst[name][layer] = max(worst[name].get(layer, 0.0), comparison.share)
    return [
        {"checkpoint": name, "layers": [{"layer": n, "share": number(x)} for n, x in sorted(found.items())]}
        for name, found in worst.items()
        if found
    ]


def _scenario(outcome: Outcome, lines: Mapping[str, list[int]]) -> dict[str, Any]:
    evidence = [as_json(comparison) for comparison in outcome.evidence]
    return {
        "id": outcome.id,
        "title": outcome.title,
        "feature": outcome.feature,
        "file": outcome.file,
        "line": outcome.line,
        "rules": list(outcome.rules),
        "status": outcome.status,
        "message": outcome.message,
        "text": outcome.text,
        "seconds": outcome.seconds,
        "elements": sum(e["elements"] for e in evidence),
        "of": sum(e["of"] for e in evidence),
        "evidence": evidence,
        "lines": dict(lines),
    }


def _code(
    proof: Proof, index: Mapping[str, int], lines: Mapping[str, dict[str, list[int]]]
) -> list[dict[str, Any]]:
    """Return the engine's files, and for each line the rules whose scenarios ran it."""
    by_line: dict[str, dict[int, set[int]]] = {}
    for outcome in proof.outcomes:
        rules = {index[rule] for rule in outcome.rules if rule in index}
        for file, numbers in lines[outcome.id].items():
            for line in numbers:
                by_line.setdefault(file, {}).setdefault(line, set()).update(rules)
    code = []
    for file, entry in statements().items():
        run = {line: rules for line, rules in sorted(by_line.get(file, {}).items()) if rules}
        text = (PACKAGE.parent / file).read_text(encoding="utf-8").splitlines()
        missed = [x for x in entry["statements"] if x not in run and x not in entry["imported"]]
        code.append(
            {
                "file": file,
                "text": text,
                "statements": entry["statements"],
                "run": {str(line): sorted(rules) for line, rules in run.items()},
                "missed": missed,
                "excused": [x for x in entry["imported"] if x not in run],
            }
        )
    return [entry for entry in code if entry["statements"]]


def uncompared(proof: Proof) -> dict[str, int]:
    """Return the checkpoints of the standard reading that no comparison held whole, with their elements."""
    held = {
        f"{c.step}/{c.what}"
        for outcome in proof.outcomes
        for c in outcome.evidence
        if c.elements == proof.reading.get(f"{c.step}/{c.what}") and not c.shapes
    }
    given = (name for name in proof.reading if name not in held and not name.endswith("/ids"))
    return {name: proof.reading[name] for name in given}


def _totals(trace: Trace, proof: Proof) -> dict[str, Any]:
    comparisons = [e for scenario in trace["scenarios"] for e in scenario["evidence"]]
    trials: dict[str, set[str]] = {}
    for m in (m for rule in trace["rules"] for m in rule["mistakes"]):
        trials.setdefault(m["mistake"], set()).add(m["status"])
    held = {mistake: statuses - {"not run", "not tried"} for mistake, statuses in trials.items()}
    left = sum(uncompared(proof).values()) if proof.manifest["component"] is None else 0
    code = trace["code"]
    return {
        "rules": len(trace["rules"]),
        "scenarios": len(trace["scenarios"]),
        "comparisons": len(comparisons),
        "elements": sum(e["elements"] for e in comparisons),
        "of": sum(e["of"] for e in comparisons) + left,
        "mistakes": len(trials),
        "tried": sum(bool(statuses) for statuses in held.values()),
        "caught": sum(statuses == {"caught"} for statuses in held.values()),
        "lines": sum(len(e["statements"]) for e in code) if code else None,
        "lines_run": sum(len(e["statements"]) - len(e["missed"]) for e in code) if code else None,
        "statuses": dict(Counter(rule["status"] for rule in trace["rules"])),
    }
