"""GPT-2's forward pass by compiled kernels, in the place of `engine.gpt2.forward`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine import gpt2, layers
from llorch_core.engine.cache import KVCache
from llorch_core.engine.config import Config
from llorch_core.engine.gpt2 import Observer, Rows
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.model import Model
from llorch_core.engine.weights import MLP, Attention, Block, Weights
from llorch_core.fast import kernels
from llorch_core.fast.amx import K
from llorch_core.fast.digits import bytes_of_row
from llorch_core.fast.files import kept_of, read_packed
from llorch_core.fast.many import Many
from llorch_core.fast.packed import BITS, KINDS, LANES, Packed
from llorch_core.fast.team import Team
from llorch_core.fast.tiles import k_in_a_turn

MOST_ROWS = 16  # more new positions are read as whole matrices: arithmetic is then what takes the time


class Matrix:
    """Packed weights in the place of an array [n_in, n_out]: `x @ matrix` is computed by the kernels.

    Of the head, `matrix.T` stands for [n_vocab, n_embd], as `matrix[ids]` does for its rows.
    """

    def __init__(self, packed: Packed, many: Many) -> None:
        self.packed, self.many = packed, many
        self.width = packed.panels.shape[1] * 32 // BITS[packed.kind]  # inputs, as they are padded
        groups = packed.scales.shape[1] or 1
        self.entry = np.array(
            [
                KINDS.index(packed.kind),
                *(packed.panels.ctypes.data, packed.panels.strides[0]),
                *(packed.scales.ctypes.data, packed.scales.strides[0]),
                *(groups, self.width // groups // k_in_a_turn(packed.kind)),
                len(packed.panels),
                0 if many.plain else bytes_of_row(packed.kind, self.width, groups),
                many.has_unit and packed.kind == "int8" and self.width // groups % 64 == 0,
            ],
            np.int64,
        )

    def __array_ufunc__(
        self, function: np.ufunc, method: str, x: Array, matrix: Matrix, out: tuple[Array] | None = None
    ) -> Array:
        """Compute np.matmul(x, self), which x @ self is; x [n, n_in] gives [n, n_out]."""
        if function is not np.matmul or method != "__call__" or matrix is not self:
            raise TypeError(f"packed weights have no {function.__name__}: only x @ matrix")
        wide = x
        if x.shape[1] < self.width or x.strides[1] != x.itemsize:
            wide = _rows(len(x), self.width)
            wide[:, : x.shape[1]] = x
        n_out, columns = self.packed.n_out, len(self.packed.panels) * LANES
        fits = out is not None and n_out == columns and out[0].flags.c_contiguous
        y = out[0] if out is not None and fits else np.empty((len(x), columns), np.float32)
        if self.many.has_unit and len(x) > MOST_ROWS and self.width % K == 0:
            self.many.multiply(self.entry, wide, y)
        else:
            room = self.many.digits(len(x) * self.entry[8])
            given = (wide.ctypes.data, wide.strides[0], len(x), y.ctypes.data, y.strides[0])
            self.many.team.run(kernels.product, self.entry, *given, room)
        if out is None or fits:
            return y[:, :n_out]
        out[0][...] = y[:, :n_out]
        return out[0]


class Head(Matrix):
    """The token embedding: rows by their ids, and, transposed, the head."""

    def __getitem__(self, ids: Ids) -> Array:
        return self.packed.rows(ids)

    @property
    def T(self) -> Head:
        return self


class Forward:
    """The forward pass of one model with packed weights. See `gpt2.forward` for what it takes and gives.

    weights  the model's own: embeddings, norms and biases are used as they are, and the matrices for many
             rows where `packed` are float32 and there is no matrix unit
    packed   by the name of the weight in the file; `lm_head` is the head
    threads  that share the work
    """

    rows_alone = True  # tokens that are read one of each sequence get the bits that each gets alone

    def __init__(self, weights: Weights, config: Config, packed: dict[str, Packed], threads: int) -> None:
        self.config, self.team = config, Team(threads)
        self.many = Many(self.team)
        self.matrices = {
            name: (Head if name in ("wte", "lm_head") else Matrix)(one, self.many)
            for name, one in packed.items()
        }
        self.kind = packed["lm_head"].kind
        by_blas = self.kind == "float32" and not self.many.has_unit
        self.whole = weights if by_blas else self._with_packed(weights)
        c = config
        convs = {f"h.{n}.{name}": conv for n, b in enumerate(weights.h) for name, conv in b.convs.items()}
        self._entries = np.array([self.matrices[name].entry for name in [*convs, "lm_head"]])
        self._biases = np.zeros((4 * c.n_layer, max(3 * c.n_embd, c.n_inner)), np.float32)
        norms = [(n.weight, n.bias) for b in weights.h for n in (b.ln_1, b.ln_2)]
        self._norms = np.array([*norms, (weights.ln_f.weight, weights.ln_f.bias)], np.float32)
        for place, conv in zip(self._biases, convs.values(), strict=True):
            place[: len(conv.bias)] = conv.bias
        self._scales = np.array(
            [
                layers.attention_scale(c.head_dim, n, c.scale_attn_weights, c.scale_attn_by_inverse_layer_idx)
                for n in range(c.n_layer)
            ],
            np.float32,
        )
        function = kernels.FUNCTIONS.index(c.activation_function)
        self._sizes = np.array([c.n_layer, c.n_head, c.n_embd, c.n_inner, function], np.int64)
        self._widths = self._widths_of_buffers()
        self._buffers: dict[str, Array] = {}
        self._counter = np.zeros(1, np.int64)
        self._one_at_a_time = RLock()  # threads share the team and the buffers

    def __call__(
        self,
        chunks: Sequence[Ids],
        caches: Sequence[KVCache],
        rows: Rows = "all",
        observer: Observer | None = None,
    ) -> Array:
        with self._one_at_a_time:
            return self._read(chunks, caches, rows, observer)

    def _read(
        self, chunks: Sequence[Ids], caches: Sequence[KVCache], rows: Rows, observer: Observer | None
    ) -> Array:
        lengths = [len(chunk) for chunk in chunks]
        if sum(lengths) > MOST_ROWS:
            if max(lengths) == 1:
                return self._in_groups(chunks, caches, rows, observer)
            return gpt2.forward(self.whole, self.config, chunks, caches, rows, observer, self.many)
        for cache, length in zip(caches, lengths, strict=True):
            cache.check_room(length)
        ids = np.concatenate(chunks)
        places = gpt2.places_of(caches, lengths)
        of = np.repeat(np.arange(len(chunks)), lengths)  # the sequence of each row
        n_keys = np.array([cache.n_past for cache in caches]) + lengths
        wanted = layers.last_positions(lengths) if rows == "last" else np.arange(len(ids))
        seen = self._buffers_for(len(ids), len(wanted), int(n_keys.max()), observer is not None)
        seen["stream"][0, :, : self.config.n_embd] = layers.embedding(
            ids, places, self.whole.wte, self.whole.wpe
        )
        self._step(
            caches, np.stack([of, places, n_keys[of]], axis=1), wanted, seen, slots=observer is not None
        )
        for cache, length in zip(caches, lengths, strict=True):
            cache.advance(length)
        if observer is not None:
            self._show(observer, ids, lengths, rows, caches, seen)
        return seen["logits"][:, : self.config.n_vocab].copy()

    def _in_groups(
        self, chunks: Sequence[Ids], caches: Sequence[KVCache], rows: Rows, observer: Observer | None
    ) -> Array:
        """Read one token of each of many sequences, in groups of equal size.

        Attention is then what takes the time, and a step shares it out over all sequences of a group.
        """
        for cache in caches:
            cache.check_room(1)
        count = -(-len(chunks) // MOST_ROWS)
        starts = [len(chunks) * n // count for n in range(count + 1)]

        def logits(start: int, end: int) -> Array:
            def shown(sequence: int, name: str, x: Array | Ids) -> None:
                assert observer is not None
                observer(start + sequence, name, x)

            return self._read(chunks[start:end], caches[start:end], rows, shown if observer else None)

        return np.concatenate([logits(*edges) for edges in itertools.pairwise(starts)])

    def in_float32(self) -> dict[str, Array]:
        """Return every weight by its name in a weight file, in float32, as the kernels multiply with it."""
        kept = kept_of(self.whole)
        found = {"wpe.weight": kept.pop("wpe"), **kept}
        for name, matrix in self.matrices.items():
            rows = matrix.packed.rows(slice(None))
            found[f"{name}.weight"] = rows if isinstance(matrix, Head) else np.ascontiguousarray(rows.T)
        if "wte" not in self.matrices:
            found["wte.weight"] = found.pop("lm_head.weight")
        return found

    def _step(
        self, caches: Sequence[KVCache], where: NDArray[Any], wanted: Ids, seen: dict[str, Array], slots: bool
    ) -> None:
        sizes = np.append(self._sizes, slots)
        held = np.array([cache.addresses() for cache in caches], np.int64)
        self._counter[0] = 0
        digits = self.many.digits(len(where) * int(self._entries[:, 8].max()))
        self.team.run(
            kernels.step,
            *(self._counter.ctypes.data, digits, sizes, self.config.layer_norm_epsilon, self._scales),
            *(self._entries, self._biases, self._norms, held, where, wanted),
            *(seen[name] for name in BUFFERS),
        )

    def _widths_of_buffers(self) -> dict[str, int]:
        """Return the numbers in a row of each buffer: inputs and outputs of matrices as they are padded."""
        first = {name: self.matrices[f"h.0.{name}"] for name in ("attn.c_attn", "mlp.c_proj")}
        embd = first["attn.c_attn"].width
        widths = dict.fromkeys(("stream", "normed", "context", "mid", "normed_2", "last"), embd)
        for name, of in (
            ("qkv", "h.0.attn.c_attn"),
            ("attended", "h.0.attn.c_proj"),
            ("fc", "h.0.mlp.c_fc"),
            ("out", "h.0.mlp.c_proj"),
            ("logits", "lm_head"),
        ):
            widths[name] = len(self.matrices[of].packed.panels) * LANES
        return widths | {"act": max(first["mlp.c_proj"].width, widths["fc"])}

    def _buffers_for(self, n_rows: int, n_wanted: int, n_keys: int, slots: bool) -> dict[str, Array]:
        """Return a buffer for each stage: the last step's where they are large enough, else new ones."""
        if slots:
            return self._new_buffers(self.config.n_layer, n_rows, n_wanted, n_keys)
        kept = self._buffers
        if not kept or kept["scores"].shape[-1] < n_keys:
            n_keys = min(self.config.n_ctx, max(64, 2 * n_keys))
            kept = self._buffers = self._new_buffers(0, MOST_ROWS, MOST_ROWS, n_keys)
        return {
            name: one[:n_wanted] if name in ("last", "logits") else one[:, :n_rows]
            for name, one in kept.items()
        }

    def _new_buffers(self, layers_kept: int, n_rows: int, n_wanted: int, n_keys: int) -> dict[str, Array]:
        """Return buffers of zeros, as `kernels.step` names them.

        layers_kept  layers that have a slot of their own, and the stream one more, for what comes in; 0 for
                     one slot that all share. Rows cut from that one have no gap between them: numba compiles
                     another version for such that have, and it computes other bits
        """
        slots, n_head = max(1, layers_kept), self.config.n_head
        shapes: dict[str, tuple[int, ...]] = {
            name: (slots, n_rows, width) for name, width in self._widths.items()
        }
        shapes |= dict.fromkeys(("scores", "probs"), (slots, n_rows, n_head, n_keys))
        shapes |= {name: (n_wanted, self._widths[name]) for name in ("last", "logits")}
        shapes["stream"] = (layers_kept + 1, n_rows, self._widths["stream"])
        return {name: np.zeros(shapes[name], np.float32) for name in BUFFERS}

    def _with_packed(self, weights: Weights) -> Weights:
        """Return weights whose matrices are packed ones."""

        def block(n: int, b: Block) -> Block:
            matrices: dict[str, Any] = {name: self.matrices[f"h.{n}.{name}"] for name in b.convs}
            convs = [replace(conv, weight=matrices[name]) for name, conv in b.convs.items()]
            return replace(b, attn=Attention(*convs[:2]), mlp=MLP(*convs[2:]))

        head: Any = self.matrices["lm_head"]
        wte: Any = self.matrices.get("wte", head)
        return replace(weights, wte=wte, lm_head=head, h=tuple(block(n, b) for n, b in enumerate(weights.h)))

    def _show(
        self,
        observer: Observer,
        ids: Ids,
        lengths: list[int],
        rows: Rows,
        caches: Sequence[KVCache],
        seen: dict[str, Array],
    ) -> None:
        """Hand every checkpoint to the observer, in the order in which the data flow."""
        c = self.config
        spans = gpt2.end_to_end(lengths)
        rows_shown = gpt2.end_to_end([1] * len(lengths)) if rows == "last" else spans

        def show(name: str, x: Array | Ids, spans: list[slice] = spans) -> None:
            for sequence, span in enumerate(spans):
                observer(sequence, name, x[span].copy())

        def heads(x: Array) -> Array:
            return layers.split_heads(x, c.n_head)

        embd = slice(0, c.n_embd)
        show("ids", ids)
        show("embed", seen["stream"][0, :, embd])
        for n in range(c.n_layer):
            show(f"h.{n}.ln_1", seen["normed"][n, :, embd])
            for sequence, (span, cache) in enumerate(zip(spans, caches, strict=True)):
                q, k, v = (heads(part) for part in np.split(seen["qkv"][n, span, : 3 * c.n_embd], 3, axis=-1))
                keys, values = cache.held(n)
                n_keys = keys.shape[1]
                parts = {"q": q, "k": k, "v": v, "keys": keys, "values": values}
                for name in ("scores", "probs"):
                    parts[name] = seen[name][n, span, :, :n_keys].transpose(1, 0, 2)
                for name, part in parts.items():
                    observer(sequence, f"h.{n}.attn.{name}", np.array(part, order="C"))
            show(f"h.{n}.attn.context", seen["context"][n, :, embd])
            show(f"h.{n}.attn.out", seen["attended"][n, :, embd])
            show(f"h.{n}.mid", seen["mid"][n, :, embd])
            show(f"h.{n}.ln_2", seen["normed_2"][n, :, embd])
            show(f"h.{n}.mlp.fc", seen["fc"][n, :, : c.n_inner])
            show(f"h.{n}.mlp.act", seen["act"][n, :, : c.n_inner])
            show(f"h.{n}.mlp.out", seen["out"][n, :, embd])
            show(f"h.{n}.out", seen["stream"][n + 1, :, embd])
        show("ln_f", seen["last"][:, embd], rows_shown)
        show("logits", seen["logits"][:, : c.n_vocab], rows_shown)


class PackedModel(Model):
    """A model whose folder `llorch quantize` wrote: its weights are mapped, and used in place."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.config, weights, packed = read_packed(folder)
        forward = Forward(weights, self.config, packed, threads)
        self.weights, self.forward = forward.whole, forward


BUFFERS = (
    "stream", "normed", "qkv", "scores", "probs", "context", "attended", "mid", "normed_2", "fc", "act",
    "out", "last", "logits",
)  # fmt: skip


def _rows(count: int, width: int) -> Array:
    return np.zeros((count, width), np.float32)
