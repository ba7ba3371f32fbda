"""Tests that replace a function or class of the product: by mock.patch, monkeypatch or assignment."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from llorch_core.stubs.kinds import Finding
from llorch_core.stubs.suite import Suite, Test
from llorch_core.stubs.syntax import FUNCTIONS, dotted, inside, keyword, last, text
from llorch_core.stubs.tree import Module, flat


def judge(suite: Suite, test: Test) -> Iterator[Finding]:
    """Find what a test replaces, where the tree shows that the product defines it."""
    seen = set()
    for target, line, _ in targets(test):
        if (target, line) not in seen and defines(suite, target):
            seen.add((target, line))
            says = f"it replaces {target}, which is the product's own"
            yield Finding(test.module.file, line, "product mocked", test.name, says)


def targets(test: Test) -> Iterator[tuple[str, int, ast.AST]]:
    """Return the dotted names that a test replaces, as imports spell them, with line and node."""
    decorators = [d for owner in (*test.parents, test.node) for d in owner.decorator_list]
    nodes = [*(n for d in decorators for n in ast.walk(d)), *inside(test.node)]
    for node in nodes:
        if isinstance(node, ast.Call):
            target = _of_call(node, test.module)
            if target:
                yield target, node.lineno, node
        elif isinstance(node, ast.Assign):
            for part in node.targets:
                name = test.module.full(part)
                if isinstance(part, ast.Attribute) and dotted(part).split(".")[0] in test.module.imports:
                    yield name, node.lineno, node


def _of_call(call: ast.Call, module: Module) -> str:
    name = dotted(call.func)
    if keyword(call, "wraps") is not None or not call.args:
        return ""  # a spy: the product's own function runs
    first = call.args[0]
    second = text(call.args[1]) if len(call.args) > 1 else ""
    if last(call.func) == "patch" and name.split(".")[-2:][0] in ("patch", "mock", "mocker", "unittest"):
        return text(first)
    is_object = name.endswith("patch.object") or name.endswith("monkeypatch.setattr") or name == "mp.setattr"
    if is_object and text(first):
        return text(first)
    return f"{module.full(first)}.{second}" if is_object and second and dotted(first) else ""


def defines(suite: Suite, target: str) -> bool:
    """Tell whether a dotted name is a function, class or method that the product defines."""
    if target.split(".")[0] not in suite.products:
        return False
    modules = {m.name: m for m in suite.modules if m.role == "product"}
    return _defined(target, modules, 0)


def _defined(target: str, modules: dict[str, Module], depth: int) -> bool:
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = modules.get(".".join(parts[:cut]))
        if module is None:
            continue
        name, rest = parts[cut], parts[cut + 1 :]
        imported = module.imports.get(name)
        for node in flat(module.tree.body):
            if isinstance(node, FUNCTIONS) and node.name == name:
                return not rest and imported is None  # else it depends on the machine
            if isinstance(node, ast.ClassDef) and node.name == name:
                methods = {n.name for n in flat(node.body) if isinstance(n, FUNCTIONS)}
                return not rest or (len(rest) == 1 and rest[0] in methods)
        if imported is None or depth > 5 or imported == target:
            return False
        return _defined(".".join([imported, *rest]), modules, depth + 1)
    return False
