"""Tables in which each row has a bar: languages, tests, claims. The numbers beside it say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llorch_core.postmortem.facts import Facts, Value

MOST_ROWS = 14
WIDE = 100.0


@dataclass(frozen=True)
class Part:
    """A part of a bar. `kind` is a class of the stylesheet."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True)
class Row:
    """One row: its name, its bar, and its numbers in the order of the columns."""

    name: str
    parts: tuple[Part, ...]
    numbers: tuple[Value, ...]


@dataclass(frozen=True)
class Bars:
    """A table with bars. `keys` are the kinds of parts and what they stand for."""

    first: str  # what the rows are
    columns: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    left_out: int


Kinds = Sequence[tuple[str, str]]
Line = tuple[str, Sequence[float], Sequence[Value]]  # name, widths by kind, numbers


def bars(first: str, columns: Sequence[str], keys: Kinds, lines: Iterable[Line]) -> Bars:
    """Return a table whose longest bar is 100 wide."""
    found = list(lines)
    most = max((sum(widths) for _, widths, _ in found), default=0) or 1
    rows = tuple(
        Row(name, tuple(parts(widths, [kind for kind, _ in keys], most)), tuple(numbers))
        for name, widths, numbers in found[:MOST_ROWS]
    )
    return Bars(first, tuple(columns), tuple(keys), rows, len(found) - len(rows))


def parts(widths: Sequence[float], kinds: Sequence[str], most: float) -> Iterable[Part]:
    """Give the parts of one bar; what is there is never too narrow to be seen."""
    x = 0.0
    for kind, width in zip(kinds, widths, strict=True):
        if width > 0:
            shown = max(WIDE * width / most, 0.7)
            yield Part(kind, round(min(x, WIDE - shown), 2), round(shown, 2))
            x += WIDE * width / most


def number(row: dict[str, Any], *columns: str) -> list[int]:
    """Return columns of a row as numbers; what is not there is 0."""
    return [int(row.get(column) or 0) for column in columns]


def languages(facts: Facts) -> Bars | None:
    """Return the lines of each language: code, comment, blank, and those of documents, which are none."""
    table = facts.tables.get("structure.languages")
    if not table or not table.rows:
        return None
    columns = ("files", "lines", "code", "comment", "blank")
    lines = []
    for row in sorted(table.dicts(), key=lambda row: -(row["lines"] or 0)):  # type: ignore[operator]
        counts = number(row, *columns)
        other = max(counts[1] - sum(counts[2:]), 0)
        lines.append((str(row["language"]), (*counts[2:], other), counts))
    keys = (*(("k-code", "code"), ("k-comment", "comment"), ("k-blank", "blank")), ("k-other", "documents"))
    return bars("language", columns, keys, lines)


def tests(facts: Facts) -> Bars | None:
    """Return the tests of each framework and kind: can fail, test what is gone, or cannot fail."""
    table = facts.tables.get("tests.kinds")
    if not table or not table.rows:
        return None
    why = ("ignored", "empty", "stub", "no_check", "gone")
    lines = []
    for row in sorted(table.dicts(), key=lambda row: -(row["tests"] or 0)):  # type: ignore[operator]
        every, cannot, gone = number(row, "tests", "cannot_fail", "gone")
        lost = min(gone, every - cannot)  # one may be both
        name = ", ".join(str(row[c]) for c in ("framework", "kind") if row.get(c))
        lines.append((name, (every - cannot - lost, lost, cannot), (every, cannot, *number(row, *why))))
    keys = (("k-good", "can fail"), ("k-unsure", "tests what is gone"), ("k-bad", "cannot fail"))
    columns = ("tests", "cannot fail", "ignored", "empty", "stub", "no check", "of what is gone")
    return bars("framework and kind", columns, keys, lines)


def claims(facts: Facts) -> Bars | None:
    """Return the claims by their word: withdrawn, followed by a fix, or neither."""
    table = facts.tables.get("claims.words")
    if not table or not table.rows:
        return None
    fixed = only_fixed(facts)
    lines = []
    for row in sorted(table.dicts(), key=lambda row: -(row["made"] or 0)):  # type: ignore[operator]
        made, withdrawn, corrected = number(row, "made", "withdrawn", "corrected_later")
        if not made:
            continue
        only = min(fixed[str(row["word"])], made - withdrawn)
        widths = (made - withdrawn - only, only, withdrawn)
        lines.append((str(row["word"]), widths, (made, corrected, withdrawn)))
    keys = (("k-plain", "neither"), ("k-unsure", "followed by a fix"), ("k-bad", "withdrawn"))
    return bars("what was claimed", ("made", "followed by a fix", "withdrawn"), keys, lines)


def only_fixed(facts: Facts) -> Counter[str]:
    """Return how many claims of each word a fix followed, and nobody withdrew."""
    table = facts.tables.get("claims.made")
    rows = table.dicts() if table else []
    return Counter(str(row["word"]) for row in rows if row["followed"] and not row["withdrawn"])
