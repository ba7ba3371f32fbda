"""llorch generate: continue a text with a GPT-2."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llorch_core.engine.generation import Piece
    from llorch_core.engine.model import Model


@click.command(epilog='Example: llorch generate "To be, or not to be" --max-tokens 60 --seed 7')
@click.argument("prompt", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="Model folder; default: the embedded model.")
@click.option("--backend", default="auto", show_default=True, help="auto, numpy, or fast (compiled kernels).")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="Of the weights: auto, float32, bfloat16, int8 or int4; other than float32 takes --backend fast.",
)
@click.option(
    "--max-tokens", type=int, help="Most tokens to add; default: 128, or as many as there is room for."
)
@click.option(
    "--temperature", type=float, default=0.8, show_default=True, help="0 takes the likeliest token."
)
@click.option(
    "--top-k", type=int, default=0, show_default=True, help="Keep the k likeliest tokens; 0 keeps all."
)
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Keep the likeliest that reach p.")
@click.option(
    "--repetition-penalty", type=float, default=1.0, show_default=True, help="Above 1 avoids used tokens."
)
@click.option("--seed", type=int, help="Gives the same text again; default: a fresh one.")
@click.option("--stop", multiple=True, help="End the text before this string; may be given more than once.")
@click.option(
    "--ids", is_flag=True, help="The prompt is token ids, such as 15496,13; for models without tokenizer."
)
@click.option("--special", is_flag=True, help="Read <|endoftext|> in the prompt as the token, not as text.")
@click.option(
    "--speculate",
    type=int,
    metavar="N",
    help="At temperature 0, draft up to N tokens from what came before, and check them at once; "
    "the text is the same.",
)
@click.option("--no-speculate", "speculate", flag_value=0, type=int, help="Draft nothing; the default.")
@click.option(
    "--batch",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Continue every line of FILE, {"prompt": "..."} or {"ids": [...]}, with settings of its own.',
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="With --batch: where results go, one line each as it ends. Run again, it goes on where it stopped.",
)
@click.option("--batch-size", type=int, help="Prompts at a time; default: up to 32, as memory allows.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object when all is done, instead of the text."
)
def command(
    prompt: str | None,
    model: Path | None,
    backend: str,
    precision: str,
    max_tokens: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    repetition_penalty: float,
    seed: int | None,
    stop: tuple[str, ...],
    ids: bool,
    special: bool,
    speculate: int | None,
    batch: Path | None,
    output: Path | None,
    batch_size: int | None,
    as_json: bool,
) -> int:
    """Continue a text with a GPT-2.

    PROMPT is the text to continue; without it, or as "-", it is read from standard input. The text
    appears as it is produced. On a terminal the prompt is shown before it. With --batch, many prompts
    are continued at a time.
    """
    from llorch_core.engine.sampling import Sampler, Sampling
    from llorch_core.fast.choose import load

    settings = Sampling(temperature, top_k, top_p, repetition_penalty, seed)
    check_batch(batch, output, batch_size, prompt, ids)
    if batch and output:
        from llorch_core.cli import generate_batch

        gpt2 = load(model, backend, precision)
        draft = gpt2.default_draft if speculate is None else speculate
        common = generate_batch.Settings(settings, max_tokens, stop, special, draft)
        return generate_batch.run(gpt2, batch, output, common, batch_size, as_json)
    settings = replace(
        settings, seed=Sampler(settings).seed
    )  # a fresh one is told, so that it can be asked for
    text = read_prompt(prompt)
    gpt2 = load(model, backend, precision)
    prompt_ids = parse_ids(text) if ids else gpt2.encode(text, allow_special=special)
    started = time.monotonic()
    pieces = gpt2.stream(prompt_ids, settings, max_tokens, stop, speculate=speculate)
    if not as_json and sys.stdout.isatty():
        click.secho(text, bold=True, nl=False)
    made = []
    for piece in pieces:
        made.append(piece)
        if not as_json:
            click.echo(shown(piece, gpt2), nl=False)
            sys.stdout.flush()
    count = sum(piece.id is not None for piece in made)
    reason = made[-1].finish_reason
    if as_json:
        result = {
            "model": gpt2.folder.name,
            "prompt_ids": [int(i) for i in prompt_ids],
            "ids": [piece.id for piece in made if piece.id is not None],
            "text": "".join(piece.text for piece in made),
            "finish_reason": reason,
            "seed": settings.seed,
        }
        click.echo(json.dumps(result))
        return 0
    click.echo()
    if sys.stderr.isatty():
        speed = count / max(time.monotonic() - started, 1e-9)
        note = f"{count} tokens, {speed:,.0f} a second, ended by {reason}, seed {settings.seed}"
        click.secho(note, dim=True, err=True)
    return 0


def check_batch(
    batch: Path | None, output: Path | None, batch_size: int | None, prompt: str | None, ids: bool
) -> None:
    """Raise UsageError where options contradict each other."""
    from llorch_core.engine.errors import UsageError

    if batch is None:
        if output is not None or batch_size is not None:
            option = "-o" if output is not None else "--batch-size"
            raise UsageError(
                f"{option} is of a batch, and there is none (wanted --batch FILE).\n"
                "A single text goes to standard output."
            )
        return
    if prompt is not None or ids:
        raise UsageError(
            "a prompt or --ids is given, and --batch too (wanted one of them).\n"
            'In a batch each line is a prompt: {"prompt": "..."} or {"ids": [...]}.'
        )
    if output is None:
        raise UsageError("--batch has nowhere to write (wanted -o FILE).\nName a file for the results.")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size} (wanted 1 or more).\nLeave it out to have it chosen.")
    if output.exists() and batch.exists() and output.samefile(batch):
        raise UsageError(f"{output} is the file of prompts (wanted another file).\nChange -o.")


def read_prompt(prompt: str | None) -> str:
    """Return the prompt: the argument, or all of standard input without its last line break."""
    from llorch_core.engine.errors import UsageError

    if prompt not in (None, "-"):
        return str(prompt)
    if prompt is None and sys.stdin.isatty():
        raise UsageError(
            'there is no prompt (wanted a text).\nFor example: llorch generate "To be, or not to be"'
        )
    data = sys.stdin.buffer.read()
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not UTF-8 at byte {error.start} (wanted text).\nConvert it first, with iconv."
        ) from None


def parse_ids(text: str) -> list[int]:
    """Return the ids of "1, 2 3"."""
    from llorch_core.engine.errors import UsageError

    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise UsageError(
            f"the prompt is {text!r} (wanted ids, such as 15496,13).\nLeave out --ids to give it as text."
        ) from None


def shown(piece: Piece, model: Model) -> str:
    """Return what a person sees of a piece: its text, or its id where there is no tokenizer."""
    if model.tokenizer is None:
        return "" if piece.id is None else f"{piece.id} "
    return piece.text
