"""Guardrails: each names something of llorch that exists, or a check that passes and can fail."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import environment, git, text
from llorch_core.postmortem.judgement.evidence import Miss, short
from llorch_core.postmortem.judgement.judgement import Guardrail
from llorch_core.stubs.kinds import KINDS as STUBS

# a command that breaks a copy may commit there, also where git knows nobody
SOMEBODY = {f"GIT_{who}_{what}": "llorch" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
LONGEST = 600  # seconds of one check


@dataclass(frozen=True)
class Enforced:
    """What llorch can enforce: rules as COMPONENT.RULE, settings and reasons of the gate, kinds of stub."""

    rule: Collection[str]
    gate: Collection[str]
    stub: Collection[str] = field(default=tuple(STUBS))


WHERE: Mapping[str, str] = {
    "rule": "`llorch trace` lists the rules.",
    "gate": "docs/gate.md lists settings and reasons.",
    "stub": "`llorch stubs --kinds` lists the kinds.",
}


def missing(guardrail: Guardrail, enforced: Enforced) -> Miss | None:
    """Return how a guardrail names what does not exist, or None."""
    for what, where in WHERE.items():
        name, names = getattr(guardrail, what), getattr(enforced, what)
        if name and name not in names:
            near = get_close_matches(name, names, 3, 0.5)
            wanted = f"a {what} of llorch" + (f", such as {', '.join(near)}" if near else "")
            return Miss(f"llorch has no {what} {name!r}", wanted, name, f"{where} Name one, or a check.")
    return None


def home(folder: Path) -> Path | None:
    """Return where checks run: the top of the repository that holds the case; None where none does."""
    try:
        return Path(text(folder, "rev-parse", "--show-toplevel"))
    except PostmortemError:
        return None


def failure(guardrail: Guardrail, top: Path) -> Miss | None:
    """Run the check of a guardrail, and return how it fails, or does not fail where it is broken, or None."""
    done = shell(guardrail.check, top)
    if done.returncode:
        return Miss("its check fails", "exit code 0", told(done), f"Repair what it found in {top.name}.")
    if not guardrail.broken_by:
        return None
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        git(top, "clone", "-q", str(top.resolve()), str(copy))
        done = shell(guardrail.broken_by, copy)
        if done.returncode:
            return Miss("broken_by cannot break a copy", "exit code 0", told(done), "Correct the command.")
        if shell(guardrail.check, copy).returncode:
            return None
    says, next_step = "its check passes though broken_by broke the copy", "Correct the check: it cannot fail."
    return Miss(says, "another exit code than 0", "0", next_step)


def shell(command: str, top: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command with bash at the top of a repository; what takes too long has failed."""
    try:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=top,
            env=environment() | SOMEBODY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        late = f"it took more than {LONGEST} seconds".encode()
        return subprocess.CompletedProcess(command, 124, b"", late)


def told(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the exit code of a command and the end of what it said."""
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return f"{done.returncode}" + (f": {short(said[-1])}" if said else "")
