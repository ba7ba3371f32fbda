"""The kind of a test by its place: names of folders and files that say end-to-end, integration, benchmark."""

from __future__ import annotations

import re

from llorch_core.postmortem.tests.kinds import BENCHMARK, END_TO_END, INTEGRATION

PLACES = (
    (BENCHMARK, re.compile(r"(.*[_.-])?bench(es|mark|marks)?([_.-].*)?", re.I)),
    (
        END_TO_END,
        re.compile(r"(.*[_.-])?(e2e|end[_-]?to[_-]?end|acceptance|cypress|playwright)([_.-].*)?", re.I),
    ),
    (INTEGRATION, re.compile(r"(.*[_.-])?integration([_.-].*)?", re.I)),
)
TEST_PLACE = re.compile(r"(.*[_.-])?(tests?|testing|spec|specs|testutils?|__tests__|bdd)([_.-].*)?", re.I)


def place(path: str) -> str:
    """Return the kind that a path names, or "" where it names none."""
    parts = path.split("/")
    return next((kind for kind, named in PLACES if any(named.fullmatch(p) for p in parts)), "")


def among_tests(path: str) -> bool:
    """Return whether a folder or file of a path is named for tests."""
    return any(TEST_PLACE.fullmatch(part) for part in path.split("/"))
