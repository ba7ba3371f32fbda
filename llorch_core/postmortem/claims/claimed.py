"""Claimed: every claim that a document, a comment or a message ever made, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from llorch_core.postmortem.claims.words import FIXES, RETRACTIONS, claims, words_of
from llorch_core.postmortem.git import git
from llorch_core.postmortem.patches import SETTINGS, WALK, Line, patches
from llorch_core.postmortem.places import DOCUMENT
from llorch_core.postmortem.repository import Repository

SLASHES = (
    r"rs|c|cc|cpp|cxx|cu|cuh|h|hh|hpp|go|js|jsx|mjs|ts|tsx|java|kt|swift|scala|cs|php|proto|css|zig|metal"
)
HASHES = r"py|pyi|sh|bash|zsh|fish|rb|pl|jl|r|ya?ml|toml|cmake|mk|tf|cfg|ini|ps1"
SAYING = (
    r"(?i:fixed|complete|verified|tests?\b|root cause|eliminated|production|victory|\bwrong|false|retract)"
)
# path, tab, line: a line of a document; a line of code whose words come after the mark of a comment
IN_DOCUMENT = rf"(?:{DOCUMENT})\t"
IN_COMMENT = (
    rf"(?:[^\t]*\.(?:{SLASHES})\t(?:.*?(?<!:)//|.*?/\*|\*\s)"
    rf"|[^\t]*(?:\.(?:{HASHES})|Makefile|Dockerfile|CMakeLists\.txt)\t(?:.*?\s)?#).*{SAYING}"
)
_DOCUMENT, _COMMENT = re.compile(IN_DOCUMENT.encode()), re.compile(IN_COMMENT.encode())
_FIXES = re.compile(FIXES)
REVERTED = re.compile(r"This reverts commit ([0-9a-f]{7,40})")

ROOT, TESTS = "ROOT CAUSE", "ALL TESTS PASS"

Key = tuple[bytes, bytes]


@dataclass
class Claim:
    """A claim: a line of a file, by the file's name and its text; or a line of a message, by its commit.

    `kind` is document, comment or message; `sha` is the commit that wrote it first; `number` is its
    line then, 0 in a message. `withdrawn` says how, and is empty while it stands.
    """

    kind: str
    text: bytes
    sha: str
    path: bytes = b""
    number: int = 0
    withdrawn: str = ""
    fixes: list[str] = field(default_factory=list)  # later commits, the first of them first

    def __post_init__(self) -> None:
        """Say what is claimed: the first word of WORDS, and all of them."""
        self.words = words_of(self.text)
        self.word = self.words[0]

    @property
    def name(self) -> bytes:
        """The name of its file, without the folder."""
        return self.path.rsplit(b"/", 1)[-1]


@dataclass(frozen=True)
class Entry:
    """A commit of the log, with the files that it changes."""

    sha: str
    subject: str
    body: tuple[bytes, ...]
    files: frozenset[str]


class Claimed:
    """Every claim of the history below the path."""

    def __init__(self, repository: Repository) -> None:
        """Read the history twice: the lines, and the messages."""
        self.repository = repository
        self.order = {entry.sha: n for n, entry in enumerate(self.log)}  # 0 is the newest
        self.found = [*self.in_files(), *self.in_messages()]
        for claim in self.found:
            claim.fixes = self.fixes_after(claim)

    @cached_property
    def log(self) -> list[Entry]:
        """The commits below the path without merges, the newest first."""
        scope = ["--", self.repository.path] if self.repository.path else []
        layout = ["--format=%x01%H%x02%s%x02%B%x02", "--name-only", "-M", "-l0", "--no-color"]
        out = git(self.repository.top, *SETTINGS, "log", *WALK, *layout, self.repository.commit, *scope)
        return [parsed(entry) for entry in re.split(rb"\x01(?=[0-9a-f]{40,}\x02)", out)[1:]]

    def in_files(self) -> Iterator[Claim]:
        """Give the claims of documents and comments."""
        made: dict[Key, Claim] = {}
        newest: dict[Key, Line] = {}
        replaced: set[int] = set()  # changes of a file that also make a claim
        struck: set[int] = set()
        retracted: dict[bytes, int] = {}  # by name of the file, when it was last said
        for line in patches(self.repository):
            key = (line.path.rsplit(b"/", 1)[-1], line.text)
            if line.sign == b"+" and b"~~" in line.text:
                struck.add(line.change)
            if line.sign == b"+" and RETRACTIONS.search(line.text) and place(line):
                retracted.setdefault(key[0], self.order[line.sha])
            if not claims(line.text) or not (kind := place(line)):
                continue
            newest.setdefault(key, line)
            if line.sign == b"+":
                replaced.add(line.change)
                made[key] = Claim(kind, line.text, line.sha, line.path, line.number)
        for key, claim in made.items():
            last = newest[key]
            if last.sign == b"-" and not last.gone and last.change not in replaced:
                claim.withdrawn = "struck out" if last.change in struck else "removed"
            elif ROOT in claim.words and retracted.get(key[0], len(self.order)) <= self.order[claim.sha]:
                claim.withdrawn = "said wrong"
            yield claim

    def in_messages(self) -> Iterator[Claim]:
        """Give the claims of messages; a commit that a later one reverts has withdrawn its own."""
        everywhere = "\n".join(commit.message for commit in self.repository.all_commits)
        reverted = tuple(set(REVERTED.findall(everywhere)))
        for entry in self.log:
            for text in dict.fromkeys(line for line in entry.body if claims(line)):
                back = any(entry.sha.startswith(short) for short in reverted)
                yield Claim("message", text, entry.sha, withdrawn="reverted" if back else "")

    @cached_property
    def fixing(self) -> dict[str, list[int]]:
        """The places in the log of the commits whose subject speaks of a fix, by file, the newest first."""
        found: dict[str, list[int]] = {}
        for n, entry in enumerate(self.log):
            for file in entry.files if _FIXES.search(entry.subject.lower()) else ():
                found.setdefault(file, []).append(n)
        return found

    def fixes_after(self, claim: Claim) -> list[str]:
        """Return the later fixes that change the file of a comment, or else a file of its commit."""
        n = self.order[claim.sha]
        own = claim.path.decode(errors="surrogateescape")
        files = {own} if claim.kind == "comment" else self.log[n].files
        later = {at for file in files for at in self.fixing.get(file, ()) if at < n}
        return [self.log[at].sha for at in sorted(later, reverse=True)]

    def again(self, claim: Claim) -> int:
        """Return how many later claims with the same word a file of the same name makes."""
        when = self.order[claim.sha]
        return sum(n < when for n in self._by_subject.get((claim.name, claim.word), ()))

    @cached_property
    def _by_subject(self) -> dict[tuple[bytes, str], list[int]]:
        found: dict[tuple[bytes, str], list[int]] = {}
        for claim in self.found:
            if claim.path:
                found.setdefault((claim.name, claim.word), []).append(self.order[claim.sha])
        return found


def parsed(entry: bytes) -> Entry:
    """Return one commit of the log; its subject stands as a title, behind a hash mark."""
    sha, subject, message, files = entry.split(b"\x02", 3)
    lines = [line.strip(b" \t\r") for line in (b"# " + message).split(b"\n")]
    return Entry(
        sha.decode(),
        subject.decode(errors="replace"),
        tuple(lines),
        frozenset(f.decode(errors="surrogateescape") for f in files.split(b"\n") if f),
    )


def place(line: Line) -> str:
    """Return whether a line stands in a document or in a comment of code, or neither."""
    row = line.path + b"\t" + line.text
    return "document" if _DOCUMENT.match(row) else "comment" if _COMMENT.match(row) else ""
