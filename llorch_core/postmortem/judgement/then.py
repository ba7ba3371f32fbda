"""What there was at an earlier commit: who had touched some files, which tests, and which could not fail."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import text
from llorch_core.postmortem.repository import Commit, Repository

TEST = re.compile(
    r"(^|/)(tests?|__tests__|spec)/|(^|/)test_[^/]*$|[._-](test|tests|spec)\.[^/]*$", re.IGNORECASE
)
CODE = re.compile(r"\.(py|rs|c|cc|cpp|cu|cuh|h|hpp|go|js|jsx|mjs|ts|tsx|feature)$", re.IGNORECASE)
MOST = 5  # names in one sentence


class Then:
    """A repository as it was at its commits, told with what was measured."""

    def __init__(self, repository: Repository, facts: Facts) -> None:
        self.repository = repository
        self.facts = facts

    @cached_property
    def commits(self) -> dict[str, Commit]:
        """Every commit by its hash."""
        return {commit.sha: commit for commit in self.repository.all_commits}

    @cached_property
    def touched(self) -> dict[str, list[Commit]]:
        """The commits that changed each path, newest first."""
        found: dict[str, list[Commit]] = defaultdict(list)
        for commit in self.repository.all_commits:
            for change in commit.changes:
                for path in {change.path, change.old}:
                    found[path].append(commit)
        return found

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table; none where it was not measured."""
        return self.facts.tables[table].dicts() if table in self.facts.tables else []

    def told(self, sha: str) -> str:
        """Return a commit in words."""
        commit = self.commits.get(sha)
        if commit is None:
            return sha[:12]
        return f"{sha[:12]} of {commit.written:%Y-%m-%d} by {commit.author}: {commit.subject}"

    def who(self, paths: Collection[str], until: str) -> str:
        """Return who had changed some files before a commit, in words."""
        last = self.commits[until].committed
        before = {c.sha: c for path in paths for c in self.touched.get(path, ()) if c.committed < last}
        people = Counter(commit.author for commit in before.values())
        if not people:
            return "nobody"
        named = [f"{name} ({counted(n, 'commit')})" for name, n in people.most_common()]
        return some(named)

    def tests(self, sha: str, paths: Collection[str]) -> str:
        """Return the tests that there were at a commit, and those that could not fail, in words."""
        scope = ["--", self.repository.path] if self.repository.path else []
        listed = text(self.repository.top, "ls-tree", "-r", "-z", "--name-only", "--full-tree", sha, *scope)
        measured = {row["file"] for row in self.rows("tests.files")}
        files = [p for p in listed.split("\0") if p in measured or (TEST.search(p) and CODE.search(p))]
        if not files:
            return "there was no file of tests"
        near = [file for file in files if any(stem(path) in stem(file) for path in paths)]
        says = f"{counted(len(files), 'file')} of tests"
        says += f", by name about these files: {some(near)}" if near else ", none by name about these files"
        return f"{says}; {self.hollow(sha, near or files)}"

    def hollow(self, sha: str, files: Collection[str]) -> str:
        """Return which tests of some files cannot fail, of those that there were at a commit, in words."""
        if "tests.cannot_fail" not in self.facts.tables:
            return "whether they could fail was not measured"
        last = self.commits[sha].committed
        rows = [
            r for r in self.rows("tests.cannot_fail") if r["file"] in files and self.at(r["when"]) <= last
        ]
        if not rows:
            return "of what is left of them today, each can fail"
        named = [f"{row['test']} in {row['file']} ({row['why']})" for row in rows]
        return f"could not fail, as the text that is left today shows: {some(named)}"

    def at(self, when: Any) -> datetime:
        """Return a measured date; one without a zone is in that of the case."""
        moment = datetime.fromisoformat(str(when))
        return moment if moment.tzinfo else moment.replace(tzinfo=self.repository.zone)


def stem(path: str) -> str:
    """Return the name of a file without its endings, and without what marks it as a test."""
    name = PurePosixPath(path).name.split(".")[0].lower()
    return re.sub(r"^test_|_tests?$|[-_]spec$", "", name) or name


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many others there are."""
    return ", ".join(names[:MOST]) + others(len(names) - MOST)


def others(count: int) -> str:
    """Return how many others there are, in words."""
    return f" and {count:,} more" if count > 0 else ""


def counted(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
