"""Texts with figures in them: `{history.commits}` stands for what was measured, wherever it is told."""

from __future__ import annotations

from collections.abc import Callable

from llorch_core.postmortem.facts import Facts, Figure
from llorch_core.postmortem.judgement.figures_by_hand import PLACEHOLDER
from llorch_core.postmortem.report.wording import NOT_MEASURED, figure


def names(text: str) -> list[str]:
    """Return the names of the figures that a text refers to."""
    return PLACEHOLDER.findall(text)


def fill(
    text: str,
    facts: Facts,
    plain: Callable[[str], str] = lambda text: text,
    shown: Callable[[str, str], str] = lambda name, value: value,
) -> str:
    """Return a text with its figures filled in; a figure of 1 makes its unit behind it singular.

    plain  what becomes of the text between figures (escaped, for Markdown or HTML)
    shown  what becomes of a figure, from its name and its value in words
    """
    parts = PLACEHOLDER.split(text)
    for at in range(1, len(parts), 2):
        parts[at + 1] = singular(parts[at + 1], facts.figures.get(parts[at]))
    return "".join(shown(part, told(part, facts)) if at % 2 else plain(part) for at, part in enumerate(parts))


def singular(behind: str, one: Figure | None) -> str:
    """Return the text behind a figure, with the unit in the singular where the figure is 1."""
    if one is None or one.value != 1 or not one.unit.endswith("s") or not behind.startswith(f" {one.unit}"):
        return behind
    return f" {one.unit[:-1]}{behind[len(one.unit) + 1 :]}"


def told(name: str, facts: Facts) -> str:
    """Return the value of a figure in words; where it was not measured, that."""
    found = facts.figures.get(name)
    return figure(found) if found else f"({name} was {NOT_MEASURED})"
