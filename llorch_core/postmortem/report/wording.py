"""Words of the reports: numbers, dates and plurals, the same in a terminal, in Markdown and on a page."""

from __future__ import annotations

import re
from datetime import datetime

from llorch_core.postmortem.facts import Figure, Value

HASH = re.compile(r"[0-9a-f]{40,64}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d\S*)?")
NOT_MEASURED = "not measured"
PERCENT = frozenset({"percent", "per cent", "%"})  # units
SECTIONS = {
    "history": "History",
    "structure": "Structure",
    "documents": "Documents",
    "requirements": "Requirements",
    "tests": "Tests",
    "claims": "Claims",
}


def value(one: Value) -> str:
    """Return a measured value as a person writes it: 1,392; 0.6; yes; 5 Oct 2025, 19:49; aa5c0a754f24."""
    if one is None:
        return "none"
    if isinstance(one, bool):
        return "yes" if one else "no"
    if isinstance(one, int):
        return f"{one:,}"
    if isinstance(one, float):
        return f"{one:,.2f}".rstrip("0").rstrip(".") if abs(one) >= 0.01 or one == 0 else f"{one:.2g}"
    if HASH.fullmatch(one):
        return one[:12]
    if MOMENT.fullmatch(one):
        return moment(one)
    return one


def moment(text: str) -> str:
    """Return an ISO 8601 moment as a date and a time of day; what is none as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at.day} {at:%b %Y}" + (f", {at:%H:%M}" if len(text) > len("2024-03-04") else "")


def date(text: str) -> str:
    """Return the date of an ISO 8601 moment; what is none as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at.day} {at:%B %Y}"


def percent(part: float, whole: float) -> str:
    """Return a share in percent, never rounded to none or all of it where it is not."""
    if not whole:
        return "0 %"
    share = 100 * part / whole
    if 0 < share < 1:
        return "under 1 %"
    return "over 99 %" if 99 < share < 100 else f"{share:.0f} %"


def figure(one: Figure | None) -> str:
    """Return the value of a figure, with a sign of percent where that is its unit."""
    if one is None:
        return NOT_MEASURED
    return f"{value(one.value)} %" if one.unit in PERCENT else value(one.value)


def count(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun: 1 test, 1,392 commits."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def title(name: str) -> str:
    """Return the name of a figure or table within its section as words: hot_spots is hot spots."""
    return name.partition(".")[2].replace("_", " ").replace(".", ", ")


def cut(text: str, most: int) -> str:
    """Return the first sentence of a text, or its first words; `most` is how many."""
    text = " ".join(text.split())
    sentence = re.split(r"(?<=[.!?]) (?=[A-Z0-9“\"'])", text)[0]
    words = sentence.split()
    return sentence if len(words) <= most else " ".join(words[:most]) + " …"
