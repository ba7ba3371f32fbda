"""Which helpers of a test tree check something: by their own text, or by calling others that do."""

from __future__ import annotations

from collections.abc import Iterable

from llorch_core.postmortem.tests.bodies import Body

# names that so many functions have that following them by name alone would acquit every test
TOO_COMMON = {"new", "default", "drop", "main", "from", "clone", "run", "start", "get", "next", "fmt", "init"}


def checking(bodies: Iterable[Body]) -> frozenset[str]:
    """Return the names of the functions whose bodies check something, or call one that does."""
    by_name: dict[str, list[Body]] = {}
    for body in bodies:
        by_name.setdefault(body.name, []).append(body)
    known = {name for name, each in by_name.items() if any(body.real for body in each)}
    called = {
        name: {c.name.rpartition(".")[2] for b in each for c in b.calls} for name, each in by_name.items()
    }
    grown = True
    while grown:
        more = {name for name, names in called.items() if name not in known and names & known}
        known |= more
        grown = bool(more)
    return frozenset(known - TOO_COMMON)
