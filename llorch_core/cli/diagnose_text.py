"""llorch diagnose, for an engine that shows nothing but text."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from llorch_core.cli.console import progress
from llorch_core.cli.generate import parse_ids
from llorch_core.diagnosis.text import diagnose_text
from llorch_core.diagnosis.words import plain
from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import check_ids
from llorch_core.engine.model import load
from llorch_core.spec.oracle import read_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.subject.http_engine import ask, take_ids

TOKENS = 48  # that an engine at an address is asked for


def parse_numbers(text: str) -> list[float]:
    """Return the numbers of "-0.1,-2"."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--logprobs is {text!r} (wanted numbers such as -0.12,-3.4).") from error


def text_level(
    engine: str | None,
    tokens: str | None,
    model: Path | None,
    prompt: str | None,
    ids: str | None,
    logprobs: str | None,
    precision: str,
    timeout: float,
    as_json: bool,
) -> int:
    """Diagnose an engine that shows nothing but text: its likeliest tokens behind a prompt."""
    if (prompt is None) == (ids is None):
        raise UsageError(
            "an engine that shows only text is asked with one of --prompt and --ids (wanted one).\n"
            'For example: llorch diagnose --tokens 11,314 --prompt "To be"'
        )
    given = parse_numbers(logprobs) if logprobs is not None else None
    if given is not None and engine:
        raise UsageError("--logprobs are those of --tokens; an address gives its own.\nLeave them out.")
    if given is not None and len(given) != len(parse_ids(tokens or "")):
        count = len(parse_ids(tokens or ""))
        raise UsageError(f"--logprobs has {len(given)} numbers, and --tokens {count} (wanted one for each).")
    gpt2 = load(model)
    prompt_ids = gpt2.encode(prompt) if prompt is not None else parse_ids(ids or "")
    check_ids(np.asarray(prompt_ids, np.int64), gpt2.config)
    known = gpt2.tokenizer is not None
    answer = None
    if engine:
        text = prompt if prompt is not None else gpt2.decode(prompt_ids) if known else None
        count = min(TOKENS, gpt2.config.n_ctx - len(prompt_ids) + 1)
        answer = ask(engine, prompt_ids, count, prompt_text=text, timeout=timeout)
        if text is not None:
            answer = take_ids(answer, prompt_ids, text, gpt2.encode)
    oracle = read_oracle(load_specs(), gpt2.folder)
    with progress("trying mistakes", 100) as advance:
        done = 0

        def tell(tried: int, total: int) -> None:
            nonlocal done
            advance(100 * tried // max(total, 1) - done)
            done = 100 * tried // max(total, 1)

        found = diagnose_text(
            oracle,
            prompt_ids,
            parse_ids(tokens or "") if answer is None else (answer.ids or ()),
            precision,
            answer.logprobs if answer else given,
            engine=engine or "the tokens",
            model=gpt2.folder.name,
            read=answer.read if answer else None,
            from_text=bool(answer and answer.from_text),
            text_of=(lambda i: gpt2.decode([i])) if known else None,
            progress=tell,
        )
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        for line in found.lines():
            click.echo(plain(line))
    return found.exit_code
