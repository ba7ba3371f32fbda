"""Comments that allow one finding for a reason; each is listed, and one that is of no use is a finding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llorch_core.stubs.kinds import KINDS, Finding
from llorch_core.stubs.tree import Module

COMMENT = re.compile(r"#\s*llorch:\s*allow\b(.*)", re.I)
EXCUSE = re.compile(r"\s*(?P<kind>.+?)\s+because\s+(?P<reason>\S.*)")
MARK = "llorch:"


@dataclass(frozen=True)
class Excused:
    """A finding that a comment allows, and the reason that it gives."""

    finding: Finding
    reason: str


def weigh(modules: Iterable[Module], findings: Sequence[Finding]) -> tuple[list[Finding], list[Excused]]:
    """Return the findings that stand, those of bad comments among them, and those that are excused."""
    excused: dict[Finding, Excused] = {}
    more = []
    for module in modules:
        for first, after, words in _comments(module):
            excuse = EXCUSE.fullmatch(words)
            kind = excuse["kind"] if excuse else words.strip()
            if excuse is None or kind not in KINDS:
                why = f"there is no kind {kind!r}" if excuse else "it gives no reason"
                more.append(Finding(module.file, first, "bad excuse", module.file, why))
                continue
            here = [
                f for f in findings if (f.file, f.kind) == (module.file, kind) and f.line in (first, after)
            ]
            excused |= {f: Excused(f, excuse["reason"].strip()) for f in here}
            if not here:
                more.append(
                    Finding(module.file, first, "idle excuse", module.file, f"nothing here is {kind!r}")
                )
    standing = sorted([*(f for f in findings if f not in excused), *more])
    return standing, sorted(excused.values(), key=lambda e: e.finding)


def _comments(module: Module) -> Iterator[tuple[int, int, str]]:
    """Return the line of each excuse, the next line that is no comment, and what it says, also over lines."""
    if MARK not in module.source:
        return
    lines = module.source.splitlines()
    for line, comment in module.comments.items():
        found = COMMENT.search(comment)
        if not found:
            continue
        words, after = found[1], line + 1
        alone = lines[line - 1].lstrip().startswith("#")
        while alone and after in module.comments and lines[after - 1].lstrip().startswith("#"):
            if COMMENT.search(module.comments[after]):
                break
            words += " " + module.comments[after].lstrip("# ")
            after += 1
        yield line, after, words
