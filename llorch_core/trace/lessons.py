"""The lessons of failures in a trace: what was learned, and whether what enforces it holds now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llorch_core.spec.lessons import Lesson, Link
from llorch_core.spec.suite import suite_folder
from llorch_core.trace.words import HOLDS, NOT_ASKED


def lessons(learned: Iterable[Lesson], rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each lesson with what enforces it, and what became of that in these rules of a trace.

    A rule has its status, a mistake what became of its trials. What this proof does not hold has none: a
    test, a demand of the gate, a kind of stub.
    """
    statuses = {("rule", rule["rule"]): rule["status"] for rule in rules}
    statuses |= {("mistake", mistake): status for mistake, status in _trials(rules).items()}
    says = {rule["rule"]: rule["says"] for rule in rules}
    return [_lesson(lesson, statuses, says) for lesson in learned]


def _trials(rules: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what became of each mistake: caught where each trial that was held has caught it."""
    order = ("not tried", "not run", "caught")  # what is none of these is told before them
    found: dict[str, str] = {}
    for trial in (trial for rule in rules for trial in rule["mistakes"]):
        before, now = found.get(trial["mistake"], "not tried"), trial["status"]
        if before in order and (now not in order or order.index(now) >= order.index(before)):
            found[trial["mistake"]] = now
    return found


def _lesson(
    lesson: Lesson, statuses: Mapping[tuple[str, str], str], says: Mapping[str, str | None]
) -> dict[str, Any]:
    links = [_link(link, statuses, says) for link in lesson.links]
    return {
        "lesson": lesson.id,
        "kind": lesson.kind,
        "says": lesson.says,
        "verdict": lesson.verdict,
        "happened": lesson.happened,
        "evidence": list(lesson.evidence),
        "status": _status([link["status"] for link in links]),
        "enforced_by": links,
        "apart_from": lesson.apart_from,
        "not_enforced": lesson.not_enforced,
        "file": lesson.file.relative_to(suite_folder()).as_posix(),
        "line": lesson.line,
    }


def _link(
    link: Link, statuses: Mapping[tuple[str, str], str], says: Mapping[str, str | None]
) -> dict[str, Any]:
    looked_up = link.kind in ("rule", "mistake")
    return {
        "kind": link.kind,
        "name": link.name,
        "says": says.get(link.name) if link.kind == "rule" else None,
        "test": link.test,
        "status": statuses.get((link.kind, link.name), NOT_ASKED) if looked_up else None,
    }


def _status(links: Sequence[str | None]) -> str:
    """Return the status of a lesson. A test makes up for no rule that does not hold."""
    told = [status for status in links if status not in (None, NOT_ASKED)]
    if not links:
        return "not enforced"
    if told:
        return "proved" if HOLDS & {*told} else "open"
    return NOT_ASKED if NOT_ASKED in links else "enforced"
