"""The keys and values of the positions already seen."""

from __future__ import annotations

import numpy as np

from llorch_core.engine.errors import UsageError
from llorch_core.engine.layers import Array


class KVCache:
    """One sequence's keys and values in every layer, in buffers that are allocated once.

    n_past    positions whose keys and values are complete in every layer
    capacity  positions that there is room for

    Rows past what was written are never handed out. Spec: cache, kv_cache.
    """

    def __init__(self, n_layer: int, n_head: int, head_dim: int, capacity: int) -> None:
        self.n_past = 0
        self.capacity = capacity
        self._keys = np.empty((n_layer, n_head, capacity, head_dim), np.float32)
        self._values = np.empty_like(self._keys)

    def check_room(self, n_new: int) -> None:
        """Raise UsageError where there is no room for `n_new` more positions."""
        if self.n_past + n_new > self.capacity:
            raise UsageError(
                f"the cache has room for {self.capacity} positions, wanted {self.n_past + n_new}.\n"
                "Ask for a larger capacity when the cache is made."
            )

    def extend(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write k and v (n_head, T, head_dim) behind the past of `layer`; return all that it holds.

        Returns views of keys and values, (n_head, S, head_dim) with S = n_past + T.
        Raises UsageError where the room does not suffice.
        """
        self.check_room(k.shape[1])
        end = self.n_past + k.shape[1]
        self._keys[layer, :, self.n_past : end] = k
        self._values[layer, :, self.n_past : end] = v
        return self._keys[layer, :, :end], self._values[layer, :, :end]

    def advance(self, n_new: int) -> None:
        """Count `n_new` positions as seen, once every layer has them."""
        self.n_past += n_new

    def forget(self, n_last: int) -> None:
        """Drop the last `n_last` positions: the next ones take their places."""
        self.n_past -= n_last

    def held(self, layer: int) -> tuple[Array, Array]:
        """Return views of the keys and values of a layer, (n_head, n_past, head_dim)."""
        return self._keys[layer, :, : self.n_past], self._values[layer, :, : self.n_past]

    def addresses(self) -> tuple[int, int, int]:
        """Return where keys and values begin, each (n_layer, n_head, capacity, head_dim), and capacity."""
        return self._keys.ctypes.data, self._values.ctypes.data, self.capacity
