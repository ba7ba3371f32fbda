"""The commits between a good and a bad one: whether they can be searched, and what git shows of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import git, lines, text

STATUS = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed", "C": "copied", "T": "type changed"}


@dataclass(frozen=True)
class Culprit:
    """A commit, as git shows it. `when` is the author's date in his own zone; of a merge, `files` is what it
    changed against its first parent."""

    commit: str
    parents: tuple[str, ...]
    author: str
    email: str
    when: str
    subject: str
    files: tuple[Mapping[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the commit as JSON can hold it."""
        return {**vars(self), "parents": list(self.parents), "files": [dict(file) for file in self.files]}


def opened(repository: Path) -> Path:
    """Return the top of a repository, which may be bare. Raises PostmortemError where there is none."""
    if not repository.is_dir():
        raise PostmortemError(f"{repository} is not a folder (wanted a repository of git).\nName another.")
    try:
        bare = text(repository, "rev-parse", "--is-bare-repository") == "true"
        where = "--absolute-git-dir" if bare else "--show-toplevel"
        return Path(text(repository, "rev-parse", where))
    except PostmortemError as error:
        if "is not installed" in str(error):
            raise
        raise PostmortemError(
            f"{repository} is not a repository that git can read: {str(error).splitlines()[-1]}\n"
            "Name another."
        ) from None


def ends(top: Path, good: str, bad: str) -> tuple[str, str]:
    """Return the full hashes of a good and a bad commit. Raises PostmortemError where these are no ends."""
    shallow = text(top, "rev-parse", "--is-shallow-repository") == "true"
    deepen = "The repository is a shallow clone: git fetch --unshallow" if shallow else ""
    found = []
    for option, revision in (("--good", good), ("--bad", bad)):
        try:
            found.append(text(top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"))
        except PostmortemError:
            raise PostmortemError(
                f"{option} {revision} is no commit of {top} (wanted a hash, a branch or a tag).\n"
                f"{deepen or '`git log --oneline` lists them.'}"
            ) from None
    if found[0] == found[1]:
        raise PostmortemError(
            f"--good {good} and --bad {bad} are the same commit, {found[0][:12]} (wanted two).\n"
            "Name an older one that was still good."
        )
    if lines(top, "rev-list", "--max-count=1", found[0], f"^{found[1]}"):
        raise PostmortemError(
            f"--good {good} ({found[0][:12]}) is no ancestor of --bad {bad} ({found[1][:12]}) (wanted one: a "
            f"commit from which the bad one comes).\n"
            f"{deepen or f'Where they part: git merge-base {good} {bad}'}"
        )
    return found[0], found[1]


def reaching(top: Path, good: str, bad: str, path: str) -> str:
    """Return a path as git has it. Raises PostmortemError where no commit in between changes it."""
    path = "" if path in ("", ".") else path.removeprefix("./").rstrip("/")
    if path and not lines(top, "rev-list", "--max-count=1", bad, f"^{good}", "--", path):
        raise PostmortemError(
            f"--path {path}: no commit between {good[:12]} and {bad[:12]} changes it (wanted a folder or a "
            "file, from the top of the repository).\nLeave it out, or name another."
        )
    return path


def shown(top: Path, commit: str) -> Culprit:
    """Return a commit with the files that it changed."""
    layout = "--format=%H%x00%P%x00%aN%x00%aE%x00%aI%x00%s"
    sha, parents, author, email, when, subject = text(top, "log", "-1", layout, commit).split("\0")
    flags = ["-m", "--first-parent", "-M", "--name-status", "-z", "--format="]
    parts = git(top, "log", "-1", *flags, commit).decode(errors="replace").strip("\0\n").split("\0")
    return Culprit(sha, tuple(parents.split()), author, email, when, subject, tuple(files(parts)))


def files(parts: list[str]) -> Sequence[Mapping[str, str]]:
    """Return what became of each file, from git's --name-status -z."""
    found, rest = [], iter(part for part in parts if part)
    for status in rest:
        old = next(rest) if status[0] in "RC" else ""
        found.append({"path": next(rest), "old": old, "what": STATUS.get(status[0], status)})
    return found
