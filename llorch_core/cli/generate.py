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
    "--json", "as_json", is_flag=True, help="Print one JSON object when all is done, instead of the text."
)
def command(
    prompt: str | None,
    model: Path | None,
    max_tokens: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    repetition_penalty: float,
    seed: int | None,
    stop: tuple[str, ...],
    ids: bool,
    special: bool,
    as_json: bool,
) -> int:
    """Continue a text with a GPT-2.

    PROMPT is the text to continue; without it, or as "-", it is read from standard input. The text
    appears as it is produced. On a terminal the prompt is shown before it.
    """
    from llorch_core.engine.model import load
    from llorch_core.engine.sampling import Sampler, Sampling

    settings = Sampling(temperature, top_k, top_p, repetition_penalty, seed)
    settings = replace(
        settings, seed=Sampler(settings).seed
    )  # a fresh one is told, so that it can be asked for
    text = read_prompt(prompt)
    gpt2 = load(model)
    prompt_ids = parse_ids(text) if ids else gpt2.encode(text, allow_special=special)
    started = time.monotonic()
    pieces = gpt2.stream(prompt_ids, settings, max_tokens, stop)
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
