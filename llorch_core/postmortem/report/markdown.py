"""Markdown: text that stays text, tables, commands in fences, and what was measured with its definition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llorch_core.postmortem.facts import Figure, Table, Value
from llorch_core.postmortem.report.sections import Shown
from llorch_core.postmortem.report.wording import figure, percent, value

PLAIN = re.compile(r"(?! )[^`|\\\s]+(?: [^`|\\\s]+)*")  # what a code span can hold, in a table, too
MOST_CHARACTERS = 160  # of a cell
PLACES = frozenset({"line", "hour"})  # numbers that are no amounts are written without commas


def escape(text: str) -> str:
    """Return text as Markdown shows it: nothing of it is a table, a link, code or HTML."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]#~])", r"\\\1", text)


def code(name: str) -> str:
    """Return a name as code, or escaped where code could not hold it."""
    return f"`{name}`" if PLAIN.fullmatch(name) else escape(name)


def fence(body: str, kind: str = "sh") -> list[str]:
    """Return lines that show a text as it is, whatever backticks it has."""
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    marks = "`" * max(3, longest + 1)
    return [f"{marks}{kind}", *body.splitlines(), marks]


def cell(one: Value, column: str) -> str:
    """Return a value of a table, cut where it is long."""
    if column in PLACES and isinstance(one, int):
        return str(one)
    if column == "share" and isinstance(one, int | float):
        return percent(one, 1)
    text = value(one) if one is not None else ""
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def numeric(table: Table, column: str) -> bool:
    """Return whether a column holds only numbers."""
    at = table.columns.index(column)
    values = [row[at] for row in table.rows if row[at] is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def grid(columns: Sequence[str], right: Iterable[bool], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; its cells are Markdown already."""
    return [
        f"| {' | '.join(columns)} |",
        f"|{'|'.join('--:' if one else '---' for one in right)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def shown_table(shown: Shown) -> list[str]:
    """Return a measured table with its title and definition."""
    table = shown.table
    lines = ["", f"### {shown.title}", "", escape(table.definition), ""]
    if not shown.rows:
        lines.append("None.")
    else:
        names = [escape(column.replace("_", " ")) for column in table.columns]
        rows = [[escape(cell(row[c], c)) for c in table.columns] for row in shown.rows]
        lines += grid(names, [numeric(table, c) for c in table.columns], rows)
    if shown.left_out:
        lines += ["", f"and {shown.left_out:,} more rows in facts.json."]
    return lines


def measured(figures: Sequence[tuple[str, Figure]], tables: Sequence[Shown] = ()) -> list[str]:
    """Return what figures count, and the commands that print them and what tables are made of."""
    rows = [
        [code(name), escape(figure(one)), escape(one.unit), escape(one.definition)] for name, one in figures
    ]
    named = [(name, one.command) for name, one in figures]
    named += [(f"table {shown.name}", shown.table.command) for shown in tables]
    columns = ["figure", "value", "unit", "what counts"]
    return [
        *(grid(columns, [False, True, False, False], rows) if rows else []),
        *("", "<details><summary>The commands, for bash at the top of the repository</summary>", ""),
        *fence("\n\n".join(f"# {name}\n{command}" for name, command in named)),
        *("", "</details>"),
    ]
