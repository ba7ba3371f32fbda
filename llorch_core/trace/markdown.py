"""A trace in Markdown: as a document, and as the summary of a job that fits on a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llorch_core.trace import words
from llorch_core.trace.report_parts import by_component, by_kind, not_run
from llorch_core.trace.words import Trace

PLAIN = re.compile(r"[\w.:/ \[\],-]+", re.ASCII)  # what a code span can hold
MOST_PROBLEMS, MOST_REASONS, MOST_CHARACTERS = 8, 8, 240  # of a summary


def markdown(trace: Mapping[str, Any]) -> str:
    """Return the trace as a document: totals, problems, what was not run, every rule, every lesson."""
    lines = [f"# {escape(words.headline(trace))}", "", escape(words.facts(trace)), "", *_totals(trace)]
    problems = [problem for problem in trace["problems"] if problem["kind"] != "not run"]
    if problems:
        lines += ["", "## Problems, worst first"]
    for kind, found, next in by_kind(problems):
        lines += ["", f"### {kind} ({len(found)})", "", *([f"Next: {escape(next)}", ""] if next else [])]
        lines += [_problem(problem, with_next=not next) for problem in found]
    if left := not_run(trace):
        lines += ["", "## Not run", ""]
        lines += [f"- {code(what)}: {escape(why)}" for what, why, _ in left]
    for component, rules in by_component(trace):
        if rules:
            title = (
                f"{escape(component['title'])} ({code(component['id'])})" if component else "Of no component"
            )
            lines += ["", f"## {title}", "", *_rules(rules)]
    if words.lessons(trace):
        lines += ["", "## Lessons", "", f"{words.lessons_tally(trace)}."]
    for title, lessons in words.lessons_by_kind(trace):
        lines += ["", f"### {title}", "", *_lessons(lessons)]
    return "\n".join(lines) + "\n"


def summary(trace: Mapping[str, Any], reasons: Sequence[str] = ()) -> str:
    """Return what a reader of a job must know: totals, and what is wrong; a screen at most.

    reasons  why a gate refuses it
    """
    lines = [f"## {escape(words.headline(trace))}", "", escape(words.facts(trace)), "", *_totals(trace)]
    if reasons:
        lines += ["", "### Refused", "", *(f"- {_cut(reason)}" for reason in reasons[:MOST_REASONS])]
        lines += _more(len(reasons) - MOST_REASONS)
    problems = [problem for problem in trace["problems"] if problem["kind"] != "not run"]
    if problems:
        lines += ["", f"### {words.count(len(problems), 'problem')}, worst first", ""]
    room = MOST_PROBLEMS
    for kind, found, next in by_kind(problems):
        lines.append(f"- **{kind}** ({len(found)}){f': {_cut(next)}' if next else ''}")
        shown = found[: min(room, 3)]
        lines += [f"  - {_where(p)}: {_cut(p['says'])}{'' if next else ' ' + _cut(p['next'])}" for p in shown]
        room -= len(shown)
    left = not_run(trace)
    if left:
        names = ", ".join(code(what) for what, _, _ in left[:MOST_PROBLEMS])
        more = f" and {len(left) - MOST_PROBLEMS} more" if len(left) > MOST_PROBLEMS else ""
        lines += ["", f"Not run: {names}{more}."]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text as Markdown shows it: nothing of it is a table, a link, code or HTML."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]#~])", r"\\\1", text)


def code(name: str) -> str:
    """Return a name as code, or escaped where code could not hold it."""
    return f"`{name}`" if PLAIN.fullmatch(name) else escape(name)


def _totals(trace: Trace) -> list[str]:
    totals = trace["totals"]
    rows = [
        ("rules", words.tally(trace).partition(": ")[2]),
        ("mistakes caught", words.of(totals["caught"], totals["mistakes"])),
        ("elements compared", words.of(totals["elements"], totals["of"])),
        ("scenarios", f"{totals['scenarios']:,}, with {words.count(totals['comparisons'], 'comparison')}"),
    ]
    if totals["lines"] is not None:
        rows.append(("lines of the engine run", words.of(totals["lines_run"] or 0, totals["lines"])))
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _problem(problem: Mapping[str, Any], with_next: bool) -> str:
    next = f" Next: {escape(problem['next'])}" if with_next else ""
    return f"- {_where(problem)}: {escape(problem['says'])}{next}"


def _where(problem: Mapping[str, Any]) -> str:
    """Return what a problem is about, and where that stands."""
    what, file, line = problem["what"], problem["file"], problem["line"]
    place = code(file if line is None else f"{file}:{line}") if file else ""
    if what == file:
        return place
    return f"{code(what)} ({place})" if place else code(what)


def _rules(rules: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| rule | what it says | status | elements | worst / tolerance | mistakes caught |",
        "|---|---|---|--:|--:|--:|",
    ]
    for rule in rules:
        worst = words.short(rule["worst"]["share"]) if rule["worst"] else "–"
        says = escape(f"{rule['level'] or ''} {rule['says'] or 'a tag that is no rule'}")
        lines.append(
            f"| {code(rule['rule'])} | {says} | {rule['status']} | {rule['elements']:,} | {worst} | "
            f"{words.caught(rule)} |"
        )
    return lines


def _lessons(lessons: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = ["| lesson | what happened | status | what enforces it |", "|---|---|---|---|"]
    for lesson in lessons:
        assumed = f" (assumed: {lesson['verdict']})" if lesson["verdict"] else ""
        seen = f" (bugs {escape(', '.join(lesson['evidence']))})" if lesson["evidence"] else ""
        by = "; ".join(_link(link) for link in lesson["enforced_by"])
        if lesson["not_enforced"]:
            by = f"**nothing**: {escape(lesson['not_enforced'])}"
        elif lesson["apart_from"]:
            by += f". Not enforced: {escape(lesson['apart_from'])}"
        says = f"{code(lesson['lesson'])} {escape(lesson['says'])}{assumed}"
        lines.append(f"| {says} | {escape(lesson['happened'])}{seen} | {lesson['status']} | {by} |")
    return lines


def _link(link: Mapping[str, Any]) -> str:
    status = f" ({link['status']})" if link["status"] else ""
    return f"{link['kind']} {code(link['name'])}{status}"


def _cut(text: str) -> str:
    return escape(text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…")


def _more(n: int) -> list[str]:
    return [f"- and {n:,} more"] if n > 0 else []
