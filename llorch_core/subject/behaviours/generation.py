"""The generation loop on trial: the model's own, or one with another datum in front of it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine.cache import KVCache
from llorch_core.engine.generation import Piece, Request, generate
from llorch_core.engine.gpt2 import Forward, Observer, Rows
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.model import Completion, Model
from llorch_core.engine.sampling import Row, Sampler, Sampling
from llorch_core.engine.speculation import Drafter
from llorch_core.engine.stream import TextStream
from llorch_core.engine.tokenizer import Tokenizer
from llorch_core.spec.suite import load_specs


class Generation:
    """What continues prompts, with the weights of the model on trial."""

    def __new__(cls, model: Model, data: Mapping[str, Any]) -> Generation:
        right = data == load_specs().after["generation"].data
        return super().__new__(Generation if right else Mistaken)

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self.model, self._data = model, data

    def ending_at(self, token: int) -> Generation:
        """Return the same, of the same model with another end-of-text, so that it can be met soon."""
        model = copy(self.model)
        model.config = replace(model.config, eos_token_id=token)
        return Generation(model, self._data)

    def complete(self, prompt: Sequence[int], **settings: Any) -> Completion:
        """Continue a prompt; `settings` are those of Model.generate."""
        return self.model.generate(prompt, **settings)

    def batch(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[Completion]:
        """Continue several prompts at once."""
        return self.model.generate_batch(prompts, **settings)

    def by_turns(
        self, prompts: Sequence[tuple[Sequence[int], int]], at_once: int, sampling: Sampling
    ) -> list[Completion]:
        """Continue prompts by so many tokens each, `at_once` of them at a time."""
        samplers = self._samplers(sampling, len(prompts))
        requests = [
            Request(np.array(prompt), sampler, count, stop_at_end_of_text=False)
            for (prompt, count), sampler in zip(prompts, samplers, strict=True)
        ]
        done = dict(self.model.generate_each(requests, at_once))
        return [done[i] for i in range(len(prompts))]

    def drafted(self, prompt: Sequence[int], max_tokens: int, drafter: Drafter) -> Completion:
        """Continue a prompt greedily, with drafts."""
        sampler = Sampler(Sampling(temperature=0))
        request = Request(np.array(prompt), sampler, max_tokens, stop_at_end_of_text=False, drafter=drafter)
        ((_, completion),) = self.model.generate_each([request], 1)
        return completion

    def _samplers(self, sampling: Sampling, count: int) -> list[Sampler]:
        return [Sampler(sampling) for _ in range(count)]

    def stream(self, prompt: Sequence[int], **settings: Any) -> Iterator[Piece]:
        """Continue a prompt; the pieces come as they are made."""
        return self.model.stream(prompt, **settings)

    def shown(self, tokens: Sequence[bytes], stop: Sequence[str]) -> list[str]:
        """Return what a stream shows at each token, and at last when no token follows."""
        text = TextStream(tokens.__getitem__, stop)
        return [*(text.push(i) for i in range(len(tokens))), text.finish()]


class Mistaken(Generation):
    """A loop with one datum that is wrong."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        super().__init__(model, data)
        self._right = load_specs().after["generation"].data

    def complete(self, prompt: Sequence[int], **settings: Any) -> Completion:
        return self.batch([prompt], **settings)[0]

    def batch(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[Completion]:
        sampling = settings.pop("sampling", Sampling())
        samplers = self._samplers(sampling, len(prompts))
        pieces = list(self._pieces(prompts, samplers, **settings))
        seeds = [sampler.seed for sampler in samplers]
        if self._data["seed_told"] == "another one":
            seeds = [seed ^ 1 for seed in seeds]
        elif self._data["seed_told"] != self._right["seed_told"] and sampling.seed is None:
            seeds = [0 for _ in seeds]
        return [self._completion(prompt, [p for p in pieces if p.sequence == i], seeds[i])
                for i, prompt in enumerate(prompts)]  # fmt: skip

    def stream(self, prompt: Sequence[int], **settings: Any) -> Iterator[Piece]:
        sampler = Sampler(settings.pop("sampling", Sampling()))
        if self._data["refused_when"] == "at the first piece":
            return (piece for _ in range(1) for piece in self._pieces([prompt], [sampler], **settings))
        return self._pieces([prompt], [sampler], **settings)

    def shown(self, tokens: Sequence[bytes], stop: Sequence[str]) -> list[str]:
        pieces, _ = _show(tokens, stop, self._data)
        return pieces + [""] * (len(tokens) + 1 - len(pieces))

    def drafted(self, prompt: Sequence[int], max_tokens: int, drafter: Drafter) -> Completion:
        model = copy(self.model)
        model.forward = _Drafting(self.model, self._data, self._right)
        return Generation(model, self._right).drafted(prompt, max_tokens, drafter)

    def _samplers(self, sampling: Sampling, count: int) -> list[Sampler]:
        if self._data["generators"] == "one for all":
            return [Sampler(sampling)] * count
        return super()._samplers(sampling, count)

    def _completion(self, prompt: Sequence[int], pieces: Sequence[Piece], seed: int) -> Completion:
        ids = [piece.id for piece in pieces if piece.id is not None]
        text = "".join(piece.text for piece in pieces)
        return Completion(list(prompt), ids, text, pieces[-1].finish_reason or "length", seed)

    def _pieces(
        self,
        prompts: Sequence[Sequence[int]],
        samplers: list[Sampler],
        max_tokens: int,
        stop: Sequence[str] = (),
        stop_at_end_of_text: bool = True,
    ) -> Iterator[Piece]:
        data, config, tokenizer = self._data, self.model.config, self.model.tokenizer
        read = [self._prompt(prompt, max_tokens) for prompt in prompts]
        if max_tokens < 1 and data["max_tokens_below_1"] == "becomes 1":
            max_tokens = 1
        elif max_tokens < 1 and data["max_tokens_below_1"] == "is no limit":
            max_tokens = min(config.n_ctx - len(prompt) + 1 for prompt in read)
        if data["max_tokens_counts"] == "tokens after the first":
            max_tokens += 1
        elif data["max_tokens_counts"] == "prompt and tokens that are added":
            max_tokens = max(1, max_tokens - len(read[0]))
        if data["too_long"] == "max_tokens is lowered":
            max_tokens = min(max_tokens, *(config.n_ctx - len(prompt) + 1 for prompt in read))
        elif data["too_long"] == "tried" and len(read[0]) + max_tokens - 1 > config.n_ctx:
            last = len(read[0]) + max_tokens - 2  # position of the last token that is read
            self.model.weights.wpe[last]  # an IndexError
        ends = stop_at_end_of_text and data["end_of_text"] == "ends it"
        chosen: list[Sampler] = samplers
        if data["penalised_ids"] != self._right["penalised_ids"]:
            chosen = [
                _Forgetful(s, len(prompt), data["penalised_ids"])
                for s, prompt in zip(samplers, read, strict=True)
            ]
        text_is_wrong = any(data[name] != self._right[name] for name in TEXT)
        made = generate(
            self.model.forward,
            config,
            tokenizer,
            read,
            chosen,
            max_tokens,
            () if text_is_wrong else stop,
            ends,
        )
        if text_is_wrong and tokenizer:
            made = iter(self._shown_again(list(made), stop, tokenizer))
        return map(self._ended, made)

    def _prompt(self, prompt: Sequence[int], max_tokens: int) -> Ids:
        data, config = self._data, self.model.config
        if not prompt and data["empty_prompt"] == "becomes end-of-text":
            prompt = [config.n_vocab - 1 if config.eos_token_id is None else config.eos_token_id]
        if data["unknown_id"] == "becomes id 0":
            prompt = [i if 0 <= i < config.n_vocab else 0 for i in prompt]
        elif data["unknown_id"] == "is counted from the end":
            prompt = [i + config.n_vocab if -config.n_vocab <= i < 0 else i for i in prompt]
        if data["too_long"] == "the prompt loses its beginning":
            prompt = prompt[-(config.n_ctx - max_tokens + 1) :]
        return np.array(prompt, np.int64)

    def _ended(self, piece: Piece) -> Piece:
        """Change what is said at the end."""
        data = self._data
        if piece.finish_reason == "length":
            piece = replace(piece, finish_reason=data["reason_at_max_tokens"])
        elif piece.id is None:
            shown = self.model.config.eos_token_id if data["end_of_text_shown"] else None
            piece = replace(piece, id=shown, finish_reason=data["reason_at_the_end"])
        return piece

    def _shown_again(self, pieces: Sequence[Piece], stop: Sequence[str], tokenizer: Tokenizer) -> list[Piece]:
        """Show the tokens of each sequence again; what follows a stop string is left out."""
        made: list[Piece] = []
        for sequence in sorted({piece.sequence for piece in pieces}):
            own = [piece for piece in pieces if piece.sequence == sequence]
            tokens = [tokenizer.token_bytes(piece.id) for piece in own if piece.id is not None]
            texts, stopped = _show(tokens, stop, self._data)
            if not stopped and len(tokens) == len(own):  # the last piece also shows what was held back
                texts[-2:] = ["".join(texts[-2:])]
            kept = [replace(piece, text=text) for piece, text in zip(own, texts, strict=False)]
            made += [*kept[:-1], replace(kept[-1], finish_reason="stop")] if stopped else kept
        return made


TEXT = ("stop_string", "stop_searched_in", "held_back", "held_at_the_end", "stream_decodes")


def _show(tokens: Sequence[bytes], stop: Sequence[str], data: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return what is shown at each token, and at the end, and whether a stop string was met."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text, shown = "", 0
    pieces: list[str] = []
    for token in (*tokens, None):
        alone = token is not None and data["stream_decodes"] == "each token alone"
        new = (
            token.decode(errors="replace") if token and alone else decoder.decode(token or b"", token is None)
        )
        text += new
        where = len(text) - len(new) if data["stop_searched_in"] == "each token alone" else 0
        found = [(text.find(s, where), s) for s in stop if text.find(s, where) >= 0]
        if found and data["stop_string"] != "is text like any other":
            begin, met = min(found)
            end = begin + len(met) if data["stop_string"] == "ends the text after it" else begin
            return [*pieces, text[shown:end]], True
        certain = len(text)
        if token is None and data["held_at_the_end"] == "lost":
            certain = shown
        elif token is not None and data["held_back"] == "what may begin a stop string":
            starts = (i for i in range(shown, len(text)) if any(s.startswith(text[i:]) for s in stop))
            certain = next(starts, len(text))
        pieces.append(text[shown:certain])
        shown = certain
    return pieces, False


class _Drafting:
    """A forward pass that makes the loop treat drafts wrongly: it changes logits, or forgets nothing."""

    def __init__(self, model: Model, data: Mapping[str, Any], right: Mapping[str, Any]) -> None:
        self._forward: Forward = model.forward
        self._kept = data["draft_kept"]
        self._last_row = data["next_chosen_from"] != right["next_chosen_from"]
        self._cache: KVCache | None = None
        if data["positions_not_kept"] != right["positions_not_kept"]:
            self._cache = model.new_cache()

    def __call__(
        self,
        chunks: Sequence[Ids],
        caches: Sequence[KVCache],
        rows: Rows = "all",
        observer: Observer | None = None,
    ) -> Array:
        (chunk,) = chunks
        if self._cache and self._cache.n_past + len(chunk) > self._cache.capacity:
            self._cache.forget(self._cache.n_past - caches[0].n_past)  # a crash would be another mistake
        logits = self._forward(chunks, [self._cache] if self._cache else caches, rows, observer).copy()
        if self._cache:
            caches[0].advance(len(chunk))
        drafted = chunk[1:] if len(logits) > 1 else chunk[:0]
        wrong = np.flatnonzero(logits[: len(drafted)].argmax(axis=-1) != drafted)
        if self._last_row and wrong.size:
            logits[wrong[0]] = logits[-1]
        forced = {"all of it": wrong, "as far as the first id that would not be chosen": wrong[:1]}
        for row in forced.get(self._kept, wrong[:0]):
            logits[row, drafted[row]] = logits[row].max() + abs(logits[row]).max()
        return logits


class _Forgetful(Sampler):
    """A sampler that is told only a part of the ids before."""

    def __init__(self, sampler: Sampler, n_prompt: int, told: str) -> None:
        super().__init__(sampler.sampling)
        self._told = slice(0, n_prompt) if told == "prompt" else slice(n_prompt, None)

    def choose(self, logits: Row, previous_ids: Sequence[int] | NDArray[np.integer[Any]]) -> int:
        return super().choose(logits, previous_ids[self._told])
