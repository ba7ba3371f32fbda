"""Measure `llorch serve`, beside llama-cpp-python's server; docs/server.md has the figures.

    python tools/measure_server.py [--shape gpt2] [--rounds 3] [--markdown docs/server.md] [--json out.json]
    python tools/measure_server.py --soak 1800
    python tools/measure_server.py --fuzz 600
    python tools/measure_server.py --kills 20

Without --soak, --fuzz or --kills, rates and delays are measured at 1, 4, 16 and 64 clients, with and without
a shared prefix (all but the last 16 ids), in turn with the peer, and then what auth, audit and metrics cost.
The peer is the same weights in GGUF float32; --peer-python names a Python that has llama-cpp-python[server],
gguf and safetensors. Everything happens on this machine alone. One answer that is not as long as it was asked
for ends the measurement: an error is never timed.

--soak   clients that leave, read slowly, cancel, send too much or nonsense: memory stays, no slot is stuck,
         every stream ends once, the audit log verifies, and accepted = finished + failed + cancelled in it
--fuzz   bytes that are no requests: no 500, every connection answered or closed within 10 s
--kills  kill -9 in the middle of requests: each restart's audit log verifies, nothing accepted is missing

Exit code 0: everything held; 1: something did not, and it is named; 2: it could not be measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from llorch_core.bench.machine import describe
from llorch_core.bench.models import SHAPES, model_of
from llorch_core.bench.page import write_page
from llorch_core.engine.config import read_config
from llorch_core.engine.errors import UsageError
from llorch_core.spec.held import cache_folder

sys.path.insert(0, str(Path(__file__).resolve().parent))

from server_load import bench, fuzz, kills, peer, servers, soak, tables  # of this folder

SECTION = "measure_server"


@click.command(epilog="Example: python tools/measure_server.py --rounds 3 --markdown docs/server.md")
@click.option("--model", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Model folder.")
@click.option("--shape", default="gpt2", show_default=True, type=click.Choice(SHAPES), help="Random weights.")
@click.option("--backend", default="fast", show_default=True, help="Of llorch serve.")
@click.option("--serve", default=shlex.join(servers.SERVE), help="The command that starts llorch's server.")
@click.option("--peer-python", default=sys.executable, help="A Python that has llama-cpp-python[server].")
@click.option("--no-peer", is_flag=True, help="Measure llorch alone.")
@click.option("--no-cost", is_flag=True, help="Leave out what auth, audit and metrics cost.")
@click.option("--clients", default="1,4,16,64", show_default=True, help="Numbers of clients.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(2), help="Of each answer.")
@click.option("--prompt", default=144, show_default=True, type=click.IntRange(2), help="Ids of each prompt.")
@click.option("--threads", type=click.IntRange(1), help="Of the peer; default: one for each core.")
@click.option("--seed", default=0, show_default=True, help="Of prompts and behaviour.")
@click.option("--soak", "soaked", type=float, metavar="SECONDS", help="Behave badly for so long.")
@click.option("--fuzz", "fuzzed", type=float, metavar="SECONDS", help="Send nonsense for so long.")
@click.option("--kills", "killed", type=click.IntRange(1), metavar="N", help="Kill the server N times.")
@click.option("--requests", default=1000, show_default=True, type=click.IntRange(1), help="For each kill.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything here.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Replace the section of this page.")
def main(json_file: Path | None, markdown: Path | None, **given: Any) -> None:
    """Measure llorch's server, or try to break it."""
    try:
        report = asyncio.run(_run(given))
        about = _about(given)
        about["versions"] |= report.pop("versions", {})
        report |= {"command": _command(), **about}
        if json_file:
            json_file.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if markdown:
            write_page(markdown, _section(given), tables.page(report))
        click.echo(tables.page(report))
    except (UsageError, OSError, servers.NoServerError, bench.WrongAnswerError) as error:
        raise SystemExit(_could_not(str(error))) from error
    except ExceptionGroup as group:
        raise SystemExit(_could_not(str(group.exceptions[0]))) from group
    parts = [report[name] for name in ("soak", "fuzz", "kills") if name in report]
    for problem in (problem for part in parts for problem in part["problems"]):
        click.echo(f"does not hold: {problem}", err=True)
    raise SystemExit(0 if all(part["holds"] for part in parts) else 1)


def _could_not(says: str) -> int:
    click.echo(says, err=True)
    return 2


async def _run(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked for."""
    how = {"seed": given["seed"], "serve": shlex.split(given["serve"]), "backend": given["backend"]}
    report: dict[str, Any] = {}
    with TemporaryDirectory(prefix="llorch-measure-") as folder:
        if given["soaked"]:
            part = soak.soak(given["soaked"], 16, Path(folder) / "soak", given["model"], **how)
            report["soak"] = await part
        if given["fuzzed"]:
            report["fuzz"] = await fuzz.fuzz(given["fuzzed"], 8, **how)
        if given["killed"]:
            part = kills.kills(
                given["killed"], given["requests"], Path(folder) / "kills", given["model"], **how
            )
            report["kills"] = await part
    return report or await _measure(given, how)


async def _measure(given: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Return rates and delays, and what the parts of the server cost."""
    cache = cache_folder() / "bench"
    model = given["model"] or model_of(given["shape"], cache, peer.PEERS / "seeded.py")
    n_ctx = read_config(model).n_ctx
    if given["prompt"] + given["tokens"] > n_ctx:
        raise UsageError(
            f"--prompt {given['prompt']} and --tokens {given['tokens']} do not fit (wanted: {n_ctx}).\n"
            "Take less."
        )
    plan = bench.Plan(
        model,
        tuple(int(n) for n in given["clients"].split(",")),
        **{name: given[name] for name in ("rounds", "tokens", "prompt")},
        threads=given["threads"] or os.cpu_count() or 1,
        n_ctx=n_ctx,
        **how,
    )
    report: dict[str, Any] = {}
    gguf = None
    if not given["no_peer"]:
        try:
            gguf, found = peer.prepare(given["peer_python"], model, cache)
            report["versions"] = {bench.PEER.name: found}
        except peer.PeerMissingError as error:
            report["peer_missing"] = str(error)
    rows = await bench.side_by_side(plan, given["peer_python"], gguf, _tell)
    report |= {"side_by_side": [row.flat() for row in rows], "agreement": bench.agreement(rows)}
    if not given["no_cost"]:
        report["cost"] = [row.flat() for row in await bench.cost(plan, _tell)]
    return report


def _about(given: dict[str, Any]) -> dict[str, Any]:
    machine = describe(given["threads"] or os.cpu_count() or 1)
    return {
        "machine": machine,
        "versions": machine.pop("versions"),
        "asked": {name: given[name] for name in ("tokens", "prompt", "rounds", "clients", "seed")},
    }


def _command() -> str:
    return f"python tools/measure_server.py {shlex.join(sys.argv[1:])}".strip()


def _section(given: dict[str, Any]) -> str:
    parts = [name for name in ("soaked", "fuzzed", "killed") if given[name]]
    return " ".join([SECTION, *parts])


def _tell(says: str) -> None:
    click.echo(says, err=True)


if __name__ == "__main__":
    main()
