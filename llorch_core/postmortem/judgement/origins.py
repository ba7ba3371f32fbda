"""Where the lines came from that a commit took away: a mended fault began with one of the commits before."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llorch_core.postmortem.git import attempt, git
from llorch_core.postmortem.repository import Repository

HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
DOCUMENT = re.compile(r"\.(md|markdown|rst|txt|adoc)$", re.IGNORECASE)
COMMENT = re.compile(r"\s*(//|/\*|\*|--|#(?!\[|include|define|if|else|end)|\"\"\")")
MOST_FILES = 5  # of one commit: those with most lines taken away


@dataclass(frozen=True)
class Taken:
    """Lines that a commit took from a file: the path before, the first line then, and their texts."""

    path: str
    first: int
    texts: tuple[str, ...]


@dataclass
class Mending:
    """What a commit took away, and the paths that it changed, by their names before."""

    taken: list[Taken] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def mendings(repository: Repository, commits: Sequence[str]) -> dict[str, Mending]:
    """Return what each commit took from the files below the path, in one run of git."""
    if not commits:
        return {}
    scope = ["--", repository.path] if repository.path else []
    options = ["--no-walk=unsorted", "--stdin", "-p", "-U0", "-M", "--no-color", "--format=%x01%H"]
    prefixes = ["--src-prefix=a/", "--dst-prefix=b/", "--no-ext-diff", "--no-textconv"]
    asked = "".join(f"{commit}\n" for commit in commits).encode()
    out = git(repository.top, "log", *options, *prefixes, *scope, given=asked)
    entries = out.decode(errors="replace").split("\x01")[1:]
    return {entry.partition("\n")[0]: mending(entry.split("\n")[1:]) for entry in entries}


def mending(lines: Sequence[str]) -> Mending:
    """Return what the patch of one commit takes away."""
    found, path, at = Mending(), "", 0
    while at < len(lines):
        line = lines[at]
        at += 1
        hunk = HUNK.match(line)
        if line.startswith("--- "):
            path = "" if line == "--- /dev/null" else line[4:].strip('"').removeprefix("a/").rstrip("\t")
            found.paths += [path] if path else []
        elif hunk:
            count, added = (int(n) if n is not None else 1 for n in (hunk[2], hunk[4]))
            texts = tuple(text[1:] for text in lines[at : at + count])
            at += count + added
            if texts:
                found.taken.append(Taken(path, int(hunk[1]), texts))
    return found


def of_code(taken: Iterable[Taken]) -> list[Taken]:
    """Return what was taken from code; from documents where there is nothing else."""
    every = list(taken)
    return [one for one in every if not DOCUMENT.search(one.path)] or every


def origins(repository: Repository, commit: str, found: Mending) -> Counter[str]:
    """Return the commits that brought the lines that a commit took away, by the number of lines."""
    parts = of_code(found.taken)
    sizes = Counter[str]()
    for one in parts:
        sizes[one.path] += len(one.texts)
    brought: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for path, _ in sizes.most_common(MOST_FILES):
        ranges = [f"-L{p.first},+{len(p.texts)}" for p in parts if p.path == path]
        options = ["-w", "-s", "-l", "--root", *ranges]
        done = attempt(repository.top, "blame", *options, f"{commit}^", "--", path)
        for line in done.stdout.decode(errors="replace").splitlines() if not done.returncode else ():
            sha, _, text = line.partition(" ")
            text = text.partition(") ")[2]
            if text.strip():
                brought[tells(text)][sha] += 1
    return brought[True] or brought[False]


def tells(text: str) -> bool:
    """Return whether a line says something to a machine: it is not empty, and no comment."""
    return bool(text.strip()) and not COMMENT.match(text)
