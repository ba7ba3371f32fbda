"""The facts as a reader meets them: section by section, what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llorch_core.postmortem.facts import Facts, Figure, Table, Value
from llorch_core.postmortem.report.wording import SECTIONS, title

MOST_ROWS = 20
# The tables that every post-mortem ought to have, in the order in which they are told.
TABLES = {
    "history": (
        *("events", "days", "hours", "bursts", "authors", "churn", "hot_spots", "together"),
        *("left_behind", "survival", "reverts", "fixes"),
    ),
    "structure": (
        *("languages", "tree", "files", "longest_functions", "most_complex_functions"),
        *("modules", "dependencies"),
    ),
    "documents": ("inventory", "stale", "duplicates", "victories", "broken_links"),
    "requirements": ("ids", "unknown", "lost"),
    "tests": ("kinds", "files", "cannot_fail"),
    "claims": ("words", "made"),
}

TITLES = {  # of tables whose name says too little
    "history.churn": "Files by churn",
    "history.days": "Commits by day",
    "history.hours": "Commits by hour",
    "history.together": "Files that change together",
    "history.left_behind": "Tests and specs that their code left behind",
    "history.survival": "Lines that are left, by when they were added",
    "structure.tree": "Folders",
    "structure.modules": "Modules by imports",
    "structure.dependencies": "Imports of modules",
    "documents.inventory": "Documents",
    "documents.stale": "Documents that their code left behind",
    "documents.duplicates": "Documents that repeat others",
    "documents.victories": "Titles that announce a success",
    "documents.broken_links": "Links that lead nowhere",
    "requirements.ids": "Ids of requirements",
    "requirements.unknown": "Ids that no spec defines",
    "requirements.lost": "Ids that code and tests have lost",
    "requirements.lost_words": "Names in requirements that code and tests have lost",
    "tests.kinds": "Tests by framework and kind",
    "tests.files": "Files with tests",
    "tests.cannot_fail": "Tests that cannot fail",
    "tests.brought": "Commits that brought tests which cannot fail",
    "tests.doubtful": "Tests that are doubtful",
    "tests.gone_modules": "Tests of what is gone",
    "claims.words": "Claims by word",
    "claims.made": "Claims",
}


@dataclass(frozen=True)
class Shown:
    """A table, its title, and as many of its rows as a page holds."""

    name: str
    title: str
    table: Table
    rows: Sequence[dict[str, Value]]

    @property
    def left_out(self) -> int:
        """How many rows are only in facts.json."""
        return len(self.table.rows) - len(self.rows)


@dataclass(frozen=True)
class Section:
    """What was measured of one thing. `missing` are tables that were not measured."""

    name: str
    title: str
    figures: Sequence[tuple[str, Figure]]
    tables: Sequence[Shown]
    missing: Sequence[str]

    @property
    def measured(self) -> bool:
        """Whether there is anything."""
        return bool(self.figures or self.tables)


def sections(facts: Facts, most: int = MOST_ROWS) -> list[Section]:
    """Return every section, also one of which nothing was measured; what nobody expected comes last."""
    others = {name.partition(".")[0] for name in (*facts.figures, *facts.tables)} - SECTIONS.keys()
    names = SECTIONS | {name: name.replace("_", " ").capitalize() for name in sorted(others)}
    return [section(name, shown, facts, most) for name, shown in names.items()]


def section(name: str, shown: str, facts: Facts, most: int) -> Section:
    """Return one section of the facts."""
    wanted = [f"{name}.{table}" for table in TABLES.get(name, ())]
    more = sorted(table for table in facts.tables if table.startswith(f"{name}.") and table not in wanted)
    figures = [(key, one) for key, one in sorted(facts.figures.items()) if key.startswith(f"{name}.")]
    tables = [
        Shown(
            key, TITLES.get(key, title(key).capitalize()), facts.tables[key], facts.tables[key].dicts()[:most]
        )
        for key in (*wanted, *more)
        if key in facts.tables
    ]
    return Section(name, shown, figures, tables, [title(key) for key in wanted if key not in facts.tables])
