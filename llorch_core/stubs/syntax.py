"""Small questions about a syntax tree: names, constants, and what is always true."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

OPERATORS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.eq,  # of constants: None is None, True is True
    ast.IsNot: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
NONE = ast.Constant(None)
UNITTEST: dict[str, type[ast.cmpop]] = {  # two arguments
    "assertEqual": ast.Eq,
    "assertEquals": ast.Eq,
    "assertIs": ast.Is,
    "assertNotEqual": ast.NotEq,
    "assertIsNot": ast.IsNot,
    "assertIn": ast.In,
    "assertNotIn": ast.NotIn,
    "assertLess": ast.Lt,
    "assertLessEqual": ast.LtE,
    "assertGreater": ast.Gt,
    "assertGreaterEqual": ast.GtE,
}
EQUALITIES = {
    *("assertAlmostEqual", "assertAlmostEquals", "assertListEqual", "assertDictEqual", "assertSetEqual"),
    *("assertTupleEqual", "assertSequenceEqual", "assertCountEqual", "assertMultiLineEqual"),
    *("assert_equal", "assert_array_equal", "assert_allclose", "assert_almost_equal", "assert_close"),
    *("assert_array_almost_equal", "assert_frame_equal", "assert_series_equal", "eq_"),
}
PREDICATES = {"allclose", "array_equal", "isclose", "array_equiv"}  # of two arguments, true or false


def dotted(node: ast.AST) -> str:
    """Return "a.b.c" of names and attributes; empty where it is anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


def last(node: ast.AST) -> str:
    """Return the last name of what is called, such as "raises" of pytest.raises."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def root(node: ast.AST) -> str:
    """Return the first name of a chain of attributes, subscripts and calls."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def text(node: ast.AST | None) -> str:
    """Return the string that a node is; empty where it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return the argument of that name."""
    return next((k.value for k in call.keywords if k.arg == name), None)


@lru_cache(maxsize=4096)
def inside(function: Function) -> tuple[ast.AST, ...]:
    """Return every node in the body of a function, without its decorators and arguments."""
    return tuple(node for statement in function.body for node in ast.walk(statement))


def statements(function: Function) -> list[ast.stmt]:
    """Return the body without the docstring."""
    body = function.body
    first = body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if has_docstring and text(first.value) else body  # type: ignore[attr-defined]


def is_nothing(statement: ast.stmt) -> bool:
    """Tell whether a statement is pass, ..., a string, or a return of nothing."""
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Return) and (
        statement.value is None or isinstance(statement.value, ast.Constant)
    )


def constant(node: ast.expr) -> tuple[bool, Any]:
    """Return whether the value stands in the source, and the value."""
    try:
        return True, ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return False, None


def truth(node: ast.expr) -> bool | None:
    """Return whether an expression is always true, always false, or (None) neither."""
    match node:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return True if any(not isinstance(p, ast.Starred) for p in parts) else None if parts else False
        case ast.Dict(keys=keys):
            return True if any(keys) else None if keys else False
        case ast.Lambda() | ast.GeneratorExp():
            return True
        case ast.JoinedStr(values=parts):
            return True if any(text(part) for part in parts) else None
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = truth(operand)
            return None if inner is None else not inner
        case ast.BoolOp(op=op, values=values):
            found = [truth(value) for value in values]
            decides = isinstance(op, ast.Or)
            if decides in found:
                return decides
            return None if None in found else not decides
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compared(left, op, right)
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, ast.Name(id="object")]):
            return True
    return None


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr) -> bool | None:
    (known, a), (also, b) = constant(left), constant(right)
    if known and also:
        try:
            return bool(OPERATORS[type(op)](a, b))
        except TypeError:
            return None
    counts = isinstance(left, ast.Call) and last(left.func) in ("len", "abs")
    if counts and also and isinstance(b, int | float):
        never_less = (isinstance(op, ast.GtE) and b <= 0) or (isinstance(op, ast.Gt | ast.NotEq) and b < 0)
        return True if never_less else None
    return None


def condition(node: ast.AST) -> ast.expr | None:
    """Return what an assertion demands, as one expression; None where that is not known.

    Of assert, of unittest's methods, and of the functions that compare two things.
    """
    if isinstance(node, ast.Assert):
        return node.test
    if not isinstance(node, ast.Call):
        return None
    name, args = last(node.func), node.args
    if any(isinstance(arg, ast.Starred) for arg in args):
        return None
    if name in ("assertTrue", "assert_", "failUnless", "ok_") and args:
        return args[0]
    if name == "assertFalse" and args:
        return ast.UnaryOp(ast.Not(), args[0])
    if name in ("assertIsNone", "assertIsNotNone") and args:
        return ast.Compare(args[0], [ast.Is() if name == "assertIsNone" else ast.IsNot()], [NONE])
    if len(args) >= 2 and (name in UNITTEST or name in EQUALITIES):
        return ast.Compare(args[0], [UNITTEST.get(name, ast.Eq)()], [args[1]])
    return None


def fails_always(node: ast.AST) -> bool:
    """Tell whether a statement fails wherever it is reached: assert False, self.fail(), raise."""
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.Call) and last(node.func) == "fail":
        return True
    demanded = condition(node)
    return demanded is not None and truth(demanded) is False


def same(a: ast.AST, b: ast.AST) -> bool:
    """Tell whether two expressions are written alike."""
    return ast.dump(a) == ast.dump(b)
