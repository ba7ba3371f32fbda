"""Steps that write into the context what a later step checks, without the product in between."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from llorch_core.stubs.assertions import ancestors, shown
from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.own import BUILTINS, METHODS
from llorch_core.stubs.suite import Scope, Suite, Test
from llorch_core.stubs.syntax import condition, dotted, inside, last, root

PUSHES = {"append", "extend", "add", "insert", "update", "setdefault", "clear", "pop", "remove"}
GIVEN = {"table", "text"}  # what behave puts into the context from the feature
READS = {"json.loads", "Decimal", "Path", "re.split", "ast.literal_eval", "datetime.timedelta"}


@dataclass
class Attribute:
    """What the steps of a tree do with one attribute of the context."""

    writes: list[tuple[Scope, int, ast.expr | None]] = field(default_factory=list)
    leaves: bool = False  # something else gets hold of it, or may change it


def judge(suite: Suite) -> Iterator[Finding]:
    """Judge every then-step of a tree."""
    scopes = [s for s in suite.scopes if s.module.role == "steps" or s.module.file.endswith("environment.py")]
    thens = [t for t in suite.tests if t.style == "behave" and t.word == "then"]
    thens = [t for t in thens if any(name.startswith("behave") for name in t.module.imports.values())]
    if not thens:
        return
    found = _attributes(suite, scopes)
    own = _own(found)
    for test in thens:
        checks = suite.check_nodes(test)
        demands = [_demanded(n, suite, test) for n in checks]
        if not checks or any(d is None or not _is_own(d, test, own) for d in demands):
            continue
        read = [
            n.attr
            for d in demands
            if d is not None
            for n in ast.walk(d)
            if isinstance(n, ast.Attribute) and _is_context(n, test)
        ]
        pushed = [w for name in read if name in own for w in found[name].writes]
        pushed = [w for w in pushed if w[0].node is not test.node and w[0].module.role == "steps"] or pushed
        if pushed:
            scope, line, _ = pushed[-1]
            place = f"{scope.module.file}:{line}"
            says = f"{shown(checks[0])} reads what {place} wrote; the product has no part in it"
            first = min(getattr(n, "lineno", 0) for n in checks)
            yield Finding(test.module.file, first, "pushed and checked", test.name, says)


def _demanded(node: ast.AST, suite: Suite, test: Test) -> ast.expr | None:
    found = condition(node)
    if found is None and isinstance(node, ast.Call) and last(node.func).startswith("assert"):
        helpers, _ = suite.helpers(node.func, test)
        return None if helpers else ast.Tuple(node.args)
    return found


def _context(scope: Scope) -> str:
    """Return the name of the context in a function: its first argument."""
    args = [*scope.node.args.posonlyargs, *scope.node.args.args]
    return args[0].arg if args else ""


def _is_context(node: ast.AST, scope: Scope) -> bool:
    """Tell whether a node is an attribute of the context."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == _context(scope)
    )


def _attributes(suite: Suite, scopes: list[Scope]) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    for scope in scopes:
        for node in inside(scope.node):
            if not _is_context(node, scope) or not isinstance(node, ast.Attribute):
                if isinstance(node, ast.Name) and node.id == _context(scope):
                    _handed_over(node, scope, suite, found)
                continue
            entry = found.setdefault(node.attr, Attribute())
            value = _written(node, scope)
            if value is not None:
                entry.writes.append((scope, node.lineno, value if _straight(value, scope) else None))
            elif isinstance(node.ctx, ast.Store | ast.Del):
                entry.writes.append((scope, node.lineno, None))
            elif _leaves(node, scope):
                entry.leaves = True
    return found


def _handed_over(node: ast.Name, scope: Scope, suite: Suite, found: dict[str, Attribute]) -> None:
    """Note that the whole context goes to a function that may write anything into it."""
    around = scope.module.parents.get(node)
    if isinstance(around, ast.Call) and node in around.args:
        helpers, certain = suite.helpers(around.func, scope)
        if not certain or any(h.module.role == "product" for h in helpers):
            found.setdefault("*", Attribute()).leaves = True


def _written(node: ast.Attribute, scope: Scope) -> ast.expr | None:
    """Return what a statement writes into an attribute: by assignment, push or item."""
    parents = scope.module.parents
    around = parents[node]
    if isinstance(around, ast.Assign | ast.AnnAssign | ast.AugAssign) and isinstance(node.ctx, ast.Store):
        return around.value
    if isinstance(around, ast.Subscript) and isinstance(around.ctx, ast.Store):
        statement = parents[around]
        return statement.value if isinstance(statement, ast.Assign | ast.AugAssign) else None
    call = parents.get(around)
    pushes = isinstance(around, ast.Attribute) and around.attr in PUSHES
    if (
        pushes
        and isinstance(call, ast.Call)
        and call.func is around
        and isinstance(parents.get(call), ast.Expr)
    ):
        return ast.copy_location(ast.Tuple(call.args), call)
    return None


def _straight(value: ast.expr, scope: Scope) -> bool:
    """Tell whether a write hangs on nothing but loops and conditions over what the feature says."""
    parts = [n for n in ast.walk(value) if isinstance(n, ast.expr) and n in scope.module.parents]
    around = [a for n in parts[:1] for a in ancestors(n, scope)] or list(ancestors(value, scope))
    for node in around:
        if isinstance(node, ast.Try | ast.While | ast.If | ast.Match):
            return False
        if isinstance(node, ast.For) and not _plain(node.iter, scope):
            return False
    return True


def _plain(node: ast.expr, scope: Scope) -> bool:
    return all(
        _is_context(n, scope) and n.attr in GIVEN for n in ast.walk(node) if isinstance(n, ast.Attribute)
    )


def _leaves(node: ast.Attribute, scope: Scope) -> bool:
    """Tell whether something else gets hold of an attribute."""
    parents = scope.module.parents
    inner: ast.AST = node
    around = parents.get(node)
    while around is not None and around is not scope.node:
        if isinstance(around, ast.Call):
            known = condition(around) is not None or last(around.func).startswith("assert")
            if not known and not _reads_only(around, inner):
                return True
        elif isinstance(
            around, ast.Assign | ast.AnnAssign | ast.Return | ast.Yield | ast.withitem | ast.NamedExpr
        ):
            return not isinstance(node.ctx, ast.Store)
        elif isinstance(around, ast.Lambda | ast.FunctionDef):
            return True
        inner, around = around, parents.get(around)
    return False


def _reads_only(call: ast.Call, inner: ast.AST) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in BUILTINS or call.func.id in READS
    if dotted(call.func) in READS:
        return True
    return call.func is inner and last(call.func) in METHODS | PUSHES


def _own(found: dict[str, Attribute]) -> set[str]:
    """Return the attributes that only the steps themselves write, with what the feature or the step says."""
    if found.get("*", Attribute()).leaves:
        return set()
    own = {name for name, entry in found.items() if entry.writes and not entry.leaves and name not in GIVEN}
    while True:
        wrong = {
            name
            for name in own
            for scope, _, value in found[name].writes
            if value is None or not _is_own(value, scope, own)
        }
        if not wrong:
            return own
        own -= wrong


def _is_own(node: ast.expr, scope: Scope, own: set[str], depth: int = 0) -> bool:
    """Tell whether a value is made of constants, of what the sentence says, and of such attributes."""
    if depth > 30:
        return False
    if _is_context(node, scope) and isinstance(node, ast.Attribute):
        return node.attr in own | GIVEN
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return _is_own_name(name, scope, own, depth)
        case ast.Call():
            is_known = (isinstance(node.func, ast.Name) and node.func.id in BUILTINS) or dotted(
                node.func
            ) in READS
            if not is_known:
                if not isinstance(node.func, ast.Attribute) or node.func.attr not in METHODS:
                    return False
                if not _is_own(node.func.value, scope, own, depth + 1):
                    return False
            return all(
                _is_own(n, scope, own, depth + 1) for n in [*node.args, *(k.value for k in node.keywords)]
            )
        case ast.Attribute():
            return False
        case ast.Lambda() | ast.Await() | ast.Yield() | ast.NamedExpr():
            return False
    parts: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        parts += [child.iter, *child.ifs] if isinstance(child, ast.comprehension) else [child]
    return all(_is_own(n, scope, own, depth + 1) for n in parts if isinstance(n, ast.expr))


def _is_own_name(name: str, scope: Scope, own: set[str], depth: int) -> bool:
    args = scope.node.args
    if name in [a.arg for a in [*args.args, *args.kwonlyargs]][1:] or name in BUILTINS:
        return True
    made = [
        n
        for n in inside(scope.node)
        if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store)
    ]
    for target in made:
        around = scope.module.parents[target]
        if isinstance(around, ast.For | ast.comprehension):
            value = around.iter
        elif isinstance(around, ast.Assign) and _straight(around.value, scope):
            value = around.value
        else:
            return False
        if root(value) == name or not _is_own(value, scope, own, depth + 1):
            return False
    if made:
        return True
    top = [
        s for s in scope.module.top if isinstance(s, ast.Assign) and any(last(t) == name for t in s.targets)
    ]
    return len(top) == 1 and isinstance(top[0].value, ast.Constant)
