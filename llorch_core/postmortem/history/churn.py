"""Which files were changed how often, how much, and which change together; renames are followed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from operator import itemgetter

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.history.commands import COUNT, Commands
from llorch_core.postmortem.repository import Change, Commit, Repository

BULK = 30  # files: a commit that changes more says little of any two of them
TOGETHER_COMMITS, TOGETHER_SHARE = 5, 0.5  # at least
MOST_PAIRS = 200
Named = Sequence[tuple[Commit, Sequence[tuple[str, Change]]]]


def named(commits: Iterable[Commit]) -> Named:
    """Return each commit with its changes, each under the last name of its file; children come first."""
    now: dict[str, str] = {}
    found = []
    for commit in commits:
        changed = [(now.get(change.path, change.path), change) for change in commit.changes]
        for _, change in changed:
            if change.status in "AR":
                now.pop(change.path, None)  # before this, the name was that of another file
        now |= {change.old: name for name, change in changed if change.status == "R"}
        found.append((commit, changed))
    return found


def measure(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Measure what was changed."""
    totals(repository, commits, commands, facts)
    tracked = {file.path for file in repository.files}
    history = named(commits)
    churn(history, tracked, commands, facts)
    together(history, tracked, commands, facts)


def totals(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Count lines, renames and files."""
    changes = [change for commit in commits for change in commit.changes]
    merges = "merges left out, renames followed; files that are not text have none, symbolic links and"
    merges += " submodules have one, as git tells them"
    for name, column in (("added", 1), ("deleted", 2)):
        facts.figure(
            f"history.{name}",
            sum(commit.added if column == 1 else commit.deleted for commit in commits),
            "lines",
            f"Lines that the commits of history.commits {name}{commands.scope_of}, {merges}.",
            commands.lines(column),
        )
    facts.figure(
        "history.renames",
        sum(change.status == "R" for change in changes),
        "renames",
        f"Files that a commit of history.commits renamed{commands.scope_of}, as git finds renames by default"
        " (half of the content or more is the same); merges left out.",
        f"{commands.names('R')} | {COUNT}",
    )
    facts.figure(
        "history.files_ever",
        len({change.path for change in changes if change.status == "A"}),
        "files",
        f"Names under which a file was ever added{commands.scope_of}; a rename adds none, merges left out;"
        " symbolic links and submodules are some.",
        f"{commands.names('A')} | sort -u | {COUNT}",
    )
    facts.figure(
        "history.files_now",
        len(repository.files),
        "files",
        f"Files tracked{commands.scope_of} at the commit that is looked at; submodules and symbolic links are"
        " none.",
        f"git ls-tree -r --full-tree {commands.commit}{commands.tree_scope} | grep ^100 | {COUNT}",
    )


def churn(history: Named, tracked: set[str], commands: Commands, facts: Facts) -> None:
    """Add up the changes of each file."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for _, changed in history:
        for name, change in changed:
            own = found[name]
            own[0] += 1
            own[1] += change.added or 0
            own[2] += change.deleted or 0
    rows = sorted(
        (name, count, added, deleted, added + deleted)
        for name, (count, added, deleted) in found.items()
        if name in tracked
    )
    facts.table(
        "history.churn",
        ("file", "commits", "added", "deleted", "churn"),
        sorted(rows, key=itemgetter(4), reverse=True),
        "Tracked files with the commits that changed them, the lines that these added and deleted, and the"
        " sum of both (churn); merges left out, changes under a former name count.",
        commands.every_change("--numstat"),
    )


def pairs(history: Named, tracked: set[str]) -> Counter[tuple[str, str]]:
    """Count, for each two tracked files, the commits that changed both; bulk commits are left out."""
    counted: Counter[tuple[str, str]] = Counter()
    for _, changed in history:
        if len(changed) <= BULK:
            counted.update(combinations(sorted({name for name, _ in changed} & tracked), 2))
    return counted


def together(history: Named, tracked: set[str], commands: Commands, facts: Facts) -> None:
    """Find the files that change together."""
    single: Counter[str] = Counter()
    for _, changed in history:
        if len(changed) <= BULK:
            single.update({name for name, _ in changed} & tracked)
    rows = []
    for (one, other), both in pairs(history, tracked).items():
        if both >= TOGETHER_COMMITS:
            rarer, often = sorted((one, other), key=lambda name: (single[name], name))
            rows.append((rarer, often, both, single[rarer], round(both / single[rarer], 3)))
    rows = [row for row in rows if row[4] >= TOGETHER_SHARE]
    facts.table(
        "history.together",
        ("file", "other", "together", "of", "share"),
        sorted(rows, key=lambda row: (-row[2], -row[4], row[:2]))[:MOST_PAIRS],
        f"Two tracked files that {TOGETHER_COMMITS} commits or more changed both, and that"
        f" {TOGETHER_SHARE:.0%} or more of the commits of the rarer one (of) changed together; merges and"
        f" commits that change more than {BULK} files are left out, renames followed; the first"
        f" {MOST_PAIRS}.",
        commands.every_change("--name-status"),
    )
