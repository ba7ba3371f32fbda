"""Tests that catch the failure of their own checks and go on."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from llorch_core.stubs.hollow import harmless
from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Suite, Test, bare
from llorch_core.stubs.syntax import dotted, inside, last

BROAD = {"Exception", "BaseException", "AssertionError", "self.failureException"}


def judge(suite: Suite, test: Test) -> Iterator[Finding]:
    """Judge every try and suppress of a test or step."""
    for node in inside(test.node):
        if isinstance(node, ast.Try):
            handler = next((h for h in node.handlers if _is_broad(h.type) and goes_on(h)), None)
            if handler is not None and _matters(suite, test, node.body, node):
                what = "every exception" if handler.type is None else ast.unparse(handler.type)
                says = f"it catches {what} and goes on: what fails in the try is not noticed"
                yield Finding(test.module.file, handler.lineno, "swallowed exception", test.name, says)
        elif isinstance(node, ast.With) and any(map(_suppresses, node.items)):
            says = "it suppresses every exception: what fails in it is not noticed"
            if _matters(suite, test, node.body, node):
                yield Finding(test.module.file, node.lineno, "swallowed exception", test.name, says)


def _is_broad(kind: ast.expr | None) -> bool:
    """Tell whether an except takes failed assertions, too."""
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(dotted(k).removeprefix("builtins.") in BROAD for k in kinds)


def goes_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler does nothing about the exception: it passes, prints, logs or returns."""
    plain = (ast.Pass, ast.Continue, ast.Break)
    return all(isinstance(s, plain) or _says_only(s) for s in handler.body)


def _says_only(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        value = statement.value
        if isinstance(value, ast.Call) and last(value.func) in ("print", "print_exc"):
            return True
    return isinstance(statement, ast.Expr | ast.Return) and harmless(statement)


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and last(call.func) == "suppress" and any(map(_is_broad, call.args))


def _matters(suite: Suite, test: Test, body: Sequence[ast.stmt], around: ast.AST) -> bool:
    """Tell whether a check, or everything that a test without another check does, is in a body."""
    within = {n for s in body for n in ast.walk(s)}
    if any(suite.is_check(n, test) and not _raises_other(suite, n) for n in within):
        return True
    if not test.must_check or suite.checks(test) or suite.checked_around(test):
        return False
    outside = [s for s in test.node.body if s is not around and around not in set(ast.walk(s))]
    calls = any(isinstance(n, ast.Call) for n in within)
    return calls and not any(isinstance(n, ast.Call) for s in outside for n in ast.walk(s))


def _raises_other(suite: Suite, node: ast.AST) -> bool:
    """Tell whether a statement raises what is no failed assertion: the exception that the test is about."""
    return isinstance(node, ast.Raise) and not (node.exc and suite.is_assertion(last(bare(node.exc))))
