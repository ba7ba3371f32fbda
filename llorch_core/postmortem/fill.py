"""Texts with figures in them: `{history.commits}` stands for what was measured, wherever it is told."""

from __future__ import annotations

import re
from collections.abc import Callable

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.words import NOT_MEASURED, figure

NAME = re.compile(r"\{([a-z_]+(?:\.[a-z0-9_]+)+)\}")


def names(text: str) -> list[str]:
    """Return the names of the figures that a text refers to."""
    return NAME.findall(text)


def fill(
    text: str,
    facts: Facts,
    plain: Callable[[str], str] = lambda text: text,
    shown: Callable[[str, str], str] = lambda name, value: value,
) -> str:
    """Return a text with its figures filled in.

    plain  what becomes of the text between figures (escaped, for Markdown or HTML)
    shown  what becomes of a figure, from its name and its value in words
    """
    parts = NAME.split(text)
    return "".join(
        shown(part, told(part, facts)) if at % 2 else plain(part) for at, part in enumerate(parts)
    )


def told(name: str, facts: Facts) -> str:
    """Return the value of a figure in words; where it was not measured, that."""
    found = facts.figures.get(name)
    return figure(found) if found else f"({name} was {NOT_MEASURED})"
