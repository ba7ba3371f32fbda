"""A repository at one commit, below one path: its tracked files and its history, read from git once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import SETTINGS, environment, git, text

FIELDS = ("%H", "%P", "%aN", "%aE", "%at", "%ct", "%B")
SUBMODULE, LINK = "160000", "120000"


@dataclass(frozen=True)
class Change:
    """What a commit did to one file. `old` is its name before; lines are None for what is not text."""

    status: str  # A added, M modified, D deleted, R renamed, C copied, T another type
    path: str
    old: str
    added: int | None
    deleted: int | None


@dataclass(frozen=True)
class Commit:
    """One commit; a merge has no changes of its own. Times are aware, in the zone of the case."""

    sha: str
    parents: tuple[str, ...]
    author: str  # by .mailmap
    email: str
    written: datetime
    committed: datetime
    message: str
    changes: tuple[Change, ...] = field(repr=False)

    @property
    def subject(self) -> str:
        """The first paragraph of the message as one line, as git's own %s is."""
        return re.split(r"\n\s*\n", self.message, maxsplit=1)[0].replace("\n", " ").rstrip()

    @property
    def added(self) -> int:
        """The lines that it adds."""
        return sum(change.added or 0 for change in self.changes)

    @property
    def deleted(self) -> int:
        """The lines that it deletes."""
        return sum(change.deleted or 0 for change in self.changes)

    @property
    def merge(self) -> bool:
        """Whether it has more than one parent."""
        return len(self.parents) > 1


@dataclass(frozen=True)
class File:
    """A tracked file. `size` is in bytes."""

    path: str
    mode: str
    blob: str
    size: int


class Repository:
    """A repository of git at `commit`, limited to `path` ("" for all of it), its dates in `zone`.

    Only what is tracked counts: the work tree, ignored files and changes that are not committed are not read.
    """

    def __init__(self, top: Path, commit: str = "HEAD", path: str = "", zone: str = "UTC") -> None:
        """Open a repository. Raises PostmortemError where it is none, is shallow, or lacks commit or path."""
        if not top.is_dir():
            raise PostmortemError(f"{top} is not a folder (wanted a repository of git).\nName another.")
        try:
            # from there git reads the .mailmap of the commit only, and not the one of the work tree
            self.inner = top / text(top, "rev-parse", "--git-dir")
        except PostmortemError as error:
            raise PostmortemError(
                f"{top} is not a repository that git can read: {str(error).splitlines()[-1]}"
            ) from None
        self.top = top
        self.path = path.strip("/").removeprefix("./")
        self.commit = self.resolve(commit)
        if text(top, "rev-parse", "--is-shallow-repository") == "true":
            raise PostmortemError(
                f"{top} is a shallow clone: its first commits are missing, and every figure of its history"
                " would be wrong.\nFetch them: git fetch --unshallow"
            )
        try:
            self.zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise PostmortemError(
                f"{zone!r} is no time zone (wanted a name like UTC or Europe/Amsterdam)."
            ) from None
        if self.path and not self.files and not any(True for _ in self.commits):
            raise PostmortemError(
                f"{self.path} is not in {top} at {self.commit[:12]}, and never was (wanted a folder or"
                " file, tracked, from the top of the repository)."
            )

    def resolve(self, revision: str) -> str:
        """Return the full hash of a commit. Raises PostmortemError where there is none."""
        try:
            return text(self.top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        except PostmortemError:
            raise PostmortemError(
                f"{revision!r} is no commit of {self.top} (wanted a hash, branch or tag).\n"
                "`git log` lists them."
            ) from None

    def inside(self, path: str) -> bool:
        """Return whether a path is the one that the repository is limited to, or below it."""
        return not self.path or path == self.path or path.startswith(f"{self.path}/")

    @cached_property
    def files(self) -> Sequence[File]:
        """The tracked files below the path, by name; submodules and symbolic links are none."""
        scope = ["--", self.path] if self.path else []
        out = git(self.top, "ls-tree", "-r", "-z", "--long", "--full-tree", self.commit, *scope)
        found = []
        for entry in out.decode(errors="surrogateescape").split("\0")[:-1]:
            about, path = entry.split("\t", 1)
            mode, _, blob, size = about.split()
            if mode not in (SUBMODULE, LINK):
                found.append(File(path, mode, blob, int(size)))
        return found

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """The bytes of every tracked file, by path."""
        return dict(self.read([(file.path, file.blob) for file in self.files]))

    def read(self, blobs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
        """Give the bytes of blobs, named `(name, blob)`, in one run of git."""
        if not blobs:
            return
        asked = "".join(f"{blob}\n" for _, blob in blobs).encode()
        command = ["git", "-C", str(self.top), *SETTINGS, "cat-file", "--batch"]
        out = subprocess.run(command, input=asked, capture_output=True, env=environment(), check=True).stdout
        at = 0
        for name, blob in blobs:
            end = out.index(b"\n", at)
            head = out[at:end].split()
            if head[-1] == b"missing":
                raise PostmortemError(
                    f"{name} ({blob}) is missing from {self.top}.\n"
                    "Fetch the whole repository: git fetch --refetch"
                )
            size = int(head[2])
            yield name, out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1

    def at(self, commit: str, path: str) -> bytes | None:
        """Return the bytes of a file at a commit, or None where it is not there then."""
        try:
            return git(self.top, "cat-file", "blob", f"{commit}:{path}")
        except PostmortemError:
            return None

    @cached_property
    def all_commits(self) -> Sequence[Commit]:
        """Every commit that the repository's commit descends from, children before parents."""
        layout = "--format=%x01" + "%x02".join(FIELDS) + "%x02"
        options = ["-z", "--raw", "--numstat", "-M", "-l0", "--no-abbrev", "--topo-order", "--full-history"]
        mailmap = ["-c", f"mailmap.blob={self.commit}:.mailmap"]
        out = git(self.inner, *mailmap, "log", *options, layout, self.commit)
        entries = re.split("\x01(?=[0-9a-f]{40,}\x02)", out.decode(errors="surrogateescape"))
        return [self.parsed(entry) for entry in entries[1:]]

    def parsed(self, entry: str) -> Commit:
        """Return one commit of git's log."""
        *head, rest = entry.split("\x02", len(FIELDS))
        sha, parents, author, email, written, committed, message = head
        return Commit(
            sha,
            tuple(parents.split()),
            author,
            email,
            datetime.fromtimestamp(int(written), self.zone),
            datetime.fromtimestamp(int(committed), self.zone),
            message.strip("\n"),
            tuple(changes(rest.strip("\n\0").split("\0"))) if rest.strip("\n\0") else (),
        )

    @cached_property
    def commits(self) -> Sequence[Commit]:
        """The commits that change a file below the path, also under its former name; children first.

        Each carries only those changes. Without a path: every commit, merges too.
        """
        if not self.path:
            return self.all_commits
        former: set[str] = set()
        found = []
        for commit in self.all_commits:
            kept = tuple(
                c for c in commit.changes if any(self.inside(p) or p in former for p in (c.path, c.old))
            )
            former |= {c.old for c in kept if c.status == "R" and not self.inside(c.old)}
            former -= {c.path for c in kept if c.status == "A"}
            if kept:
                found.append(Commit(**{**vars(commit), "changes": kept}))
        return found


def changes(parts: list[str]) -> Iterator[Change]:
    """Give the changes of one commit from the raw and the numstat lines of git's log."""
    at = 0
    raw: dict[str, tuple[str, str]] = {}
    while at < len(parts) and parts[at].startswith(":"):
        status = parts[at].split()[4][0]
        two = status in "RC"
        raw[parts[at + 1 + two]] = (status, parts[at + 1])
        at += 2 + two
    while at < len(parts):
        added, deleted, path = parts[at].split("\t", 2)
        if not path:  # a rename: both names follow
            path = parts[at + 2]
            at += 2
        at += 1
        status, old = raw[path]
        numbers = (None, None) if added == "-" else (int(added), int(deleted))
        yield Change(status, path, old, *numbers)
