"""The generation loop: sequences join, get token after token, and leave when they end.

Spec: generation.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.config import Config
from llorch_core.engine.errors import UsageError
from llorch_core.engine.gpt2 import Forward
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.sampling import Sampler
from llorch_core.engine.speculation import Drafter, close, drafter
from llorch_core.engine.stream import TextStream
from llorch_core.engine.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]
DEFAULT_MAX_TOKENS = 128
PREFILL = 512  # no prompt joins a forward call that reads as many ids already: activations stay small


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


@dataclass(frozen=True)
class Request:
    """A prompt, and how it is continued.

    prompt               int64 (T,)
    sampler              chooses its tokens, and those of no other prompt
    max_tokens           most tokens that are added; None for 128, or as many as there is room for
    stop                 strings that end the text
    stop_at_end_of_text  whether the token eos_token_id ends it
    drafter              guesses tokens, which are then checked several at once; None for one a step
    """

    prompt: Ids
    sampler: Sampler
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    stop_at_end_of_text: bool = True
    drafter: Drafter | None = None


class Continuation:
    """What is added to one prompt, token by token, and where it ends.

    left      tokens that may still be added
    ids       of the prompt, and those that were added
    text      what may be shown of them; None without a tokenizer
    finished  whether no token follows
    """

    def __init__(
        self, index: int, request: Request, left: int, config: Config, tokenizer: Tokenizer | None
    ) -> None:
        self.index, self.sampler, self.left = index, request.sampler, left
        self.ids: list[int] = request.prompt.tolist()
        self.text = TextStream(tokenizer.token_bytes, request.stop) if tokenizer else None
        self.end_of_text = config.eos_token_id if request.stop_at_end_of_text else None
        self.finished = False

    def choose(self, row: Array) -> Piece:
        """Choose the next token by its logits, and add it."""
        return self.take(self.sampler.choose(row, self.ids))

    def take(self, token: int) -> Piece:
        """Add the token that was chosen, or finish."""
        if token == self.end_of_text:
            return self._piece(None, self.text.finish() if self.text else "", "stop")
        self.ids.append(token)
        self.left -= 1
        text = self.text.push(token) if self.text else ""
        if self.text and self.text.stopped:
            return self._piece(token, text, "stop")
        if self.left == 0:
            return self._piece(token, text + (self.text.finish() if self.text else ""), "length")
        return self._piece(token, text, None)

    def _piece(self, token: int | None, text: str, reason: FinishReason | None) -> Piece:
        self.finished = reason is not None
        return Piece(self.index, token, text, reason)


class _Running(Continuation):
    """A continuation with its cache, and what of it the model has not read."""

    def __init__(self, index: int, request: Request, config: Config, tokenizer: Tokenizer | None) -> None:
        super().__init__(index, request, check_request(request, config, tokenizer), config, tokenizer)
        self.drafter = request.drafter
        self.chunk = request.prompt  # what the model has not read yet
        self.cache = KVCache(config.n_layer, config.n_head, config.head_dim, len(self.ids) + self.left - 1)
        self.n_plain = 0  # positions that were read as without drafts, to the bit

    def take(self, token: int) -> Piece:
        self.chunk = np.array([token], np.int64)
        return super().take(token)

    def step(self, forward: Forward, drafter: Drafter) -> list[Piece]:
        """Draft, read the draft in one forward call, and keep what of it the model would have chosen."""
        started = time.perf_counter()
        plain, prompt_read = self.n_plain == self.cache.n_past, self.cache.n_past > 0
        draft = drafter.draft(self.ids, self.left - 1) if prompt_read else []
        chunk = np.append(self.chunk, np.array(draft, np.int64))
        rows = forward([chunk], [self.cache], "all" if draft else "last")
        if plain and not draft:
            self.n_plain = self.cache.n_past
        made: list[Piece] = []
        for row, drafted in zip(rows, [*draft, None], strict=True):
            token = self.sampler.choose(row, self.ids)
            unsure = self.n_plain < self.cache.n_past and close(row)
            if unsure:
                token = self.sampler.choose(self._read_again(forward), self.ids)
            made.append(self.take(token))
            if unsure or token != drafted or self.finished:
                break
        self.cache.forget(max(0, self.cache.n_past - len(self.ids) + 1))  # all but the last id are read
        if prompt_read:
            drafter.learn(len(draft), len(made), time.perf_counter() - started)
        return made

    def _read_again(self, forward: Forward) -> Array:
        """Read what was read several at once again, one by one: each bit is the one without drafts."""
        self.cache.forget(self.cache.n_past - self.n_plain)
        for i in self.ids[self.n_plain :]:
            rows = forward([np.array([i], np.int64)], [self.cache], "last")
        self.n_plain = self.cache.n_past
        row: Array = rows[0]
        return row


def generate(
    forward: Forward,
    config: Config,
    tokenizer: Tokenizer | None,
    prompts: Sequence[Ids],
    samplers: Sequence[Sampler],
    max_tokens: int | None = None,
    stop: Sequence[str] = (),
    stop_at_end_of_text: bool = True,
    speculate: int = 0,
    batch_size: int | None = None,
) -> Iterator[Piece]:
    """Continue every prompt; yields pieces as they are produced, each step in the order of the prompts.

    forward     the forward pass of a model
    prompts     int64 (T_i,) each, of any lengths; they share each matrix product and nothing else
    samplers    one for each prompt
    max_tokens  most tokens that are added; None for 128, or as many as there is room for
    stop        strings that end the text
    speculate   most ids to draft at once, where tokens are not drawn; 0 for none
    batch_size  most prompts at a time; None for all of them

    Raises UsageError before any work where a prompt is empty, holds an unknown id, or does not fit.
    """
    requests = [
        Request(prompt, sampler, max_tokens, stop, stop_at_end_of_text, drafter(speculate, sampler.sampling))
        for prompt, sampler in zip(prompts, samplers, strict=True)
    ]
    for request in requests:
        check_request(request, config, tokenizer)
    at_once = max(1, len(requests)) if batch_size is None else batch_size
    return run(forward, config, tokenizer, requests, at_once)


def run(
    forward: Forward,
    config: Config,
    tokenizer: Tokenizer | None,
    requests: Iterable[Request],
    batch_size: int,
) -> Iterator[Piece]:
    """Continue every request, `batch_size` at a time: as one ends, the next one joins.

    A prompt is read in the same forward call in which others get their next token. The requests are
    asked for one by one, when there is room. Where one runs alone, what its drafter guesses is checked.

    Raises UsageError for a batch size below 1; and where a request cannot be done, when it joins: hold
    requests against `check_request` before.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise UsageError(
            f"the batch size is {batch_size!r} (wanted a whole number from 1 up).\n"
            "It says how many prompts are continued at a time."
        )
    return _loop(forward, config, tokenizer, enumerate(requests), batch_size)


def _loop(
    forward: Forward,
    config: Config,
    tokenizer: Tokenizer | None,
    waiting: Iterator[tuple[int, Request]],
    batch_size: int,
) -> Iterator[Piece]:
    running: list[_Running] = []
    while True:
        while len(running) < batch_size and sum(len(s.chunk) for s in running) < PREFILL:
            if (next_one := next(waiting, None)) is None:
                break
            running.append(_Running(*next_one, config, tokenizer))
        if not running:
            return
        alone = running[0]
        if len(running) == 1 and alone.drafter:
            yield from alone.step(forward, alone.drafter)
        else:
            logits = forward([s.chunk for s in running], [s.cache for s in running], "last")
            for sequence, row in zip(running, logits, strict=True):
                sequence.n_plain = sequence.cache.n_past
                yield sequence.choose(row)
        running = [sequence for sequence in running if not sequence.finished]


def check_request(request: Request, config: Config, tokenizer: Tokenizer | None) -> int:
    """Return how many tokens may follow the prompt. Raises UsageError for what cannot be done."""
    if request.stop and tokenizer is None:
        raise UsageError("stop strings need text, and this model has no tokenizer.\nLeave them out.")
    if tokenizer:
        TextStream(tokenizer.token_bytes, request.stop)
    return _check_prompt(request.prompt, config, request.max_tokens)


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
