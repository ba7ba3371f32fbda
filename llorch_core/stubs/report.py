"""Find every stub of a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llorch_core.stubs import (
    assertions,
    excuses,
    hollow,
    marks,
    own,
    pushed,
    replaced,
    sampled,
    swallowed,
    switches,
)
from llorch_core.stubs.excuses import Excused
from llorch_core.stubs.kinds import KINDS, SURE, Finding
from llorch_core.stubs.settings import read_settings
from llorch_core.stubs.suite import Scope, Suite, Test
from llorch_core.stubs.tree import Module, NotRead, home, product_names, python_files, read

CLEAN, STUBS, UNDECIDED = 0, 1, 2
STYLES = ("pytest", "unittest", "behave")
ABOUT_A_TEST = {
    "empty",
    "todo",
    "no check",
    "only runs",
}  # said only where nothing else was found in the test


@dataclass(frozen=True)
class Report:
    """What was found under `root`; `tests` counts those of each style, steps for behave."""

    root: str
    products: list[str]
    files: int
    tests: dict[str, int]
    findings: list[Finding]
    excused: list[Excused]
    not_read: list[NotRead]

    @property
    def sure(self) -> list[Finding]:
        """The findings that cannot fail."""
        return [f for f in self.findings if f.level == SURE]

    @property
    def reason(self) -> str:
        """Why nothing can be said; empty where something can."""
        if not sum(self.tests.values()):
            return "no test was found"
        lost = [f for f in self.not_read if f.matters]
        return f"{lost[0].file} was not read: it {lost[0].says}" if lost and not self.sure else ""

    @property
    def exit_code(self) -> int:
        """0: nothing sure was found; 1: something; 2: could not tell."""
        if self.reason:
            return UNDECIDED
        return STUBS if self.sure else CLEAN

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "verdict": ("clean", "stubs", "undecided")[self.exit_code],
            "reason": self.reason,
            "path": self.root,
            "products": self.products,
            "files": self.files,
            "tests": self.tests,
            "findings": [{**f.problem(), "level": f.level} for f in self.findings],
            "excused": [
                {**e.finding.problem(), "level": e.finding.level, "because": e.reason} for e in self.excused
            ],
            "not_read": [{"file": n.file, "line": n.line, "says": n.says} for n in self.not_read],
            "kinds": {name: {"what": k.what, "why": k.why, "level": k.level} for name, k in KINDS.items()},
        }


def find(
    path: Path,
    products: Sequence[str] = (),
    files: Sequence[Path] | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Report:
    """Read a file or a folder, and find what cannot fail.

    products  names of the packages under test; default: those that the project ships
    files     what to read; default: every Python file of the path
    advance   is told of each file that was read
    """
    base = path if path.is_dir() else path.parent
    project = home(path.resolve())
    names, settings = set(products) or product_names(project), read_settings(project)
    modules, not_read = [], []
    listed = python_files(path) if files is None else files
    for file in listed:
        got = read(file, file.relative_to(base).as_posix(), names, settings)
        if isinstance(got, Module):
            modules.append(got)
        else:
            not_read.append(got)
        advance(1)
    suite = Suite(modules, names, settings)
    found, lost = _judge(suite)
    not_read += lost
    standing, excused = excuses.weigh(modules, sorted(set(found)))
    counts = Counter(test.style for test in suite.tests)
    return Report(
        str(path), sorted(names), len(modules), {s: counts[s] for s in STYLES}, standing, excused, not_read
    )


def _judge(suite: Suite) -> tuple[list[Finding], list[NotRead]]:
    """Judge each module; one that is nested too deeply is named, and the others are judged."""
    found, lost = [], []
    tests: dict[Module, list[Test]] = {}
    for test in suite.tests:
        tests.setdefault(test.module, []).append(test)
    scopes: dict[Module, list[Scope]] = {}
    for scope in suite.scopes:
        scopes.setdefault(scope.module, []).append(scope)
    jobs = [(m, _of_module(suite, m, tests.get(m, []), scopes.get(m, []))) for m in suite.modules]
    steps = next((module for module in suite.modules if module.role == "steps"), None)
    if steps is not None:
        jobs.append((steps, pushed.judge(suite)))
    for module, findings in jobs:
        try:
            found += list(findings)
        except RecursionError:
            lost.append(
                NotRead(module.file, 1, "is nested too deeply to be judged", module.role != "support")
            )
    return found, lost


def _of_module(suite: Suite, module: Module, tests: list[Test], scopes: list[Scope]) -> Iterator[Finding]:
    if module.role == "product":
        yield from switches.judge(module, suite.products)
    if module.role not in ("test", "steps"):
        return
    yield from marks.judge_module(module, suite.settings.strict)
    by_node = {test.node: test for test in tests}
    for scope in scopes:
        if scope.node not in by_node:
            yield from assertions.judge(scope)
    for test in by_node.values():
        yield from of_test(suite, test)


def of_test(suite: Suite, test: Test) -> Iterator[Finding]:
    """Judge one test or step. What is wrong in a line is said there, and not once more of the whole."""
    found = [
        *marks.judge(test, suite.settings.strict),
        *assertions.judge(test),
        *swallowed.judge(suite, test),
    ]
    found += [*replaced.judge(suite, test), *own.judge(suite, test), *sampled.judge(test)]
    sure = {f.line for f in found if f.level == SURE}
    yield from (f for f in found if f.kind != "sampled" or f.line not in sure)
    said = sure or any(f.kind == "known failure" for f in found)
    yield from (f for f in hollow.judge(suite, test) if not (said and f.kind in ABOUT_A_TEST))
