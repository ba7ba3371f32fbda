"""llorch prove: put every mistake on trial, and move single elements at random."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from llorch_core.cli.console import console, progress
from llorch_core.cli.verify import share
from llorch_core.engine.errors import UsageError
from llorch_core.spec.model import ModelSpec
from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.jobs import share_cores
from llorch_core.trace.origin import model_files, suite_files
from llorch_core.trace.proof import Proof, append_trials, begin_trials, read
from llorch_core.trace.prove import (
    Moved,
    Trial,
    claims,
    detection_bound,
    keepers,
    move_elements,
    trial_json,
    try_mistakes,
    window_json,
)
from llorch_core.trace.session import Session

PART = 50  # elements that one process moves before it is given others


@click.command(epilog="Example: llorch prove --perturb 2000")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option("--only", help="Only the mistakes of this component, or one COMPONENT.MISTAKE.")
@click.option(
    "--perturb", type=int, help="Move one random element, so many times, instead of trying mistakes."
)
@click.option("--tolerances", type=float, default=4.0, show_default=True, help="How far --perturb moves.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which elements --perturb moves.")
@click.option("--jobs", type=int, default=os.cpu_count(), help="Processes; default: the number of cores.")
@click.option(
    "-o",
    "--proof",
    type=click.Path(path_type=Path),
    help="Proof bundle of `llorch verify -o`, to which every trial is added.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object on standard output.")
def command(
    model: Path | None,
    only: str | None,
    perturb: int | None,
    tolerances: float,
    seed: int,
    jobs: int,
    proof: Path | None,
    as_json_: bool,
) -> int:
    """Prove that the tests can fail: put every mistake of the specs on trial.

    Each mistake must be caught by a scenario of its own rule, by a comparison and not by a crash.
    With --perturb, one random element of what the engine records is moved by a few tolerances, and
    the scenario that holds it must notice. Exit code 0: all caught; 1: not; 2: could not tell.

    With -o, the trials become a part of the proof bundle that `llorch verify -o` left: a rule is proved
    when its mistakes were caught.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs} (wanted 1 or more).")
    if proof and (only or perturb is not None):
        raise UsageError(
            "-o goes with all mistakes (got --only or --perturb beside it).\n"
            "A bundle says of every mistake what became of it: leave the others out."
        )
    folder = NumpyEngine(model).folder
    if perturb is not None:
        if perturb < 1 or not tolerances > 1:
            raise UsageError(
                f"--perturb is {perturb} and --tolerances {tolerances} (wanted 1 or more, and more than 1).\n"
                "Less than one tolerance is no error."
            )
        return prove_moves(folder, perturb, tolerances, seed, jobs, as_json_)
    spec = load_specs()
    wanted = claims(spec, only)
    if not wanted:
        raise UsageError(
            f"there is no mistake {only}.\n`llorch spec show COMPONENT` lists the mistakes of a component."
        )
    mistakes = list(dict.fromkeys(mistake for mistake, _ in wanted))
    bundle = open_bundle(proof, folder, spec) if proof else None
    windows = {}
    work: list[Part] = [(_try, (folder, [c for c in wanted if c[0] == mistake])) for mistake in mistakes]
    with progress(f"{len(mistakes)} mistakes on trial", len(wanted)) as advance:
        trials: list[Trial] = []
        for part in spread(work, jobs, advance):
            trials += part
            if bundle:
                append_trials(bundle.folder, [trial_json(t) for t in part])
    if bundle:
        with progress("measuring tolerances", len(spec.components)) as advance:
            parts: list[Part] = [(_window, (name,)) for name in spec.components]
            windows = dict(
                zip(spec.components, (found for (found,) in spread(parts, jobs, advance)), strict=True)
            )
        from llorch_core.trace.finish import finish_prove

        finish_prove(bundle, spec, [trial_json(t) for t in trials], windows)
    bad = [t for t in trials if t.status not in ("caught", "not run")]
    caught = {t.mistake for t in trials if t.status == "caught"} - {t.mistake for t in bad}
    code = 1 if bad else 0 if caught else 2
    if as_json_:
        found = {
            "verdict": ("proved", "not proved", "undecided")[code],
            "mistakes": len(mistakes),
            "caught": len(caught),
            "trials": [trial_json(t) for t in trials],
        }
        click.echo(json.dumps(found, indent=2, allow_nan=False))
    else:
        print_trials(trials, len(mistakes), len(caught), code)
    return code


def open_bundle(proof: Path, folder: Path, spec: ModelSpec) -> Proof:
    """Open a bundle for trials. Raises UsageError where it is about other specs, or another model."""
    found = read(proof)
    other = [
        what
        for what, differs in (
            ("rules of one component", found.manifest["component"] is not None),
            ("other specs, features or steps", found.manifest["suite"] != suite_files()),
            ("another model", found.manifest["model"]["files"] != model_files(folder)),
        )
        if differs
    ]
    if other:
        raise UsageError(
            f"{proof} is a proof of {' and of '.join(other)} (wanted these specs and this model).\n"
            f"Nothing was changed. Make it again, with the same --model: llorch verify -o {proof}"
        )
    begin_trials(proof)
    return found


def prove_moves(folder: Path, count: int, tolerances: float, seed: int, jobs: int, as_json_: bool) -> int:
    """Move elements, and print how many of the moves were noticed."""
    parts = [min(PART, count - start) for start in range(0, count, PART)]
    with progress(f"{count:,} elements moved", count) as advance:
        work: list[Part] = [(_move, (folder, n, tolerances, (seed, i))) for i, n in enumerate(parts)]
        moves = [m for part in spread(work, jobs, advance) for m in part]
    noticed = sum(m.noticed for m in moves)
    bound = detection_bound(noticed, count)
    missed = [m for m in moves if not m.noticed]
    if as_json_:
        found = {
            "moved": count,
            "noticed": noticed,
            "tolerances": tolerances,
            "detection_at_least": bound,
            "missed": [{"checkpoint": m.checkpoint, "step": m.step, "index": list(m.index)} for m in missed],
        }
        click.echo(json.dumps(found, indent=2))
        return 1 if missed else 0
    for m in missed:
        click.echo(f"not noticed: step {m.step}, {m.checkpoint} {list(m.index)}")
    checkpoints = len({(m.step, m.checkpoint) for m in moves})
    click.echo(
        f"{noticed:,} of {count:,} single elements, moved by {tolerances:g} tolerances in {checkpoints} "
        "tensors, were noticed"
    )
    if not missed:
        click.echo(f"with 95 % confidence, at least {bound:.2%} of all such errors are")
    return 1 if missed else 0


def _try(folder: Path, wanted: list[tuple[str, str]]) -> list[Trial]:
    return list(try_mistakes(load_specs(), folder, wanted))


def _window(component: str) -> list[dict[str, Any]]:
    spec = load_specs()
    return [window_json(spec.components[component], _embedded())]


@cache
def _embedded() -> Session:
    return Session(NumpyEngine(), load_specs())


def _move(folder: Path, count: int, tolerances: float, seed: tuple[int, int]) -> list[Moved]:
    return list(move_elements(*_held(folder), count, tolerances, seed))


@cache  # each process runs the whole suite once, to see which scenarios hold which checkpoint
def _held(folder: Path) -> tuple[Session, dict[str, str]]:
    session = Session(NumpyEngine(folder), load_specs())
    return session, keepers(session)


Part = tuple[Callable[..., list[Any]], tuple[Any, ...]]
"""A function and its arguments, for one process."""


def spread(work: list[Part], jobs: int, advance: Callable[[int], None]) -> Iterator[list[Any]]:
    """Do each part of the work, in order, in `jobs` processes; a single part in this one."""
    if len(work) == 1:
        function, arguments = work[0]
        yield function(*arguments)
        return
    jobs = min(jobs, len(work))
    with ProcessPoolExecutor(jobs, get_context("spawn"), share_cores, (jobs,)) as pool:
        for future in [pool.submit(function, *arguments) for function, arguments in work]:
            result = future.result()
            advance(len(result))
            yield result


def print_trials(trials: list[Trial], mistakes: int, caught: int, code: int) -> None:
    """Print what became of each mistake, and the share that was caught."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("mistake", "rule that must catch it", "scenario that did", "first checkpoint"):
        table.add_column(column, overflow="fold")
    table.add_column("tolerances away", justify="right")
    table.add_column("verdict", no_wrap=True)
    for t in trials:
        step = "" if t.found is None or t.found.step is None else f"step {t.found.step}, "
        colour = {"caught": "green", "not run": "yellow"}.get(t.status, "bold red")
        table.add_row(
            t.mistake,
            t.rule,
            escape(t.scenario.title if t.scenario else "–"),
            step + t.found.what if t.found else "",
            share(t.found),
            f"[{colour}]{t.status}[/]",
        )
    out.print(table)
    for t in trials:
        if t.status not in ("caught", "not run") and t.scenario:
            out.print(f"\n[bold red]{t.status}[/] {t.mistake} before {t.rule}: {escape(t.scenario.message)}")
    word = ("proved", "not proved", "could not tell")[code]
    out.print(
        f"\n[bold]{word}[/]: {caught} of {mistakes} mistakes ({caught / mistakes:.1%}) were caught by every "
        f"rule that claims to, by a comparison; exit code {code}"
    )
