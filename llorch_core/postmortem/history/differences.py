"""What changed from each parent to its child, line by line, in one run of git."""

from __future__ import annotations

import ast
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import SETTINGS, environment
from llorch_core.postmortem.repository import Commit, Repository

OPTIONS: tuple[str, ...] = (
    "-c",
    "core.quotePath=true",
    "diff-tree",
    "--stdin",
    "--root",
    "--always",
    "--format=commit %H",
)
OPTIONS += ("-r", "--raw", "-p", "-U0", "-M", "-l0", "-D", "--no-abbrev", "--no-ext-diff", "--no-textconv")
HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
Hunk = tuple[
    int, int, int, int
]  # first old line, the one after the last, first new line, the one after the last


@dataclass
class Difference:
    """What became of one file. `hunks` are in the order of its lines; a file that is not text has none."""

    status: str  # A added, M modified, D deleted, R renamed, T another type
    old: str
    path: str
    same: bool  # its content
    binary: bool = False
    hunks: list[Hunk] = field(default_factory=list)


def differences(repository: Repository, commits: Sequence[Commit]) -> Iterator[list[Difference]]:
    """Give the differences of each commit from each parent, one list each; a first commit has one, of all.

    Raises PostmortemError where git fails.
    """
    with tempfile.TemporaryFile() as asked:
        for commit in commits:
            for parent in commit.parents or ("",):
                asked.write(f"{commit.sha} {parent}".rstrip().encode() + b"\n")
        asked.seek(0)
        command = ["git", "-C", str(repository.top), *SETTINGS, *OPTIONS]
        with subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE, env=environment()) as process:
            assert process.stdout is not None
            yield from parsed(process.stdout)
    if process.returncode:
        raise PostmortemError(f"git diff-tree failed in {repository.top}.\nIs it whole? git fsck")


def parsed(out: IO[bytes]) -> Iterator[list[Difference]]:
    """Give the differences that git prints, one list for each pair of commits."""
    found: list[Difference] | None = None
    patches: Iterator[Difference] = iter(())
    current = Difference("", "", "", same=True)
    for line in out:
        first = line[:1]
        if first == b"@":
            current.hunks.append(hunk(line))
        elif first == b"d" and line.startswith(b"diff --git "):
            current = next(patches)
        elif first == b":" and found is not None:
            found.append(raw(line))
            patches = in_patches(found)
        elif first == b"B" and line.startswith(b"Binary files "):
            current.binary = True
        elif first == b"c" and line.startswith(b"commit "):
            if found is not None:
                yield found
            found = []
    if found is not None:
        yield found


def in_patches(found: Sequence[Difference]) -> Iterator[Difference]:
    """Give each difference once for each patch that git prints of it: a change of type is two."""
    for one in found:
        yield one
        if one.status == "T":
            yield one


def hunk(line: bytes) -> Hunk:
    """Return the lines that a hunk replaces, and those that it puts there."""
    old, old_lines, new, new_lines = HUNK.match(line).groups(b"1")  # type: ignore[union-attr]
    return (*lines_of(int(old), int(old_lines)), *lines_of(int(new), int(new_lines)))


def lines_of(first: int, count: int) -> tuple[int, int]:
    """Return a range of lines; git names the line before one that is empty."""
    return (first, first + count) if count else (first + 1, first + 1)


def raw(line: bytes) -> Difference:
    """Return the difference that a raw line of git announces."""
    about, *names = line.rstrip(b"\n").decode().split("\t")
    _, _, old_blob, new_blob, status = about.split()
    return Difference(status[0], unquoted(names[0]), unquoted(names[-1]), old_blob == new_blob)


def unquoted(name: str) -> str:
    """Return a name as it is: git quotes one that has unusual characters, as C does."""
    if not name.startswith('"'):
        return name
    octal = ast.literal_eval("b" + name)
    assert isinstance(octal, bytes)
    return octal.decode(errors="surrogateescape")
