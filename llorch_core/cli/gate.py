"""llorch gate: may this be merged?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from llorch_core.cli.console import console, progress
from llorch_core.engine.errors import UsageError
from llorch_core.gate.bundle import believe
from llorch_core.gate.gate import Judgement, judge
from llorch_core.gate.policy import PolicyError, read_policy
from llorch_core.gate.reasons import KINDS, worst_first
from llorch_core.spec.suite import load_specs

MOST = 8  # reasons of one kind that the terminal shows
OPEN, CLOSED = 0, 1


@click.command(epilog="Example: llorch gate --summary summary.md --sarif gate.sarif")
@click.option(
    "--verify", type=click.Path(path_type=Path),
    help="Only say whether this proof bundle can be believed: hash and count it again.",
)  # fmt: skip
@click.option(
    "--proof", type=click.Path(path_type=Path), help="Proof bundle; default: that of the policy, proof/."
)
@click.option(
    "--policy", type=click.Path(path_type=Path), default=Path("pyproject.toml"), show_default=True,
    help="TOML file with [tool.llorch.gate]; without it, everything is demanded.",
)  # fmt: skip
@click.option("--allow-dirty", is_flag=True, help="Accept a proof of changes that no commit has.")
@click.option(
    "--summary", type=click.Path(dir_okay=False, path_type=Path), help="Append Markdown to this file."
)
@click.option(
    "--sarif", type=click.Path(dir_okay=False, path_type=Path), help="Write the reasons as SARIF 2.1.0."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    verify: Path | None,
    proof: Path | None,
    policy: Path,
    allow_dirty: bool,
    summary: Path | None,
    sarif: Path | None,
    as_json: bool,
) -> int:
    """Say whether this may be merged, and every reason against it, worst first.

    Reads the proof bundle of `llorch verify -o` and `llorch prove -o`, makes sure that it is whole and of
    this tree, and holds it to the policy: every MUST proved, every mistake caught, every element compared,
    no stub, enough coverage, nothing absent that is not allowed by name. Exit code 0: it may; 1: it may
    not; 2: could not tell.
    """
    if verify and proof:
        raise UsageError("--verify and --proof both name a bundle (wanted one).\nLeave one out.")
    try:
        rules = read_policy(policy)
    except PolicyError as error:
        raise UsageError(str(error)) from error
    if policy != Path("pyproject.toml") and not policy.is_file():
        raise UsageError(f"there is no file {policy} (wanted a policy).\nCorrect --policy, or leave it out.")
    rules = replace(rules, allow_dirty=rules.allow_dirty or allow_dirty)
    with progress("looking for reasons", 1):
        if verify:
            trace, reasons = believe(verify, load_specs(anew=True), rules.allow_dirty)
            judgement = Judgement(trace, worst_first(reasons))
            judgement.asked.append(("the proof is whole, and of this tree", str(verify), not reasons))
        else:
            folder = proof or rules.folder / rules.proof
            judgement = judge(rules, folder, load_specs(anew=True))
    try:
        write(judgement, summary, sarif)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be written: {error.strerror}.\nName another file."
        ) from error
    if as_json:
        click.echo(json.dumps(judgement.as_json(), indent=1, allow_nan=False))
    else:
        print_judgement(console(), judgement)
    return OPEN if judgement.open else CLOSED


def write(judgement: Judgement, summary: Path | None, sarif_file: Path | None) -> None:
    """Write the forms of a judgement that were asked for."""
    for path in filter(None, (summary, sarif_file)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if sarif_file:
        from llorch_core.gate.sarif import sarif

        found = sarif("llorch gate", KINDS, [reason.as_json() for reason in judgement.reasons])
        sarif_file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if summary:
        from llorch_core.trace.markdown import escape as plain
        from llorch_core.trace.markdown import summary as rendered

        said = [f"{reason.kind}: {reason.what}: {reason.says}" for reason in judgement.reasons]
        if judgement.trace:
            text = rendered(judgement.trace, said)
        else:
            text = "\n".join(
                ["## The proof cannot be believed", "", *(f"- {plain(line)}" for line in said), ""]
            )
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)


def print_judgement(out: Console, judgement: Judgement) -> None:
    """Print what was asked and found, every reason, and the answer."""
    for demand, found, met in judgement.asked:
        mark = "[green]yes[/]" if met else "[bold red]no [/]"
        out.print(f"{mark}  {escape(demand)}: {escape(found)}", soft_wrap=True)
    for kind in dict.fromkeys(reason.kind for reason in judgement.reasons):
        of_kind = [reason for reason in judgement.reasons if reason.kind == kind]
        out.print(f"\n[bold red]{kind}[/]  {escape(KINDS[kind])}", soft_wrap=True)
        for reason in of_kind[:MOST]:
            place = (
                f"  [dim]{escape(reason.file)}{f':{reason.line}' if reason.line else ''}[/]"
                if reason.file
                else ""
            )
            out.print(f"  {escape(reason.what)}: {escape(reason.says)}{place}", soft_wrap=True)
        if len(of_kind) > MOST:
            out.print(f"  and {len(of_kind) - MOST} more; --json lists them all", style="dim")
        out.print(f"  next: {escape(of_kind[0].next)}", style="dim", soft_wrap=True)
    count = len(judgement.reasons)
    if judgement.open:
        out.print("\n[bold green]the gate is open[/]: nothing speaks against a merge; exit code 0")
    else:
        reasons = "1 reason speaks" if count == 1 else f"{count} reasons speak"
        out.print(f"\n[bold red]the gate is closed[/]: {reasons} against a merge; exit code 1")
