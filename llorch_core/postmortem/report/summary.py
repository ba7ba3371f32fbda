"""The executive summary: what happened, why, what changes, and what is not known, on two pages at most."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.judgement.judgement import (
    KINDS,
    Assumption,
    Bug,
    Cause,
    Chain,
    Entry,
    Guardrail,
    RuledOut,
)
from llorch_core.postmortem.report.markdown import code, escape
from llorch_core.postmortem.report.phases import Text, document, listed
from llorch_core.postmortem.report.report import NO_EVIDENCE, Report, tally
from llorch_core.postmortem.report.sections import sections
from llorch_core.postmortem.report.sentences import HEADLINES, said
from llorch_core.postmortem.report.wording import count, cut

# Two pages hold about 900 words: what is listed, and how long a sentence may be.
MOST_CAUSES, MOST_BUGS, MOST_GUARDS = 5, 6, 6
LONG, SHORT = 34, 16  # words


def summary(report: Report) -> str:
    """Return the summary in Markdown, with the figures that it names and how they were measured elsewhere."""
    text = Text(report.facts)
    lines = [*happened(report, text), *causes(report, text), *chain(report, text), *bugs(report, text)]
    lines += [*changes(report, text), *not_known(report)]
    text.used.clear()  # their definitions would take a third page, and are in phase 1
    lines += [
        "",
        "What each figure counts, and its command: PHASE_1_ARCHAEOLOGY.md. Pictures: report.html.",
    ]
    return document(report, "Summary", text, lines)


def happened(report: Report, text: Text) -> list[str]:
    """Return the figures that people ask for first."""
    return ["", "## What was measured", "", *(f"- {text(one)}" for one in said(HEADLINES, report.facts))]


def causes(report: Report, text: Text) -> list[str]:
    """Return the weightiest root causes."""
    found = report.judgement.of(Cause)
    lines = ["", "## Why", *listed(found, "root cause", "causes.yaml")]
    shown = [
        f"{one.rank}. **{text(cut(one.title, SHORT))}.** {text(cut(one.what, LONG))}{doubt(one, report)}"
        for one in found[:MOST_CAUSES]
    ]
    return [*lines, *([""] if shown else []), *shown, *more(found, MOST_CAUSES, "PHASE_5_POSTMORTEM.md")]


def chain(report: Report, text: Text) -> list[str]:
    """Return the first causal chain, step by step."""
    found = report.judgement.of(Chain)
    if not found:
        return []
    steps = [text(cut(step.says, SHORT)).rstrip(".") for step in found[0].steps[:8]]
    return ["", f"How it went ({text(cut(found[0].title, SHORT))}): {' → '.join(steps)}."]


def bugs(report: Report, text: Text) -> list[str]:
    """Return how the bugs were judged, and the worst of them."""
    found = report.judgement.of(Bug)
    lines = ["", "## Bugs", *listed(found, "bug", "bugs.yaml", (bug.verdict for bug in found))]
    order = {"critical": 0, "high": 1, "medium": 2, "low": 3}
    real = [bug for bug in found if bug.verdict in ("confirmed", "never found")]
    worst = sorted(real, key=lambda bug: order.get(bug.severity, 4))
    shown = [
        f"- {text(cut(bug.title, SHORT))} ({escape(bug.severity)}, {escape(bug.verdict)}){doubt(bug, report)}"
        for bug in worst[:MOST_BUGS]
    ]
    wrong = tally(one.verdict for one in report.judgement.of(Assumption))
    assumed = ["", f"What was taken for granted: {escape(wrong)}."] if wrong else []
    return [*lines, *([""] if shown else []), *shown, *more(worst, MOST_BUGS, "PHASE_3_BUGS.md"), *assumed]


def changes(report: Report, text: Text) -> list[str]:
    """Return what now turns red when it happens again."""
    found = report.judgement.of(Guardrail)
    lines = ["", "## What turns red when it happens again", *listed(found, "guardrail", "guardrails.yaml")]
    shown = [f"- {text(cut(one.title, SHORT))}" for one in found[:MOST_GUARDS]]
    return [*lines, *([""] if shown else []), *shown, *more(found, MOST_GUARDS, "PHASE_5_POSTMORTEM.md")]


def not_known(report: Report) -> list[str]:
    """Return what was not measured, not judged, or not shown."""
    told = [f"Not measured: {', '.join(missing)}." for missing in [unmeasured(report)] if missing]
    if empty := [name for name, kind in KINDS.items() if not report.judgement.of(kind)]:
        told.append(f"Not judged: {', '.join(empty)}.".replace("_", " "))
    without = [entry for entry in report.judgement if report.doubts(entry) == NO_EVIDENCE and has(entry)]
    if without:
        told.append(f"Without evidence: {count(len(without), 'finding')}.")
    if unopened := len(report.checked.not_opened):
        told.append(f"Not opened: {count(unopened, 'piece of evidence', 'pieces of evidence')}.")
    if missed := [p for p in report.checked.problems if p.kind == "not there"]:
        told.append(f"Evidence that does not show what it should: {len(missed)}.")
    again = {p.entry for p in report.checked.problems if p.kind == "open again"}
    ruled = report.judgement.of(RuledOut)
    if ruled:
        told.append(f"Ruled out: {len(ruled)}; open again: {len(again)}.")
    return [
        "",
        "## What is not known",
        "",
        *(f"- {escape(one)}" for one in told or ["Nothing was left out."]),
    ]


def unmeasured(report: Report) -> list[str]:
    """Return the sections of which nothing was measured, and the tables that others lack."""
    found = [section for section in sections(report.facts) if section.missing]
    return [f"{s.title.lower()} ({', '.join(s.missing)})" if s.measured else s.title.lower() for s in found]


def has(entry: Entry) -> bool:
    """Return whether an entry is of a kind that shows evidence."""
    return hasattr(entry, "evidence") or hasattr(entry, "claimed")


def doubt(entry: Entry, report: Report) -> str:
    """Return a remark where the evidence of an entry is missing or does not show it."""
    mark = report.doubts(entry)
    return f" *({escape(mark)})*" if mark else ""


def more(found: Sequence[object], shown: int, file: str) -> list[str]:
    """Return where the rest of a list is."""
    return ["", f"and {len(found) - shown} more: {code(file)}."] if len(found) > shown else []
