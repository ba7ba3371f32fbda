"""The cache from call to call, and the recording of calls, as the engine does them or with a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.errors import UsageError
from llorch_core.engine.gpt2 import forward
from llorch_core.engine.model import Model
from llorch_core.engine.weights import Block, Weights
from llorch_core.spec.oracle import Step
from llorch_core.subject.protocol import Array, Chunks


class CacheProtocol:
    """Sequences that are read call by call, each in a cache of its own."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self._model = model
        self._stale = data["new_sequence"] == "what the former left"
        self._former: KVCache | None = None
        kinds = [kind for (datum, value), kind in CACHE_SHIMS.items() if data[datum] == value]
        self._kind = kinds[0] if kinds else None
        self._two_paths = data["single_tokens"] != "as in a prompt"

    def new(self, capacity: int | None = None) -> KVCache:
        """Return a cache for a new sequence."""
        if self._stale:
            self._former = self._former or self._model.new_cache()
            return self._former
        if self._kind is None:
            return self._model.new_cache(capacity)
        c = self._model.config
        return self._kind(c.n_layer, c.n_head, c.head_dim, c.n_ctx if capacity is None else capacity)

    def read(self, cache: KVCache, ids: list[int]) -> Step:
        """Read ids behind what the cache holds; return every checkpoint. Raises UsageError without room."""
        step: Step = {}

        def observe(sequence: int, checkpoint: str, x: Array) -> None:
            step[checkpoint] = x

        if self._two_paths and len(ids) == 1:
            weights = _turned(self._model.weights)
            forward(weights, self._model.config, [np.array(ids)], [cache], observer=observe)
        else:
            self._model.logits(ids, kv_cache=cache, observer=observe)
        return step


def _turned(weights: Weights) -> Weights:
    """Return the weights as a second code path takes them: the square matrix of attention transposed."""

    def block(b: Block) -> Block:
        c_proj = replace(b.attn.c_proj, weight=b.attn.c_proj.weight.T)
        return replace(b, attn=replace(b.attn, c_proj=c_proj))

    return replace(weights, h=tuple(block(b) for b in weights.h))


class _NotAdvanced(KVCache):
    def advance(self, n_new: int) -> None:
        pass


class _AdvancedByOne(KVCache):
    def advance(self, n_new: int) -> None:
        self.n_past += 1


class _AdvancedToCapacity(KVCache):
    def advance(self, n_new: int) -> None:
        self.n_past = self.capacity


class _Zeroed(KVCache):
    """Rows that nobody wrote are zeros, so that whoever reads them reads the same each time."""

    def __init__(self, n_layer: int, n_head: int, head_dim: int, capacity: int) -> None:
        super().__init__(n_layer, n_head, head_dim, capacity)
        self._keys[:] = self._values[:] = 0


class _HandsOutAll(_Zeroed):
    def extend(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        super().extend(layer, k, v)
        return self._keys[layer], self._values[layer]


class _PresentStride(_Zeroed):
    """The rows of head h begin at h * the present length, and not at h * the capacity."""

    def extend(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        end = self.n_past + k.shape[1]
        keys, values = (
            x[layer].reshape(-1)[: x.shape[1] * end * x.shape[3]].reshape(x.shape[1], end, x.shape[3])
            for x in (self._keys, self._values)
        )
        keys[:, self.n_past :], values[:, self.n_past :] = k, v
        return keys, values


class _OverTheLastRow(KVCache):
    def extend(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        keys, values = super().extend(layer, k, v)
        if self.n_past:
            keys[:, self.n_past - 1], values[:, self.n_past - 1] = k[:, 0], v[:, 0]
        return keys, values


class _OneForKeysAndValues(KVCache):
    def __init__(self, n_layer: int, n_head: int, head_dim: int, capacity: int) -> None:
        super().__init__(n_layer, n_head, head_dim, capacity)
        self._values = self._keys


class _OneForAllBlocks(KVCache):
    def extend(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        return super().extend(0, k, v)


class _OldestGo(KVCache):
    def check_room(self, n_new: int) -> None:
        over = self.n_past + n_new - self.capacity
        if over > 0:
            for x in (self._keys, self._values):
                x[:, :, :-over] = x[:, :, over:].copy()
            self.n_past -= over


class _RefusedIsCounted(KVCache):
    def check_room(self, n_new: int) -> None:
        try:
            super().check_room(n_new)
        except UsageError:
            self.n_past += n_new
            raise


class _SizedForTheFirstCall(KVCache):
    def check_room(self, n_new: int) -> None:
        if not self.n_past:
            self.capacity = n_new
        super().check_room(n_new)


CACHE_SHIMS: dict[tuple[str, str], type[KVCache]] = {
    ("advances_by", "nothing"): _NotAdvanced,
    ("advances_by", "one for each call"): _AdvancedByOne,
    ("advances_by", "the capacity"): _AdvancedToCapacity,
    ("hands_out", "the capacity"): _HandsOutAll,
    ("rows_stand", "where the present length puts them"): _PresentStride,
    ("new_rows_go", "over the last row"): _OverTheLastRow,
    ("storage", "of each block, keys and values in one"): _OneForKeysAndValues,
    ("storage", "one for all blocks"): _OneForAllBlocks,
    ("without_room", "the oldest rows go"): _OldestGo,
    ("after_refusal", "counted"): _RefusedIsCounted,
    ("default_capacity", "what the first call reads"): _SizedForTheFirstCall,
}


class Recording:
    """Every checkpoint of every call of one sequence."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self._model = model
        changes = [change for (datum, value), change in SHOWN_SHIMS.items() if data[datum] == value]
        self._change = changes[0] if changes else None
        self._buffers: dict[str, Array] | None = {} if data["hands_over"] == "its buffers" else None
        self._only_first = data["calls"] == "the first"

    def record(self, chunks: Chunks) -> Iterator[Step]:
        """Read the chunks, each after what came before; give the checkpoints of a call when it is done."""
        cache = self._model.new_cache(sum(len(chunk) for chunk in chunks))
        for number, chunk in enumerate(chunks):
            step: Step = {}

            def observe(sequence: int, checkpoint: str, x: Array, step: Step = step) -> None:
                step[checkpoint] = x

            self._model.logits(chunk, kv_cache=cache, observer=observe)
            if self._only_first and number:
                continue
            if self._change:
                step = {name: y for name, x in step.items() if (y := self._change(name, x)) is not None}
            if self._buffers is not None:
                step = {name: _into(self._buffers, name, x) for name, x in step.items()}
            yield step


def _into(buffers: dict[str, Array], name: str, x: Array) -> Array:
    """Hand over a view of a buffer that the next call writes into, where it is large enough."""
    if name not in buffers or buffers[name].size < x.size:
        buffers[name] = np.empty(x.size, x.dtype)
    view = buffers[name][: x.size].reshape(x.shape)
    view[...] = x
    return view


def _without_mid(name: str, x: Array) -> Array | None:
    return None if name.endswith(".mid") else x


def _merged(name: str, x: Array) -> Array:
    apart = name.endswith((".q", ".k", ".v"))
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1) if apart else x


def _first_eight(name: str, x: Array) -> Array:
    return x[..., :8]


def _newest_first(name: str, x: Array) -> Array:
    return np.flip(x, axis=x.ndim - 2 if x.ndim > 1 else 0)


SHOWN_SHIMS: dict[tuple[str, str], Callable[[str, Array], Array | None]] = {
    ("left_out", "h.N.mid"): _without_mid,
    ("heads", "merged"): _merged,
    ("elements", "the first eight"): _first_eight,
    ("rows", "newest first"): _newest_first,
}
