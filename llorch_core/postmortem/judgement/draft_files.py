"""Drafts as files: written beside the judgement, and never over what a person wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from textwrap import TextWrapper

import yaml

from llorch_core.postmortem.case import Case
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.judgement.drafts import Draft

FOLDER = "drafts"
HEAD = """\
# Drafts of {kind}.yaml, from measured facts. Read each, copy what is right, and answer what is to be written.
# Nobody has judged them yet: a commit that says fix may mend nothing.
"""
NOTE = TextWrapper(110, initial_indent="    # ", subsequent_indent="    #   ", break_on_hyphens=False)
SEAL = "# written by llorch postmortem draft, sha256 "


def page(kind: str, found: Iterable[Draft]) -> str:
    """Return the file of the drafts of one kind."""
    parts = []
    for entry, notes in found:
        body = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=110)
        parts += [f"  {one}\n" for one in body.splitlines()]
        for note in notes:
            parts += [f"{one}\n" for one in NOTE.wrap(note)]
        parts.append("\n")
    listed = "\n" + "".join(parts).rstrip() if parts else " []"
    return f"{HEAD.format(kind=kind)}{kind}:{listed}\n"


def write_drafts(case: Case, found: Mapping[str, Iterable[Draft]]) -> list[Path]:
    """Write drafts into a folder of the case, and return the files.

    Raises PostmortemError, before anything is written, where a person has changed one of them.
    """
    pages = {case.folder / FOLDER / f"{kind}.yaml": page(kind, some) for kind, some in found.items()}
    for file in pages:
        if file.exists() and not sealed(file.read_text(encoding="utf-8", errors="replace")):
            raise PostmortemError(
                f"{file} was changed since llorch wrote it (wanted drafts that nobody works on).\n"
                "Move it away, or delete it."
            )
    (case.folder / FOLDER).mkdir(exist_ok=True)
    for file, text in pages.items():
        file.write_text(f"{SEAL}{digest(text)}\n{text}", encoding="utf-8")
    return list(pages)


def sealed(text: str) -> bool:
    """Return whether a file is as llorch wrote it."""
    first, _, body = text.partition("\n")
    return first == f"{SEAL}{digest(body)}"


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return sha256(text.encode()).hexdigest()
