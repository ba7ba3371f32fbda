"""Dig: measure everything that a repository says about itself, section by section, and write it down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.facts import About, Facts
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
        import_module(f"llorch_core.postmortem.{name}").join(repository, settings, facts)
        done(name)
    return facts


def section(name: str, where: tuple[Path, str, str, str], settings: Settings) -> Facts:
    """Measure one section; runs in a process of its own."""
    repository = Repository(*where)
    facts = nothing_yet(repository)
    import_module(f"llorch_core.postmortem.{name}").measure(repository, settings, facts)
    return facts


def nothing_yet(repository: Repository) -> Facts:
    """Return facts about a repository of which nothing is measured yet."""
    now = datetime.now(repository.zone).isoformat(timespec="seconds")
    name = repository.top.resolve().name
    return Facts(About(name, repository.commit, repository.path, str(repository.zone), now))


def write(facts: Facts, file: Path) -> None:
    """Write facts whole, or leave what was there."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(facts.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(file)
