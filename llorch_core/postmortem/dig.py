"""Dig: measure everything that a repository says about itself, section by section, and write it down."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.facts import About, Facts, Value
from llorch_core.postmortem.repository import Repository

# The modules of this room that measure, the slowest first. Each has
#     measure(repository: Repository, settings: Settings, facts: Facts) -> None
SECTIONS: tuple[str, ...] = (
    "claims",
    "tests",
    "requirements",
    "history",
    "structure",
    "documents",
)
# Those that join what the sections measured: join(repository, settings, facts), in this order, afterwards.
JOINS: tuple[str, ...] = ("hot_spots",)
MARK = re.compile(r'"\\u0000(\d+)"')  # of a row, in the text of the facts


def dig(repository: Repository, settings: Settings, done: Callable[[str], None] = lambda _: None) -> Facts:
    """Measure every section in processes of their own, and return the facts; `done` hears of each section."""
    facts = nothing_yet(repository)
    facts.about = replace(facts.about, requirement_ids=settings.requirement_ids)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        where = (repository.top, repository.commit, repository.path, str(repository.zone))
        running = {pool.submit(section, name, where, settings): name for name in SECTIONS}
        for future in as_completed(running):
            facts.add(future.result())
            done(running[future])
    for name in JOINS:
        import_module(f"llorch_core.postmortem.history.{name}").join(repository, settings, facts)
        done(name)
    return facts


def section(name: str, where: tuple[Path, str, str, str], settings: Settings) -> Facts:
    """Measure one section; runs in a process of its own."""
    repository = Repository(*where)
    facts = nothing_yet(repository)
    import_module(f"llorch_core.postmortem.{name}.{name}").measure(repository, settings, facts)
    return facts


def nothing_yet(repository: Repository) -> Facts:
    """Return facts about a repository of which nothing is measured yet."""
    now = datetime.now(repository.zone).isoformat(timespec="seconds")
    name = repository.top.resolve().name
    return Facts(About(name, repository.commit, repository.path, str(repository.zone), now))


def write(facts: Facts, file: Path) -> None:
    """Write facts whole, or leave what was there."""
    new = file.with_suffix(".new")
    new.write_text(lines(facts), encoding="utf-8")
    new.replace(file)


def lines(facts: Facts) -> str:
    """Return facts as JSON with each row of a table on a line of its own, so that a change shows as one."""
    whole = facts.as_json()
    rows: list[Sequence[Value]] = []
    for table in whole["tables"].values():
        marks = range(len(rows), len(rows) + len(table["rows"]))
        rows += table["rows"]
        table["rows"] = [f"\0{n}" for n in marks]
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    return MARK.sub(lambda mark: json.dumps(rows[int(mark[1])], ensure_ascii=False), text) + "\n"
