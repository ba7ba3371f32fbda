"""What a process that is timed is asked, and what it answers: one JSON object a line, each way.

Bench starts every engine in a process of its own, ours and a peer's alike, and asks it in turn:

    {"do": "load", "model": FOLDER, "precision": "float32", "threads": 2, "cache": FOLDER}
        -> {"engine": "llama.cpp", "version": "0.3.36", "precision": "float32", "seconds": 0.4}
    {"do": "decode", "prompt": [ids], "count": 128}
        -> {"ids": [greedy ids], "first_s": seconds to the first, "rest_s": seconds for the others}
    {"do": "prefill", "prompt": [ids]}
        -> {"seconds": s, "id": the likeliest next id}
    {"do": "batch", "prompts": [[ids], ...], "count": 64}
        -> {"ids": [[greedy ids], ...], "seconds": s}
    {"do": "logits", "prompt": [ids]}
        -> {"logits": base64 of the float32 row behind the last id}

What it cannot do it says: {"cannot": reason}. `seconds` of load leave out what a conversion costs, once, into
the cache folder. Standard output carries answers alone: whatever an engine prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Answer = dict[str, Any]


class Unable(Exception):
    """This engine cannot do what it was asked for; the text says why."""


class Timed(Protocol):
    """An engine that can be timed; greedy, without an end."""

    engine: str
    version: str
    precision: str
    load_s: float

    def decode(self, prompt: Sequence[int], count: int, on_first: Callable[[], None]) -> list[int]:
        """Return `count` greedy ids after a prompt; calls `on_first` when the first of them is known."""
        ...

    def prefill(self, prompt: Sequence[int]) -> int:
        """Read a prompt, and return the likeliest next id."""
        ...

    def batch(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """Return `count` greedy ids after each of several prompts of equal length, read together."""
        ...

    def logits(self, prompt: Sequence[int]) -> bytes:
        """Return the float32 row behind the last id of a prompt."""
        ...


class Stepwise:
    """An engine that reads the next ids of each sequence in a call, and keeps what was read before.

    begin  forget everything, and make room for so many sequences of so many ids
    read   int64 [sequences, T] -> float32 [sequences, n_vocab], the row behind the last id of each
    """

    begin: Callable[[int, int], object]
    read: Callable[[Any], Any]

    def greedy(
        self, prompts: Sequence[Sequence[int]], count: int, on_first: Callable[[], None]
    ) -> list[list[int]]:
        import numpy as np

        self.begin(len(prompts), len(prompts[0]) + count)
        made = [self.read(np.array(prompts, np.int64)).argmax(-1)]
        on_first()
        while len(made) < count:
            made.append(self.read(made[-1][:, None]).argmax(-1))
        return [[int(i) for i in row] for row in zip(*made, strict=True)]

    def decode(self, prompt: Sequence[int], count: int, on_first: Callable[[], None]) -> list[int]:
        return self.greedy([prompt], count, on_first)[0]

    def prefill(self, prompt: Sequence[int]) -> int:
        return self.greedy([prompt], 1, lambda: None)[0][0]

    def batch(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        return self.greedy(prompts, count, lambda: None)

    def logits(self, prompt: Sequence[int]) -> bytes:
        import numpy as np

        self.begin(1, len(prompt))
        row: bytes = self.read(np.array([prompt], np.int64))[0].astype("<f4").tobytes()
        return row


def serve(load: Callable[[Mapping[str, Any]], Timed]) -> None:
    """Answer requests until standard input ends. `load` makes the engine that a request asks for."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    engine: Timed | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "load":
                engine = load(request)
                answer: Answer = {
                    "engine": engine.engine,
                    "version": engine.version,
                    "precision": engine.precision,
                    "seconds": engine.load_s,
                }
            elif engine is None:
                answer = {"cannot": "nothing is loaded"}
            else:
                answer = _answer(engine, request)
        except Unable as error:
            answer = {"cannot": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(engine: Timed, request: Mapping[str, Any]) -> Answer:
    from base64 import b64encode

    started = time.perf_counter()
    if request["do"] == "decode":
        first: list[float] = []
        ids = engine.decode(request["prompt"], request["count"], lambda: first.append(time.perf_counter()))
        ended = time.perf_counter()
        return {"ids": ids, "first_s": first[0] - started, "rest_s": ended - first[0]}
    if request["do"] == "prefill":
        found = engine.prefill(request["prompt"])
        return {"id": found, "seconds": time.perf_counter() - started}
    if request["do"] == "batch":
        rows = engine.batch(request["prompts"], request["count"])
        return {"ids": rows, "seconds": time.perf_counter() - started}
    if request["do"] == "logits":
        return {"logits": b64encode(engine.logits(request["prompt"])).decode()}
    return {"cannot": f"nobody knows how to do {request['do']}"}
