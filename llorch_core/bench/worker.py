"""llorch itself as an engine that is timed: `python -m llorch_core.bench.worker numpy` or `fast`.

What is timed is the forward pass of a loaded model, with the likeliest id chosen from each row: no sampling,
no text, no speculation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llorch_core.bench.protocol import Unable, serve

if TYPE_CHECKING:
    from llorch_core.engine.layers import Array


class Ours:
    """A model of llorch. Raises Unable where the backend does not have the precision, or cannot run here."""

    engine = "llorch"

    def __init__(self, backend: str, request: Mapping[str, Any]) -> None:
        started = time.perf_counter()
        import numpy as np

        from llorch_core.engine.errors import UsageError
        from llorch_core.fast.choose import load

        try:
            self.model = load(request["model"], backend, request["precision"], request["threads"])
        except UsageError as error:
            raise Unable(str(error).replace("\n", " ")) from error
        self.np = np
        self.precision = str(request["precision"])
        self.version = f"{backend}, numpy {np.__version__}"
        if backend == "fast":
            from importlib.metadata import version

            self.version += f", numba {version('numba')}"
        self.load_s = time.perf_counter() - started

    def decode(self, prompt: Sequence[int], count: int, on_first: Callable[[], None]) -> list[int]:
        return self._greedy([prompt], count, on_first)[0]

    def prefill(self, prompt: Sequence[int]) -> int:
        return int(self._row(prompt).argmax())

    def batch(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        return self._greedy(prompts, count, lambda: None)

    def logits(self, prompt: Sequence[int]) -> bytes:
        return self._row(prompt).astype("<f4").tobytes()

    def _row(self, prompt: Sequence[int]) -> Array:
        cache = self.model.new_cache(len(prompt))
        row: Array = self.model.forward([self.np.array(prompt, self.np.int64)], [cache], "last")[0]
        return row

    def _greedy(
        self, prompts: Sequence[Sequence[int]], count: int, on_first: Callable[[], None]
    ) -> list[list[int]]:
        caches = [self.model.new_cache(len(prompt) + count) for prompt in prompts]
        chunks = [self.np.array(prompt, self.np.int64) for prompt in prompts]
        made: list[list[int]] = [[] for _ in prompts]
        for step in range(count):
            best = self.model.forward(chunks, caches, "last").argmax(axis=-1)
            if step == 0:
                on_first()
            for ids, token in zip(made, best.tolist(), strict=True):
                ids.append(token)
            chunks = [best[i : i + 1] for i in range(len(prompts))]
        return made


if __name__ == "__main__":
    serve(partial(Ours, sys.argv[1]))
