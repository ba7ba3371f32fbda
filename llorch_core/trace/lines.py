"""Which lines of our engine each scenario ran, and which code a component names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llorch_core.trace.session import Outcome

PACKAGE = Path(__file__).parents[1]
ROOMS = (PACKAGE / "engine", PACKAGE / "server")  # whose lines scenarios answer for

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef

Ran = dict[str, dict[str, list[int]]]
"""Lines by the context that ran them: context, file, lines."""


class Lines:
    """Traces the engine while scenarios run, from `start` to `take`; `switch` names what runs from now on."""

    def __init__(self) -> None:
        import coverage

        # What `coverage` calls ctrace is the only tracer that can tell contexts apart on every Python.
        self._coverage = coverage.Coverage(
            data_file=None, config_file=False, branch=False, source=[*map(str, ROOMS)], messages=False
        )
        self._coverage.set_option("run:core", "ctrace")
        self._coverage.set_option("run:disable_warnings", ["no-data-collected", "module-not-measured"])
        self._started = False

    def start(self) -> None:
        """Trace from now on, if that is not so already."""
        if not self._started:
            self._coverage.start()
        self._started = True

    def switch(self, context: str) -> None:
        """What runs from now on is of this context."""
        self._coverage.switch_context(context)

    def take(self) -> Ran:
        """Stop, and return what ran since the start. A tracer around this one goes on only then."""
        self._coverage.stop()
        self._started = False
        data, ran = self._coverage.get_data(), Ran()
        for path in data.measured_files():
            for line, contexts in data.contexts_by_lineno(path).items():
                for context in filter(None, contexts):
                    ran.setdefault(context, {}).setdefault(name_of(Path(path)), []).append(line)
        self._coverage.erase()
        return ran


def name_of(path: Path) -> str:
    """Return how a file of the package is called: llorch_core/engine/layers.py."""
    return path.relative_to(PACKAGE.parent).as_posix()


def merge(parts: Sequence[Ran]) -> Ran:
    """Return what ran in any of several processes."""
    merged: dict[str, dict[str, set[int]]] = {}
    for part in parts:
        for context, files in part.items():
            for file, lines in files.items():
                merged.setdefault(context, {}).setdefault(file, set()).update(lines)
    return {
        context: {file: sorted(lines) for file, lines in sorted(files.items())}
        for context, files in sorted(merged.items())
    }


def lines_of(ran: Ran, id: str, shared: Sequence[str]) -> dict[str, list[int]]:
    """Return the lines of a scenario, with those that ran once for all and that it used."""
    return merge([{"": ran.get(context, {})} for context in (id, *shared)]).get("", {})


def _files() -> list[Path]:
    return [path for room in ROOMS for path in sorted(room.glob("*.py"))]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def named_code() -> Mapping[str, Mapping[str, frozenset[int]]]:
    """Return for each component the lines of engine and server whose docstring says `Spec: component`."""
    found: dict[str, dict[str, frozenset[int]]] = {}
    for path in _files():
        for node in ast.walk(_tree(path)):
            if not isinstance(node, ast.Module | ast.ClassDef | FUNCTION):
                continue
            said = re.search(r"\bSpec: ([a-z_0-9, ]+)\.", ast.get_docstring(node) or "")
            for component in said[1].split(", ") if said else ():
                lines = frozenset(line for part in node.body[1:] for line in inside_functions(part, node))
                files = found.setdefault(component, {})
                files[name_of(path)] = files.get(name_of(path), frozenset()) | lines
    return found


def inside_functions(part: ast.stmt, of: ast.AST) -> set[int]:
    """Return the lines of a part that run when something is called, and not when it is imported."""
    if isinstance(of, FUNCTION):
        return set(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    functions = [node for node in ast.walk(part) if isinstance(node, FUNCTION)]
    return {line for f in functions for inner in f.body for line in inside_functions(inner, f)}


def mark_idle(outcomes: Sequence[Outcome], ran: Ran) -> None:
    """Make a stub of each scenario that passed without running the code that its component names."""
    for outcome in outcomes:
        if outcome.status != "passed" or outcome.of_oracle:
            continue
        lines = lines_of(ran, outcome.id, sorted(outcome.shared))
        for component in sorted({rule.partition(".")[0] for rule in outcome.rules}):
            code = named_code().get(component, {})
            if code and not any(numbers & set(lines.get(file, ())) for file, numbers in code.items()):
                outcome.status = "stub"
                outcome.message = f"it never ran the code of {component}: {', '.join(code)}"


def statements() -> dict[str, dict[str, Any]]:
    """Return the statements of each file of engine and server, and which of them run when it is imported."""
    found = {}
    for path in _files():
        tree = _tree(path)
        lines = sorted(set(lines_of_statements(tree)))
        called = {line for part in tree.body for line in inside_functions(part, tree)}
        found[name_of(path)] = {"statements": lines, "imported": [x for x in lines if x not in called]}
    return found


def lines_of_statements(node: ast.AST) -> Iterator[int]:
    """Give the first line of each statement inside a node, as coverage counts them, in a tenth of its time.

    Docstrings are none, and neither is what only a checker of types reads.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Global | ast.Nonlocal) or _is_docstring(child, node) or _is_hollow(child):
            continue
        if isinstance(child, ast.match_case):
            yield child.pattern.lineno
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield child.lineno
        for decorator in getattr(child, "decorator_list", ()):
            yield decorator.lineno
        yield from lines_of_statements(child)


def _is_docstring(child: ast.AST, node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    first = isinstance(node, ast.Module | ast.ClassDef | FUNCTION) and body and body[0] is child
    return bool(first) and ast.get_docstring(node, clean=False) is not None  # type: ignore[arg-type]


def _is_hollow(child: ast.AST) -> bool:
    body = child.body[0] if isinstance(child, FUNCTION) and len(child.body) == 1 else None
    value = body.value if isinstance(body, ast.Expr) else None
    return isinstance(value, ast.Constant) and value.value is ...
