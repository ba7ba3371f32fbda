"""What a trace says, in words: the same ones for the report, for Markdown and for a job's summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Trace = Mapping[str, Any]

# In the order of a bar: what holds first, what does not last.
STATUSES = ("proved", "passed", "not run", "stale", "untested", "orphaned", "stub", "error", "failed")
MEANS = {
    "proved": "passed, ran the engine's code, compared every element, and its mistakes were caught",
    "passed": "its scenarios passed, and it is not proved that they can fail",
    "not run": "needs something that was not there",
    "stale": "the rule has changed since its evidence",
    "untested": "no scenario is about it",
    "orphaned": "a tag of a scenario that is no rule",
    "stub": "a scenario compared nothing",
    "error": "the suite itself failed",
    "failed": "an element is outside its tolerance",
}

HOLDS = {"proved", "caught"}  # what a rule or a mistake has to be, for a lesson to rest on it
NOT_ASKED = "not asked"  # of a rule that this trace is not about
LESSONS = {  # statuses, what holds first
    "proved": "a rule that it names is proved here, or a mistake caught",
    "enforced": "by a test, the gate or the stub detector, of which this proof holds nothing",
    NOT_ASKED: "this trace is not about its rules",
    "open": "it names rules, and none of them holds here",
    "not enforced": "nothing enforces it",
}
GROUPS = {"assumption": "What was assumed", "cause": "What caused it", "guardrail": "What has to hold"}


def count(n: int, what: str) -> str:
    """Return "1 element" or "2,000 elements"."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def number(value: Any) -> float:
    """Return a number of a trace, where what is not finite is text, as a float; None is NaN."""
    return math.nan if value is None else float(value)


def short(value: Any, digits: int = 3) -> str:
    """Return a number with few digits: 0.0312, 188, 35,100, 1.9 × 10⁶, ∞."""
    x = number(value)
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else "∞" if x > 0 else "−∞"
    text = f"{abs(x):.{digits}g}"
    if 1e3 <= abs(x) < 1e6 and ("e" in text or digits < 4):
        text = f"{float(text):,.0f}"
    elif "e" in text:
        mantissa, _, exponent = text.partition("e")
        power = f"10{str(int(exponent)).translate(RAISED)}"
        text = power if mantissa == "1" else f"{mantissa} × {power}"
    return f"−{text}" if x < 0 else text


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def statuses(trace: Trace) -> list[tuple[str, int]]:
    """Return each status that some rule has, and how many have it."""
    found = trace["totals"]["statuses"]
    return [(status, found[status]) for status in STATUSES if found.get(status)]


def worst_status(rules: Iterable[Mapping[str, Any]]) -> str:
    """Return the status that comes last of those that the rules have."""
    return max((str(rule["status"]) for rule in rules), key=STATUSES.index)


def tally(trace: Trace) -> str:
    """Return "137 rules: 135 proved, 2 not run"."""
    parts = [f"{n:,} {status}" for status, n in statuses(trace)]
    return f"{count(trace['totals']['rules'], 'rule')}: {', '.join(parts) or 'nothing to count'}"


def mood(trace: Trace) -> str:
    """Return good, unsure or bad: what the worst status of a rule makes of the whole."""
    found = {status for status, _ in statuses(trace)}
    if "failed" in found:
        return "bad"
    return "unsure" if not found or found - {"proved", "not run"} else "good"


def headline(trace: Trace) -> str:
    """Return the one sentence that says what is true of the engine, and what is not known."""
    totals, found = trace["totals"], dict(statuses(trace))
    who = f"{trace['engine']} with {trace['model']}"
    rules, proved = totals["rules"], found.get("proved", 0)
    if found.get("failed"):
        verb = "fails" if found["failed"] == 1 else "fail"
        return f"{who} does not conform: {found['failed']:,} of {count(rules, 'rule')} {verb}."
    if not rules:
        return f"{who}: there is no rule, and nothing is known."
    others = [f"{n:,} {status}" for status, n in statuses(trace) if status != "proved"]
    rest = f"; {', '.join(others)}" if others else ""
    if found.get("error"):
        return f"{who}: the suite failed, and nothing can be concluded. {proved:,} of {rules:,} proved{rest}."
    if mood(trace) == "good":
        return f"{who} conforms: {proved:,} of {count(rules, 'rule')} are proved{rest}."
    return f"{who} conforms as far as it is known: {proved:,} of {count(rules, 'rule')} proved{rest}."


def facts(trace: Trace) -> str:
    """Return at which commit, when, in which precision and how long."""
    made = trace["made"]
    commit = f"commit {made['commit'][:12]}" if made["commit"] else "no commit"
    changed = {True: " with changes that are not committed", False: "", None: ""}[made["dirty"]]
    return (
        f"Held to the specs in {trace['precision']}, at {commit}{changed}, on {when(made['at'])}, "
        f"in {duration(made['seconds'])}."
    )


def when(text: str) -> str:
    """Return a time in ISO 8601 as people write it, and any other text as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = " UTC" if at.utcoffset() is not None and not at.utcoffset() else at.strftime(" %z").rstrip()
    return f"{at.day} {at:%B %Y, %H:%M}{zone}"


def duration(seconds: float) -> str:
    """Return 3 ms, 0.2 s, 9 s, 3 min 20 s."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def of(n: int, total: int) -> str:
    """Return "all 12" or "7 of 12"."""
    return f"all {total:,}" if n == total else f"{n:,} of {total:,}"


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return runs of numbers that follow each other, as their first and last."""
    runs: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], n
        else:
            runs.append((n, n))
    return runs


def worst(rule: Mapping[str, Any]) -> float:
    """Return the worst error of a rule as a share of its tolerance; NaN where nothing was compared."""
    return number(rule["worst"]["share"]) if rule["worst"] else math.nan


def nearest(trace: Trace, most: int = 10) -> list[Mapping[str, Any]]:
    """Return the rules whose worst error is nearest to its tolerance, or farthest past it."""
    found = [rule for rule in trace["rules"] if worst(rule) > 0]
    return sorted(found, key=worst, reverse=True)[:most]


def caught(rule: Mapping[str, Any]) -> str:
    """Return how many of a rule's mistakes were caught: "3 of 3"."""
    trials = rule["mistakes"]
    return f"{sum(trial['status'] == 'caught' for trial in trials)} of {len(trials)}" if trials else "none"


def lessons(trace: Trace, *status: str) -> list[Mapping[str, Any]]:
    """Return the lessons of a trace, those of a status if one is given; none where its specs have none."""
    return [entry for entry in trace.get("lessons", ()) if not status or entry["status"] in status]


def lessons_by_kind(trace: Trace) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the lessons below what they are about, as a title."""
    groups = [(GROUPS[kind], [x for x in lessons(trace) if x["kind"] == kind]) for kind in GROUPS]
    return [(title, found) for title, found in groups if found]


def lessons_tally(trace: Trace) -> str:
    """Return "66 lessons: 61 enforced, 37 of them by a rule that is …; 5 that nothing enforces"."""
    n = {status: len(lessons(trace, status)) for status in LESSONS}
    enforced = n["proved"] + n["enforced"]
    by = f"{n['proved']:,} of them by a rule that is proved here"
    parts = [f"{enforced:,} enforced, {by} and {n['enforced']:,} by a test, the gate or the stub detector"]
    if in_part := sum(bool(x["apart_from"]) for x in lessons(trace, "proved", "enforced")):
        parts[0] += f" ({in_part:,} but for a part)"
    if n["open"]:
        parts.append(f"{n['open']:,} whose rules do not hold here")
    if n[NOT_ASKED]:
        parts.append(f"{n[NOT_ASKED]:,} that this trace is not about")
    parts.append(f"{n['not enforced']:,} that nothing enforces")
    return f"{count(len(lessons(trace)), 'lesson')}: {'; '.join(parts)}"


def weak(lesson: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a lesson names and what does not hold here."""
    return [x for x in lesson["enforced_by"] if x["status"] not in (None, NOT_ASKED, *HOLDS)]
