"""llorch verify: hold an engine to every rule of the specs."""

from __future__ import annotations

import json
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
from llorch_core.trace.run import count_scenarios, run_features
from llorch_core.trace.session import Session
from llorch_core.trace.verdict import Verdict, verdicts

CONFORMS, DIVERGES, UNDECIDED = 0, 1, 2
COLOURS = {"passed": "green", "not run": "yellow", "untested": "yellow"}  # everything else is red


@click.command(epilog="Example: llorch verify --model path/to/gpt2 --component layer_norm")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option("--engine", default="numpy", show_default=True, help=f"{KINDS}.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one reading of a program.")
@click.option("--names", help="How a program or a dump names its checkpoints, if not as llorch does.")
@click.option("--component", help="Only the rules of this component, such as layer_norm.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    model: Path | None,
    engine: str,
    timeout: float,
    names: str | None,
    component: str | None,
    as_json: bool,
) -> int:
    """Hold an engine to every rule of the specs.

    Runs every feature, compares every element, and prints a line for each rule: what it says, its
    scenarios, the elements that were compared, the worst error as a share of its tolerance, and the
    verdict. Exit code 0: it conforms; 1: it does not; 2: could not tell.
    """
    started = time.monotonic()
    spec = load_specs()
    parts = [part.id for part in spec.parts()]
    if component is not None and component not in parts:
        raise UsageError(f"there is no component {component}. There are: {', '.join(parts)}.")
    subject = put_on_trial(engine, model, timeout, names)
    total = count_scenarios(component)
    with progress(f"verifying {subject.name}", total) as advance:
        outcomes = run_features(Session(subject, spec), component, lambda outcome: advance(1))
    found = verdicts(spec, outcomes, component)
    code = exit_code(found, len(outcomes), total)
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(report(found, subject, code, seconds), indent=2, allow_nan=False))
    else:
        print_report(console(), found, subject, code, seconds)
    return code


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
    if worst is None:
        return "–"
    if worst.share == 0:
        return "exact"
    if worst.share == float("inf"):
        return "∞"
    return f"{worst.share:.2f}" if worst.share < 1000 else f"{worst.share:.1e}"
