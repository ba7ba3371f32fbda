"""Ids: each names one entry of the case, and who points to one points to an entry of the right kind."""

from __future__ import annotations

from typing import Any

from llorch_core.postmortem.judgement.checked import Checked
from llorch_core.postmortem.judgement.evidence import Miss
from llorch_core.postmortem.judgement.judgement import Judgement, Place

FINDINGS = ("teams", "bugs", "assumptions", "decisions", "process", "causes", "ruled_out")
POINTERS = {  # names that hold ids: the kinds of entry that they point to
    "findings": FINDINGS,
    "explains": FINDINGS,
    "guardrails": ("guardrails",),
    "teams": ("teams",),
}


def check_ids(checked: Checked, judgement: Judgement) -> None:
    """Add the problems of ids that two entries have, and of those that point nowhere."""
    seen: dict[str, str] = {}
    for kind, file in judgement.files.items():
        for key, value in file.parts():
            if len(key) == 3 and key[2] == "id" and isinstance(value, str):
                check_once(checked, seen, value, Place(*file.place(key)))
            elif key[-1] in POINTERS and key != (kind,) and isinstance(value, list):
                for n, name in enumerate(value):
                    found = nowhere(judgement, str(key[-1]), name)
                    if found:
                        checked.problem("unknown", Place(*file.place((*key, n))), found)


def check_once(checked: Checked, seen: dict[str, str], name: str, at: Place) -> None:
    """Add the problem of an id that was seen before, or remember where it is."""
    if name in seen:
        got = f"also {seen[name]}"
        checked.problem("twice", at, Miss(f"{name} is the id of two entries", "one", got, "Rename one."))
    else:
        seen[name] = f"{at.file}:{at.line}"


def nowhere(judgement: Judgement, pointer: str, name: Any) -> Miss | None:
    """Return how an id points to nothing, or to an entry of another kind, or None."""
    kinds = POINTERS[pointer]
    there = judgement.ids.get(name) if isinstance(name, str) else None
    if there in kinds:
        return None
    wanted = "the id of an entry of " + ", ".join(f"{kind}.yaml" for kind in kinds)
    got = f"an entry of {there}.yaml" if there else "no entry of that id"
    return Miss(f"{pointer} names {name}", wanted, got, "Write the entry, or correct the id.")
