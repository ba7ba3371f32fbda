"""llorch spec: show and check the specs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from llorch_core.cli.console import console, progress
from llorch_core.engine.errors import UsageError
from llorch_core.spec.behaviour import Behaviour
from llorch_core.spec.component import Component, Rule, show_shape
from llorch_core.spec.model import ModelSpec
from llorch_core.spec.suite import load_specs
from llorch_core.spec.window import measure, places
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.session import Session


@click.group(epilog="Example: llorch spec show layer_norm")
def command() -> None:
    """Show and check the specs: what each component computes, its rules, and its mistakes."""


@command.command("list", epilog="Example: llorch spec list")
def list_() -> None:
    """List the specs, in the order of the data flow."""
    spec = load_specs()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("spec", "what it is", "checkpoints"):
        table.add_column(column)
    for column in ("rules", "mistakes"):
        table.add_column(column, justify="right")
    for part in spec.parts():
        appears_as = ", ".join(part.appears_as) if isinstance(part, Component) else ""
        table.add_row(part.id, part.title, appears_as, str(len(part.rules)), str(len(part.mistakes)))
    console().print(table)


@command.command(epilog="Example: llorch spec show layer_norm")
@click.argument("name")
def show(name: str) -> None:
    """Show one spec as a card: inputs, equations, tolerance, rules, mistakes."""
    out = console()
    found = {part.id: part for part in load_specs().parts()}
    if name not in found:
        raise UsageError(f"there is no spec {name}. There are: {', '.join(found)}.")
    part = found[name]
    head(out, part)
    if isinstance(part, Component):
        show_component(out, part)
    elif isinstance(part, Behaviour):
        section(out, "decides", {key: str(value) for key, value in part.data.items()})
        needed = {condition.id: condition for names in part.needs.values() for condition in names}
        section(
            out,
            "conditions of a scenario",
            {name.removeprefix(f"{part.id}."): c.holds.text for name, c in needed.items()},
        )
    else:
        show_wiring(out, part)
    rules_and_mistakes(out, part)


@command.command(epilog="Example: llorch spec check my_specs")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def check(folder: Path | None) -> None:
    """Run every spec on awkward samples, and refuse one that is false or says nothing.

    FOLDER holds components/, model/ and schema/, and lessons/ where there are any: these may name only rules
    and mistakes that exist. Without it, the specs of llorch are checked. Each
    tolerance must be a window, on those samples and on what components read in the embedded model:
    honest engines (float32 in five orders of summation, float16, bfloat16) use at most a quarter of it,
    and each mistake is more than four times past it, or said to be hidden in that precision.
    """
    if folder is not None and not (folder / "components").is_dir():
        raise UsageError(f"{folder} holds no folder components (wanted a folder of specs).")
    spec = load_specs(folder, anew=True)
    session = Session(NumpyEngine(), spec)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("spec")
    table.add_column("honest noise/tolerance", justify="right")
    table.add_column("of which engine")
    table.add_column("nearest mistake/tolerance", justify="right")
    table.add_column("which")
    table.add_column("hidden in bfloat16", overflow="fold")
    with progress("measuring tolerances", len(spec.components)) as advance:
        for component in spec.components.values():
            window = measure(component, places(component, spec.defaults, session.oracle, session.chunks))
            window.check()
            noisiest = max(window.noise, key=lambda name: window.noise[name])
            nearest, away = window.nearest()
            table.add_row(
                component.id,
                f"{window.noise[noisiest]:.3f}",
                noisiest if window.noise[noisiest] else "",
                "∞" if away == float("inf") else f"{away:,.0f}",
                nearest,
                ", ".join(window.hidden("bfloat16")),
            )
            advance(1)
    console().print(table)
    equations = sum(len(component.equations) for component in spec.components.values())
    click.echo(
        f"\n{len(spec.parts())} specs are well-formed and were run: {equations} equations, "
        f"{len(spec.all_rules())} rules, {len(spec.mistake_ids())} mistakes, each of them caught by a rule"
    )


@command.command(epilog="Example: llorch spec weights")
def weights() -> None:
    """List the tensors that a model's files hold, with their shapes."""
    spec = load_specs()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("tensor", "shape", ""):
        table.add_column(column)
    for name, shape in spec.weights.items():
        note = f"{spec.tied[name]} where tie_word_embeddings is true" if name in spec.tied else ""
        table.add_row(name, escape(show_shape(shape)), note)
    console().print(table)
    click.echo(
        "\nN counts the blocks from 0. All names may have the prefix transformer., but lm_head.weight."
    )


def show_component(out: Console, component: Component) -> None:
    """Print what a component computes."""
    head(out, component)
    section(
        out,
        "inputs",
        {f"{name} {show_shape(entry.shape)}": entry.meaning for name, entry in component.inputs.items()},
    )
    section(out, "constants", {name: str(value) for name, value in component.constants.items()})
    section(out, "equations", {name: equation.text for name, equation in component.equations.items()})
    section(out, "output", {f"{name} {show_shape(shape)}": "" for name, shape in component.outputs.items()})
    section(out, "conditions of an example", {name: eq.text for name, eq in component.conditions.items()})
    section(out, "tolerance", {name: bound.text for name, bound in component.bounds.items()})
    out.print(f"  {escape(component.why)}", style="dim")


def show_wiring(out: Console, spec: ModelSpec) -> None:
    """Print which component makes which checkpoint of what."""
    steps = {
        ", ".join(step["makes"]): f"{step['by']}({', '.join(f'{k}={v}' for k, v in step['from'].items())})"
        for step in spec.file.data["steps"]
    }
    section(out, "checkpoints", steps)


def head(out: Console, part: Component | Behaviour | ModelSpec) -> None:
    """Print what a spec is about, and where it comes from."""
    out.print(f"[bold]{escape(part.title)}[/]  ({part.id})")
    out.print(escape(part.purpose))
    out.print(Text("; ".join(part.source), style="dim"))
    if isinstance(part, Component) and part.appears_as:
        out.print(Text(f"appears as {', '.join(part.appears_as)}", style="dim"))


def section(out: Console, title: str, entries: dict[str, str]) -> None:
    """Print a titled list of names and texts, aligned."""
    if not entries:
        return
    out.print(f"\n[bold]{title}[/]")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in entries.items():
        table.add_row(Text(f"  {name}"), Text(text))
    out.print(table)


def rules_and_mistakes(out: Console, part: Component | Behaviour | ModelSpec) -> None:
    """Print the rules with what they catch, and the mistakes with their symptoms."""

    def sentence(rule: Rule) -> str:
        caught = ", ".join(name.removeprefix(f"{part.id}.") for name in rule.catches)
        return f"{rule.level}: {rule.text}\ncatches {caught}; source: {rule.source}"

    section(out, "rules", {name: sentence(rule) for name, rule in part.rules.items()})
    mistakes = {}
    for name, mistake in part.mistakes.items():
        seen = f"\nseen in {', '.join(mistake.seen_in)}" if mistake.seen_in else ""
        changes = "; ".join(
            f"{k} = {getattr(v, 'text', v)}" if not isinstance(v, dict) else f"{k} from {v}"
            for k, v in mistake.instead.items()
        )
        mistakes[name] = f"{changes}\n{mistake.symptom}{seen}" if changes else f"{mistake.symptom}{seen}"
    section(out, "mistakes", mistakes)
