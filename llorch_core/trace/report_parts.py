"""The parts of the report: what links to what, what stands where, and the code with what ran it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from llorch_core.spec.model import generic
from llorch_core.trace.words import Trace, lessons, number, ranges

KEYWORD = re.compile(r"\s*(Scenario Outline|Scenario|Background|Examples|Given|When|Then|And|But)\b:?")


class Anchors:
    """Names of places in the page: one for each thing of the trace, none twice, none that breaks a link."""

    def __init__(self, trace: Trace) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()
        for kind, key in (("component", "id"), ("rule", "rule"), ("scenario", "id"), ("code", "file")):
            for entry in trace[kind if kind == "code" else f"{kind}s"]:
                self._add(kind, entry[key])
        for scenario in trace["scenarios"]:
            self._add("evidence", scenario["id"])
        for component in trace["components"]:
            for mistake in component["mistakes"]:
                self._add("mistake", mistake["id"])
        for lesson in lessons(trace):
            self._add("lesson", lesson["lesson"])
        self._lines: dict[str, set[int]] = {}
        for entry in trace["code"]:
            self._add("line", entry["file"], PurePosixPath(entry["file"]).name)
            told = {*entry["missed"], *entry["excused"], *map(int, entry["run"])}
            self._lines[entry["file"]] = {n for n in told if 0 < n <= len(entry["text"])}

    def _add(self, kind: str, name: str, shown: str = "") -> None:
        wanted = f"{kind}-" + re.sub(r"[^A-Za-z0-9_.:/-]", "-", shown or name)
        free, n = wanted, 2
        while free in self._taken:
            free, n = f"{wanted}-{n}", n + 1
        self._taken.add(self._known.setdefault((kind, name), free))

    def __call__(self, kind: str, name: str | None, line: int | None = None) -> str:
        """Return the anchor of a thing, or nothing where the page does not show it."""
        found = self._known.get((kind, name or ""), "")
        if kind != "line":
            return found
        return f"{found}:{line}" if line in self._lines.get(name or "", ()) else ""


def by_component(trace: Trace) -> list[tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]]:
    """Return each component with its rules; at the end, without a component, the rules of none."""
    known = {component["id"] for component in trace["components"]}
    sections: list[tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]] = [
        (component, [rule for rule in trace["rules"] if rule["component"] == component["id"]])
        for component in trace["components"]
    ]
    others = [rule for rule in trace["rules"] if rule["component"] not in known]
    return [*sections, (None, others)]


def home(trace: Trace) -> dict[str | None, list[Mapping[str, Any]]]:
    """Return the scenarios by the component of their first rule; under None those of no component."""
    known = {component["id"] for component in trace["components"]}
    owner = {rule["rule"]: rule["component"] for rule in trace["rules"]}
    found: dict[str | None, list[Mapping[str, Any]]] = {}
    for scenario in trace["scenarios"]:
        of = next((owner[r] for r in scenario["rules"] if owner.get(r) in known), None)
        found.setdefault(of, []).append(scenario)
    return found


def by_kind(problems: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]], str]]:
    """Return problems by kind, worst first, and what is to be done where it is the same for all of a kind."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for problem in problems:
        found.setdefault(problem["kind"], []).append(problem)
    same = {kind: {problem["next"] for problem in of} for kind, of in found.items()}
    return [(kind, of, same[kind].pop() if len(same[kind]) == 1 else "") for kind, of in found.items()]


def not_run(trace: Trace) -> list[tuple[str, str, str]]:
    """Return what was not run, why, and what to do: each rule once, then scenarios of rules that were run."""
    whys = {rule["rule"]: rule["why"] for rule in trace["rules"] if rule["status"] == "not run"}
    nexts = {p["what"]: p["next"] for p in trace["problems"] if p["kind"] == "not run"}
    found = [(rule, why, nexts.get(rule, "")) for rule, why in whys.items()]
    others = {p["says"]: p for p in trace["problems"] if p["kind"] == "not run" and p["what"] not in whys}
    return found + [(p["what"], p["says"], p["next"]) for p in others.values()]


def gherkin(text: str) -> list[tuple[str, str]]:
    """Return the lines of a scenario, each as its keyword and the rest."""
    lines = []
    for line in text.splitlines():
        found = KEYWORD.match(line)
        lines.append((found.group(), line[found.end() :]) if found else ("", line))
    return lines


@dataclass(frozen=True)
class Group:
    """The comparisons of one checkpoint, in every block and at every forward call."""

    name: str
    comparisons: Sequence[Mapping[str, Any]]

    @property
    def worst(self) -> float:
        """The worst error, as a share of its tolerance."""
        return max(number(c["share"]) for c in self.comparisons)

    @property
    def elements(self) -> int:
        """How many elements were compared."""
        return sum(c["elements"] for c in self.comparisons)


def groups(evidence: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Return comparisons by checkpoint, whatever the block, in the order in which they come first."""
    order: dict[str, int] = {}
    for comparison in evidence:
        order.setdefault(generic(comparison["checkpoint"]), len(order))
    placed = sorted(evidence, key=lambda c: order[generic(c["checkpoint"])])
    return [Group(name, list(found)) for name, found in groupby(placed, lambda c: generic(c["checkpoint"]))]


class Code:
    """The engine's lines, and which rules ran them. Lines that the same rules ran share one list."""

    def __init__(self, trace: Trace, anchors: Anchors) -> None:
        self.files = trace["code"]
        self.anchors = anchors
        self._ids = [rule["rule"] for rule in trace["rules"]]
        self._statements = {entry["file"]: entry["statements"] for entry in self.files}
        self.sets: dict[tuple[int, ...], int] = {}
        for entry in self.files:
            for rules in entry["run"].values():
                self.sets.setdefault(tuple(sorted(rules)), len(self.sets) + 1)

    def lines(self, entry: Mapping[str, Any]) -> list[tuple[int, str, str, int, int]]:
        """Return number, text, kind (ran, missed, excused or none), rules, and which list of them."""
        missed, excused = set(entry["missed"]), set(entry["excused"])
        found = []
        for n, text in enumerate(entry["text"], 1):
            rules = tuple(sorted(entry["run"].get(str(n), ())))
            kind = "ran" if rules else "missed" if n in missed else "excused" if n in excused else ""
            found.append((n, text, kind, len(rules), self.sets.get(rules, 0)))
        return found

    def members(self, rules: tuple[int, ...]) -> list[tuple[str, list[str]]]:
        """Return the rules of a list by component; a component that is in it with all its rules has none."""
        ids = [self._ids[i] for i in rules if i < len(self._ids)]
        found = []
        for component, of in groupby(ids, lambda id: id.partition(".")[0]):
            members = list(of)
            whole = sum(id.startswith(f"{component}.") for id in self._ids) == len(members) > 1
            found.append((component, [] if whole else members))
        return found

    def stretches(self, lines: Mapping[str, Sequence[int]]) -> list[tuple[str, int, list[tuple[int, int]]]]:
        """Return file, statements, and runs of statements that follow each other, first and last line."""
        found = []
        for file, ran in lines.items():
            order = {line: i for i, line in enumerate(self._statements.get(file, ()))}
            at = {i: line for line, i in order.items()}
            runs = [(at[a], at[b]) for a, b in ranges(order[line] for line in ran if line in order)]
            found.append((file, len(ran), runs or ranges(ran)))
        return found
