"""The timeline: what a person would put on the time axis, from the commits and the tags."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from operator import attrgetter
from pathlib import PurePosixPath as Path

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import lines
from llorch_core.postmortem.history.authors import folded
from llorch_core.postmortem.history.commands import Commands
from llorch_core.postmortem.history.mending import REVERT, says
from llorch_core.postmortem.history.rhythm import BURST_COMMITS, DAY, in_order, runs
from llorch_core.postmortem.repository import Commit, Repository

AUTHORS, FOLDERS, LARGEST, BURSTS = 5, 20, 3, 5  # of each so many
Event = tuple[datetime, str, str, str]  # when, kind, subject, hash of the commit
WHAT = (
    "Events in the order of their dates: first and last, the commits at both ends; tag, each tag on the"
    f" history; author, the first commit of the {AUTHORS} authors with the most commits; folder, the first"
    f" commit that changes a file in one of the {FOLDERS} folders at the top with the most files ever; gone,"
    " the last commit that takes a file out of such a folder that is no more; added and deleted, the"
    f" {LARGEST} commits that add or delete the most lines; pause, the commit after the longest pause; burst,"
    f" the first commit of the {BURSTS} largest bursts; revert, as in history.reverts. Merges left out."
)


def measure(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Put the events in order."""
    ordered = in_order(commits)
    found = [
        *ends(ordered),
        *tags(repository),
        *authors(ordered),
        *folders(repository, ordered),
        *largest(ordered),
        *pauses(ordered),
        *(event(commit, "revert") for commit in ordered if says(REVERT, commit)),
    ]
    facts.table(
        "history.events",
        ("when", "kind", "subject", "commit"),
        [(when.isoformat(), kind, subject, sha) for when, kind, subject, sha in sorted(found)],
        WHAT,
        commands.commits("%at %ad %H %s", "%Y-%m-%d %H:%M:%S") + " | sort -n",
    )


def event(commit: Commit, kind: str, subject: str = "") -> Event:
    """Return the event that a commit is; its own subject says what it is where no other does."""
    return commit.written, kind, subject or commit.subject, commit.sha


def ends(ordered: Sequence[Commit]) -> Iterator[Event]:
    """Give the first and the last commit."""
    yield event(ordered[0], "first")
    yield event(ordered[-1], "last")


def tags(repository: Repository) -> Iterator[Event]:
    """Give the tags on commits of the history, at the date of the tag."""
    layout = "--format=%(creatordate:unix) %(refname:short) %(if)%(*objectname)%(then)%(*objectname)%(else)"
    layout += "%(objectname)%(end)"
    for line in lines(repository.top, "for-each-ref", "--merged", repository.commit, layout, "refs/tags"):
        when, name, sha = line.split(" ")
        yield datetime.fromtimestamp(int(when), repository.zone), "tag", name.removeprefix("tags/"), sha


def authors(ordered: Sequence[Commit]) -> Iterator[Event]:
    """Give the first commit of those who wrote most."""
    counted = Counter(folded(commit.author) for commit in ordered)
    first = {folded(commit.author): commit for commit in reversed(ordered)}
    for name, _ in counted.most_common(AUTHORS):
        yield event(first[name], "author", first[name].author)


def folders(repository: Repository, ordered: Sequence[Commit]) -> Iterator[Event]:
    """Give the commits that bring a folder right below the path, and those that took the last of it."""
    files: dict[str, set[str]] = defaultdict(set)
    first: dict[str, Commit] = {}
    last_left: dict[str, Commit] = {}
    for commit in ordered:
        for change in commit.changes:
            folder = top_folder(change.path, repository)
            files[folder].add(change.path)
            if change.status != "D":
                first.setdefault(folder, commit)
            if change.status == "D":
                last_left[folder] = commit
            elif change.status == "R":
                last_left[top_folder(change.old, repository)] = commit
    now = {top_folder(file.path, repository) for file in repository.files}
    for folder in sorted(files.keys() - {""}, key=lambda name: (-len(files[name]), name))[:FOLDERS]:
        if folder in first:
            yield event(first[folder], "folder", folder)
        if folder not in now and folder in last_left:
            yield event(last_left[folder], "gone", folder)


def top_folder(path: str, repository: Repository) -> str:
    """Return the folder right below the path of the repository that a file is in, "" where it is in none."""
    if not repository.inside(path):
        return ""
    depth = len(Path(repository.path).parts)
    parts = Path(path).parts[:-1]
    return "/".join(parts[: depth + 1]) if len(parts) > depth else ""


def largest(ordered: Sequence[Commit]) -> Iterator[Event]:
    """Give the commits that add the most lines, and those that delete the most."""
    for kind in ("added", "deleted"):
        size = attrgetter(kind)
        for commit in sorted(ordered, key=size, reverse=True)[:LARGEST]:
            if size(commit):
                yield event(commit, kind, f"{size(commit)} lines: {commit.subject}")


def pauses(ordered: Sequence[Commit]) -> Iterator[Event]:
    """Give the commit after the longest pause, and the first one of each large burst."""
    pairs = list(pairwise(ordered))
    if pairs:
        before, after = max(pairs, key=lambda pair: pair[1].written - pair[0].written)
        days = (after.written - before.written).total_seconds() / DAY
        yield event(after, "pause", f"after {days:.1f} days: {after.subject}")
    bursts = [run for run in runs(ordered) if len(run) >= BURST_COMMITS]
    for run in sorted(bursts, key=len, reverse=True)[:BURSTS]:
        yield event(run[0], "burst", f"{len(run)} commits: {run[0].subject}")
