"""llorch postmortem dig, for people: what was measured, section by section, on a screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llorch_core.cli.console import console
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.report import bars
from llorch_core.postmortem.report.fill import fill
from llorch_core.postmortem.report.sections import Section, sections
from llorch_core.postmortem.report.sentences import sentences
from llorch_core.postmortem.report.timeline import axis, commits
from llorch_core.postmortem.report.wording import count

BLOCKS, SHADES = " ▁▂▃▄▅▆▇█", "█▒░·"
MOST_BARS, BAR = 5, 24  # rows, and characters of the longest bar
BEGIN, END = "\x02", "\x03"  # around a figure, for no text of ours has them
COLOURS = {"k-code": "blue", "k-comment": "magenta", "k-blank": "bright_black", "k-good": "green"} | {
    "k-bad": "red",
    "k-unsure": "yellow",
    "k-plain": "blue",
    "k-other": "white",
}


def print_facts(facts: Facts, file: Path, out: Console | None = None) -> None:
    """Print the head figures of every section, small pictures of three of them, and where the rest is."""
    out = out or console()
    about = facts.about
    out.print(Text.assemble((about.path or about.repository, "bold"), f" at {about.commit[:12]}"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for section in sections(facts):
        table.add_row(section.title, Text("\n").join(said(section, facts)))
    out.print(table)
    counts = f"{count(len(facts.figures), 'figure')} and {count(len(facts.tables), 'table')} are in {file}"
    out.print(f"{counts}, each with its definition and command.", soft_wrap=True)
    out.print("Next: llorch postmortem report")


def said(section: Section, facts: Facts) -> Iterator[Text]:
    """Give the lines of one section."""
    if not section.measured:
        yield Text("not measured", style="yellow")
    for one in sentences(section.name, facts) if section.measured else ():
        yield marked(fill(one, facts, shown=lambda _, value: f"{BEGIN}{value}{END}"))
    if section.name == "history":
        yield from days(facts)
    drawn = {"structure": bars.languages, "tests": bars.tests, "claims": bars.claims}.get(section.name)
    if drawn and (found := drawn(facts)):
        yield from drawn_rows(found)


def marked(text: str) -> Text:
    """Return a text with its figures in bold."""
    found = Text()
    for part in text.split(BEGIN):
        value, end, rest = part.rpartition(END)
        found.append(value, "bold cyan")
        found.append(rest if end else part)
    return found


def days(facts: Facts) -> Iterator[Text]:
    """Give the commits of each day, week or month as a line of blocks."""
    along = axis(facts)
    if along is None:
        return
    columns = commits(facts, along)
    most = max((column.height for column in columns.columns), default=0) or 1
    line = "".join(BLOCKS[max(1, round(8 * column.height / most))] for column in columns.columns)
    yield Text.assemble((line, "blue"), (f"  commits of each {columns.each} that has some", "dim"))


def drawn_rows(found: bars.Bars) -> Iterator[Text]:
    """Give the first rows of a table with bars; each part of a bar has a colour and a shade of its own."""
    shown, at = found.rows[:MOST_BARS], found.columns.index("lines") if "lines" in found.columns else 0
    wide = max((len(row.name) for row in shown), default=0)
    shades = {kind: (shade, COLOURS[kind]) for (kind, _), shade in zip(found.keys, SHADES, strict=False)}
    for row in shown:
        line = Text(f"{row.name:{wide}}  {row.numbers[at]:>9,}  ")
        for part in row.parts:
            shade, colour = shades[part.kind]
            line.append(shade * max(1, round(BAR * part.width / bars.WIDE)), colour)
        yield line
    if not found.rows:
        return
    legend = Text(f"{found.columns[at]}:", "dim")
    for kind, text in found.keys:
        legend.append(f" {shades[kind][0]}", shades[kind][1]).append(f" {text}", "dim")
    more = len(found.rows) + found.left_out - len(shown)
    yield legend.append(f"; {more} more rows" if more else "", "dim")
