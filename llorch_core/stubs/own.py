"""Tests whose every assertion is about what they wrote down themselves, or told a mock to return."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from llorch_core.stubs.assertions import ancestors, shown
from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.replaced import targets
from llorch_core.stubs.suite import Suite, Test, arguments
from llorch_core.stubs.syntax import (
    FUNCTIONS,
    Function,
    condition,
    constant,
    dotted,
    inside,
    last,
    root,
    statements,
    text,
    truth,
)

BUILTINS = {
    *(
        "len",
        "sorted",
        "sum",
        "min",
        "max",
        "abs",
        "set",
        "list",
        "tuple",
        "dict",
        "str",
        "int",
        "float",
        "bool",
    ),
    *(
        "range",
        "isinstance",
        "type",
        "repr",
        "all",
        "any",
        "round",
        "zip",
        "enumerate",
        "reversed",
        "frozenset",
    ),
    *("bytes", "hasattr", "print"),
}
METHODS = {
    *(
        "copy",
        "keys",
        "values",
        "items",
        "upper",
        "lower",
        "strip",
        "split",
        "get",
        "index",
        "count",
        "startswith",
    ),
    *("endswith", "join", "tolist", "replace", "all", "any", "sum", "mean", "max", "min"),
}
ARRAYS = {
    "array",
    "asarray",
    "zeros",
    "ones",
    "full",
    "arange",
    "tensor",
    "linspace",
    "eye",
    "allclose",
    "array_equal",
}
MOCKS = {"Mock", "MagicMock", "AsyncMock", "NonCallableMock"}
STRAIGHT = (ast.With, ast.AsyncWith)  # what may stand around a statement that always runs


def judge(suite: Suite, test: Test) -> Iterator[Finding]:
    """Judge a test whose checks are all known; one other check, or one that the product reaches, frees it."""
    if test.style == "behave" or not suite.checks(test):
        return
    checks = [
        n for n in suite.check_nodes(test) if not any(isinstance(a, ast.Assert) for a in ancestors(n, test))
    ]
    demanded = [(n, c) for n in checks if (c := condition(n)) is None or truth(c) is not True]
    if not demanded or any(c is None or not _always_runs(n, test) for n, c in demanded):
        return
    values = Values(suite, test)
    if not all(c is not None and values.own(c) for _, c in demanded) or suite.checked_around(test):
        return
    first = min((n for n, _ in demanded), key=lambda n: getattr(n, "lineno", 0))
    about = shown(first.test) if isinstance(first, ast.Assert) else shown(first)
    if values.mocked:
        kind, says = "checks its mock", f"{about} is about what {sorted(values.mocked)[0]} was told to return"
    elif values.used:
        kind = "checks its fixture"
        says = f"{about} is about {sorted(values.used)[0]}, which the test wrote down"
    else:
        return
    yield Finding(test.module.file, getattr(first, "lineno", 0), kind, test.name, says)


def _always_runs(node: ast.AST, test: Test) -> bool:
    """Tell whether nothing but with-blocks stands around the statement of a check."""
    around = [n for n in ancestors(node, test) if isinstance(n, ast.stmt)]
    return all(isinstance(n, (*STRAIGHT, ast.Expr)) for n in around)


class Values:
    """Which values of a test come from the test alone: literals, and what Python makes of them."""

    def __init__(self, suite: Suite, test: Test) -> None:
        self.suite, self.test, self.module = suite, test, test.module
        self.used: set[str] = set()  # the names that assertions are about
        self.mocked: set[str] = set()
        self.replaced = {target for target, _, _ in targets(test)}
        self.bound = self._bindings()
        self.touched = self._touched()

    def own(self, node: ast.expr, depth: int = 0) -> bool:
        """Tell whether no code but the test's own has a part in a value."""
        if depth > 50:
            return False
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return self._own_name(name, depth)
            case ast.Attribute(value=value):
                if dotted(node).startswith("self.") and dotted(node).count(".") == 1:
                    return self._own_name(dotted(node), depth)
                return self._is_mock(root(node), depth) and self.own(value, depth + 1)
            case ast.Call():
                return self._own_call(node, depth)
            case ast.Lambda() | ast.Await() | ast.Yield() | ast.YieldFrom() | ast.NamedExpr():
                return False
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return False
        parts = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)]
        return all(self.own(n, depth + 1) for n in parts)

    def _own_call(self, node: ast.Call, depth: int) -> bool:
        given = [*node.args, *(k.value for k in node.keywords)]
        name = dotted(node.func)
        if self._is_replaced(name):
            self.mocked.add(name)
            return all(self.own(n, depth + 1) for n in given)
        if not all(self.own(n, depth + 1) for n in given):
            return False
        if isinstance(node.func, ast.Name):
            return self._is_builtin(name) or name in MOCKS or self._is_mock(name, depth)
        first = root(node.func)
        if self.module.imports.get(first) in ("numpy", "torch") and last(node.func) in ARRAYS:
            return self.module.imports[first] not in self.suite.products
        if self._is_mock(first, depth):
            return not last(node.func).startswith("assert")
        if not isinstance(node.func, ast.Attribute):
            return False
        return last(node.func) in METHODS and self.own(node.func.value, depth + 1)

    def _own_name(self, name: str, depth: int) -> bool:
        if name in self.touched or name not in self.bound:
            return False
        value = self.bound[name]
        if value is None or not self.own(value, depth + 1):
            return False
        self.used.add(name)
        if self._makes_mock(value):
            self.mocked.add(name)
        return True

    def _is_mock(self, name: str, depth: int) -> bool:
        value = self.bound.get(name)
        return value is not None and self._makes_mock(value) and self._own_name(name, depth + 1)

    def _makes_mock(self, value: ast.expr) -> bool:
        return isinstance(value, ast.Call) and last(value.func) in MOCKS

    def _is_replaced(self, name: str) -> bool:
        return bool(name) and any(t == name or t.endswith(f".{name}") for t in self.replaced)

    def _is_builtin(self, name: str) -> bool:
        return name in BUILTINS and name not in self.module.imports and name not in self.suite.by_name

    def _bindings(self) -> dict[str, ast.expr | None]:
        """Return what each name was bound to, if that happens once and always; None where not."""
        found: dict[str, ast.expr | None] = {}

        def bind(name: str, value: ast.expr | None) -> None:
            found[name] = None if name in found else value

        for name, value in self._given().items():
            bind(name, value)
        for name, value in self._set_up().items():
            bind(name, value)
        for node in inside(self.test.node):
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                name = dotted(node)
                if isinstance(node, ast.Attribute) and not name.startswith("self."):
                    continue
                bind(name, self._value(node))
            elif isinstance(node, ast.alias):
                bind((node.asname or node.name).split(".")[0], None)
            elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                bind(node.name, None)
            elif isinstance(node, ast.ExceptHandler):
                bind(node.name or "", None)
            elif isinstance(node, ast.Global | ast.Nonlocal):
                for name in node.names:
                    bind(name, None)
        return found

    def _value(self, target: ast.AST) -> ast.expr | None:
        """Return what one target is bound to, where its statement always runs."""
        statement = self.module.parents[target]
        around = [n for n in ancestors(statement, self.test) if isinstance(n, ast.stmt)]
        if not all(isinstance(n, STRAIGHT) for n in around):
            return None
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            return statement.value
        return None

    def _given(self) -> dict[str, ast.expr | None]:
        """Return the arguments: literals of parametrize, and of fixtures that return a literal."""
        found: dict[str, ast.expr | None] = {}
        for name in arguments(self.test.node):
            fixtures = self.suite.fixtures.get(name, [])
            found[name] = _literal_of(fixtures[0].node) if len(fixtures) == 1 else None
        for decorator in self.test.node.decorator_list:
            if isinstance(decorator, ast.Call) and last(decorator.func) == "parametrize":
                names = decorator.args[0] if decorator.args else ast.Constant("")
                known, _ = constant(decorator.args[1]) if len(decorator.args) > 1 else (False, None)
                listed = (
                    text(names).split(",") if text(names) else [text(n) for n in getattr(names, "elts", [])]
                )
                for name in listed:
                    found[name.strip()] = ast.Constant(0) if known else None
        return found

    def _set_up(self) -> dict[str, ast.expr | None]:
        """Return self.x where setUp assigns it, and no other method of the class does."""
        if not self.test.parents:
            return {}
        found: dict[str, ast.expr | None] = {}
        for method in self.test.parents[-1].body:
            if not isinstance(method, FUNCTIONS) or method is self.test.node:
                continue
            for node in inside(method):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    statement = self.module.parents[node]
                    plain = isinstance(statement, ast.Assign) and self.module.parents[statement] is method
                    sets_up = method.name in ("setUp", "setup_method", "asyncSetUp")
                    value = (
                        statement.value if plain and sets_up and isinstance(statement, ast.Assign) else None
                    )
                    name = dotted(node)
                    found[name] = None if name in found else value
        return found

    def _touched(self) -> set[str]:
        """Return the names that something else may change: handed to a call, stored in a thing, captured."""
        touched: set[str] = set()
        made_from: list[tuple[str, str]] = []
        bodies: list[Function] = [self.test.node]
        if self.test.parents:
            starts = ("setUp", "setup_method", "asyncSetUp")
            bodies += [m for m in self.test.parents[-1].body if isinstance(m, FUNCTIONS) and m.name in starts]
        for body in bodies:
            for node in inside(body):
                if isinstance(node, ast.Name | ast.Attribute) and dotted(node):
                    name = dotted(node)
                    for target in self._goes_to(node, body):
                        if target == "?":
                            touched.add(name)
                        else:
                            made_from.append((target, name))
        for _ in made_from:
            touched |= {name for target, name in made_from if target in touched}
        if "self" in touched:
            touched |= {name for name in self.bound if name.startswith("self.")}
        return touched

    def _goes_to(self, node: ast.AST, body: Function) -> Iterator[str]:
        """Follow a name outwards: "?" where others get hold of it, or the name that it is assigned to."""
        name, inner, around = dotted(node), node, self.module.parents.get(node)
        while around is not None and around is not body:
            if isinstance(around, ast.Call):
                if not self._leaves_alone(around, inner, name):
                    yield "?"
                    return
            elif isinstance(around, (ast.Lambda, ast.ClassDef, *FUNCTIONS, ast.Await, ast.Yield)):
                yield "?"
                return
            elif isinstance(around, ast.Assign):
                for target in around.targets:
                    if inner is around.value:
                        yield dotted(target) or root(target) or "?"
                    elif isinstance(target, ast.Subscript) and root(target) == root(node):
                        yield "?"
                return
            elif isinstance(
                around, ast.AugAssign | ast.Delete | ast.Return | ast.Raise | ast.withitem | ast.For
            ):
                yield "?"
                return
            inner, around = around, self.module.parents.get(around)

    def _leaves_alone(self, call: ast.Call, inner: ast.AST, name: str) -> bool:
        """Tell whether a call cannot change what it is given."""
        if condition(call) is not None or self._is_replaced(dotted(call.func)):
            return True
        called = dotted(call.func)
        if isinstance(call.func, ast.Name):
            return self._is_builtin(called) or called in MOCKS or call.func is inner
        if call.func is inner or inner in ast.walk(call.func):
            first = root(call.func)
            is_mock = self.bound.get(first) is not None and self._makes_mock(
                self.bound[first] or ast.Constant(0)
            )
            is_self = name == "self" and (
                call.func.attr.startswith("assert") if isinstance(call.func, ast.Attribute) else False
            )
            return (
                is_mock or last(call.func) in METHODS or is_self or self.module.imports.get(first) is not None
            )
        return self.module.imports.get(root(call.func)) in ("numpy", "torch") and last(call.func) in ARRAYS


def _literal_of(function: Function) -> ast.expr | None:
    """Return the literal that a function returns, if that is all it does."""
    body = statements(function)
    only = body[0] if len(body) == 1 else None
    if isinstance(only, ast.Return) and only.value is not None and constant(only.value)[0]:
        return only.value
    return None
