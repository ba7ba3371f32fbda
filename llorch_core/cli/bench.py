"""llorch bench: how fast is it, beside this machine's limits and the peers that are installed?"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llorch_core.bench.models import SHAPES
from llorch_core.cli.console import console, progress
from llorch_core.engine.errors import UsageError

RIGHT, WRONG = 0, 1
ROOT = Path(__file__).parents[2]


@click.command(epilog="Example: llorch bench --shape embedded --engines numpy,fast --rounds 3")
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: one of --shape.")
@click.option(
    "--shape",
    type=click.Choice(SHAPES),
    default="gpt2",
    show_default=True,
    help="Sizes of a model with random weights, made once; or the embedded model.",
)
@click.option("--engines", default="", help="Names, comma separated, such as numpy,fast-int8; default: all.")
@click.option("--peers", type=click.Path(path_type=Path), help="Folder of adapters; default: tools/peers.")
@click.option("--python", default=sys.executable, help="The Python that has the peers; default: this one.")
@click.option("--rounds", type=int, default=5, show_default=True, help="How often every engine is timed.")
@click.option("--threads", type=int, help="Threads of every engine; default: the physical cores.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds for one answer of an engine.")
@click.option("--full", is_flag=True, help="A batch of 32 and contexts of 32 to 1,024 tokens, too.")
@click.option("--harness", is_flag=True, help="Time verify, prove, diagnose and starts, and no engine.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw what was reached here.")
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write or renew a page of it."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    model: Path | None,
    shape: str,
    engines: str,
    peers: Path | None,
    python: str,
    rounds: int,
    threads: int | None,
    timeout: float,
    full: bool,
    harness: bool,
    svg: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> int:
    """How fast is it, beside this machine's limits and the peers that are installed?

    Every engine is first held to llorch's own float32 logits and greedy tokens; one that is wrong has no
    speed. Then all are timed in turn, round after round, each in a process of its own with as many threads.
    Peers are those of tools/peers in a checkout. Exit code 0: no engine was wrong; 1: one was; 2: could not
    tell.
    """
    if rounds < 1 or (threads is not None and threads < 1) or timeout <= 0:
        raise UsageError(
            f"--rounds is {rounds}, --threads {threads}, --timeout {timeout:g} (wanted 1 or more).\n"
            "Correct it."
        )
    if harness and svg:
        raise UsageError("--svg draws engines (got --harness, too).\nLeave one of them out.")
    from llorch_core.bench.models import model_of
    from llorch_core.bench.page import HARNESS, SPEED, harness_page, speed_page, write_page
    from llorch_core.spec.held import cache_folder

    cache = cache_folder() / "bench"
    folder = model or model_of(shape, cache, _writer())
    said = _command(model, shape, engines, rounds, threads, full, harness)
    if harness:
        found = _time_harness(None if folder.name == "shakespeare" else folder, rounds, timeout, said)
    else:
        found = _time_engines(folder, engines, peers, python, rounds, threads, timeout, full, cache, said)
    if svg:
        from llorch_core.bench.roofline import picture

        try:
            svg.write_text(picture(found), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"--svg {svg} cannot be written: {error.strerror} (wanted a file).\nName another one."
            ) from error
    if markdown:
        section, text = (HARNESS, harness_page(found)) if harness else (SPEED, speed_page(found))
        write_page(markdown, section, text)
    if as_json:
        click.echo(json.dumps(found, indent=2, allow_nan=False))
    elif harness:
        print_harness(console(), found)
    else:
        print_report(console(), found)
    return WRONG if found.get("verdict") == "wrong" else RIGHT


def _writer() -> Path | None:
    """Return the script that writes seeded models, of a checkout."""
    path = ROOT / "tools" / "peers" / "seeded.py"
    return path if path.is_file() else None


def _command(
    model: Path | None,
    shape: str,
    engines: str,
    rounds: int,
    threads: int | None,
    full: bool,
    harness: bool,
) -> str:
    """Return the call, with what changes its result and no path."""
    words = ["llorch bench"] + (["--harness"] if harness else [])
    words.append(f"--model {model.name}" if model else f"--shape {shape}")
    words += [f"--engines {engines}"] if engines else []
    words += [f"--rounds {rounds}"] + ([f"--threads {threads}"] if threads else [])
    return " ".join(words + (["--full"] if full else []))


def _time_harness(folder: Path | None, rounds: int, timeout: float, said: str) -> dict[str, Any]:
    from llorch_core.bench.harness import PHASES, STARTS, measure

    with progress("timing commands", len(STARTS) + 2 * len(PHASES)) as advance:
        return measure(folder, rounds, timeout, lambda _: advance(1), said)


def _time_engines(
    folder: Path,
    engines: str,
    peers: Path | None,
    python: str,
    rounds: int,
    threads: int | None,
    timeout: float,
    full: bool,
    cache: Path,
    said: str,
) -> dict[str, Any]:
    from llorch_core.bench.engines import choose, find_engines, reference
    from llorch_core.bench.plan import plan_for
    from llorch_core.bench.report import report
    from llorch_core.bench.run import Setting, run
    from llorch_core.engine.config import read_config
    from llorch_core.fast.threads import cores

    place = peers or ROOT / "tools" / "peers"
    if peers and not peers.is_dir():
        raise UsageError(f"--peers {peers} is no folder (wanted one with adapters, NAME_peer.py each).")
    every = find_engines(place if place.is_dir() else None, python)
    chosen = choose(every, [name.strip() for name in engines.split(",") if name.strip()])
    if not place.is_dir():
        click.echo("there are no peers here: their adapters are in tools/peers of a checkout", err=True)
    config = read_config(folder)
    setting = Setting(
        folder.resolve(), config, plan_for(config, full), threads or cores(), rounds, cache, timeout
    )
    with progress("timing engines", len(chosen) * (rounds + 1)) as advance:
        results, machine = run(setting, chosen, reference(every), lambda _: advance(1))
    return report(setting, results, machine, said, folder.name)


def print_report(out: Console, found: Mapping[str, Any]) -> None:
    """Print the limits, a line for each engine, what was not timed and why, and the targets."""
    from llorch_core.bench.page import met
    from llorch_core.bench.words import ABSENT, how, number, size, within

    measures = [job["measure"] for job in found["jobs"]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("engine", no_wrap=True)
    for name in (*measures, "of the limit", "first token", "cold start", "memory", "error"):
        table.add_column(name, justify="right")
    for engine in found["engines"]:
        name = f"[bold]{engine['engine']}[/]" if engine["ours"] else engine["engine"]
        if engine["status"] == "timed":
            cells = [within(engine["measures"].get(m)) for m in measures]
            cells.append(within(engine["of_limit"].get("decode")))
            cells += [
                how(m)(engine["measures"][m]["median"]) if m in engine["measures"] else ABSENT
                for m in ("first", "cold", "memory")
            ]
            cells.append(ABSENT if engine["error"] is None else number(engine["error"]))
            table.add_row(name, *cells)
        elif engine["status"] == "wrong":
            table.add_row(name, "[bold red]WRONG[/]")
    out.print(table)
    for engine in found["engines"]:
        if engine["status"] != "timed":
            colour = "bold red" if engine["status"] != "cannot" else "yellow"
            word = {"wrong": "WRONG", "failed": "failed", "cannot": "not run"}[engine["status"]]
            out.print(f"[{colour}]{word}[/] {engine['engine']}: {escape(engine['reason'])}", soft_wrap=True)
    reads = ", ".join(
        f"{within(read, lambda x: f'{x / 1e9:.1f}')} GB/s from {size(found['model']['bytes'][p])}"
        for p, read in found["limits"]["read"].items()
    )
    rate = within(found["limits"]["rate"], lambda x: f"{x / 1e9:.0f}")
    out.print(
        f"\nThis machine reads {reads or 'nothing that was measured'}, and multiplies {rate} GFLOP/s.",
        soft_wrap=True,
    )
    for target in found["targets"]:
        if target["met"] is not None:
            colour = "green" if target["met"] else "red"
            out.print(
                f"[{colour}]{met(target)}[/] {target['engine']} {target['measure']}: "
                f"{within(target['ratio'])} of {target['against']}, wanted {target['wanted']:g}",
                soft_wrap=True,
            )
    count = sum(engine["status"] == "timed" for engine in found["engines"])
    word = "an engine is wrong" if found["verdict"] == "wrong" else "no engine is wrong"
    out.print(f"\n{escape(found['model']['title'])}: {count} engines timed, {found['rounds']} rounds, {word}")


def print_harness(out: Console, found: Mapping[str, Any]) -> None:
    """Print a line for each start and each command."""
    from llorch_core.bench.words import seconds, size, within

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("command", no_wrap=True)
    for name in ("time", "memory", "says"):
        table.add_column(name, justify="right")
    for row in found["starts"]:
        verdict = "met" if row["met"] else "missed"
        table.add_row(
            row["command"], within(row["seconds"], seconds), "", f"under {row['wanted']:g} s: {verdict}"
        )
    for row in found["commands"]:
        table.add_row(
            row["command"], within(row["seconds"], seconds), within(row["memory"], size), row["says"]
        )
    out.print(table)
