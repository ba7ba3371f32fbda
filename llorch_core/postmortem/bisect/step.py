"""One step of a bisection: a check of today, run on one commit."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llorch_core.postmortem.bisect.process import run
from llorch_core.postmortem.git import text

GOOD, BAD, SKIP, ABORT = "good", "bad", "skip", "abort"
CODES = {GOOD: 0, BAD: 1, SKIP: 125, ABORT: 255}  # as `git bisect run` reads them
LAST_LINES, LAST_CHARACTERS = 12, 4000  # of what a check printed


@dataclass(frozen=True)
class Check:
    """What is asked of each commit, in a folder where it is checked out.

    text     what the user asked for
    words    the program that says good or bad by its exit code
    engine   whether it is `llorch verify --json`, whose exit code 2 says that it could not tell
    explain  the program that says what is wrong at the first bad commit, as `llorch diagnose --json` does
    setup    a line for the shell that makes a commit ready; where it fails, the commit is skipped
    timeout  seconds that the setup and the check may take, each
    keep     whether what was built for one commit is there for the next
    top      the user's own folder of the repository, which the check finds as LLORCH_REPOSITORY
    """

    text: str
    words: tuple[str, ...]
    engine: bool = False
    explain: tuple[str, ...] = ()
    setup: str = ""
    timeout: float | None = None
    keep: bool = False
    top: str = ""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Check:
        """Return a check from what `asdict` made of it, and JSON of that."""
        return cls(**{**data, "words": tuple(data["words"]), "explain": tuple(data["explain"])})


@dataclass(frozen=True)
class Step:
    """What a check said about one commit.

    role       why it was asked: bad end, good end, step, parent
    verdict    good, bad, skip (could not tell), abort
    exit_code  of the check, or of the setup that failed; -N for signal N, None where it ran out of time
    why        in words, what stands behind the verdict
    seconds    that it took, with its setup
    said       the last lines that it printed
    rules      of an engine: those that it broke, in the order of the data flow, as `llorch verify --json` has
               them, in few words
    passed     of an engine: how many rules it kept
    """

    commit: str
    when: str
    subject: str
    role: str
    verdict: str = ABORT
    exit_code: int | None = None
    why: str = ""
    seconds: float = 0.0
    said: str = ""
    rules: tuple[Mapping[str, Any], ...] = ()
    passed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the step as JSON can hold it."""
        return {**asdict(self), "rules": [dict(rule) for rule in self.rules]}


def begin(tree: Path, commit: str, role: str) -> Step:
    """Return the step that is about to be made, with what git knows of the commit."""
    when, subject = text(tree, "log", "-1", "--format=%aI%n%s", commit).split("\n", 1)
    return Step(commit, when, subject, role)


def judge(tree: Path, step: Step, check: Check) -> Step:
    """Run a check on the commit that is checked out, and return the step with its verdict."""
    started = time.monotonic()
    failed, said = prepare(tree, step.commit, check)
    if failed:
        step = replace(step, verdict=SKIP, exit_code=failed[0], why=failed[1], said=said)
    else:
        code, printed, said = ask(tree, step.commit, check.words, check, apart=check.engine)
        verdict, why = verdict_of(code, check)
        step = replace(step, verdict=verdict, exit_code=code, why=why, said=last(said or printed))
        if check.engine and verdict in (GOOD, BAD):
            step = with_rules(step, printed, last(said))
    return replace(step, seconds=round(time.monotonic() - started, 3))


def prepare(tree: Path, commit: str, check: Check) -> tuple[tuple[int | None, str] | None, str]:
    """Run the setup; return its exit code and words where it failed, and what it printed last."""
    if not check.setup:
        return None, ""
    code, printed, said = ask(tree, commit, ("sh", "-c", check.setup), check)
    if code == 0:
        return None, ""
    return (code, f"the setup failed: {ending(code, check)}"), last(said or printed)


def ask(
    tree: Path, commit: str, words: Sequence[str], check: Check, apart: bool = False
) -> tuple[int | None, str, str]:
    """Run a program in the worktree; return its exit code, what it printed, and its standard error.

    apart  whether these two are; otherwise all is kept in the order in which it came

    What it prints is kept in files beside the worktree.
    """
    more = {"LLORCH_COMMIT": commit, "LLORCH_REPOSITORY": check.top}
    files = [tree.parent / name for name in ("printed", "said")]
    with files[0].open("wb") as out, files[1].open("wb") as errors:
        code = run(words, tree, out, errors if apart else None, check.timeout, more)
    printed, said = (file.read_text("utf-8", errors="replace") for file in files)
    return code, printed, said


def verdict_of(code: int | None, check: Check) -> tuple[str, str]:
    """Return what an exit code says, and that in words."""
    if code is not None and not 0 <= code < 128:
        return ABORT, ending(code, check)
    if code is None or code in (125, 126, 127) or (check.engine and code > 1):
        return SKIP, ending(code, check)
    return (BAD if code else GOOD), ending(code, check)


def ending(code: int | None, check: Check) -> str:
    """Return in words how a program ended."""
    if code is None:
        return f"it ran longer than {check.timeout:g} s"
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        return f"it was ended by {name}" if code < 0 else f"exit code {code}, which is {name} to a shell"
    told = {126: ", it cannot be run", 127: ", there is no such command"}
    return f"exit code {code}{told.get(code, '')}"


def with_rules(step: Step, printed: str, said: str) -> Step:
    """Return a step with what `llorch verify --json` says of the rules; aborted where it says nothing."""
    try:
        told = json.loads(printed)["rules"]
    except ValueError:
        return replace(step, verdict=ABORT, why=f"{step.why}, and llorch verify told no verdict")
    passed = sum(rule["status"] == "passed" for rule in told)
    broken = tuple(in_few_words(rule) for rule in told if rule["status"] not in ("passed", "not run"))
    return replace(step, said=said, rules=broken, passed=passed)


def in_few_words(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a rule with the checkpoint that was farthest off, if any, and how far."""
    worst = rule["worst"] or {}
    place = {"checkpoint": worst.get("checkpoint"), "tolerances": worst.get("share")}
    return {key: rule[key] for key in ("rule", "says", "status", "elements")} | place


def last(said: str) -> str:
    """Return the last lines of what a program printed, without what could move a cursor."""
    lines = said[-LAST_CHARACTERS:].rstrip().splitlines()[-LAST_LINES:]
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def indented(said: str) -> str:
    """Return the lines that a message quotes; "" where nothing was said."""
    return "".join(f"\n  | {line}" for line in said.splitlines())
