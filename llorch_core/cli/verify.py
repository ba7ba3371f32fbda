"""llorch verify: hold an engine to every rule of the specs."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llorch_core.check.compare import Comparison
from llorch_core.cli.console import console, progress
from llorch_core.engine.errors import UsageError
from llorch_core.spec.suite import load_specs
from llorch_core.subject.engines import KINDS, put_on_trial
from llorch_core.subject.protocol import Subject
from llorch_core.trace.jobs import Order, WorkerDiedError, run_order
from llorch_core.trace.lines import mark_idle
from llorch_core.trace.run import count_scenarios
from llorch_core.trace.verdict import Verdict, verdicts

CONFORMS, DIVERGES, UNDECIDED = 0, 1, 2
COLOURS = {
    "proved": "green",
    "passed": "green",
    "not run": "yellow",
    "untested": "yellow",
}  # everything else is red


@click.command(epilog="Example: llorch verify --model path/to/gpt2 --component layer_norm")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option("--engine", default="numpy", show_default=True, help=f"{KINDS}.")
@click.option("--backend", help="numpy or fast: short for --engine with llorch's own engine.")
@click.option("--precision", help="Of the fast backend's weights: float32, bfloat16, int8 or int4.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one reading of a program.")
@click.option("--names", help="How a program or a dump names its checkpoints, if not as llorch does.")
@click.option("--component", help="Only the rules of this component, such as layer_norm.")
@click.option("-o", "--proof", type=click.Path(path_type=Path), help="Leave a proof bundle in this folder.")
@click.option("--jobs", type=int, default=os.cpu_count(), help="Processes; default: the number of cores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    model: Path | None,
    engine: str,
    backend: str | None,
    precision: str | None,
    timeout: float,
    names: str | None,
    component: str | None,
    proof: Path | None,
    jobs: int,
    as_json: bool,
) -> int:
    """Hold an engine to every rule of the specs.

    Runs every feature, compares every element, and prints a line for each rule: what it says, its
    scenarios, the elements that were compared, the worst error as a share of its tolerance, and the
    verdict. Exit code 0: it conforms; 1: it does not; 2: could not tell.

    With -o, a proof bundle is left: the evidence of every comparison, which lines of llorch's own engine
    each scenario ran, the verdicts, JUnit XML and a report. `llorch prove -o` adds what became of every
    mistake, `llorch trace` and `llorch gate` read it.
    """
    started = time.monotonic()
    if backend or precision:
        engine = own_engine(engine, backend, precision)
    spec = load_specs()
    parts = [part.id for part in spec.parts()]
    if component is not None and component not in parts:
        raise UsageError(f"there is no component {component}. There are: {', '.join(parts)}.")
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs} (wanted 1 or more).")
    subject = put_on_trial(engine, model, timeout, names)
    order = Order(engine, model, timeout, names, component, proof, traced=bool(proof) and engine == "numpy")
    total = count_scenarios(component)
    if proof:
        from llorch_core.trace.finish import finish_verify, origins
        from llorch_core.trace.proof import begin

        about = origins(spec)
        begin(proof)
    with progress(f"verifying {subject.name}", total) as advance:
        try:
            run = run_order(order, jobs, lambda: advance(1), subject)
        except WorkerDiedError as error:
            raise UsageError(str(error)) from error
    outcomes = run.outcomes
    if order.traced:
        mark_idle(outcomes, run.ran)
    if proof:
        finish_verify(order, subject, spec, run, about, time.monotonic() - started)
    found = verdicts(spec, outcomes, component)
    code = exit_code(found, len(outcomes), total)
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(report(found, subject, code, seconds), indent=2, allow_nan=False))
    else:
        print_report(console(), found, subject, code, seconds)
        if proof:
            click.echo(f"the proof is in {proof}/: llorch trace --proof {proof}, or open {proof}/report.html")
    return code


def own_engine(engine: str, backend: str | None, precision: str | None) -> str:
    """Return the name of llorch's own engine with that backend and precision, as --engine has it."""
    if engine != "numpy":
        raise UsageError(
            f"--engine is {engine}, and --backend and --precision are of llorch's own.\nLeave them out."
        )
    if backend in (None, "fast") and (backend or precision != "float32"):
        return f"fast:{precision}" if precision else "fast"
    if backend in (None, "numpy") and precision in (None, "float32"):
        return "numpy"
    raise UsageError(
        f"there is no backend {backend} with {precision or 'float32'} weights (wanted numpy with float32, or "
        "fast with float32, bfloat16, int8 or int4)."
    )


def exit_code(found: list[Verdict], ran: int, total: int) -> int:
    """Return 0 where every rule passed or was not run for a named reason, 1 where not, 2 for our own bugs."""
    statuses = {verdict.status for verdict in found}
    if "failed" in statuses:
        return DIVERGES
    if "error" in statuses or ran != total or not any(verdict.elements for verdict in found):
        return UNDECIDED
    return DIVERGES if statuses - {"passed", "not run"} else CONFORMS


def report(found: list[Verdict], subject: Subject, code: int, seconds: float) -> dict[str, object]:
    """Return the whole verdict as one JSON object."""
    return {
        "verdict": ("conforms", "diverges", "undecided")[code],
        "engine": subject.name,
        "model": subject.folder.name,
        "rules": [verdict.as_json() for verdict in found],
        "totals": totals(found),
        "seconds": round(seconds, 3),
    }


def totals(found: list[Verdict]) -> dict[str, int]:
    """Return how many rules there are of each status, and what was compared; a comparison counts once."""
    outcomes = {id(outcome): outcome for verdict in found for outcome in verdict.outcomes}
    counts = {"rules": len(found), "scenarios": len(outcomes)}
    counts["elements"] = sum(c.elements for outcome in outcomes.values() for c in outcome.evidence)
    for verdict in found:
        counts[verdict.status] = counts.get(verdict.status, 0) + 1
    return counts


def print_report(out: Console, found: list[Verdict], subject: Subject, code: int, seconds: float) -> None:
    """Print the table, what failed and where, and the totals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("what it says", ratio=1)
    table.add_column("scenarios", justify="right")
    table.add_column("elements", justify="right")
    table.add_column("worst/tolerance", justify="right")
    table.add_column("verdict", no_wrap=True)
    for verdict in found:
        colour = COLOURS.get(verdict.status, "bold red")
        table.add_row(
            verdict.id,
            escape(verdict.rule.text if verdict.rule else "a tag without a rule"),
            str(len(verdict.outcomes)),
            f"{verdict.elements:,}",
            share(verdict.worst),
            f"[{colour}]{verdict.status}[/]",
        )
    out.print(table)
    for verdict in found:
        for outcome in verdict.outcomes:
            if outcome.status not in ("passed", "not run"):
                out.print(f"\n[bold red]{outcome.status}[/] {verdict.id}: {escape(outcome.title)}")
                out.print(f"  {escape(outcome.file)}:{outcome.line}", style="dim")
                out.print(f"  {escape(outcome.message)}")
    print_not_run(out, found)
    counts = totals(found)
    numbers = ", ".join(f"{counts[s]} {s}" for s in counts if s not in ("rules", "scenarios", "elements"))
    word, colour = (("conforms", "green"), ("does not conform", "red"), ("could not tell", "yellow"))[code]
    out.print(
        f"\n[bold {colour}]{subject.name} with {escape(subject.folder.name)} {word}[/]: "
        f"{counts['rules']} rules ({numbers}), {counts['scenarios']} scenarios, "
        f"{counts['elements']:,} elements compared, {seconds:.1f} s, exit code {code}"
    )


def print_not_run(out: Console, found: list[Verdict]) -> None:
    """Print what was not run: for each reason how many scenarios, and of which rules."""
    absent: dict[str, Counter[str]] = {}
    for verdict in found:
        for outcome in verdict.outcomes:
            if outcome.status == "not run":
                absent.setdefault(outcome.message, Counter())[verdict.id] += 1
    for message, rules in absent.items():
        count = rules.total()
        scenarios = "1 scenario lacks" if count == 1 else f"{count} scenarios lack"
        out.print(f"\n[yellow]not run[/] {', '.join(rules)}: {scenarios} {escape(message)}")


def share(worst: Comparison | None) -> str:
    """Return the worst error in tolerances, as a person reads it."""
    return as_share(worst.share if worst else None)


def as_share(found: float | str | None) -> str:
    """Return an error in tolerances, as a person reads it; JSON has what is not finite as text."""
    if found is None:
        return "–"
    x = float(found)
    if x == 0:
        return "exact"
    if x == float("inf"):
        return "∞"
    return f"{x:.2f}" if x < 1000 else f"{x:.1e}"
