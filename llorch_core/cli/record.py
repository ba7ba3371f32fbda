"""llorch record: write what an engine computes on its way into a dump."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import click
import numpy as np

from llorch_core.cli.generate import parse_ids
from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import check_ids
from llorch_core.engine.model import load
from llorch_core.subject.dump import write_dump
from llorch_core.subject.engines import KINDS, put_on_trial
from llorch_core.subject.protocol import NotHereError, Subject
from llorch_core.trace.session import Session


@click.command(epilog='Example: llorch record --prompt "To be, or not to be" -o dump.safetensors')
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option("--engine", default="numpy", show_default=True, help=f"{KINDS}.")
@click.option("--prompt", help="The text to read; default: the ids that `llorch verify` lets an engine read.")
@click.option("--ids", help="The ids to read instead of a text, such as 15496,13.")
@click.option("--calls", help="How many ids each forward call reads, such as 5,1,1; default: all in one.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The dump to write.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one reading of a program.")
@click.option("--names", help="How a program or a dump names its checkpoints, if not as llorch does.")
def command(
    model: Path | None,
    engine: str,
    prompt: str | None,
    ids: str | None,
    calls: str | None,
    output: Path,
    force: bool,
    timeout: float,
    names: str | None,
) -> int:
    """Write what an engine computes on its way into a dump.

    A dump has every checkpoint that the engine shows, of every forward call, in the engine's own
    precision. `llorch verify --engine dump:FILE` holds it against the specs.
    """
    check_output(output, force)
    subject = put_on_trial(engine, model, timeout, names)
    chunks = reading(subject, prompt, ids, calls)
    try:
        steps = subject.record(chunks)
    except NotHereError as error:
        raise UsageError(
            f"{subject.name} cannot be recorded: it lacks {error}.\n"
            "Without --calls all ids are read in one call."
        ) from error
    write_dump(output, steps, subject.name, subject.precision)
    checkpoints = {name for step in steps for name in step} - {"ids"}
    elements = sum(x.size for step in steps for name, x in step.items() if name != "ids")
    click.echo(
        f"{output}: {subject.name} with {subject.folder.name} in {subject.precision}; "
        f"{sum(map(len, chunks))} ids in calls of {', '.join(str(len(chunk)) for chunk in chunks)}; "
        f"{len(checkpoints)} checkpoints, {elements:,} elements"
    )
    return 0


def check_output(output: Path, force: bool) -> None:
    """Raise UsageError where the dump cannot be written."""
    if output.suffix != ".safetensors":
        raise UsageError(f"-o is {output} (wanted a name that ends with .safetensors).")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already (wanted a new file).\nGive --force to write over it.")
    if not output.resolve().parent.is_dir():
        raise UsageError(
            f"there is no folder {output.parent} (wanted one for {output.name}).\nMake it first."
        )


def reading(subject: Subject, prompt: str | None, ids: str | None, calls: str | None) -> list[list[int]]:
    """Return the ids of each forward call. Raises UsageError where the model cannot read them."""
    if prompt is not None and ids is not None:
        raise UsageError("there are --prompt and --ids (wanted one of them, or neither).\nLeave one out.")
    if prompt is None and ids is None:
        chunks = Session(subject).chunks
        whole = [i for chunk in chunks for i in chunk]
    else:
        model = load(subject.folder)
        whole = model.encode(prompt) if prompt is not None else parse_ids(ids or "")
        check_ids(np.asarray(whole, np.int64), model.config)
        chunks = [whole]
    if calls is None:
        return chunks
    lengths = [int(n) for n in calls.split(",") if n.strip().isdigit()]
    if sum(lengths) != len(whole) or 0 in lengths or len(lengths) != calls.count(",") + 1:
        raise UsageError(
            f"--calls is {calls} (wanted lengths above 0 with commas between them, which add up to the "
            f"{len(whole)} ids).\nFor example: --calls {len(whole) - 1},1"
        )
    ends = list(accumulate(lengths))
    return [whole[end - length : end] for length, end in zip(lengths, ends, strict=True)]
