"""Kernels of the fast backend, each on its own, under the names of the components that they compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llorch_core.engine import layers
from llorch_core.fast import kernels
from llorch_core.fast.forward import Head, Matrix
from llorch_core.fast.many import Many
from llorch_core.fast.packed import pack
from llorch_core.fast.team import Team
from llorch_core.fast.threads import cores
from llorch_core.subject.numpy_engine import Named
from llorch_core.subject.protocol import Array

MANY = Many(Team(cores()))


def packed(weight: Array, head: bool) -> Matrix:
    """Return a float32 matrix as the kernels read it: [n_out, n_in] of a head, else [n_in, n_out]."""
    return (Head if head else Matrix)(pack(weight if head else weight.T, "float32"), MANY)


def _layer_norm(x: Named, s: Named) -> dict[str, Array]:
    out = np.empty_like(x["x"])
    for row, normed in zip(x["x"], out, strict=True):
        kernels.layer_norm(row, x["weight"], x["bias"], float(s["layer_norm_epsilon"]), normed)
    return {"out": out}


def _activation(x: Named, s: Named) -> dict[str, Array]:
    given = np.ascontiguousarray(x["x"]).ravel()
    out = np.empty_like(given)
    kernels.activate(kernels.FUNCTIONS.index(s["activation_function"]), given, out, 0, len(given))
    return {"out": out.reshape(x["x"].shape)}


def _scores(x: Named, s: Named) -> dict[str, Array]:
    by_layer = bool(s["scale_attn_by_inverse_layer_idx"])
    q, keys = x["q"], np.ascontiguousarray(x["keys"])
    scale = layers.attention_scale(q.shape[-1], s["layer"], bool(s["scale_attn_weights"]), by_layer)
    n_head, n_new = q.shape[:2]
    n_seen = keys.shape[1]
    scores = np.empty((n_head, n_new, n_seen), np.float32)
    for h in range(n_head):
        for t in range(n_new):
            visible = n_seen - n_new + t + 1
            kernels.match(q[h, t], keys[h].ctypes.data, visible, scale, scores[h, t])
    return {"out": scores}


def _weights(x: Named, s: Named) -> dict[str, Array]:
    probs = np.empty_like(x["scores"])
    for scores, row in zip(x["scores"].reshape(-1, x["scores"].shape[-1]), _rows(probs), strict=True):
        kernels.share_out(scores, int(np.isfinite(scores).sum()), row)
    return {"out": probs}


def _context(x: Named, s: Named) -> dict[str, Array]:
    probs, values = x["probs"], np.ascontiguousarray(x["values"])
    n_head, n_new, n_seen = probs.shape
    out = np.empty((n_head, n_new, values.shape[-1]), np.float32)
    for h in range(n_head):
        for t in range(n_new):
            kernels.mix(probs[h, t], values[h].ctypes.data, n_seen, out[h, t])
    return {"out": out.transpose(1, 0, 2).reshape(n_new, -1)}


def _residual(x: Named, s: Named) -> dict[str, Array]:
    out = np.empty_like(x["stream"])
    kernels.add(_flat(x["stream"]), _flat(x["branch"]), out.reshape(-1), out.size)
    return {"out": out}


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x).ravel()


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


ALONE: dict[str, Callable[[Named, Named], dict[str, Array]]] = {
    "layer_norm": _layer_norm,
    "activation": _activation,
    "attention_scores": _scores,
    "attention_weights": _weights,
    "attention_context": _context,
    "residual": _residual,
}
