"""What is wrong with a trace: worst first, each with what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from llorch_core.trace.proof import Proof

KINDS = {  # worst first
    "error": "The suite itself failed: a step, an example or the specs are wrong.",
    "failed": "The engine does not do what a rule demands.",
    "stub": "A scenario passed and proves nothing: it compared nothing, or never ran what it is about.",
    "missed mistake": "A mistake was put on trial and no scenario of its rule noticed it by a comparison.",
    "orphaned": "A scenario has the tag of a rule that does not exist.",
    "stale": "The rule, its scenarios or the engine changed since the evidence was made.",
    "untested": "No scenario has the tag of a rule.",
    "lost": "The last scenario of a rule was removed by a commit.",
    "without source": "A rule does not say where it comes from.",
    "without rule": "A scenario or a feature has no rule: nobody knows what it proves.",
    "duplicate": "Two rules say the same, or two scenarios of a rule have one title.",
    "not run": "A scenario was not run, since something that it needs is not here.",
    "unproved": "A rule passed, and it was not shown that its scenarios would have noticed its mistakes.",
    "line without rule": "A line of the engine is run by no scenario of any rule.",
}
NEXT = {
    "error": "Correct the step, the example or the spec, and verify again.",
    "failed": "Correct the engine: `llorch diagnose` finds the first wrong number.",
    "stub": "Let it compare what the engine gives with what is wanted.",
    "orphaned": "Correct the tag, or write the rule.",
    "stale": "Make the evidence again: llorch verify -o PROOF && llorch prove -o PROOF",
    "untested": "Write a scenario with its tag.",
}
COMPARE = "Let every comparison of its scenarios hold elements, all of them."
Problem = dict[str, Any]


def problem(
    kind: str, what: str, says: str, next_step: str, file: str | None = None, line: int | None = None
) -> Problem:
    """Return one problem, in the form of the trace."""
    return {"kind": kind, "what": what, "file": file, "line": line, "says": says, "next": next_step}


def problems(trace: Mapping[str, Any], proof: Proof) -> list[Problem]:
    """Return everything that is wrong with a trace, worst first; of one kind, as the data flow."""
    found = [*_rules(trace), *_scenarios(trace), *_empty(trace, proof), *_twins(trace), *_lines(trace)]
    order = list(KINDS)
    return sorted(found, key=lambda p: order.index(p["kind"]))


def _rules(trace: Mapping[str, Any]) -> Iterator[Problem]:
    scenarios = {scenario["id"]: scenario for scenario in trace["scenarios"]}
    for rule in trace["rules"]:
        place = {"file": rule["file"], "line": rule["line"]}
        about = [scenarios[id] for id in rule["scenarios"]]
        first = next((s for s in about if s["status"] == rule["status"]), about[0] if about else None)
        if rule["status"] in ("error", "failed", "stub", "orphaned") and first:
            place = {"file": first["file"], "line": first["line"]}
        if rule["status"] in NEXT:
            yield problem(rule["status"], rule["rule"], rule["why"], NEXT[rule["status"]], **place)
        if rule["lost"]:
            lost = rule["lost"]
            commit = lost["commit"][:10]
            says = f"{lost['file']} lost its last mention in {commit} of {lost['date']}: {lost['subject']}"
            yield problem("lost", rule["rule"], says, f"git show {commit} -- {lost['file']}", **place)
        if rule["says"] is not None and not (rule["source"] or "").strip():
            yield problem(
                "without source", rule["rule"], "it has no source", "Say where it comes from.", **place
            )
        missed = [m for m in rule["mistakes"] if m["status"] not in ("caught", "not run", "not tried")]
        for m in missed:
            says = f"{m['mistake']} was {m['status']} where {rule['rule']} claims to catch it"
            yield problem(
                "missed mistake", rule["rule"], says, f"llorch prove --only {m['mistake']}", **place
            )
        if rule["status"] == "passed" and not missed:
            left = any(m["status"] != "caught" for m in rule["mistakes"])
            whole = left and rule["elements"] == rule["of"] > 0
            next_step = "Put its mistakes on trial: llorch prove -o PROOF" if whole else COMPARE
            yield problem("unproved", rule["rule"], rule["why"], next_step, **place)


def _scenarios(trace: Mapping[str, Any]) -> Iterator[Problem]:
    for scenario in trace["scenarios"]:
        place = {"file": scenario["file"], "line": scenario["line"]}
        if scenario["status"] == "not run":
            rules = ", ".join(scenario["rules"]) or "no rule"
            says = f"{scenario['title']}: it lacks {scenario['message']}"
            yield problem(
                "not run", rules, says, "Bring what it lacks, or allow it by name, with a reason.", **place
            )
        if not scenario["rules"]:
            says = f"{scenario['title']}: it has no tag of a rule"
            yield problem(
                "without rule", scenario["id"], says, "Tag it with the rule that it proves.", **place
            )


def _empty(trace: Mapping[str, Any], proof: Proof) -> Iterator[Problem]:
    """Yield features that hold no scenario, where all were asked for."""
    ran = {scenario["file"] for scenario in trace["scenarios"]}
    for file in sorted(proof.manifest["suite"]):
        if file.endswith(".feature") and file not in ran and proof.manifest["component"] is None:
            yield problem(
                "without rule", file, "the feature holds no scenario", "Delete it, or fill it.", file, 1
            )


def _twins(trace: Mapping[str, Any]) -> Iterator[Problem]:
    says = Counter(" ".join(rule["says"].lower().split()) for rule in trace["rules"] if rule["says"])
    for rule in trace["rules"]:
        if rule["says"] and says[" ".join(rule["says"].lower().split())] > 1:
            text = f"another rule says the same: {rule['says']}"
            yield problem(
                "duplicate", rule["rule"], text, "Keep one of them.", file=rule["file"], line=rule["line"]
            )
    titles = Counter((s["file"], s["title"]) for s in trace["scenarios"])
    for scenario in trace["scenarios"]:
        if titles[scenario["file"], scenario["title"]] > 1:
            text = f"another scenario of the feature has the title {scenario['title']!r}"
            yield problem(
                "duplicate", scenario["id"], text, "Say what each shows.", scenario["file"], scenario["line"]
            )


def _lines(trace: Mapping[str, Any]) -> Iterator[Problem]:
    for entry in trace["code"]:
        for first, last in runs(entry["missed"]):
            text = entry["text"][first - 1].strip()
            where = f"lines {first} to {last}" if last > first else f"line {first}"
            says = f"no scenario runs {where}: {text}"
            yield problem(
                "line without rule",
                entry["file"],
                says,
                "Write a scenario, or delete it.",
                entry["file"],
                first,
            )


def runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of numbers that follow one another."""
    start = last = None
    for n in numbers:
        if last is not None and start is not None and n > last + 1:
            yield start, last
            start = n
        start = n if start is None else start
        last = n
    if start is not None and last is not None:
        yield start, last
