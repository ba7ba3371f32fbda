"""Negative knowledge expires: what was ruled out is open again when a file that it rests on changes."""

from __future__ import annotations

from hashlib import sha256

from llorch_core.postmortem.git import attempt
from llorch_core.postmortem.judgement.evidence import Miss
from llorch_core.postmortem.judgement.judgement import Digest, RuledOut
from llorch_core.postmortem.repository import Repository

SHA256 = "sha256:"


def changed(entry: RuledOut, on: Digest, repository: Repository) -> Miss | None:
    """Return how a file is not as it was when something was ruled out on it, or None."""
    now = digest(repository, on.path, on.digest.startswith(SHA256))
    if now == on.digest:
        return None
    says = f"it was ruled out by {entry.by} on {entry.when}, and {on.path} has changed since"
    return Miss(says, on.digest, now or "the file is gone", AGAIN)


AGAIN = "It is open again: look, then write the new digest and day, or take the entry out."


def digest(repository: Repository, path: str, of_bytes: bool) -> str:
    """Return the digest of a file at the commit of the case, or "" where there is none."""
    name = f"{repository.commit}:{path}"
    if of_bytes:
        data = repository.at(repository.commit, path)
        return "" if data is None else SHA256 + sha256(data).hexdigest()
    done = attempt(repository.top, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    return "" if done.returncode else done.stdout.decode().strip()


def holds(entry: RuledOut, repository: Repository | None) -> bool | None:
    """Return whether it still holds; None where the repository is not here."""
    return None if repository is None else not any(changed(entry, on, repository) for on in entry.on)
