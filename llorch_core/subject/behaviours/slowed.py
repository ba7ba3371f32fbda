"""A model that is slow on purpose, so that what takes time takes at least as long as a scenario says."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from copy import copy
from typing import Any

from llorch_core.engine.cache import KVCache
from llorch_core.engine.gpt2 import Rows
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.model import Model
from llorch_core.subject.behaviours.server import scripted


class Pace:
    """How slow a model is, and how far it has come.

    seconds  that each token takes it, at least
    tokens   that it has read and made
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.tokens = seconds, 0
        self._lock = threading.Lock()

    def slow(self, model: Model) -> Model:
        """Return a model that keeps to this pace. It writes one id, which does not end a text."""
        made = scripted(model, [0 if model.config.eos_token_id != 0 else 1])
        write = made.forward

        def forward(
            chunks: Sequence[Ids], caches: Sequence[KVCache], rows: Rows = "all", observer: Any = None
        ) -> Array:
            count = sum(map(len, chunks))
            time.sleep(self.seconds * count)
            with self._lock:
                self.tokens += count
            return write(chunks, caches, rows, observer)

        slow = copy(made)
        slow.forward = forward
        return slow
