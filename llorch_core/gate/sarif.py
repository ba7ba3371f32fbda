"""Problems as SARIF 2.1.0, which GitHub, GitLab and editors show beside the lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llorch_core.trace.origin import versions
from llorch_core.trace.plain import printable

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ELSEWHERE = "pyproject.toml"  # code scanning refuses a whole file for one result without a place

Problem = Mapping[str, Any]


def sarif(tool: str, kinds: Mapping[str, str], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return problems as SARIF.

    tool      what found them, such as `llorch gate`; code scanning keeps the results of each tool apart
    kinds     what each kind of problem is, in a sentence
    problems  kind, what (the thing it is about), file, line, says, next (what to do), and perhaps level:
              error, warning or note

    A problem without a file, or with one outside of the repository, is put at the first line of
    pyproject.toml, and names its file in words.
    """
    ids = list(kinds)
    seen: Counter[str] = Counter()
    results = []
    for problem in problems:
        same = identity(problem)
        seen[same] += 1
        results.append(result(problem, ids.index(problem["kind"]), f"{same}:{seen[same]}"))
    driver = {
        "name": tool,
        "version": versions()["llorch"],
        "rules": [rule(kind, text) for kind, text in kinds.items()],
    }
    root = {"description": {"text": "The root of the repository."}}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": f"{rule_id(tool)}/"},
                "originalUriBaseIds": {"%SRCROOT%": root},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }


def rule(kind: str, text: str) -> dict[str, Any]:
    """Return what a kind of problem is."""
    return {
        "id": rule_id(kind),
        "shortDescription": {"text": f"{kind[:1].upper()}{kind[1:]}."},
        "fullDescription": {"text": text},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["llorch"], "precision": "very-high", "problem.severity": "error"},
    }


def result(problem: Problem, index: int, fingerprint: str) -> dict[str, Any]:
    """Return one problem.

    Its fingerprint stays when lines shift: what it is about has a name. GitHub reads only one of its own,
    which its action computes from the text of the line; without a line it gets ours.
    """
    place = relative(problem["file"])
    fingerprints = {"llorch/v1": fingerprint}
    if not (place and problem["line"]):
        fingerprints["primaryLocationLineHash"] = fingerprint
    return {
        "ruleId": rule_id(problem["kind"]),
        "ruleIndex": index,
        "level": problem.get("level", "error"),
        "message": {"text": message(problem, place)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(place or ELSEWHERE), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": problem["line"] if place and problem["line"] else 1},
                },
                "logicalLocations": [{"fullyQualifiedName": problem["what"]}],
            }
        ],
        "partialFingerprints": fingerprints,
    }


def message(problem: Problem, place: str | None) -> str:
    """Return what is wrong with what, and what to do; the first sentence is the title of an alert."""
    where = f"\nIn {problem['file']}." if problem["file"] and place is None else ""
    return printable(f"{problem['what']}: {problem['says']}{where}\n{problem['next']}")


def identity(problem: Problem) -> str:
    """Return what names a problem whatever its line is, and whatever was measured this time."""
    what = re.sub(r":\d+$", "", problem["what"])  # a scenario is named by file:line
    says = re.sub(r"\d+", "", problem["says"])
    named = (problem["kind"], what, problem["file"] or "", says)
    return sha256("\0".join(named).encode(errors="replace")).hexdigest()[:16]


def relative(file: str | None) -> str | None:
    """Return a path from the root of the repository, with slashes; None where it is outside."""
    if not file:
        return None
    path = Path(file)
    if path.is_absolute():
        if not path.is_relative_to(Path.cwd()):
            return None
        path = path.relative_to(Path.cwd())
    return None if ".." in path.parts else path.as_posix()


def rule_id(kind: str) -> str:
    """Return a kind in kebab-case: `missed mistake` is `missed-mistake`."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")
