"""Facts: what was measured, each with its definition and the command that anyone can run to get it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llorch_core.postmortem.errors import PostmortemError

Value = int | float | str | bool | None
VERSION = 1


@dataclass(frozen=True)
class Figure:
    """One measured value. `unit` is what is counted, in the plural (commits, days), or the kind of value."""

    value: Value
    unit: str
    definition: str  # one sentence
    command: str  # for a shell at the top of the repository


@dataclass(frozen=True)
class Table:
    """Measured rows, the most telling first; the figures of a row are in the order of `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    definition: str
    command: str

    def dicts(self) -> list[dict[str, Value]]:
        """Return each row by its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class About:
    """What the facts are about: `commit` is a full hash, `path` is "" for the whole repository."""

    repository: str
    commit: str
    path: str
    zone: str  # of every date and hour, a name of the IANA database
    measured: str  # ISO 8601, in that zone
    requirement_ids: tuple[str, ...] | None = None  # the patterns of ids; None: nobody wrote them down


@dataclass
class Facts:
    """What was measured in one repository, at one commit. Names are `section.what`, in lower case."""

    about: About
    figures: dict[str, Figure] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def figure(self, name: str, value: Value, unit: str, definition: str, command: str) -> None:
        """Add a figure. Its command prints the value, and nothing else, at the top of the repository."""
        assert name not in self.figures, f"{name} is measured twice"
        self.figures[name] = Figure(value, unit, definition, command)

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Value]],
        definition: str,
        command: str,
    ) -> None:
        """Add a table. Its command prints what the rows are made of."""
        assert name not in self.tables, f"{name} is measured twice"
        table = Table(tuple(columns), tuple(tuple(row) for row in rows), definition, command)
        assert all(len(row) == len(columns) for row in table.rows), f"{name} has rows of another length"
        self.tables[name] = table

    def add(self, others: Facts) -> None:
        """Add what was measured elsewhere of the same commit."""
        assert (
            not self.figures.keys() & others.figures.keys() and not self.tables.keys() & others.tables.keys()
        )
        self.figures |= others.figures
        self.tables |= others.tables

    def as_json(self) -> dict[str, Any]:
        """Return the facts as one JSON object (specs/schema/facts.schema.json)."""
        return {
            "llorch_facts": VERSION,
            "about": asdict(self.about),
            "figures": {name: asdict(one) for name, one in sorted(self.figures.items())},
            "tables": {name: asdict(one) for name, one in sorted(self.tables.items())},
        }


def about_of(requirement_ids: Sequence[str] | None = None, **others: str) -> About:
    """Return what facts are about, from JSON."""
    return About(**others, requirement_ids=None if requirement_ids is None else tuple(requirement_ids))


def read_facts(file: Path) -> Facts:
    """Read the facts of a case. Raises PostmortemError where there are none, or none that can be read."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PostmortemError(
            f"{file} is not there (wanted the measured facts of a case).\nRun `llorch postmortem dig` first."
        ) from None
    except (OSError, ValueError) as error:
        raise PostmortemError(
            f"{file} cannot be read: {error}.\nRun `llorch postmortem dig` again: it writes it anew."
        ) from error
    if not isinstance(data, dict) or data.get("llorch_facts") != VERSION:
        raise PostmortemError(
            f"{file} is not a file of facts (wanted llorch_facts: {VERSION}).\n"
            "Run `llorch postmortem dig` again: it writes it anew."
        )
    try:
        return Facts(
            about_of(**data["about"]),
            {name: Figure(**one) for name, one in data["figures"].items()},
            {
                name: Table(
                    tuple(one["columns"]),
                    tuple(tuple(row) for row in one["rows"]),
                    one["definition"],
                    one["command"],
                )
                for name, one in data["tables"].items()
            },
        )
    except (KeyError, TypeError) as error:
        raise PostmortemError(
            f"{file} lacks a part of its facts: {error}.\n"
            "Run `llorch postmortem dig` again: it writes it anew."
        ) from error
