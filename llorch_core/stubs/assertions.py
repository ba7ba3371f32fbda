"""Single assertions that cannot fail: constants, a thing and itself, what is not called or not looked at."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Scope
from llorch_core.stubs.syntax import (
    EQUALITIES,
    PREDICATES,
    condition,
    fails_always,
    inside,
    last,
    same,
    truth,
)

NO_METHOD = {"called_once", "called_once_with", "called_with", "not_called", "any_call"}  # of a mock
ABOUT_EQUALITY = re.compile(r"eq(_|$|ual)|hash|ident|same|reflex|compar|order|nan|cmp|singleton|cache", re.I)
RAISING = re.compile(r"raises|warns|assert|suppress|expect", re.I)
SHORT = 60


def judge(scope: Scope) -> Iterator[Finding]:
    """Judge every assertion of a function."""
    for node in inside(scope.node):
        kind, says = _judge(node, scope)
        if kind:
            yield Finding(scope.module.file, getattr(node, "lineno", 0), kind, scope.name, says)


def _judge(node: ast.AST, scope: Scope) -> tuple[str, str]:
    if isinstance(node, ast.Expr):
        return _statement(node, scope)
    demanded = condition(node)
    if demanded is None:
        pair = _twins(node) if isinstance(node, ast.Call) else None
        pair = None if pair is None or _is_within_assert(node, scope) else pair
        pair = None if pair is None or _is_about_equality(scope, pair) else pair
        return ("checks itself", f"both sides are {shown(pair)}") if pair else ("", "")
    called = demanded.func if isinstance(demanded, ast.Call) else None
    if isinstance(called, ast.Attribute) and called.attr in NO_METHOD:
        return "never called", f"{shown(called)} is no method of a mock, and true for every mock"
    if truth(demanded) is True:
        if _has_an_alternative(node, scope):
            return "", ""
        return "constant check", f"{_written(node)} is true whatever happens{_hint(demanded)}"
    twin = _itself(demanded, scope)
    if twin is not None:
        return "checks itself", f"both sides of {_written(node)} are {shown(twin)}"
    aliased = _aliases(demanded, scope)
    if aliased:
        return (
            "checks itself",
            f"{aliased[0]} and {aliased[1]} are the same object: one was assigned the other",
        )
    return "", ""


def _statement(node: ast.Expr, scope: Scope) -> tuple[str, str]:
    """Judge an expression that stands alone as a statement."""
    value = node.value
    if isinstance(value, ast.Attribute) and (value.attr.startswith("assert") or value.attr in NO_METHOD):
        return "never called", f"{shown(value)} is named and not called"
    called = value.func if isinstance(value, ast.Call) else None
    if isinstance(called, ast.Attribute) and called.attr in NO_METHOD:
        return "never called", f"{shown(called)} is no method of a mock, which accepts every name"
    compared = isinstance(value, ast.Compare) or (called is not None and last(called) in PREDICATES)
    if compared and not _may_be_about_raising(node, scope):
        return "dropped", f"nobody looks at the result of {shown(value)}"
    return "", ""


def _is_within_assert(node: ast.AST, scope: Scope) -> bool:
    return any(isinstance(around, ast.Assert) for around in ancestors(node, scope))


def _may_be_about_raising(node: ast.AST, scope: Scope) -> bool:
    """Tell whether a statement stands in a with or try that waits for an exception."""
    for around in ancestors(node, scope):
        if isinstance(around, ast.Try) and around.handlers:
            return True
        if isinstance(around, ast.With | ast.AsyncWith):
            names = [last(i.context_expr.func) for i in around.items if isinstance(i.context_expr, ast.Call)]
            if any(RAISING.search(name) for name in names) or len(names) < len(around.items):
                return True
    return False


def _has_an_alternative(node: ast.AST, scope: Scope) -> bool:
    """Tell whether another branch around a constant assertion fails: assert True there says "well done"."""
    return any(
        isinstance(around, ast.If | ast.Try | ast.For | ast.While | ast.Match)
        and any(fails_always(n) for n in ast.walk(around))
        for around in ancestors(node, scope)
    )


def _itself(demanded: ast.expr, scope: Scope) -> ast.expr | None:
    """Return what a condition compares with itself."""
    pair = _twins(_bare(demanded))
    if pair is None or _is_about_equality(scope, pair):
        return None
    return pair


def _bare(node: ast.expr) -> ast.expr:
    """Return the comparison within (a == b).all(), all(a == b), np.all(a == b)."""
    if isinstance(node, ast.Call) and last(node.func) in ("all", "bool", "item"):
        if node.args:
            return _bare(node.args[0])
        if isinstance(node.func, ast.Attribute):
            return _bare(node.func.value)
    return node


def _twins(node: ast.AST) -> ast.expr | None:
    """Return what stands on both sides of a comparison, of a difference within it, or of a function's."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        plain = isinstance(node.left, ast.Name)  # x.y is x.y asks whether a property is kept
        if isinstance(node.ops[0], ast.Eq | ast.LtE | ast.GtE) or (plain and isinstance(node.ops[0], ast.Is)):
            pairs.append((node.left, node.comparators[0]))
        if isinstance(node.ops[0], ast.Lt | ast.LtE):
            minus = [n for n in ast.walk(node.left) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Sub)]
            pairs += [(n.left, n.right) for n in minus]
    elif isinstance(node, ast.Call) and last(node.func) in {*PREDICATES, *EQUALITIES, "compare"}:
        pairs += zip(node.args, node.args[1:], strict=False)
    return next((a for a, b in pairs if _is_still(a) and same(a, b)), None)


def _is_still(node: ast.expr) -> bool:
    """Tell whether an expression only names things, and computes nothing that may be under test."""
    parts = [n for n in ast.walk(node) if isinstance(n, ast.expr)]
    plain = ast.Name | ast.Attribute | ast.Subscript | ast.Slice | ast.Tuple | ast.Constant | ast.UnaryOp
    return all(isinstance(n, plain) for n in parts) and any(isinstance(n, ast.Name) for n in parts)


def _is_about_equality(scope: Scope, side: ast.expr) -> bool:
    """Tell whether a test asks how a thing compares with itself, which an author of __eq__ has to ask."""
    if _is_named_for_equality(scope):
        return True
    for node in inside(scope.node):
        demanded = condition(node)
        for compared in ast.walk(demanded) if demanded is not None else ():
            if isinstance(compared, ast.Compare):
                alike = [same(side, part) for part in (compared.left, *compared.comparators)]
                if any(alike) and not all(alike):
                    return True  # it is compared with something else, too
        if isinstance(node, ast.Call) and last(node.func) == "hash":
            return True
    return False


def _is_named_for_equality(scope: Scope) -> bool:
    return any(ABOUT_EQUALITY.search(name) for name in scope.name.split("."))


def _aliases(demanded: ast.expr, scope: Scope) -> tuple[str, str] | None:
    """Return two names of one object that a condition compares."""
    pair = _bare(demanded)
    if isinstance(pair, ast.Compare) and len(pair.ops) == 1 and isinstance(pair.ops[0], ast.Eq):
        sides = [pair.left, pair.comparators[0]]
    elif isinstance(pair, ast.Call) and last(pair.func) in PREDICATES and len(pair.args) >= 2:
        sides = pair.args[:2]
    else:
        return None
    a, b = (side.id if isinstance(side, ast.Name) else "" for side in sides)
    if not a or not b or a == b or _is_named_for_equality(scope):
        return None
    for new, old in ((a, b), (b, a)):
        made = _bindings(new, scope)
        if len(made) != 1 or not isinstance(made[0], ast.Assign):
            continue
        is_alias = isinstance(made[0].value, ast.Name) and made[0].value.id == old
        on_top = scope.module.parents.get(made[0]) is scope.node
        stays = all(n.lineno < made[0].lineno for n in _bindings(old, scope))
        if is_alias and on_top and stays and made[0].lineno < demanded.lineno:
            return (new, old)
    return None


def _bindings(name: str, scope: Scope) -> list[ast.stmt]:
    """Return the statements of a function that bind a name."""
    found = []
    for node in inside(scope.node):
        stored = isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store | ast.Del)
        if stored or (isinstance(node, ast.Global | ast.Nonlocal) and name in node.names):
            found.append(next(n for n in [node, *ancestors(node, scope)] if isinstance(n, ast.stmt)))
    return found


def ancestors(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Walk from a node outwards, up to its function."""
    around = scope.module.parents.get(node)
    while around is not None and around is not scope.node:
        yield around
        around = scope.module.parents.get(around)


def shown(node: ast.AST) -> str:
    """Return the source of a node, in one short line."""
    line = " ".join(ast.unparse(node).split())
    return line if len(line) <= SHORT else f"{line[:SHORT]} …"


def _written(node: ast.AST) -> str:
    return shown(ast.Assert(node.test)) if isinstance(node, ast.Assert) else shown(node)


def _hint(demanded: ast.expr) -> str:
    if isinstance(demanded, ast.Tuple):
        return ": it is a tuple, which is true when it holds anything"
    if isinstance(demanded, ast.GeneratorExp):
        return ": it is a generator, which is true; all(…) is missing"
    return ": it is a function, which is true" if isinstance(demanded, ast.Lambda) else ""
