"""Tests that do not run, or may fail: skip and xfail, where no condition stands with them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Test, bare
from llorch_core.stubs.syntax import dotted, keyword, last, truth
from llorch_core.stubs.tree import Module, flat


def judge_module(module: Module, strict: bool) -> Iterator[Finding]:
    """Judge the marks of a whole file and of its classes."""
    for node in module.tree.body:
        if isinstance(node, ast.Expr | ast.Raise) and _stops(node):
            says = "the whole file is skipped, whatever the machine"
            yield Finding(module.file, node.lineno, "skipped", module.file, says)
    for body, name in ((module.top, module.file), *_classes(module.tree.body)):
        for node in body:
            if isinstance(node, ast.Assign) and any(last(t) == "pytestmark" for t in node.targets):
                marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
                yield from _marked(marks, module, name, strict)
    for node in module.top:
        if isinstance(node, ast.ClassDef):
            yield from _marked(node.decorator_list, module, node.name, strict)


def _classes(body: Iterable[ast.stmt]) -> Iterator[tuple[list[ast.stmt], str]]:
    for node in flat(body):
        if isinstance(node, ast.ClassDef):
            yield node.body, node.name


def judge(test: Test, strict: bool) -> Iterator[Finding]:
    """Judge the marks of one test, those of its parameters, and a skip in its body."""
    yield from _marked(test.node.decorator_list, test.module, test.name, strict)
    for decorator in test.node.decorator_list:
        for node in ast.walk(decorator):
            if isinstance(node, ast.keyword) and node.arg == "marks":
                marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
                yield from _marked(marks, test.module, test.name, strict)
    for statement in test.node.body:
        kind = _stops(statement)
        if kind:
            says = "the test stops here whatever the machine: no condition stands before it"
            yield Finding(test.module.file, statement.lineno, kind, test.name, says)
            return
        if any(isinstance(n, ast.Return | ast.Raise | ast.Assert) for n in ast.walk(statement)):
            return  # it may end before: what comes then has a condition


def _marked(marks: Iterable[ast.expr], module: Module, name: str, strict: bool) -> Iterator[Finding]:
    for mark in marks:
        kind, says = kind_of_mark(mark, module, strict)
        if kind:
            yield Finding(module.file, mark.lineno, kind, name, says)


def kind_of_mark(mark: ast.expr, module: Module, strict: bool) -> tuple[str, str]:
    """Return what kind of stub a mark makes of a test, and why; empty where none."""
    called = bare(mark)
    name, full = last(called), module.full(called)
    call = mark if isinstance(mark, ast.Call) else None
    if not full.startswith(("pytest.", "unittest.", "_pytest.", "unittest2.")):
        return "", ""
    if name == "skip":
        return "skipped", f"{dotted(called)} has no condition"
    when = (call.args[0] if call.args else keyword(call, "condition")) if call else None
    always = when is not None and truth(when) is (name != "skipUnless") and isinstance(when, ast.Constant)
    if name in ("skipif", "skipIf", "skipUnless"):
        return ("skipped", "its condition never changes") if always and not _is_text(when) else ("", "")
    if name == "expectedFailure":
        return "known failure", "it is expected to fail; if it passes, unittest says so"
    if name != "xfail" or (when is not None and not always):
        return "", ""
    run, says_strict = (keyword(call, "run"), keyword(call, "strict")) if call else (None, None)
    if isinstance(run, ast.Constant) and run.value is False:
        return "skipped", "xfail with run=False has no condition"
    if isinstance(says_strict, ast.Constant):
        strict = bool(says_strict.value)
    if strict or (call is not None and keyword(call, "raises")):
        return "known failure", "it is expected to fail"
    return "expected to fail", "xfail without strict: passing and failing are both accepted"


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _stops(statement: ast.stmt) -> str:
    """Return the kind of stub that a statement makes of the test in which it stands."""
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        return "skipped" if last(bare(statement.exc)) == "SkipTest" else ""
    value = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(value, ast.Call):
        return ""
    name = dotted(value.func)
    if name in ("pytest.skip", "self.skipTest") or name.endswith("scenario.skip"):
        return "skipped"
    return "expected to fail" if name == "pytest.xfail" else ""
