"""llorch diagnose: where an engine is first wrong, and which mistake it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llorch_core.cli.console import console, progress
from llorch_core.cli.diagnose_text import text_level
from llorch_core.cli.record import reading
from llorch_core.diagnosis import before as earlier_and_now
from llorch_core.diagnosis import words
from llorch_core.diagnosis.diagnose import diagnose
from llorch_core.diagnosis.page import page
from llorch_core.diagnosis.result import Diagnosis
from llorch_core.engine.errors import UsageError
from llorch_core.spec.component import schema
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.oracle import Oracle, Step, read_oracle
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.subject.dump_engine import DumpEngine
from llorch_core.subject.engines import KINDS, put_on_trial
from llorch_core.subject.protocol import NotHereError, Subject

Reading = tuple[tuple[tuple[int, ...], ...], ...]
COLOURS = {"first wrong number": "bold red", "could not tell": "bold yellow", "conforms": "bold green"}


@click.command(epilog="Example: llorch diagnose my_dump.safetensors --model path/to/gpt2")
@click.argument("dump", type=click.Path(path_type=Path), required=False)
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option("--engine", help=f"Instead of a dump: {KINDS}, or http://HOST:PORT.")
@click.option("--tokens", help="Instead of a dump: the ids that an engine chose greedily behind the prompt.")
@click.option("--logprobs", help="The log-probabilities of --tokens by the engine, such as -0.12,-3.4.")
@click.option("--prompt", help="The text that was read, or that the engine is to read.")
@click.option("--ids", help="The ids that were read, or are to be read, such as 15496,13.")
@click.option("--calls", help="How many ids each forward call reads, such as 5,1,1; default: all in one.")
@click.option("--names", help="How a dump or a program names its checkpoints: a map, or a file of one.")
@click.option(
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    default="float32",
    show_default=True,
    help="What an engine that shows only text computes in.",
)
@click.option(
    "--timeout", default=120.0, show_default=True, help="Seconds for one reading of a program or an address."
)
@click.option(
    "--before", type=click.Path(path_type=Path), help="What --json printed before a fix: is it better now?"
)
@click.option("--html", type=click.Path(path_type=Path), help="Write the diagnosis as a page, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    dump: Path | None,
    model: Path | None,
    engine: str | None,
    tokens: str | None,
    logprobs: str | None,
    prompt: str | None,
    ids: str | None,
    calls: str | None,
    names: str | None,
    precision: str,
    timeout: float,
    before: Path | None,
    html: Path | None,
    as_json: bool,
) -> int:
    """Find the first wrong number of an engine, and the mistake that made it.

    DUMP holds the tensors that an engine recorded: .safetensors, .npz, or a folder of .npy; docs/dumps.md
    says how they are named. Any subset will do. With --engine an engine is run instead; without --prompt
    and --ids it reads a prompt, a chunk and single tokens, so that its cache is used.

    Every tensor is held against its equations, applied to what the engine itself recorded before it. An
    engine that shows nothing but text (http://…, --tokens) is held against the likeliest tokens.
    Exit code 0: it conforms; 1: it does not; 2: could not tell.
    """
    given = [name for name, value in (("DUMP", dump), ("--engine", engine), ("--tokens", tokens)) if value]
    if len(given) != 1:
        raise UsageError(
            f"there is {' and '.join(given) or 'nothing to diagnose'} (wanted one of DUMP, --engine and "
            "--tokens).\nFor example: llorch diagnose my_dump.safetensors --model path/to/gpt2"
        )
    check_output(html)
    earlier = read_earlier(before) if before else None
    if tokens or (engine or "").startswith(("http://", "https://")):
        for name, value in (("--before", before), ("--html", html), ("--calls", calls), ("--names", names)):
            if value:
                raise UsageError(f"{name} is about tensors, and a text shows none.\nLeave it out.")
        return text_level(engine, tokens, model, prompt, ids, logprobs, precision, timeout, as_json)
    if logprobs is not None:
        raise UsageError("--logprobs belongs to --tokens; a dump has logits.\nLeave it out.")
    subject = DumpEngine(dump, model, names) if dump else put_on_trial(engine or "", model, timeout, names)
    sequences, asked = record(subject, prompt, ids, calls)
    was_read = ids_of(sequences, asked)
    if earlier is not None:
        check_earlier(before or Path(), earlier, subject, was_read)
    oracle = read_oracle(load_specs(), subject.folder)
    name = dump.name if dump else subject.name
    found = run(oracle, sequences, subject, name, asked)
    if earlier is not None:
        found = replace(found, progress=earlier_and_now.progress(load_specs(), earlier, found))
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        print_diagnosis(console(), found, oracle.config)
    if html:
        write(html, page(found, oracle.config))
    return found.exit_code


def run(
    oracle: Oracle,
    sequences: Sequence[list[Step]],
    subject: Subject,
    name: str,
    asked: Sequence[Sequence[int]] | None,
) -> Diagnosis:
    """Diagnose, with a bar on standard error: one unit for each checkpoint."""
    total = sum(len(step.keys() - {"ids"}) for steps in sequences for step in steps)
    with progress(f"diagnosing {words.plain(name)}", total) as advance:
        return diagnose(
            oracle,
            sequences,
            subject.precision,
            engine=name,
            model=subject.folder.name,
            asked=asked,
            advance=advance,
        )


def record(
    subject: Subject, prompt: str | None, ids: str | None, calls: str | None
) -> tuple[Sequence[list[Step]], list[list[int]] | None]:
    """Return what the engine shows, and the ids that it was asked for; None: those of a dump itself."""
    if isinstance(subject, DumpEngine):
        if prompt is None and ids is None:
            if calls is not None:
                raise UsageError(f"--calls is {calls}, without --prompt or --ids (wanted one of them).")
            return subject.sequences, None
        asked = reading(subject, prompt, ids, calls)
        return subject.sequences, asked if calls else cut_as(subject.sequences[0], asked[0])
    asked = reading(subject, prompt, ids, calls)
    try:
        return [subject.record(asked)], asked
    except NotHereError as error:
        raise UsageError(
            f"{subject.name} cannot be recorded: it lacks {error}.\n"
            "With --prompt all ids are read in one call."
        ) from error


def cut_as(steps: Sequence[Step], ids: list[int]) -> list[list[int]]:
    """Cut the ids as the forward calls of a dump are; not at all where that is not known or does not fit."""
    rows = [next((len(x) for x in step.values() if np.ndim(x) in (1, 2)), 0) for step in steps]
    ends = np.cumsum(rows)
    if not len(ends) or ends[-1] != len(ids):
        return [ids]
    return [ids[end - n : end] for n, end in zip(rows, ends, strict=True)]


def ids_of(sequences: Sequence[list[Step]], asked: Sequence[Sequence[int]] | None) -> Reading:
    """Return the ids of each forward call of each sequence, as far as anybody knows them."""
    found = []
    for steps in sequences:
        calls = [step.get("ids") for step in steps]
        if any(call is None for call in calls):
            calls = list(asked or ())
        found.append(tuple(tuple(int(i) for i in np.ravel(call)) for call in calls if call is not None))
    return tuple(found) if all(found) else ()


def check_output(html: Path | None) -> None:
    """Raise UsageError where the page cannot be written."""
    if html is not None and (html.is_dir() or not html.resolve().parent.is_dir()):
        raise UsageError(
            f"--html is {html} (wanted a file, in a folder that exists).\nMake the folder first."
        )


def write(html: Path, text: str) -> None:
    """Write the page. Raises UsageError where that cannot be done."""
    try:
        html.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--html {html} cannot be written: {error.strerror} (wanted a file).\nName another one."
        ) from error


def read_earlier(path: Path) -> dict[str, Any]:
    """Read what --json printed before. Raises UsageError where it is anything else."""
    try:
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--before {path} cannot be read: {error} (wanted what --json printed).") from None
    form = schema(suite_folder() / "specs" / "schema", "diagnosis")
    for wrong in form.iter_errors(earlier):
        where = ".".join(str(part) for part in wrong.absolute_path) or "the whole"
        raise UsageError(
            f"--before {path} is no diagnosis: {where}: {wrong.message[:200]} (wanted what --json printed).\n"
            "Make one: llorch diagnose … --json > old.json"
        )
    if earlier["verdict"] == "undecided":
        raise UsageError(
            f"--before {path} could not tell: {earlier['reason']}\n"
            "There is nothing to compare with; leave it out."
        )
    return earlier


def check_earlier(path: Path, earlier: Mapping[str, Any], subject: Subject, was_read: Reading) -> None:
    """Raise UsageError where an earlier diagnosis is of something else."""
    now = {
        "model": subject.folder.name,
        "precision": subject.precision,
        "reading": [[list(call) for call in sequence] for sequence in was_read],
    }
    for key, value in now.items():
        if earlier[key] != value:
            got, wanted = (json.dumps(v) for v in (earlier[key], value))
            raise UsageError(
                f"--before {path} has another {key}: {_short(got)} (wanted {_short(wanted)}).\n"
                f"Only two diagnoses of the same {key} can be compared; leave --before out."
            )


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:80]} … {text[-30:]}"


def print_diagnosis(out: Console, diagnosis: Diagnosis, config: Mapping[str, Any] | None = None) -> None:
    """Print what was found: first the first wrong number, last the verdict."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, lines in words.paragraphs(diagnosis, config):
        shown = Text("\n").join(_coloured(title, lines))
        table.add_row(Text(title, style=COLOURS.get(title, "bold")), shown)
    out.print(table)
    says, facts = words.verdict_line(diagnosis)
    colour = ("green", "red", "yellow")[diagnosis.exit_code]
    out.print(Text.assemble("\n", (says, f"bold {colour}"), f": {facts}"))


def _coloured(title: str, lines: Sequence[str]) -> Iterator[Text]:
    for i, line in enumerate(lines):
        side = line.split()[0] if line.startswith("  ") else ""
        style = {"right": "green", "wrong": "red"}.get(side, "bold" if i == 0 and title in COLOURS else "")
        text = Text(line, style=style)
        if title.startswith(("the mistake", "together", "it looks")) and i == 0:
            text.highlight_regex(r"^[a-z_0-9]+\.[a-z_0-9]+(?=: )", "bold red")
        yield text
