"""A case: the folder of one post-mortem, with its settings, measured facts, judgement and reports."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.judgement.skeleton import write_skeletons
from llorch_core.postmortem.repository import Repository

SETTINGS_FILE, FACTS_FILE, REPORT_FOLDER = "case.yaml", "facts.json", "report"
REQUIREMENT_IDS = (r"\b[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)*-\d{3,5}\b",)
HEAD = """\
# A post-mortem of {title}.
# repository: where it is, from this folder; commit: what is looked at; path: the part of it, "" for all;
# zone: the time zone of every date; requirement_ids: regular expressions of the ids that its specs use.
"""


@dataclass(frozen=True)
class Settings:
    """What a case is about, from its case.yaml."""

    title: str
    repository: str
    commit: str = "HEAD"
    path: str = ""
    zone: str = "UTC"
    requirement_ids: tuple[str, ...] = field(default=REQUIREMENT_IDS)


@dataclass(frozen=True)
class Case:
    """The folder of a post-mortem, and its settings."""

    folder: Path
    settings: Settings

    @property
    def facts_file(self) -> Path:
        """The file of the measured facts."""
        return self.folder / FACTS_FILE

    def repository(self, elsewhere: Path | None = None) -> Repository:
        """Open the repository of the case, or its copy elsewhere. Raises PostmortemError."""
        s = self.settings
        return Repository(elsewhere or (self.folder / s.repository), s.commit, s.path, s.zone)


def create(folder: Path, repository: Path, commit: str, path: str, zone: str) -> Case:
    """Make the folder of a new case. Raises PostmortemError where there is one, or the repository is none."""
    if (folder / SETTINGS_FILE).exists():
        raise PostmortemError(
            f"{folder} holds a case already (wanted a folder without {SETTINGS_FILE}).\n"
            "Name another one with --case."
        )
    opened = Repository(repository, commit, path, zone)
    title = opened.path or repository.resolve().name.removesuffix(".git")
    settings = Settings(
        title, os.path.relpath(repository.resolve(), folder.resolve()), commit, opened.path, zone
    )
    values = {**vars(settings), "requirement_ids": list(settings.requirement_ids)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
        write_skeletons(folder)
        (folder / SETTINGS_FILE).write_text(HEAD.format(title=title) + body, encoding="utf-8")
    except OSError as error:
        raise PostmortemError(
            f"{folder} cannot be written: {error.strerror}.\nName another folder."
        ) from error
    return Case(folder, settings)


def open_case(folder: Path) -> Case:
    """Open the folder of a case. Raises PostmortemError where it is none, or its settings are not right."""
    file = folder / SETTINGS_FILE
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PostmortemError(
            f"{folder} holds no case (wanted {SETTINGS_FILE} in it).\n"
            "Make one: llorch postmortem init REPO, or name its folder with --case."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PostmortemError(f"{file} cannot be read: {error}") from error
    return Case(folder, settings_of(file, values))


def settings_of(file: Path, values: Any) -> Settings:
    """Return the settings that a case.yaml holds. Raises PostmortemError for what is missing or unknown."""
    known = {f: list if f == "requirement_ids" else str for f in Settings.__dataclass_fields__}
    if not isinstance(values, dict):
        raise PostmortemError(f"{file} holds no settings (wanted {', '.join(known)}).")
    for name, value in values.items():
        if name not in known:
            raise PostmortemError(f"{file}: there is no setting {name!r}. There are: {', '.join(known)}.")
        if not isinstance(value, known[name]):
            wanted = "a list of texts" if known[name] is list else "a text"
            raise PostmortemError(f"{file}: {name} is {value!r} (wanted {wanted}).")
    for name in ("title", "repository"):
        if name not in values:
            raise PostmortemError(f"{file} lacks {name}.")
    ids = tuple(map(str, values.pop("requirement_ids", REQUIREMENT_IDS)))
    return Settings(**values, requirement_ids=ids)
