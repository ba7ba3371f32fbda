"""Keys and values of prompts that were read before, so that a shared beginning is computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.layers import Array, Ids

BLOCK = 64  # positions that are read, and kept, together: from a multiple of this on, and alone


class PrefixCache:
    """Blocks of prompts, each named by all ids up to its end; the one used longest ago is dropped first.

    most_bytes  of keys and values that are held; 0 holds none

    A block is read in one forward call that nobody shares, and begins at a multiple of BLOCK: what it
    holds depends on the ids before its end and on nothing else, to the bit.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._blocks: OrderedDict[bytes, tuple[Array, Array]] = OrderedDict()

    def fill(self, ids: Ids, cache: KVCache) -> int:
        """Write what is known of a prompt (T,) into its empty cache; return how many positions that is.

        The last position is never known: its logits have to be computed.
        """
        for name in self._names(ids, (len(ids) - 1) // BLOCK):
            if (found := self._blocks.get(name)) is None:
                break
            self._blocks.move_to_end(name)
            for layer, (keys, values) in enumerate(zip(*found, strict=True)):
                cache.extend(layer, keys, values)
            cache.advance(BLOCK)
        return cache.n_past

    def keep(self, ids: Ids, cache: KVCache, n_layer: int) -> None:
        """Keep the last block of a cache that holds whole blocks of a prompt (T,)."""
        end = cache.n_past
        name = self._names(ids, end // BLOCK)[-1]
        if name in self._blocks:
            return
        held = [cache.held(layer) for layer in range(n_layer)]
        if sum(part[:, end - BLOCK :].nbytes for pair in held for part in pair) > self.most_bytes:
            return
        keys, values = (np.stack([pair[i][:, end - BLOCK :] for pair in held]) for i in (0, 1))
        self._blocks[name] = keys, values
        self.bytes += keys.nbytes + values.nbytes
        while self.bytes > self.most_bytes:
            _, (keys, values) = self._blocks.popitem(last=False)
            self.bytes -= keys.nbytes + values.nbytes

    def _names(self, ids: Ids, count: int) -> list[bytes]:
        digest, names = hashlib.sha256(), []
        for n in range(count):
            digest.update(np.ascontiguousarray(ids[n * BLOCK : (n + 1) * BLOCK], "<i8").tobytes())
            names.append(digest.copy().digest())
        return names
