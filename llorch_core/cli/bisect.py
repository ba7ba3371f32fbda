"""llorch bisect: replay a check of today over the history of a repository."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llorch_core.cli.console import console
from llorch_core.engine.errors import UsageError

if TYPE_CHECKING:
    from llorch_core.postmortem.bisect.bisect import Bisection
    from llorch_core.postmortem.bisect.hunt import Take
    from llorch_core.postmortem.bisect.step import Check, Step

COLOURS = {"good": "green", "bad": "red", "skip": "yellow", "abort": "bold red"}
MOST_FILES = 12  # that the report lists
KINDS = ("command", "python", "dump")  # of engines that are in the repository, and not in llorch
EXAMPLE = "For example: llorch bisect . --good v1.0 --check 'make test'"


@click.command(epilog="Example: llorch bisect path/to/repository --good v1.0 --check 'make test'")
@click.argument("repository", metavar="REPO", type=click.Path(path_type=Path))
@click.option("--good", required=True, metavar="REV", help="A commit at which the check passes.")
@click.option("--bad", default="HEAD", show_default=True, metavar="REV", help="One at which it fails.")
@click.option("--check", "command_line", metavar="COMMAND", help="A line for the shell: 0 is good.")
@click.option("--engine", help="Or: hold this engine to the specs, as `llorch verify --engine` does.")
@click.option("--model", type=click.Path(path_type=Path), help="Model of the engine; default: the embedded.")
@click.option("--names", help="How the engine names its checkpoints, if not as llorch does.")
@click.option("--component", help="Only the rules of this component, such as layer_norm.")
@click.option("--setup", default="", metavar="COMMAND", help="Makes a commit ready; it is skipped where not.")
@click.option("--path", default="", metavar="PATH", help="Only commits that change this folder or file.")
@click.option("--first-parent", is_flag=True, help="Of branches that were merged, only the merge.")
@click.option("--timeout", type=float, metavar="SECONDS", help="For setup and check, each; then: skipped.")
@click.option("--keep-build", is_flag=True, help="Keep ignored files from step to step: faster builds.")
@click.option(
    "--log", type=click.Path(dir_okay=False, path_type=Path), help="Add a line of JSON for each step."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    repository: Path,
    good: str,
    bad: str,
    command_line: str | None,
    engine: str | None,
    model: Path | None,
    names: str | None,
    component: str | None,
    setup: str,
    path: str,
    first_parent: bool,
    timeout: float | None,
    keep_build: bool,
    log: Path | None,
    as_json: bool,
) -> int:
    """Find the commit since which a check of today fails.

    Runs `git bisect run` in a worktree of its own, which goes afterwards: the files, the index and a
    bisection of yours are not touched. The check is run in that worktree. Its exit code 0 says good, 1 to 124
    bad, 125 skip; a signal or more than 127 ends the search. With --engine, llorch of today holds the engine
    of each commit to the specs, and says at the end which component and checkpoint went wrong.

    Exit code 0: the first bad commit was found; 2: could not tell.
    """
    from llorch_core.postmortem.bisect.bisect import bisect

    if timeout is not None and not timeout > 0:
        raise UsageError(f"--timeout is {timeout:g} (wanted seconds, more than 0).")
    check = check_of(command_line, engine, model, names, component, setup, timeout, keep_build)
    if log:
        check_log(log)
    with talk() as take:
        found = bisect(
            repository,
            good,
            bad,
            check,
            path=path,
            first_parent=first_parent,
            log=log.absolute() if log else None,
            take=take,
        )
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        print_report(console(), found)
    return found.exit_code


def check_of(
    command_line: str | None,
    engine: str | None,
    model: Path | None,
    names: str | None,
    component: str | None,
    setup: str,
    timeout: float | None,
    keep: bool,
) -> Check:
    """Return the check that the options ask for. Raises UsageError where they ask for none, or for two."""
    from llorch_core.postmortem.bisect.process import ours
    from llorch_core.postmortem.bisect.step import Check

    if bool(command_line) == bool(engine):
        both = "--check and --engine" if engine else "neither --check nor --engine"
        raise UsageError(f"{both} given (wanted one of them).\n{EXAMPLE}")
    if engine is None:
        for option, value in (("--model", model), ("--names", names), ("--component", component)):
            if value:
                raise UsageError(f"{option} belongs to --engine, and there is --check.\nLeave it out.")
        words = ("sh", "-c", command_line or "")
        return Check(command_line or "", words, setup=setup, timeout=timeout, keep=keep)
    check_engine(engine)
    options = ["--json", "--engine", engine]
    options += ["--model", str(model.absolute())] if model else []
    options += ["--names", str(Path(names).absolute()) if Path(names).is_file() else names] if names else []
    today = ours("from llorch_core.cli import main; main()")
    verify = (*today, "verify", *options, *(["--component", component] if component else []))
    return Check(engine, verify, True, (*today, "diagnose", *options), setup, timeout, keep)


def check_engine(engine: str) -> None:
    """Raise UsageError where an engine is not of the repository, or not named as `llorch verify` has it."""
    from llorch_core.subject.program import parse

    kind, _, rest = engine.partition(":")
    if kind not in KINDS or not rest.strip():
        raise UsageError(
            f"--engine {engine} is not in the repository (wanted 'command: PROGRAM {{model}} {{ids}} "
            "{dump}', python:MODULE:CLASS, or dump:FILE).\nllorch's own is the same at each commit."
        )
    if kind == "command":
        parse(rest)


def check_log(log: Path) -> None:
    """Raise UsageError where no log can be written."""
    try:
        log.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(
            f"--log {log} cannot be written: {error.strerror} (wanted a file).\nName another one."
        ) from error


@contextmanager
def talk() -> Iterator[Take]:
    """Give what tells of each step on standard error: what is asked now in a terminal, and each verdict."""
    out = Console(stderr=True, highlight=False)
    waiting = out.status("making a worktree")
    number = 0

    def take(step: Step, ended: bool, left: int | None) -> None:
        nonlocal number
        if not ended:
            number += step.role == "step"
            waiting.update(Text(asked(step, number, left)))
            return
        line = Text(f"{title(step, number):<9} {step.commit[:12]} {step.when[:10]} ")
        line.append(f"{step.verdict:<5}", style=COLOURS[step.verdict])
        line.append(f" {step.seconds:>6.1f} s  {step.subject}")
        out.print(line + Text(because(step), style="dim"), soft_wrap=True)

    if out.is_terminal:
        with waiting:
            yield take
    else:
        yield take


def title(step: Step, number: int) -> str:
    """Return what a step is called."""
    return f"step {number}" if step.role == "step" else step.role


def asked(step: Step, number: int, left: int | None) -> str:
    """Return what is being asked, and how many steps are left."""
    more = {None: "", 0: ", the last", 1: ", about 1 more"}.get(left, f", about {left} more")
    return f"{title(step, number)}{more}: {step.commit[:12]} {step.subject}"


def because(step: Step) -> str:
    """Return why a commit was skipped, or the first rule that an engine broke there."""
    if step.rules:
        rest = f" and {len(step.rules) - 1} more" if len(step.rules) > 1 else ""
        return f" ({step.rules[0]['rule']}{rest})"
    return f" ({step.why})" if step.verdict in ("skip", "abort") else ""


def print_report(out: Console, found: Bisection) -> None:
    """Print the first bad commit, what is wrong with it, the commits that were asked, and the verdict."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, lines in paragraphs(found):
        table.add_row(name, Text("\n".join(lines)))
    told = out.is_terminal and Console(stderr=True).is_terminal  # each step, as it ended, above this
    if told:
        out.print()
    out.print(table)
    if not told:
        print_steps(out, found.steps)
    if found.reason:
        out.print(Text.assemble("\n", ("could not tell", "bold yellow"), f": {found.reason}"), soft_wrap=True)
    tail = f"{len(found.steps)} commits were asked, {found.seconds:.1f} s, exit code {found.exit_code}"
    if found.first_bad:
        word = "may be" if found.reason else "is"
        said = (f"{found.first_bad.commit[:12]} {word} the first bad commit", "bold red")
        out.print(Text.assemble("\n", said, f": {tail}"))
    else:
        out.print(tail)


def paragraphs(found: Bisection) -> Iterator[tuple[str, Sequence[str]]]:
    """Give the report in paragraphs: a name, and its lines."""
    bad = found.first_bad
    if bad:
        yield "first bad commit", [bad.commit, f"{bad.author}, {bad.when}", bad.subject]
        more = [f"… and {len(bad.files) - MOST_FILES:,} more"] if len(bad.files) > MOST_FILES else []
        yield "it changes", [changed(file) for file in bad.files[:MOST_FILES]] + more or ["no file"]
    for n, candidate in enumerate(found.candidates):
        line = f"{candidate.commit[:12]} {candidate.when} {candidate.author}: {candidate.subject}"
        yield "" if n else "one of these", [line]
    yield from of_engine(found)
    if not found.check.engine and found.step and found.step.said:
        yield "the check said", found.step.said.splitlines()


def of_engine(found: Bisection) -> Iterator[tuple[str, Sequence[str]]]:
    """Give what went wrong with an engine: component, checkpoint, mistake and rules."""
    from llorch_core.diagnosis import words

    wrong = found.wrong
    if wrong is None or found.first_bad is None:
        return
    where = f"{wrong['component']}, checkpoint {wrong['checkpoint']}"
    first = wrong["first_divergence"]
    yield "what went wrong", [where, *(divergence_lines(first) if first else [])]
    if wrong["mistakes"]:
        yield "the mistake", [f"{cause['mistake']}: {cause['text']}" for cause in first["causes"]]
    yield "rules", [f"{rule['rule']} {rule['status']}: {rule['says']}" for rule in wrong["rules"]]
    parents = [step for step in found.steps if step.commit in found.first_bad.parents]
    for step in parents:
        passed = words.count(step.passed, "rule")
        says = f"passes {passed}, and breaks none" if step.verdict == "good" else f"is {step.verdict}"
        yield "before it", [f"{step.commit[:12]} {says}"]


def divergence_lines(first: Mapping[str, Any]) -> list[str]:
    """Say where the first wrong number is, as `llorch diagnose` found it."""
    from llorch_core.diagnosis import words

    got, wanted = words.pair(float(first["got"]), float(first["wanted"]))
    place = f"{first['checkpoint']} {first['index']}"
    place = place if first["step"] is None else f"step {first['step']}, {place}"
    far = words.tolerances(float(first["tolerances"]))
    return [
        f"first wrong number: {place}: got {got}, wanted {wanted}, {far}",
        f"{first['outside']:,} of its {first['of']:,} elements are outside their tolerance",
    ]


def changed(file: Mapping[str, str]) -> str:
    """Return what became of a file."""
    return (
        f"{file['what']} {file['old']} to {file['path']}" if file["old"] else f"{file['what']} {file['path']}"
    )


def print_steps(out: Console, steps: Sequence[Step]) -> None:
    """Print each commit that was asked, and what came of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("asked as", "commit", "written", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("subject", ratio=1, overflow="fold")
    number = 0
    for step in steps:
        number += step.role == "step"
        verdict = Text(step.verdict, style=COLOURS[step.verdict])
        row = (title(step, number), step.commit[:12], step.when, verdict, f"{step.seconds:.1f}")
        table.add_row(*row, Text.assemble(step.subject, (because(step), "dim")))
    out.print()
    out.print(table)
