"""Tests in Python, judged by llorch's detector of stubs; nothing of them is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from llorch_core.postmortem.tests.kinds import UNIT, Test
from llorch_core.postmortem.tests.places import place
from llorch_core.stubs import marks, report, tree
from llorch_core.stubs import suite as suites
from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.settings import read_settings
from llorch_core.stubs.syntax import last

SETTINGS = {"pyproject.toml", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "setup.py"}
# kinds of the detector that say something of a whole test, and those that say it of one line
WHOLE = {
    "empty": "empty",
    "todo": "stub",
    "no check": "no check",
    "checks its fixture": "own values",
    "checks its mock": "own values",
    "swallowed exception": "swallowed",
    "only runs": "only runs",
    "silent return": "silent",
}
FAILS = {"fail", "exit", "abort", "skip"}
LINES = ("constant check", "checks itself", "never called", "dropped", "never reached")


def find(contents: Mapping[str, bytes], path: str) -> list[Test]:
    """Return the tests of Python files; `contents` are the files of a repository below `path`."""
    with TemporaryDirectory() as folder:
        top = Path(folder)
        (top / ".git").mkdir()  # where the detector looks for settings of pytest, and no further up
        for name, data in contents.items():
            relative = PurePosixPath(name).relative_to(path) if path and name != path else PurePosixPath(name)
            if name.endswith(".py") or str(relative) in SETTINGS:
                (top / relative).parent.mkdir(parents=True, exist_ok=True)
                (top / relative).write_bytes(data)
        return of_tree(top, f"{path}/" if path and path not in contents else "")


def of_tree(top: Path, prefix: str) -> list[Test]:
    """Return the tests under a folder."""
    settings, products = read_settings(top), tree.product_names(top)
    read = (tree.read(f, f.relative_to(top).as_posix(), products, settings) for f in tree.python_files(top))
    suite = suites.Suite([m for m in read if isinstance(m, tree.Module)], products, settings)
    skipped = {
        f.file
        for module in suite.modules
        for f in marks.judge_module(module, settings.strict)
        if f.kind == "skipped"
    }
    return [
        of_test(suite, test, prefix, test.module.file in skipped)
        for test in suite.tests
        if test.style != "behave"
    ]


def of_test(suite: suites.Suite, test: suites.Test, prefix: str, skipped: bool) -> Test:
    """Return one test as the detector judges it."""
    file = prefix + test.module.file
    end = test.node.end_lineno or test.node.lineno
    made = Test(file, test.node.lineno, test.name, test.style, place(file) or UNIT, end, skipped)
    try:
        found = list(report.of_test(suite, test))
    except RecursionError:
        return made
    if any(f.kind in ("skipped", "expected to fail") for f in found):
        made = Test(**{**vars(made), "ignored": True})
    return made.blamed(*verdict(suite, test, found))


def verdict(suite: suites.Suite, test: suites.Test, found: list[Finding]) -> tuple[str, str]:
    """Return the kind of a whole test: a wrong line counts where no other line checks anything."""
    whole = [f for f in found if f.kind in WHOLE]
    if whole:
        return WHOLE[whole[0].kind], whole[0].says
    lines = {f.line: f for f in found if f.kind in LINES}
    checks = {getattr(node, "lineno", 0) for node in suite.check_nodes(test)}
    if lines and checks <= set(lines):
        first = lines[min(lines)]
        return "constant", first.says
    condition = silent(suite, test)
    return ("silent", condition) if condition else ("", "")


def silent(suite: suites.Suite, test: suites.Test) -> str:
    """Return the condition behind which every check of a test stands, or a return before them; else ""."""
    checks = set(suite.check_nodes(test))
    if not checks or suite.checked_around(test) or any(map(fails, checks)):
        return ""
    for statement in test.node.body:
        if isinstance(statement, ast.If) and returns(statement) and checks.isdisjoint(ast.walk(statement)):
            return f"if {ast.unparse(statement.test)}"
        if not checks.isdisjoint(ast.walk(statement)):
            break
    heads = list(conditions(test.node, checks))
    return heads[0] if heads and all(heads) else ""


def fails(check: ast.AST) -> bool:
    """Return whether a check fails always: `if wrong: pytest.fail()` is the check itself."""
    return isinstance(check, ast.Raise) or (isinstance(check, ast.Call) and last(check.func) in FAILS)


def returns(statement: ast.If) -> bool:
    """Return whether the block of an if without an else ends in a plain return."""
    final = statement.body[-1]
    return not statement.orelse and isinstance(final, ast.Return) and final.value is None


def conditions(node: ast.AST, checks: set[ast.AST], head: str = "") -> Iterator[str]:
    """Give for each check below a node the if without an else that it stands in; "" where there is none."""
    if node in checks:
        yield head
    for child in ast.iter_child_nodes(node):
        inner = head
        if isinstance(node, ast.If) and not node.orelse and child in node.body:
            inner = head or f"if {ast.unparse(node.test)}"
        yield from conditions(child, checks, inner)
