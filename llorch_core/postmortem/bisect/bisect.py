"""Replay a check of today over the history of a repository: which commit brought what it finds?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llorch_core.postmortem.bisect.between import Culprit, ends, opened, reaching, shown
from llorch_core.postmortem.bisect.hunt import Take, hunt, look, scope_of, write_order
from llorch_core.postmortem.bisect.scratch import check_out, worktree
from llorch_core.postmortem.bisect.step import (
    ABORT,
    BAD,
    GOOD,
    SKIP,
    Check,
    Step,
    ask,
    begin,
    indented,
    prepare,
)
from llorch_core.postmortem.errors import PostmortemError

FOUND, UNDECIDED = 0, 2


@dataclass(frozen=True)
class Bisection:
    """What came of a hunt for the first bad commit.

    first_bad   the first bad commit; None where only skipped ones are left
    candidates  then: those that may be it, oldest first
    steps       every commit that was asked, in that order, with its verdict
    diagnosis   of an engine: what `llorch diagnose --json` says of it at the first bad commit
    reason      why it is undecided, or empty
    """

    repository: str
    good: str
    bad: str
    path: str
    check: Check
    first_bad: Culprit | None
    candidates: tuple[Culprit, ...]
    steps: tuple[Step, ...]
    diagnosis: Mapping[str, Any] | None
    reason: str
    seconds: float

    @property
    def exit_code(self) -> int:
        """Return 0 where the first bad commit was found, 2 where it could not be told."""
        return UNDECIDED if self.reason else FOUND

    @property
    def step(self) -> Step | None:
        """The step that asked the first bad commit."""
        asked = self.first_bad.commit if self.first_bad else ""
        return next((step for step in self.steps if step.commit == asked), None)

    @property
    def wrong(self) -> dict[str, Any] | None:
        """Of an engine: the component and the checkpoint that went wrong, the mistakes, and the rules."""
        if not self.check.engine or not self.step:
            return None
        broken = [dict(rule) for rule in self.step.rules]
        divergence = (self.diagnosis or {}).get("first_divergence")
        first = divergence or {"component": broken[0]["rule"].split(".")[0], **broken[0]}
        mistakes = [cause["mistake"] for cause in (divergence or {}).get("causes", [])]
        return {
            "component": first["component"],
            "checkpoint": first["checkpoint"],
            "mistakes": mistakes,
            "first_divergence": divergence,
            "rules": broken,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the whole as one JSON object."""
        return {
            "verdict": "undecided" if self.reason else "found",
            "reason": self.reason,
            "repository": self.repository,
            "good": self.good,
            "bad": self.bad,
            "path": self.path,
            "check": self.check.text,
            "setup": self.check.setup,
            "first_bad": self.first_bad.as_json() if self.first_bad else None,
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "wrong": self.wrong,
            "steps": [step.as_json() for step in self.steps],
            "seconds": self.seconds,
        }


def bisect(
    repository: Path,
    good: str,
    bad: str,
    check: Check,
    *,
    path: str = "",
    first_parent: bool = False,
    log: Path | None = None,
    take: Take = lambda step, ended, left: None,
) -> Bisection:
    """Find the first commit between a good and a bad one at which a check fails.

    path          only commits that change this folder or file, from the top of the repository
    first_parent  of merged branches, only the merge
    log           a file that gets one line of JSON for each step, as soon as it has ended
    take          called when a step begins, with the number of steps after it or None, and when it has ended

    All happens in a worktree that goes afterwards; the user's own is not touched. Raises PostmortemError
    where the repository or a revision cannot be read, where the check does not tell the good commit from the
    bad one, and where it was ended by a signal.
    """
    started = time.monotonic()
    top = opened(repository)
    good_commit, bad_commit = ends(top, good, bad)
    path = reaching(top, good_commit, bad_commit, path)
    check = replace(check, top=str(top))
    with worktree(top, bad_commit) as tree:
        bench = Bench(tree, check, log, take)
        bench.demand(bad_commit, "bad end", BAD, bad)
        bench.demand(good_commit, "good end", GOOD, good)
        order = tree.parent / "order.json"
        scope = scope_of(path, first_parent)
        write_order(order, tree, check, log, scope)
        try:
            found, candidates = hunt(tree, (good_commit, bad_commit), scope, bench.take, order)
        finally:
            bench.stop_where_aborted()
        first_bad = shown(top, found) if found else None
        reason = bench.doubt(first_bad, first_parent) if first_bad else none_found(candidates, path)
        return Bisection(
            str(repository),
            good_commit,
            bad_commit,
            path,
            check,
            first_bad,
            tuple(shown(top, commit) for commit in reversed(candidates)),
            tuple(bench.steps),
            bench.diagnosis(first_bad) if first_bad else None,
            reason,
            round(time.monotonic() - started, 3),
        )


class Bench:
    """The worktree in which commits are asked, and what they said so far."""

    def __init__(self, tree: Path, check: Check, log: Path | None, take: Take) -> None:
        self.tree, self.check, self.log, self._take = tree, check, log, take
        self.steps: list[Step] = []

    def take(self, step: Step, ended: bool, left: int | None) -> None:
        """Keep a step that has ended, and hand on what it says."""
        if ended:
            self.steps.append(step)
        self._take(step, ended, left)

    def ask(self, commit: str, role: str) -> Step:
        """Check a commit out, and make a step on it. Raises PostmortemError where that is aborted."""
        check_out(self.tree, commit, self.check.keep)
        step = begin(self.tree, commit, role)
        self.take(step, False, None)
        step = look(self.tree, step, self.check, self.log)
        self.take(step, True, None)
        self.stop_where_aborted()
        return step

    def stop_where_aborted(self) -> None:
        """Raise PostmortemError where the last step was aborted."""
        step = self.steps[-1]
        if step.verdict == ABORT:
            raise PostmortemError(
                f"the check was aborted at {named(step)}: {step.why} (wanted 0 for good, 1 to 124 for bad, "
                f"125 to skip).{indented(step.said)}\n"
                "Like git, llorch stops there: a signal, or a code above 127, says nothing about a commit.\n"
                "If it is what went wrong: --check 'COMMAND || exit 1'"
            )

    def demand(self, commit: str, role: str, wanted: str, revision: str) -> None:
        """Raise PostmortemError where an end is not what it has to be."""
        step = self.ask(commit, role)
        if step.verdict == wanted:
            return
        says = {GOOD: "the check passes", BAD: "the check fails", SKIP: "the check could not tell"}
        end = "--good" if wanted == GOOD else "--bad"
        passes = "it passes" if wanted == GOOD else "it fails"
        broken = "".join(f"\n  | {rule['rule']}: {rule['status']}" for rule in step.rules)
        raise PostmortemError(
            f"{says[step.verdict]} at {end} {revision}, {named(step)}: {step.why} (wanted a commit at which "
            f"{passes}).{broken}{indented(step.said)}\n{NEXT[step.verdict]}"
        )

    def doubt(self, first_bad: Culprit, first_parent: bool) -> str:
        """Return why the first bad commit may not be it: a parent that fails, too. "" where they pass."""
        known = {step.commit: step for step in self.steps}
        parents = first_bad.parents[:1] if first_parent else first_bad.parents
        asked = [known.get(parent) or self.ask(parent, "parent") for parent in parents]
        failed = [step for step in asked if step.verdict == BAD]
        if not failed:
            return ""
        return (
            f"git names {first_bad.commit[:12]}, and its parent {failed[0].commit[:12]} fails, too: what is "
            "wrong came in with a commit that was not asked (--path leaves some out), came and went, or the "
            "check does not always say the same"
        )

    def diagnosis(self, first_bad: Culprit) -> Mapping[str, Any] | None:
        """Return what is wrong with an engine at the first bad commit; None where that was not told."""
        if not self.check.explain:
            return None
        check_out(self.tree, first_bad.commit, self.check.keep)
        if prepare(self.tree, first_bad.commit, self.check)[0]:
            return None
        code, printed, _ = ask(self.tree, first_bad.commit, self.check.explain, self.check, apart=True)
        try:
            diagnosis: Mapping[str, Any] | None = json.loads(printed) if code == 1 else None
        except ValueError:
            return None
        return diagnosis


NEXT = {
    GOOD: "Is what went wrong committed there, and is it what the check looks at?",
    BAD: "Name an older commit, or a check that is only about what went wrong.",
    SKIP: "Does it need something built first (--setup), or more time (--timeout)?",
}


def named(step: Step) -> str:
    """Return a commit as messages name it."""
    return f"{step.commit[:12]} ({step.subject})"


def none_found(candidates: Sequence[str], path: str) -> str:
    """Return why a bisection without a first bad commit is undecided."""
    if candidates:
        return f"only skipped commits are left: the first bad one is one of {len(candidates)}"
    return f"every commit that changes {path} passes: what is wrong came in with another one"
