"""Continuations in the form of OpenAI's legacy completions, whole or piece by piece."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from llorch_core.engine.model import Model
from llorch_core.engine.tokenizer import Tokenizer
from llorch_core.server.ask import Ask
from llorch_core.server.batch import Event
from llorch_core.server.chance import Chance

DONE = b"data: [DONE]\n\n"


def data(body: Any) -> bytes:
    """Return a server-sent event that has no name."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def spelt(tokenizer: Tokenizer | None, token: int) -> str:
    """Return how a token is written where it stands alone: its text, or its bytes if they are no text."""
    if tokenizer is None:
        return str(token)
    raw = tokenizer.token_bytes(token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


class Logprobs:
    """The probabilities of tokens one after the other, with the place of each in the text."""

    def __init__(self, tokenizer: Tokenizer | None, offset: int) -> None:
        self._tokenizer, self._offset = tokenizer, offset
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def of(self, tokens: Sequence[tuple[int, Chance | None]]) -> dict[str, Any]:
        """Return what is told of some tokens; of the first one of a prompt nothing is known."""
        made: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token, chance in tokens:
            made["tokens"].append(spelt(self._tokenizer, token))
            made["token_logprobs"].append(chance.logprob if chance else None)
            likeliest = chance.likeliest if chance else ()
            top = {spelt(self._tokenizer, id): logprob for id, logprob in likeliest}
            made["top_logprobs"].append(top if chance else None)
            made["text_offset"].append(self._offset)
            if self._tokenizer:
                self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(token)))
        return made


class Choice:
    """One continuation as it grows."""

    def __init__(self, index: int, ask: Ask, model: Model) -> None:
        prompt = ask.prompt_of(index)
        self.index, self.ask = index, ask
        self.prompt_ids = ask.prompts[prompt].tolist()
        text = ask.texts[prompt]
        if ask.echo and text is None:
            text = model.decode(self.prompt_ids)
        self.text = text or "" if ask.echo else ""
        self.reason: str | None = None
        self.ids: list[int] = []
        self._told: dict[str, list[Any]] = {}  # of every token so far, as `Logprobs.of` returns it
        self._logprobs = Logprobs(model.tokenizer, 0 if ask.echo else len(text or ""))
        self._begun = False

    def take(self, event: Event) -> dict[str, Any]:
        """Add what happened; return it as the part of a stream."""
        chances: list[tuple[int, Chance | None]] = []
        if event.prompt is not None:
            chances += zip(self.prompt_ids, event.prompt, strict=True)
        if event.id is not None:
            self.ids.append(event.id)
            if event.chance:
                chances.append((event.id, event.chance))
        shown = event.text if self._begun else self.text + event.text
        self.text += event.text
        self.reason = event.reason
        part: dict[str, Any] = {"index": self.index, "text": shown}
        part["logprobs"] = None
        if self.ask.alternatives is not None:
            part["logprobs"] = self._logprobs.of(chances)
            for name, told in part["logprobs"].items():
                self._told.setdefault(name, []).extend(told)
        part["finish_reason"] = event.reason
        if self.ask.ids:
            part["token_ids"] = [] if event.id is None else [event.id]
            if not self._begun:
                part["prompt_token_ids"] = self.prompt_ids
        if event.reason:
            part["seed"] = self.ask.seed_of(self.index)
        self._begun = True
        return part

    def whole(self) -> dict[str, Any]:
        """Return the continuation as it ended."""
        made: dict[str, Any] = {"index": self.index, "text": self.text, "logprobs": self._told or None}
        made |= {"finish_reason": self.reason, "seed": self.ask.seed_of(self.index)}
        if self.ask.ids:
            made |= {"token_ids": self.ids, "prompt_token_ids": self.prompt_ids}
        return made


class Completion:
    """The answer to one request, whole or in parts."""

    def __init__(self, id: str, ask: Ask, model: Model) -> None:
        self.ask = ask
        self._head = {
            "id": f"cmpl-{id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model.folder.name,
        }
        self.choices = [Choice(i, ask, model) for i in range(len(ask.prompts) * ask.n)]

    def parts(self, index: int, event: Event) -> Iterator[bytes]:
        """Yield what a stream sends for an event; nothing where it shows nothing."""
        part = self.choices[index].take(event)
        if part["text"] or part["logprobs"] or part["finish_reason"] or part.get("token_ids"):
            yield data({**self._head, "choices": [part]})

    def last_parts(self) -> Iterator[bytes]:
        """Yield what a stream ends with."""
        if self.ask.usage:
            yield data({**self._head, "choices": [], "usage": self.usage()})
        yield DONE

    def whole(self) -> dict[str, Any]:
        choices = [choice.whole() for choice in self.choices]
        return {**self._head, "choices": choices, "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        read, made = self.ask.prompt_tokens, sum(len(choice.ids) for choice in self.choices)
        return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
