"""llorch quantize: write a model with smaller weights, and say what that loses."""

from __future__ import annotations

import json
from pathlib import Path

import click

from llorch_core.cli.console import console, progress
from llorch_core.engine.errors import UsageError


@click.command(epilog="Example: llorch quantize path/to/gpt2 gpt2-int8 --precision int8 --text some.txt")
@click.argument("folder", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--precision", default="int8", show_default=True, help="bfloat16, int8 or int4.")
@click.option("--group", type=int, help="Inputs that share a scale: 32, 64 or 128; default: 64, of int4 32.")
@click.option("--text", type=click.Path(path_type=Path), help="Measure the loss on this text (UTF-8).")
@click.option(
    "--max-tokens", type=int, default=4096, show_default=True, help="Most tokens of the text to read."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    folder: Path,
    out: Path,
    precision: str,
    group: int | None,
    text: Path | None,
    max_tokens: int,
    as_json: bool,
) -> int:
    """Write the model of the folder IN to a new folder OUT, with weights of fewer bits.

    The matrices are packed as the kernels read them, so that OUT is mapped and used in place: `llorch
    generate --model OUT`. Embeddings of places, norms and biases stay float32. With --text, both models
    read a text, and what was lost is printed: perplexity before and after, and how far the predictions are
    apart.
    """
    from llorch_core.engine.config import read_config
    from llorch_core.fast.choose import load
    from llorch_core.fast.files import count_of, quantize
    from llorch_core.fast.loss import compare_on

    ids = read_ids(folder, text, max_tokens) if text else None
    with progress(f"quantising to {precision}", count_of(read_config(folder))) as advance:
        size = quantize(folder, out, precision, group, lambda: advance(1))
    found: dict[str, object] = {"model": str(out), "precision": precision, "bytes": size}
    if ids is not None:
        import numpy as np

        with progress("reading the text with both models", len(ids) - 1) as advance:
            loss = compare_on(np.asarray(ids, np.int64), load(folder, "numpy"), load(out), advance)
        found |= {
            "tokens": loss.tokens,
            "perplexity": loss.perplexity,
            "perplexity_of_the_original": loss.original,
            "kl_divergence": loss.divergence,
            "same_likeliest_token": loss.same_first,
        }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return 0
    print_result(out, precision, size, found)
    return 0


def print_result(out: Path, precision: str, size: int, found: dict[str, object]) -> None:
    """Print how large the file is, and what was lost."""
    where = console()
    where.print(f"{out} holds {precision} weights in {size / 1e6:,.1f} MB", highlight=False)
    if "tokens" not in found:
        where.print("what that loses was not measured: name a text with --text", highlight=False)
        return
    where.print(
        f"on {found['tokens']:,} tokens, perplexity {found['perplexity']:.4f} "
        f"(before: {found['perplexity_of_the_original']:.4f}); KL divergence {found['kl_divergence']:.3g} "
        f"nats; the same token likeliest at {found['same_likeliest_token']:.2%}",
        highlight=False,
    )


def read_ids(folder: Path, text: Path, max_tokens: int) -> list[int]:
    """Return the first ids of a text by the model's tokenizer. Raises UsageError for what is no text."""
    from llorch_core.engine.model import load

    if max_tokens < 2:
        raise UsageError(f"--max-tokens is {max_tokens} (wanted 2 or more: the second is predicted).")
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 at byte {error.start}"
        raise UsageError(f"{text} cannot be read: {reason} (wanted a text in UTF-8).") from error
    ids = load(folder).encode(content)[:max_tokens]
    if len(ids) < 2:
        raise UsageError(f"{text} has {len(ids)} tokens (wanted 2 or more: the second is predicted).")
    return ids
