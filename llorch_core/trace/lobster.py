"""A trace in the interchange format of LOBSTER, which joins requirements, tests and code of many tools."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from llorch_core.trace.plain import printable

NAMES = ("rules.lobster", "scenarios.lobster", "code.lobster")
"""What the three documents are called, in the order in which `lobster` returns them."""

SILENT = ("proved", "passed", "not run")  # the other statuses of a rule are a message about it
ACTIVITY = {"passed": "ok", "failed": "fail", "error": "fail", "stub": "fail", "not run": "not run"}

Document = dict[str, Any]


def lobster(trace: Mapping[str, Any]) -> tuple[Document, Document, Document]:
    """Return rules as requirements, scenarios as activities, and the engine's functions as implementation.

    A scenario refers to the rules that its tags name, a function to those whose scenarios ran a line of it.
    A rule that fails, or that nothing stands behind, carries the reason; one that was not run is justified
    by what it needs; a tag that is no rule is left dangling. LOBSTER reports each of them.
    """
    rules = [requirement(rule) for rule in trace["rules"] if rule["says"] is not None]
    scenarios = [activity(scenario) for scenario in trace["scenarios"]]
    code = [item for file in trace["code"] for item in code_items(trace, file)]
    return (
        envelope("lobster-req-trace", 4, rules),
        envelope("lobster-act-trace", 3, scenarios),
        envelope("lobster-imp-trace", 3, code),
    )


def envelope(schema: str, version: int, items: list[Document]) -> Document:
    """Return one document. The versions are those that LOBSTER 1.0 writes itself."""
    return {"data": items, "generator": "llorch", "schema": schema, "version": version}


def requirement(rule: Mapping[str, Any]) -> Document:
    """Return a rule as a requirement."""
    silent = rule["status"] in SILENT
    return {
        **item(f"req {rule['rule']}", rule["file"], rule["line"], rule["rule"]),
        "messages": [] if silent else [printable(f"{rule['status']}: {rule['why']}")],
        "just_down": absent(rule["status"], rule["why"]),
        "framework": "llorch",
        "kind": rule["level"],
        "text": printable(rule["says"]),
        "status": rule["status"],
    }


def activity(scenario: Mapping[str, Any]) -> Document:
    """Return a scenario as an activity."""
    status = ACTIVITY[scenario["status"]]
    return {
        **item(f"scenario {scenario['id']}", scenario["file"], scenario["line"], scenario["title"]),
        "refs": [tag(f"req {rule}") for rule in scenario["rules"]],
        "framework": "behave",
        "kind": "scenario",
        "status": status,
        "messages": [printable(scenario["message"].partition("\n")[0])] if status == "fail" else [],
        "just_up": absent(scenario["status"], scenario["message"]),
    }


def code_items(trace: Mapping[str, Any], code: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the functions of one file; the file itself for lines outside of them, or if it is not Python."""
    path = PurePosixPath(code["file"])
    owners = functions(code["text"]) if path.suffix == ".py" else {}
    found: dict[str, tuple[int, set[int]]] = {}
    for line in sorted(set(code["statements"]) - set(code["excused"])):
        name, first = owners.get(line, ("", 1))
        found.setdefault(name, (first, set()))[1].update(code["run"].get(str(line), ()))
    for name, (first, rules) in found.items():
        full = f"{'.'.join(path.with_suffix('').parts)}.{name}" if name else code["file"]
        yield {
            **item(f"code {full}", code["file"], first, name or code["file"]),
            "refs": [tag(f"req {trace['rules'][i]['rule']}") for i in sorted(rules)],
            "language": "Python" if path.suffix == ".py" else path.suffix.lstrip("."),
            "kind": "function" if name else "file",
        }


def functions(text: Sequence[str]) -> dict[int, tuple[str, int]]:
    """Return for each line of Python inside a function the innermost one's full name and first line."""
    owners: dict[int, tuple[str, int]] = {}

    def visit(node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                visit(child, outer)
                continue
            name = f"{outer}{child.name}"
            if not isinstance(child, ast.ClassDef):
                body = range(child.body[0].lineno, (child.end_lineno or child.lineno) + 1)
                owners.update(dict.fromkeys(body, (name, child.lineno)))
            visit(child, f"{name}.")

    try:
        visit(ast.parse("\n".join(text)), "")
    except SyntaxError:
        return {}
    return owners


def item(id: str, file: str | None, line: int | None, name: str) -> Document:
    """Return what every item has."""
    location = {"kind": "file", "file": file, "line": line, "column": None} if file else {"kind": "void"}
    empty: dict[str, list[str]] = {key: [] for key in ("messages", "just_up", "just_down", "just_global")}
    return {"tag": tag(id), "location": location, "name": printable(name), **empty}


def absent(status: str, why: str) -> list[str]:
    """Return the justification of what was not run."""
    return [printable(f"not run: {why}")] if status == "not run" else []


def tag(text: str) -> str:
    """Return a tracing tag; what follows an @ would be read as a version."""
    return text.replace("@", "%40")
