"""From the body of a request to the sequences that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llorch_core.engine.generation import DEFAULT_MAX_TOKENS
from llorch_core.engine.layers import Ids
from llorch_core.engine.model import Model
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.server.batch import Event, Work
from llorch_core.server.refusal import Violation, invalid

SETTINGS = ("temperature", "top_k", "top_p", "repetition_penalty")
MOST_SEQUENCES = 64  # of one request
SEEDS = 2**64


@dataclass(frozen=True)
class Ask:
    """What one request asks for.

    prompts       ids of each
    texts         of each, as it was given; None where ids were
    n             continuations of each prompt
    settings      how tokens are chosen, but for the seed
    seed          of the first continuation; those after it have the next ones
    max_tokens    of each prompt's continuations
    stop          strings that end a text
    alternatives  how many other tokens are told beside each; None for no probabilities
    echo          whether the answer begins with the prompt
    stream        whether tokens are sent as they are made
    usage         whether a stream ends with the number of tokens
    ids           whether ids are told beside the text
    """

    prompts: Sequence[Ids]
    texts: Sequence[str | None]
    n: int
    settings: Sampling
    seed: int
    max_tokens: Sequence[int]
    stop: tuple[str, ...]
    alternatives: int | None
    echo: bool
    stream: bool
    usage: bool
    ids: bool

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt) for prompt in self.prompts)

    def prompt_of(self, index: int) -> int:
        """Return which prompt the continuation `index` belongs to."""
        return index // self.n

    def seed_of(self, index: int) -> int:
        return (self.seed + index) % SEEDS

    def works(self, deadline: float | None) -> list[Work]:
        """Return a sequence for each continuation, whose events go nowhere yet."""
        made = []
        for index in range(len(self.prompts) * self.n):
            prompt = self.prompt_of(index)
            settings = Sampling(
                **{name: getattr(self.settings, name) for name in SETTINGS}, seed=self.seed_of(index)
            )
            made.append(
                Work(
                    self.prompts[prompt],
                    Sampler(settings),
                    self.max_tokens[prompt],
                    _nowhere,
                    self.stop,
                    self.alternatives,
                    self.echo and self.alternatives is not None,
                    deadline,
                )
            )
        return made


def _nowhere(event: Event) -> None:
    del event


def read_ask(body: Mapping[str, Any], model: Model) -> Ask:
    """Return what a body asks for that keeps to the contract. Raises RefusedError for what cannot be."""
    wrong: list[Violation] = []
    given = body["prompt"]
    many = isinstance(given, list) and not isinstance(given[0], int | float)
    prompts, texts = [], []
    for i, one in enumerate(given if many else [given]):
        where = f"prompt[{i}]" if many else "prompt"
        ids, violation = _ids(one, where, model)
        wrong += [violation] if violation else []
        prompts.append(ids)
        texts.append(one if isinstance(one, str) else None)
    echo, n = bool(body.get("echo", False)), int(body.get("n", 1))
    if n * len(prompts) > MOST_SEQUENCES:
        wrong.append(
            Violation("n", "sequences", f"prompts times n must be at most {MOST_SEQUENCES}, for one request")
        )
    max_tokens = []
    for i, ids in enumerate(prompts):
        where = f"prompt[{i}]" if many else "prompt"
        count, violation = _max_tokens(body.get("max_tokens"), len(ids), echo, where, model)
        wrong += [violation] if violation else []
        max_tokens.append(count)
    stop = body.get("stop", ())
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if model.tokenizer is None and (stop or echo):
        wrong.append(
            Violation("stop" if stop else "echo", "text", "needs text, and the model has no tokenizer")
        )
    if wrong:
        raise invalid(*wrong)
    numbers = {name: body[name] for name in SETTINGS if name in body}
    if "top_k" in numbers:
        numbers["top_k"] = int(numbers["top_k"])
    seed = body.get("seed")
    return Ask(
        prompts=prompts,
        texts=texts,
        n=n,
        settings=Sampling(**numbers),
        seed=Sampler(Sampling()).seed if seed is None else int(seed),
        max_tokens=max_tokens,
        stop=stop,
        alternatives=int(body["logprobs"]) if "logprobs" in body else None,
        echo=echo,
        stream=bool(body.get("stream", False)),
        usage=bool(body.get("stream_options", {}).get("include_usage", False)),
        ids=bool(body.get("return_token_ids", False)),
    )


def _ids(prompt: Any, where: str, model: Model) -> tuple[Ids, Violation | None]:
    if isinstance(prompt, str):
        if model.tokenizer is None:
            return np.zeros(1, np.int64), Violation(where, "ids", "must be ids: the model has no tokenizer")
        ids = np.array(model.encode(prompt), np.int64)
    else:
        ids = np.array(prompt, np.int64)
    if len(ids) > model.config.n_ctx:
        said = f"has {len(ids)} tokens, and the model {model.config.n_ctx} positions"
        return ids, Violation(where, f"tokens({model.config.n_ctx})", said)
    return ids, None


def _max_tokens(
    asked: int | None, length: int, echo: bool, where: str, model: Model
) -> tuple[int, Violation | None]:
    """Return how many tokens may follow a prompt of some length, and what is wrong with what was asked."""
    room = max(1, model.config.n_ctx - length + 1)  # the last token is not read, and needs no position
    if asked is None:
        return min(DEFAULT_MAX_TOKENS, room), None
    asked = int(asked)
    if asked == 0 and not echo:
        return 0, Violation("max_tokens", "minimum(1)", "must be at least 1, unless echo is true")
    if asked > room and length <= model.config.n_ctx:
        said = f"must be at most {room}, which is what {where}, of {length} tokens, leaves room for"
        return asked, Violation("max_tokens", f"maximum({room})", said)
    return asked, None
