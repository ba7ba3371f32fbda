"""Product code that asks whether it is being tested."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from llorch_core.stubs.assertions import shown
from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Scope, functions
from llorch_core.stubs.syntax import dotted, last, root, text
from llorch_core.stubs.tree import Module

VARIABLE = re.compile(r"(^|_)(TEST|TESTS|TESTING|TESTMODE|PYTEST|UNITTEST|MOCK|FAKE|STUB)(_|$)", re.I)
FLAG = re.compile(
    r"_?(is_|in_|under_|running_)?(testing|unit_?tests?|test_mode|pytest|tests?_running)|_?(is|in|under)_tests?",
    re.I,
)
FRAMEWORKS = {"pytest", "unittest", "nose", "_pytest", "behave"}


def judge(module: Module, products: set[str]) -> Iterator[Finding]:
    """Judge a file of the product."""
    scopes = list(functions(module))
    seen = set()
    for node in module.nodes:
        says = _asks(node, FRAMEWORKS - products)
        line = getattr(node, "lineno", 0)
        if says and line not in seen:
            seen.add(line)
            yield Finding(
                module.file, line, "test switch in product code", _place(scopes, line) or module.file, says
            )


def _place(scopes: list[Scope], line: int) -> str:
    return next((s.name for s in scopes if s.node.lineno <= line <= (s.node.end_lineno or 0)), "")


def _asks(node: ast.AST, frameworks: set[str]) -> str:
    """Return in which words a node asks; empty where it does not."""
    match node:
        case ast.Call(func=func, args=[first, *_]) if _reads_environment(func) and VARIABLE.search(
            text(first)
        ):
            return f"it reads the environment variable {text(first)}"
        case ast.Subscript(value=value, slice=key, ctx=ast.Load()) if _is_environment(value):
            return f"it reads the environment variable {text(key)}" if VARIABLE.search(text(key)) else ""
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]):
            word = text(left)
            if _is_environment(right) and VARIABLE.search(word):
                return f"it reads the environment variable {word}"
            if dotted(right) == "sys.modules" and word in frameworks:
                return f"it asks whether {word} is loaded"
            if root(right) == "sys" and "argv" in ast.unparse(right) and word in {*frameworks, "test"}:
                return f"it asks whether {word} was called"
        case ast.If(test=test) | ast.IfExp(test=test):
            flags = [n for n in _operands(test) if isinstance(n, ast.Name) and FLAG.fullmatch(n.id)]
            return f"it asks {shown(flags[0])}" if flags else ""
    return ""


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    """Walk what a condition is made of by and, or, not."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _operands(value)
    elif isinstance(node, ast.UnaryOp):
        yield from _operands(node.operand)
    else:
        yield node


def _reads_environment(func: ast.expr) -> bool:
    if last(func) == "getenv":
        return True
    return isinstance(func, ast.Attribute) and func.attr in ("get", "pop") and _is_environment(func.value)


def _is_environment(node: ast.expr) -> bool:
    return dotted(node) in ("os.environ", "environ")
