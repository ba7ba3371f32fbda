"""Continuous batching on trial. Spec: server_batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.layers import Ids
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.server.batch import Batch, Work
from llorch_core.server.prefix import BLOCK, PrefixCache
from llorch_core.server.settings import MIB
from llorch_core.server.worker import Worker
from llorch_core.subject.behaviours.server import Served


class Batching(Served):
    """The server, or one whose batch is wrong."""

    spec = "server_batch"

    def worker(self, model: Any, *parts: Any) -> Worker:
        made = super().worker(model, *parts)
        name = self.wrong[0] if self.wrong else ""
        if kind := BATCHES.get(name):
            made.batch.close()
            s = made.settings
            most_waiting = 10**6 if name == "full_queue" else s.queue
            made.batch = kind(model, s.max_batch, most_waiting, s.prefix_mib * MIB, made.watch)
        if name == "beginnings":
            made.batch.prefixes = _ByLength(made.settings.prefix_mib * MIB)
        return made

    def front(self) -> Callable[[Any], Any] | None:
        return _no_retry if self.wrong and self.wrong[0] == "try_again" else None


def _no_retry(app: Any) -> Any:
    """Return an application that does not say when to try again."""

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        async def without(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() != b"retry-after"]
                message = {**message, "headers": kept}
            await send(message)

        await app(scope, receive, without)

    return changed


class _Joined(Batch):
    """Reads the tokens of all sequences in one call."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._together = True


class _OneGenerator(Batch):
    """Draws for all sequences from one generator."""

    def submit(self, works: Sequence[Work]) -> None:
        if not hasattr(self, "_only"):
            self._only = Sampler(Sampling(seed=0))
        for work in works:
            work.sampler._random = self._only._random
        super().submit(works)


class _Padded(Batch):
    """Puts zeros before short prompts, up to the longest one that waits or runs."""

    def submit(self, works: Sequence[Work]) -> None:
        others = [*self._waiting, *(s.work for s in self._running), *works]
        longest = max(len(work.prompt) for work in others)
        for work in works:
            zeros = np.zeros(longest - len(work.prompt), np.int64)
            work.prompt = np.concatenate([zeros, work.prompt])
        super().submit(works)


class _Static(Batch):
    """Lets nobody join before all that run have ended."""

    def _join(self) -> Any:
        return super()._join() if not self._running else []


class _Whole(Batch):
    """Reads a prompt to its end before anybody else gets a token."""

    def _read(self, sequence: Any, started: float) -> None:
        while sequence.reading:
            super()._read(sequence, started)


class _Unbounded(Batch):
    """Takes all that is asked for."""


class _Forgetful(Batch):
    """Finds no beginning again."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.prefixes.most_bytes = 0


class _ByLength(PrefixCache):
    """Finds blocks by their place alone."""

    def _names(self, ids: Ids, count: int) -> list[bytes]:
        return [f"{len(ids)} {n}".encode() for n in range(count)]

    def keep(self, ids: Ids, cache: KVCache, n_layer: int) -> None:
        assert cache.n_past % BLOCK == 0
        super().keep(ids, cache, n_layer)


BATCHES: dict[str, type[Batch]] = {
    "rows_together": _Joined,
    "generators": _OneGenerator,
    "positions": _Padded,
    "joins": _Static,
    "long_prompt": _Whole,
    "full_queue": _Unbounded,
    "beginning_read": _Forgetful,
}
