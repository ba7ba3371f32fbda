"""A GPT-2 to use: text or ids in, logits or text out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.config import Config, read_config
from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import FinishReason, Piece, Request, check_ids, generate, run
from llorch_core.engine.gpt2 import Forward, Observer, Rows, forward
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.engine.tokenizer import Tokenizer, read_tokenizer
from llorch_core.engine.weights import Weights, load_weights

Prompt = str | Sequence[int] | Ids


@dataclass(frozen=True)
class Completion:
    """What the model added to a prompt; `str(completion)` is the text.

    prompt_ids     ids of the prompt
    ids            ids that were added, without end-of-text and what follows it
    text           their text, cut before a stop string; "" where the model has no tokenizer
    finish_reason  "stop" or "length"
    seed           gives the same again, with the same settings
    """

    prompt_ids: list[int]
    ids: list[int]
    text: str
    finish_reason: FinishReason
    seed: int

    def __str__(self) -> str:
        return self.text


class Model:
    """A GPT-2 in memory. `load(folder)` makes one.

    config   sizes and settings, from config.json
    weights  float32 tensors by their GPT-2 names
    forward  several sequences at once: chunks of new ids, a cache for each; see `gpt2.forward`
    """

    default_draft = 0  # in NumPy drafts pay only where a text repeats itself: docs/generate.md has the times

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: Config = read_config(folder)
        self.weights: Weights = load_weights(folder, self.config)
        self.forward: Forward = partial(forward, self.weights, self.config)

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The folder's own tokenizer; None where it has no tokenizer files."""
        return read_tokenizer(self.folder, self.config.n_vocab)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the ids of a text; nothing is put before or behind it.

        allow_special  whether <|endoftext|> in the text is the token, or ordinary text
        """
        return self._needs_tokenizer().encode(text, allow_special=allow_special)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of ids; bytes that are no complete character become U+FFFD."""
        return self._needs_tokenizer().decode([int(i) for i in ids])

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """Return an empty cache for one sequence, with room for `capacity` positions, else for n_ctx."""
        c = self.config
        return KVCache(c.n_layer, c.n_head, c.head_dim, c.n_ctx if capacity is None else capacity)

    def logits(
        self,
        ids: Prompt,
        rows: Rows = "all",
        kv_cache: KVCache | None = None,
        observer: Observer | None = None,
    ) -> Array:
        """Predict what follows each id.

        ids       T new ids, or text
        rows      "all", or "last" for the last position only: the others are then not computed
        kv_cache  what was read before; the new positions are added to it. Without one, there is no past
        observer  called with (0, checkpoint, copy of the tensor) for every checkpoint

        Returns float32 [T, n_vocab], or [1, n_vocab] for "last". Raises UsageError for an unknown id,
        no id, or more positions than the model has.
        """
        chunk = self._ids(ids)
        check_ids(chunk, self.config)
        if rows not in ("all", "last"):
            raise UsageError(f'rows is {rows!r} (wanted "all" or "last").\nCorrect it, or leave it out.')
        cache = self.new_cache(len(chunk)) if kv_cache is None else kv_cache
        if cache.n_past + len(chunk) > self.config.n_ctx:
            raise UsageError(
                f"{cache.n_past} positions are in the cache and {len(chunk)} are new; the model has "
                f"{self.config.n_ctx}.\nShorten the prompt, or begin a new cache."
            )
        return self.forward([chunk], [cache], rows, observer)

    def stream(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        stop_at_end_of_text: bool = True,
        speculate: int | None = None,
    ) -> Iterator[Piece]:
        """Continue a prompt, token by token, as each is produced; see `generate` for the parameters."""
        sampler = Sampler(sampling or Sampling())
        return self._generate(
            [self._ids(prompt)], [sampler], max_tokens, stop, stop_at_end_of_text, speculate, None
        )

    def generate(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        stop_at_end_of_text: bool = True,
        speculate: int | None = None,
    ) -> Completion:
        """Continue a prompt.

        prompt               text, or ids
        sampling             how tokens are chosen; the default draws from the model's own distribution
        max_tokens           most tokens to add; the default is 128, or as many as there is room for
        stop                 strings that end the text; they are not part of it
        stop_at_end_of_text  whether the token eos_token_id ends it
        speculate            most ids to draft and check at once, where temperature is 0; the ids that are
                             added are the same. 0 for none; None for `default_draft`

        Raises UsageError before any work for what cannot be done.
        """
        return self.generate_batch([prompt], sampling, max_tokens, stop, stop_at_end_of_text, speculate)[0]

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        stop_at_end_of_text: bool = True,
        speculate: int | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Continue many prompts of any lengths at once; each with the seed that it would have alone.

        batch_size  most prompts at a time, the next joins as one ends; None for all
        """
        batch = [self._ids(prompt) for prompt in prompts]
        samplers = [Sampler(sampling or Sampling()) for _ in batch]
        pieces: list[list[Piece]] = [[] for _ in batch]
        settings = (max_tokens, stop, stop_at_end_of_text, speculate, batch_size)
        for piece in self._generate(batch, samplers, *settings):
            pieces[piece.sequence].append(piece)
        return [
            _completion(prompt, made, sampler)
            for prompt, made, sampler in zip(batch, pieces, samplers, strict=True)
        ]

    def generate_each(
        self,
        requests: Iterable[Request],
        batch_size: int,
        watch: Callable[[Piece], None] = lambda piece: None,
    ) -> Iterator[tuple[int, Completion]]:
        """Continue many prompts, each with settings of its own; yields each when it has ended.

        requests    asked for one by one, as there is room
        batch_size  most prompts at a time
        watch       called with each piece

        Returns the index of a request and its completion, in the order in which they end.
        """
        joined: dict[int, tuple[Request, list[Piece]]] = {}

        def join() -> Iterator[Request]:
            for i, request in enumerate(requests):
                joined[i] = request, []
                yield request

        for piece in run(self.forward, self.config, self.tokenizer, join(), batch_size):
            joined[piece.sequence][1].append(piece)
            watch(piece)
            if piece.finish_reason is not None:
                request, made = joined.pop(piece.sequence)
                yield piece.sequence, _completion(request.prompt, made, request.sampler)

    def _generate(
        self,
        prompts: Sequence[Ids],
        samplers: Sequence[Sampler],
        max_tokens: int | None,
        stop: Sequence[str],
        stop_at_end_of_text: bool,
        speculate: int | None,
        batch_size: int | None,
    ) -> Iterator[Piece]:
        return generate(
            self.forward,
            self.config,
            self.tokenizer,
            prompts,
            samplers,
            max_tokens,
            stop,
            stop_at_end_of_text,
            self.default_draft if speculate is None else speculate,
            batch_size,
        )

    def _ids(self, prompt: Prompt) -> Ids:
        row = self.encode(prompt) if isinstance(prompt, str) else prompt
        try:
            ids = np.asarray(row)
        except ValueError:
            raise UsageError(
                "the prompt is rows of unequal lengths (wanted ids in one row).\n"
                "Pass one prompt, or many to `generate_batch`."
            ) from None
        if ids.size and not np.issubdtype(ids.dtype, np.integer):
            raise UsageError(f"the prompt is {ids.dtype} (wanted whole numbers, or text).\nPass token ids.")
        return ids.astype(np.int64)

    def _needs_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UsageError(
                f"{self.folder} has no tokenizer files (wanted vocab.json and merges.txt, or encoder.json "
                "and vocab.bpe).\nCopy them into the folder, or pass token ids instead of text."
            )
        return self.tokenizer


def _completion(prompt: Ids, pieces: Sequence[Piece], sampler: Sampler) -> Completion:
    return Completion(
        prompt_ids=prompt.tolist(),
        ids=[piece.id for piece in pieces if piece.id is not None],
        text="".join(piece.text for piece in pieces),
        finish_reason=pieces[-1].finish_reason or "length",
        seed=sampler.seed,
    )


def load(folder: str | Path | None = None) -> Model:
    """Load a GPT-2 from a folder in the Hugging Face layout; without one, the embedded model.

    Raises ModelError where the folder is not a GPT-2, before any tensor is read.
    """
    return Model(EMBEDDED if folder is None else Path(folder))


EMBEDDED = Path(__file__).parents[1] / "models" / "shakespeare"
