"""What the facts say in sentences. Each names its figures; one whose figures were not measured is not said."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.fill import names

SENTENCES = {
    "history": (
        "{history.commits} commits by {history.authors} authors, from {history.first} to {history.last}.",
    ),
    "structure": (),
    "documents": (),
    "requirements": (),
    "tests": (),
    "claims": (),
}

# The figures that people ask for first, in one sentence each; the last words are said where one is missing.
HEADLINES = (
    "{history.commits} commits by {history.authors} authors, from {history.first} to {history.last}.",
)

# The figures at the top of the page: name, and the words under it.
NUMBERS = (
    ("history.commits", "commits"),
)


def sentences(section: str, facts: Facts) -> list[str]:
    """Return the sentences of a section whose figures were all measured, not filled in yet."""
    return said(SENTENCES.get(section, ()), facts)


def said(templates: Sequence[str], facts: Facts) -> list[str]:
    """Return those sentences whose figures were all measured; the names of the others as not measured."""
    missing = [name for one in templates for name in names(one) if name not in facts.figures]
    found = [one for one in templates if all(name in facts.figures for name in names(one))]
    return [*found, *([f"Not measured: {', '.join(dict.fromkeys(missing))}."] if missing else [])]
