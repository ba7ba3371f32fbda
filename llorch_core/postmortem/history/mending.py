"""What was taken back and what was mended: reverts and fixes, by the words of the messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.history.commands import COUNT, Commands
from llorch_core.postmortem.history.rhythm import in_order
from llorch_core.postmortem.repository import Commit, Repository

REVERT = "revert(s|ed|ing)?"
FIX = "(hot|bug)?fix(es|ed|ing)?"
BY_HASH = re.compile(r"^This reverts commit ([0-9a-f]{7,64})", re.MULTILINE)
QUOTED = re.compile(r'^Revert "(.*)"$')


def measure(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Find the commits that revert, and those that fix."""
    found = [commit for commit in in_order(commits) if says(REVERT, commit)]
    reverts = [row(repository, commit) for commit in found]
    what = "Commits whose subject has the word revert, reverts, reverted or reverting, merges left out."
    add(facts, "reverts", ("commit", "when", "subject", "reverts", "what"), reverts, what, commands, REVERT)
    fixes = [(c.sha, c.written.isoformat(), c.subject) for c in in_order(commits) if says(FIX, c)]
    what = "Commits whose subject has the word fix, fixes, fixed or fixing, also as hotfix and bugfix;"
    what += " merges left out."
    add(facts, "fixes", ("commit", "when", "subject"), fixes, what, commands, FIX)


def says(word: str, commit: Commit) -> bool:
    """Return whether the subject has the word, as `grep -iw` finds it."""
    return re.search(rf"(?<!\w)(?:{word})(?!\w)", commit.subject, re.IGNORECASE | re.ASCII) is not None


def add(
    facts: Facts,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    definition: str,
    commands: Commands,
    word: str,
) -> None:
    """Add the figure and the table of the commits that have a word in their subject."""
    grep = f"LC_ALL=C grep -aiwE '{word}'"
    only_subject = f"{commands.commits('%s')} | {grep} | {COUNT}"
    facts.figure(f"history.{name}", len(rows), "commits", definition, only_subject)
    listing = f"{commands.commits('%H %aI %s')} | {grep}"
    facts.table(f"history.{name}", columns, rows, definition, listing)


def row(repository: Repository, commit: Commit) -> tuple[str, str, str, str | None, str | None]:
    """Return a revert with what it reverts, as far as its message says so."""
    named, quoted = BY_HASH.search(commit.message), QUOTED.search(commit.subject)
    undone = commit_of(repository, named[1]) if named else None
    what = undone.subject if undone else quoted[1] if quoted else None
    sha = undone.sha if undone else named[1] if named else None
    return commit.sha, commit.written.isoformat(), commit.subject, sha, what


def commit_of(repository: Repository, prefix: str) -> Commit | None:
    """Return the commit of an abbreviated hash, if it is one of the history."""
    return next((commit for commit in repository.all_commits if commit.sha.startswith(prefix)), None)
