"""`git bisect run` in a scratch worktree, with a step of ours as the command that it runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llorch_core.postmortem.bisect.process import ended_cleanly, ours, surroundings, undisturbed
from llorch_core.postmortem.bisect.scratch import QUIET, check_out
from llorch_core.postmortem.bisect.step import ABORT, CODES, Check, Step, begin, judge
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.git import environment, git, lines, text

Take = Callable[[Step, bool, "int | None"], None]
SETTLED = ("GIT_NO_REPLACE_OBJECTS", "GIT_OPTIONAL_LOCKS")
TOLD = "llorch bisect: "  # before what a step says of itself, between the lines of git
FOUND = re.compile(r"^# first bad commit: \[([0-9a-f]+)\]", re.MULTILINE)
POSSIBLE = re.compile(r"^# possible first bad commit: \[([0-9a-f]+)\]", re.MULTILINE)


def scope_of(path: str, first_parent: bool) -> list[str]:
    """Return what limits the commits between two, as git takes it."""
    return [*(["--first-parent"] if first_parent else []), *(["--", path] if path else [])]


def hunt(
    tree: Path, ends: tuple[str, str], scope: Sequence[str], take: Take, order: Path
) -> tuple[str | None, list[str]]:
    """Let git look for the first bad commit between a good and a bad one; return it, or the candidates.

    tree   the worktree in which this happens
    scope  what limits the commits (`scope_of`)
    take   called twice for each step: when it begins, with the steps that git expects after it, or None, and
           when it has ended
    order  a file that says what a step has to do (`write_order`)

    Returns neither where every commit that changes the path is good. Raises PostmortemError where git gives
    up.
    """
    good, bad = ends
    options = scope[: scope.index("--")] if "--" in scope else scope
    paths = scope[len(options) :]
    git(tree, *QUIET, "bisect", "start", *options, bad, good, *paths)
    said = "" if found_in(tree)[0] else run_steps(tree, take, order)
    found, candidates = found_in(tree)
    left = ["refs/bisect/bad", "--not", "--glob=refs/bisect/good-*"]
    if not found and not candidates and lines(tree, "rev-list", "--max-count=1", *left, *paths):
        raise PostmortemError(f"git bisect ended without a first bad commit.\n{said.strip()}")
    return found, candidates


def found_in(tree: Path) -> tuple[str | None, list[str]]:
    """Return what git's log of the bisection ends with: the first bad commit, or the candidates."""
    log = text(tree, "bisect", "log")
    found = FOUND.search(log)
    return (found[1] if found else None), POSSIBLE.findall(log)


def run_steps(tree: Path, take: Take, order: Path) -> str:
    """Run `git bisect run` to its end; return what git itself said. However this is left, it has ended."""
    step = ours(f"from llorch_core.postmortem.bisect.hunt import main; main({str(order)!r})")
    words = ["git", "-C", str(tree), *QUIET, "bisect", "run", *step]
    said = []
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**surroundings(), **{name: environment()[name] for name in SETTLED}},
        start_new_session=True,  # Ctrl-C is for us; we end them in order
        text=True,
        errors="replace",
    ) as running:
        output = running.stdout or ()
        try:
            for line in output:
                if line.startswith(TOLD):
                    told = json.loads(line.removeprefix(TOLD))
                    take(of_json(told["step"]), told["ended"], told["left"])
                elif not line.startswith("running "):
                    said.append(line)
        except BaseException:
            with undisturbed(), contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGTERM)
                for _ in output:  # a step ends what it started, and then closes this
                    pass
            raise
    return "".join(said)


def write_order(file: Path, tree: Path, check: Check, log: Path | None, scope: Sequence[str]) -> None:
    """Write what a step has to do. `scope` limits the commits between the ends, as for `git rev-list`."""
    data = {"tree": str(tree), "check": asdict(check), "log": str(log or ""), "scope": scope}
    file.write_text(json.dumps(data), encoding="utf-8")


def look(tree: Path, step: Step, check: Check, log: Path | None) -> Step:
    """Make a step on the commit that is checked out, note it in the log, and clean up behind it."""
    try:
        step = judge(tree, step, check)
        check_out(tree, step.commit, check.keep)
    except PostmortemError as error:
        step = Step(step.commit, step.when, step.subject, step.role, ABORT, why=str(error))
    if log:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(step.as_json(), ensure_ascii=False) + "\n")
    return step


def steps_left(tree: Path, scope: Sequence[str]) -> int | None:
    """Return how many steps git expects after the one at hand; None where it does not say."""
    told = dict(line.split("=", 1) for line in lines(tree, "rev-list", "--bisect-vars", "--bisect", *scope))
    return int(told["bisect_steps"]) if told.get("bisect_steps", "").isdigit() else None


def main(file: str) -> None:
    """Be the command that `git bisect run` runs: make one step, tell it on standard output, and exit."""
    order = json.loads(Path(file).read_text(encoding="utf-8"))
    tree, log = Path(order["tree"]), Path(order["log"]) if order["log"] else None
    with ended_cleanly():
        step = begin(tree, text(tree, "rev-parse", "HEAD"), "step")
        tell(step, False, steps_left(tree, order["scope"]))
        step = look(tree, step, Check.read(order["check"]), log)
        tell(step, True)
    sys.exit(CODES[step.verdict])


def tell(step: Step, ended: bool, left: int | None = None) -> None:
    """Say on standard output what a step is at."""
    told: Mapping[str, Any] = {"step": step.as_json(), "ended": ended, "left": left}
    print(f"{TOLD}{json.dumps(told)}", flush=True)


def of_json(data: Mapping[str, Any]) -> Step:
    """Return a step from its JSON."""
    rules: Sequence[Mapping[str, Any]] = data["rules"]
    return Step(**{**data, "rules": tuple(rules)})
