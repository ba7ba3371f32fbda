"""Tests that compare one element, or the first few, of an array, and never the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from llorch_core.stubs.assertions import shown
from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Test
from llorch_core.stubs.syntax import condition, constant, dotted, inside, last, same

TOLERANT = {"approx", "isclose", "allclose", "assert_allclose", "assertAlmostEqual", "assert_almost_equal"}


def judge(test: Test) -> Iterator[Finding]:
    """Find an array of which only constant places are compared."""
    demanded = [(n, c) for n in inside(test.node) if (c := condition(n)) is not None]
    reported: set[str] = set()
    for node, wanted in demanded:
        places = _places(node, wanted, test)
        bases = {dotted(_base(place)): place for place in places}
        if any(base in reported or _rest_is_compared(base, place, test) for base, place in bases.items()):
            continue
        if bases:
            base, place = next(iter(bases.items()))
            reported |= bases.keys()
            says = f"of {base} only {shown(place)} is compared"
            yield Finding(test.module.file, getattr(node, "lineno", 0), "sampled", test.name, says)


def _places(node: ast.AST, demanded: ast.expr, test: Test) -> list[ast.Subscript]:
    """Return the constant places that an assertion compares as numbers of an array."""
    parents = test.module.parents
    found = [n for n in ast.walk(demanded) if isinstance(n, ast.Subscript) and _is_few(n)]
    found = [n for n in found if not isinstance(parents.get(n), ast.Attribute | ast.Subscript)]
    found = [n for n in found if isinstance(_base(n), ast.Name | ast.Attribute)]
    sides = [demanded.left, *demanded.comparators] if isinstance(demanded, ast.Compare) else []
    sides = demanded.args if isinstance(demanded, ast.Call) else sides
    alike = [
        a
        for a in found
        for b in found
        if a in sides and b in sides and _where(a) == _where(b) and not same(_base(a), _base(b))
    ]
    if alike and _compares(demanded):
        return alike
    within = any(isinstance(n, ast.Call) and last(n.func) in TOLERANT for n in [node, *ast.walk(demanded)])
    below = isinstance(demanded, ast.Compare) and isinstance(demanded.ops[0], ast.Lt | ast.LtE)
    difference = below and any(isinstance(n, ast.Call) and last(n.func) == "abs" for n in ast.walk(demanded))
    return found if within or difference else []


def _compares(demanded: ast.expr) -> bool:
    if isinstance(demanded, ast.Call):
        return last(demanded.func) in TOLERANT
    return isinstance(demanded, ast.Compare) and isinstance(demanded.ops[0], ast.Eq | ast.Lt | ast.LtE)


def _base(node: ast.expr) -> ast.expr:
    """Return x of x[0][1]."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node


def _where(node: ast.expr) -> list[str]:
    """Return the places of x[0][1], the last one first."""
    found = []
    while isinstance(node, ast.Subscript):
        found.append(ast.unparse(node.slice))
        node = node.value
    return found


def _is_few(node: ast.expr) -> bool:
    """Tell whether subscripts are numbers, or slices from the beginning to a number."""
    if not isinstance(node, ast.Subscript):
        return True
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return bool(parts) and all(map(_is_place, parts)) and any(map(_cuts, parts)) and _is_few(node.value)


def _is_place(part: ast.expr) -> bool:
    if isinstance(part, ast.Slice):
        return part.lower is None and part.step is None and (part.upper is None or _cuts(part))
    return isinstance(part, ast.Constant | ast.UnaryOp) and isinstance(constant(part)[1], int)


def _cuts(part: ast.expr) -> bool:
    if isinstance(part, ast.Slice):
        upper = constant(part.upper)[1] if part.upper is not None else None
        return isinstance(upper, int) and upper > 0
    return True


def _rest_is_compared(base: str, place: ast.Subscript, test: Test) -> bool:
    """Tell whether a test also looks at the whole, at other places, or at how many there are."""
    parents = test.module.parents
    for node in inside(test.node):
        if not isinstance(node, ast.Name | ast.Attribute) or dotted(node) != base:
            continue
        if isinstance(node.ctx, ast.Store):
            statement = parents[node]
            value = statement.value if isinstance(statement, ast.Assign) else None
            if isinstance(value, ast.List | ast.Tuple | ast.Dict):
                return True
            continue
        around = parents[node]
        if isinstance(around, ast.Subscript) and around.value is node:
            while isinstance(parents[around], ast.Subscript):
                around = parents[around]
            if _where(around) != _where(place):  # type: ignore[arg-type]
                return True
            continue
        if isinstance(around, ast.Attribute) and around.attr in ("shape", "dtype", "ndim", "size"):
            continue
        if isinstance(around, ast.Call) and last(around.func) in ("print", "isinstance", "type"):
            continue
        return True
    return False
