"""GPT-2's forward pass: prefill, chunked prefill, decode and batches are this one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from llorch_core.engine import layers
from llorch_core.engine.cache import KVCache
from llorch_core.engine.config import Config
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.weights import MLP, Block, Weights

Observer = Callable[[int, str, Array | Ids], None]
"""Called with the index of a sequence, the name of a checkpoint, and a copy of it to keep."""

Rows = Literal["all", "last"]

QUERIES = 128  # of a sequence that are matched at a time, each with the keys up to the last of them


class Forward(Protocol):
    """The forward pass of a model that is loaded, whatever computes it; see `forward` below."""

    def __call__(
        self,
        chunks: Sequence[Ids],
        caches: Sequence[KVCache],
        rows: Rows = "all",
        observer: Observer | None = None,
    ) -> Array: ...


def forward(
    weights: Weights,
    config: Config,
    chunks: Sequence[Ids],
    caches: Sequence[KVCache],
    rows: Rows = "all",
    observer: Observer | None = None,
    computed: Layers | None = None,
) -> Array:
    """Read the new tokens of one or more sequences, and predict what follows each of them.

    chunks    one int64 (T_i,) a sequence: its new ids. They are laid end to end, without padding
    caches    one a sequence; what it holds is the past, and the new positions are added to it
    rows      "all", or "last": only the last new position of each sequence gets logits
    observer  sees every checkpoint of every sequence; whether there is one changes no bit
    computed  what computes each layer; NumPy where there is none

    Returns float32 (sum of T_i, n_vocab), or (number of sequences, n_vocab) for "last".
    Raises UsageError where a cache has no room, before any work: no cache is changed.
    A row has the bits that it gets alone wherever BLAS gives a row of a matrix product the same
    bits whatever the number of rows; it does not promise to, and then it is equal to rounding.
    Spec: gpt2, recording. Source: openai/gpt-2, src/model.py, model.
    """
    lengths = [len(chunk) for chunk in chunks]
    for cache, length in zip(caches, lengths, strict=True):
        cache.check_room(length)
    spans = end_to_end(lengths)
    computed = computed or Layers()

    def show(name: str, x: Array | Ids) -> None:
        if observer is not None:
            for sequence, span in enumerate(spans):
                observer(sequence, name, x[span].copy())

    n_seen = max(cache.n_past + length for cache, length in zip(caches, lengths, strict=True))
    room = Buffers(config, sum(lengths), min(max(lengths), QUERIES) * n_seen)
    ids = np.concatenate(chunks)
    places = places_of(caches, lengths)
    show("ids", ids)
    x = layers.embedding(ids, places, weights.wte, weights.wpe)  # [T, n_embd]
    show("embed", x)
    for n, block in enumerate(weights.h):
        normed = computed.layer_norm(
            x, block.ln_1.weight, block.ln_1.bias, config.layer_norm_epsilon, out=room.normed
        )
        show(f"h.{n}.ln_1", normed)
        branch = attention(block, config, n, normed, spans, caches, show, observer, room, computed)
        x = computed.residual(x, branch, out=x)
        show(f"h.{n}.mid", x)
        normed = computed.layer_norm(
            x, block.ln_2.weight, block.ln_2.bias, config.layer_norm_epsilon, out=room.normed
        )
        show(f"h.{n}.ln_2", normed)
        branch = mlp(block.mlp, config.activation_function, n, normed, show, room.fc, room.branch, computed)
        x = computed.residual(x, branch, out=x)
        show(f"h.{n}.out", x)
    for cache, length in zip(caches, lengths, strict=True):
        cache.advance(length)
    if rows == "last":
        x = x[layers.last_positions(lengths)]  # [number of sequences, n_embd]
        spans = end_to_end([1] * len(chunks))
    x = layers.layer_norm(x, weights.ln_f.weight, weights.ln_f.bias, config.layer_norm_epsilon)
    show("ln_f", x)
    logits = layers.logits(x, weights.lm_head)
    show("logits", logits)
    return logits


def end_to_end(lengths: Sequence[int]) -> list[slice]:
    """Return where the rows of each sequence are, where sequences lie one after the other."""
    return [slice(start, end) for start, end in pairwise([0, *np.cumsum(lengths).tolist()])]


def places_of(caches: Sequence[KVCache], lengths: Sequence[int]) -> Ids:
    """Return int64 [sum of lengths]: the place in its sequence of each new row."""
    return np.concatenate([layers.positions(c.n_past, t) for c, t in zip(caches, lengths, strict=True)])


class Buffers:
    """What every block computes in its turn, in memory that is allocated once a call.

    n_new    new positions, of all sequences together
    n_pairs  most queries and keys that are matched at a time
    """

    def __init__(self, config: Config, n_new: int, n_pairs: int) -> None:
        n_embd = config.n_embd
        self.normed = np.empty((n_new, n_embd), np.float32)
        self.qkv = np.empty((n_new, 3 * n_embd), np.float32)
        self.scores = np.empty(config.n_head * n_pairs, np.float32)
        self.context = np.empty((n_new, n_embd), np.float32)
        self.fc = np.empty((n_new, config.n_inner), np.float32)
        self.branch = np.empty((n_new, n_embd), np.float32)  # what attention or MLP adds to the stream

    def scores_of(self, n_head: int, n_new: int, n_seen: int) -> Array:
        """Return room for scores (n_head, n_new, n_seen), without a gap between them."""
        size = n_head * n_new * n_seen
        if size > self.scores.size:  # a cache that hands out more than it was given
            self.scores = np.empty(size, np.float32)
        return self.scores[:size].reshape(n_head, n_new, n_seen)


def attention(
    block: Block,
    config: Config,
    n: int,
    x: Array,
    spans: Sequence[slice],
    caches: Sequence[KVCache],
    show: Callable[[str, Array], None],
    observer: Observer | None,
    room: Buffers,
    computed: Layers,
) -> Array:
    """Let each new position of x (T, n_embd) gather from the positions of its own sequence.

    Returns (T, n_embd), to be added to the residual stream: a buffer of `room`.
    """
    c_attn, c_proj = block.attn.c_attn, block.attn.c_proj
    q, k, v = layers.qkv(
        x, c_attn.weight, c_attn.bias, config.n_head, room.qkv, computed.projection
    )  # [n_head, T, head_dim]
    scale = layers.attention_scale(
        config.head_dim, n, config.scale_attn_weights, config.scale_attn_by_inverse_layer_idx
    )
    for sequence, (span, cache) in enumerate(zip(spans, caches, strict=True)):
        keys, values = cache.extend(n, k[:, span], v[:, span])  # [n_head, S, head_dim]
        shown = None if observer is None else _unseen(q[:, span], keys)
        computed.attend(q[:, span], keys, values, scale, room, room.context[span], shown)
        if observer is not None and shown is not None:
            parts = {"q": q[:, span], "k": k[:, span], "v": v[:, span], "keys": keys, "values": values}
            for name, part in {**parts, **shown}.items():
                observer(sequence, f"h.{n}.attn.{name}", part.copy())
    show(f"h.{n}.attn.context", room.context)
    out = computed.projection(room.context, c_proj.weight, c_proj.bias, out=room.branch)
    show(f"h.{n}.attn.out", out)
    return out


def attend(
    q: Array,
    keys: Array,
    values: Array,
    scale: float,
    room: Buffers,
    context: Array,
    shown: dict[str, Array] | None,
) -> None:
    """Gather the context of each query of one sequence, a few queries at a time.

    q             (n_head, T, head_dim)
    keys, values  (n_head, S, head_dim)
    context       (T, n_embd), written
    shown         scores and probs (n_head, T, S), written where there are some

    Keys that all of the queries at hand are too early for are not matched with them: half of all
    the scores of a long prompt.
    """
    n_head, n_new, _ = q.shape
    n_past = keys.shape[1] - n_new
    for rows in layers.spans(n_new, QUERIES):
        seen = slice(0, n_past + rows.stop)
        place = room.scores_of(n_head, rows.stop - rows.start, seen.stop)
        scores = layers.attention_scores(q[:, rows], keys[:, seen], scale, out=place)
        if shown:
            shown["scores"][:, rows, seen] = scores
        probs = layers.attention_weights(scores, out=place)
        if shown:
            shown["probs"][:, rows, seen] = probs
        layers.attention_context(probs, values[:, seen], out=context[rows])


def _unseen(q: Array, keys: Array) -> dict[str, Array]:
    """Return scores and probs as they are where every key is hidden."""
    shape = (*q.shape[:2], keys.shape[1])
    return {"scores": np.full(shape, -np.inf, np.float32), "probs": np.zeros(shape, np.float32)}


def mlp(
    weights: MLP,
    function: str,
    n: int,
    x: Array,
    show: Callable[[str, Array], None],
    fc: Array | None = None,
    out: Array | None = None,
    computed: Layers | None = None,
) -> Array:
    """Widen x (T, n_embd) to n_inner, bend it, and narrow it again; to be added to the stream.

    function  name of the activation
    fc        (T, n_inner), where the wide rows go
    out       (T, n_embd), where the result goes

    Spec: mlp.
    """
    computed = computed or Layers()
    fc = computed.projection(x, weights.c_fc.weight, weights.c_fc.bias, out=fc)  # [T, n_inner]
    show(f"h.{n}.mlp.fc", fc)
    act = computed.activation(fc, function, out=fc)
    show(f"h.{n}.mlp.act", act)
    out = computed.projection(act, weights.c_proj.weight, weights.c_proj.bias, out=out)
    show(f"h.{n}.mlp.out", out)
    return out


class Layers:
    """What computes the layers of a forward pass: NumPy, unless a subclass does."""

    layer_norm = staticmethod(layers.layer_norm)
    projection = staticmethod(layers.projection)
    activation = staticmethod(layers.activation)
    residual = staticmethod(layers.residual)
    attend = staticmethod(attend)
