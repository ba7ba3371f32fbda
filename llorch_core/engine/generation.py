"""The generation loop: read the prompts, then choose token after token for every sequence that goes on.

Spec: generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.config import Config
from llorch_core.engine.errors import UsageError
from llorch_core.engine.gpt2 import Forward
from llorch_core.engine.layers import Ids
from llorch_core.engine.sampling import Sampler
from llorch_core.engine.stream import TextStream
from llorch_core.engine.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]
DEFAULT_MAX_TOKENS = 128


@dataclass(frozen=True)
class Piece:
    """What one step adds to one sequence.

    sequence       index of the prompt
    id             the token chosen; None where end-of-text was, which is no part of the result
    text           complete characters that may be shown now; often "" in the middle of one
    finish_reason  "stop" at end-of-text or a stop string, "length" at max_tokens, else None
    """

    sequence: int
    id: int | None
    text: str
    finish_reason: FinishReason | None


class _Running:
    """A sequence that is not finished: its ids, its cache, and how its next token is chosen."""

    def __init__(
        self,
        index: int,
        prompt: Ids,
        cache: KVCache,
        sampler: Sampler,
        text: TextStream | None,
        max_tokens: int,
    ) -> None:
        self.index, self.cache, self.sampler, self.text = index, cache, sampler, text
        self.chunk = prompt  # what the model has not read yet
        self.ids = prompt.tolist()
        self.left = max_tokens

    def take(self, token: int, eos_token_id: int | None) -> Piece:
        """Add the token that was chosen, or finish."""
        if token == eos_token_id:
            return Piece(self.index, None, self.text.finish() if self.text else "", "stop")
        self.ids.append(token)
        self.chunk = np.array([token], np.int64)
        self.left -= 1
        text = self.text.push(token) if self.text else ""
        if self.text and self.text.stopped:
            return Piece(self.index, token, text, "stop")
        if self.left == 0:
            return Piece(self.index, token, text + (self.text.finish() if self.text else ""), "length")
        return Piece(self.index, token, text, None)


def generate(
    forward: Forward,
    config: Config,
    tokenizer: Tokenizer | None,
    prompts: Sequence[Ids],
    samplers: Sequence[Sampler],
    max_tokens: int | None = None,
    stop: Sequence[str] = (),
    stop_at_end_of_text: bool = True,
) -> Iterator[Piece]:
    """Continue every prompt; yields pieces as they are produced, each step in the order of the prompts.

    forward     the forward pass of a model
    prompts     int64 (T_i,) each, of any lengths; they share each matrix product and nothing else
    samplers    one for each prompt
    max_tokens  most tokens that are added; None for 128, or as many as there is room for
    stop        strings that end the text

    Raises UsageError before any work where a prompt is empty, holds an unknown id, or does not fit.
    """
    if stop and tokenizer is None:
        raise UsageError("stop strings need text, and this model has no tokenizer.\nLeave them out.")
    limits = [_check_prompt(prompt, config, max_tokens) for prompt in prompts]
    eos = config.eos_token_id if stop_at_end_of_text else None
    running = [
        _Running(
            index=i,
            prompt=prompt,
            cache=KVCache(config.n_layer, config.n_head, config.head_dim, len(prompt) + limit - 1),
            sampler=sampler,
            text=TextStream(tokenizer.token_bytes, stop) if tokenizer else None,
            max_tokens=limit,
        )
        for i, (prompt, sampler, limit) in enumerate(zip(prompts, samplers, limits, strict=True))
    ]
    return _loop(forward, running, eos)


def _loop(forward: Forward, running: list[_Running], eos: int | None) -> Iterator[Piece]:
    while running:
        logits = forward([s.chunk for s in running], [s.cache for s in running], "last")
        going_on = []
        for sequence, row in zip(running, logits, strict=True):
            piece = sequence.take(sequence.sampler.choose(row, sequence.ids), eos)
            yield piece
            if piece.finish_reason is None:
                going_on.append(sequence)
        running = going_on


def check_ids(ids: Ids, config: Config) -> None:
    """Raise UsageError where ids are none, too many for the context, or not of the vocabulary."""
    if ids.ndim != 1 or not ids.size:
        raise UsageError(
            f"the prompt has the shape {list(ids.shape)} (wanted at least one id, in one row).\n"
            "GPT-2 continues something: give it some text, or the id of end-of-text to begin a document."
        )
    outside = ids[(ids < 0) | (ids >= config.n_vocab)]
    if outside.size:
        raise UsageError(
            f"the prompt holds the id {outside[0]} (wanted 0 to {config.n_vocab - 1}).\n"
            "Was it made by another model's tokenizer?"
        )
    if len(ids) > config.n_ctx:
        raise UsageError(
            f"the prompt has {len(ids)} tokens, and the model {config.n_ctx} positions.\nShorten the prompt."
        )


def _check_prompt(ids: Ids, config: Config, max_tokens: int | None) -> int:
    """Return how many tokens may follow the prompt. Raises UsageError where they do not fit."""
    check_ids(ids, config)
    room = config.n_ctx - len(ids) + 1  # the last token is not read, and needs no position
    if max_tokens is None:
        return min(DEFAULT_MAX_TOKENS, room)
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or not 1 <= max_tokens <= room:
        raise UsageError(
            f"max_tokens is {max_tokens!r}, and a prompt of {len(ids)} tokens leaves room for {room} of the "
            f"model's {config.n_ctx} positions (wanted 1 to {room}).\n"
            "Lower max_tokens, or shorten the prompt."
        )
    return max_tokens
