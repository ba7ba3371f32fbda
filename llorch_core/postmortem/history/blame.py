"""Which commit last changed each line: git blame of every file at once, from one reading of the history.

From the last commit to the first, each hands the lines that it did not write on to its parents.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import git
from llorch_core.postmortem.history.differences import Difference, Hunk, differences
from llorch_core.postmortem.repository import Repository

Ranges = list[tuple[int, int]]  # of lines: the first, and the one after the last
Files = dict[str, Ranges]  # by path: the lines that nobody is blamed for yet


def blame(repository: Repository) -> Mapping[str, int]:
    """Return how many lines of the tracked text files each commit is blamed for, by its hash."""
    waiting = {repository.commit: text_files(repository)}
    blamed: Counter[str] = Counter()
    stream = differences(repository, repository.all_commits)
    for commit in repository.all_commits:
        against = [next(stream) for _ in commit.parents or ("",)]
        files = waiting.pop(commit.sha, {})
        mine = hand_on(files, against, [waiting.setdefault(parent, {}) for parent in commit.parents])
        blamed[commit.sha] = sum(map(size, mine))
    return +blamed


def text_files(repository: Repository) -> Files:
    """Return all lines of the tracked text files; what git takes for binary is none."""
    scope = ["--", f":(literal){repository.path}"] if repository.path else []
    found: Files = {}
    try:
        told = git(repository.top, "grep", "-zIc", "", repository.commit, *scope)
    except PostmortemError:  # no file has a line
        return found
    out = told.decode(errors="surrogateescape")
    for entry in out.splitlines():
        name, lines = entry.split("\0")
        found[name.split(":", 1)[1]] = [(1, int(lines) + 1)]
    return found


def hand_on(files: Files, against: Sequence[Sequence[Difference]], parents: Sequence[Files]) -> list[Ranges]:
    """Hand lines on to the parents that have them, and return those that the commit itself wrote."""
    if not parents:
        return list(files.values())
    changed = [{one.path: one for one in found if one.status != "D"} for found in against]
    mine = []
    for path in changed[0].keys() & files.keys():
        mine.append(of_file(path, files.pop(path), changed, parents))
    give_all(files, parents[0])
    return mine


def give_all(files: Files, parent: Files) -> None:
    """Hand everything on to a parent; another child of it may have done so before."""
    if not parent:
        parent.update(files)
        return
    for path, ranges in files.items():
        parent[path] = parent.get(path, []) + ranges


def of_file(
    path: str, ranges: Ranges, changed: Sequence[Mapping[str, Difference]], parents: Sequence[Files]
) -> Ranges:
    """Hand the lines of a file that changed on, and return the rest.

    A parent that has the same content gets all of them, else each gets, in turn, those that it has.
    """
    for differs, parent in zip(changed, parents, strict=True):
        one = differs.get(path)
        if one is None or one.same:
            give_all({one.old if one else path: ranges}, parent)
            return []
    for differs, parent in zip(changed, parents, strict=True):
        one = differs[path]
        if one.status in "MR" and not one.binary:
            ranges, theirs = split(ranges, one.hunks)
            give_all({one.old: theirs}, parent)
    return ranges


def split(ranges: Ranges, hunks: Sequence[Hunk]) -> tuple[Ranges, Ranges]:
    """Return the lines that hunks put there, and the others by their numbers before."""
    firsts = [hunk[2] for hunk in hunks]
    new, old = [], []
    for first, end in ranges:
        at, near = first, bisect_right(firsts, first) - 1
        while at < end:
            _, old_end, _, new_end = hunks[near] if near >= 0 else (0, 0, 0, 0)
            if at < new_end:
                new.append((at, min(end, new_end)))
            following = firsts[near + 1] if near + 1 < len(firsts) else end
            start, stop = max(at, new_end), min(end, following)
            if start < stop:
                old.append((start + old_end - new_end, stop + old_end - new_end))
            at, near = max(at, stop, min(end, new_end)), near + 1
    return new, old


def size(ranges: Ranges) -> int:
    """Return how many lines ranges hold."""
    return sum(end - first for first, end in ranges)
