"""The parts of GPT-2, each a pure function of float32 arrays.

Shapes: T new positions, S all positions seen, n_embd = n_head * head_dim. A function of the same
name as a spec in `specs/components` computes that spec's equations, and the forward pass calls
nothing else: what the features hold is what generates. `out` is where the result goes, as in NumPy, and
a new array where there is none; it may be the input only where a function says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Ids = NDArray[np.int64]


ROWS_IN_CACHE = (
    32  # rows of n_inner numbers that fit the L2 cache together with what an activation makes of them
)


def positions(n_past: int, n_new: int) -> Ids:
    """Return int64 [n_new]: the places of new tokens that follow `n_past` tokens already seen."""
    return np.arange(n_past, n_past + n_new)


def spans(n: int, most: int) -> Iterator[slice]:
    """Yield slices that cover 0 to n in order, of `most` and at the end of what is left."""
    return (slice(begin, min(begin + most, n)) for begin in range(0, n, most))


def embedding(ids: Ids, places: Ids, wte: Array, wpe: Array) -> Array:
    """Look up each token and its place, and add the two.

    ids     (T,)              token ids
    places  (T,)              positions in the sequence, counted from 0
    wte     (n_vocab, n_embd) token embeddings
    wpe     (n_ctx, n_embd)   position embeddings

    Returns float32 (T, n_embd), the residual stream.
    Spec: embedding. Source: openai/gpt-2, src/model.py, model.
    """
    x: Array = wte[ids] + wpe[places]
    return x


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float, out: Array | None = None) -> Array:
    """Shift each position to mean 0, scale it to variance 1, apply gain and bias.

    x        (..., n_embd)  residual stream
    weight   (n_embd,)      gain
    bias     (n_embd,)      offset
    epsilon  scalar         added to the variance: a constant row stays finite

    Returns an array of the shape and dtype of x.
    Spec: layer_norm. Source: Ba, Kiros and Hinton 2016, equation 3.
    """
    n_embd = x.shape[-1]
    mean = x.sum(axis=-1, keepdims=True) / n_embd
    centred: Array = np.subtract(x, mean, out=out)  # two passes: E[x²] - E[x]² cancels in float32
    variance = np.vecdot(centred, centred)[..., None] / n_embd  # not n_embd - 1
    centred /= np.sqrt(variance + epsilon)
    centred *= weight
    centred += bias
    return centred


def split_heads(x: Array, n_head: int) -> Array:
    """Return x (T, n_embd) as (n_head, T, head_dim): head h owns the columns h*head_dim and on."""
    return x.reshape(len(x), n_head, -1).transpose(1, 0, 2)


def merge_heads(x: Array) -> Array:
    """Return x (n_head, T, head_dim) as (T, n_embd): the inverse of `split_heads`."""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def projection(x: Array, weight: Array, bias: Array, out: Array | None = None) -> Array:
    """Return x @ weight + bias; weight is (in, out), as GPT-2's Conv1D stores it.

    Spec: attention_output.
    """
    y: Array = np.matmul(x, weight, out=out)
    y += bias
    return y


def qkv(
    x: Array,
    weight: Array,
    bias: Array,
    n_head: int,
    out: Array | None = None,
    project: Callable[..., Array] = projection,
) -> tuple[Array, Array, Array]:
    """Project the stream to queries, keys and values, and deal them out to the heads.

    x       (T, n_embd)           normalised stream
    weight  (n_embd, 3 * n_embd)  c_attn: all queries, then all keys, then all values
    bias    (3 * n_embd,)
    project in the place of `projection`

    Returns q, k, v, each (n_head, T, head_dim): views of (T, 3 * n_embd).
    Spec: qkv. Source: openai/gpt-2, src/model.py, attn.
    """
    heads = split_heads(project(x, weight, bias, out), 3 * n_head)
    return heads[:n_head], heads[n_head : 2 * n_head], heads[2 * n_head :]


def attention_scale(head_dim: int, layer: int, scale_weights: bool, by_inverse_layer: bool) -> float:
    """Return the factor of the scores: 1/sqrt(head_dim), and 1/(layer + 1) where the config says so."""
    scale = 1 / math.sqrt(head_dim) if scale_weights else 1.0
    return scale / (layer + 1) if by_inverse_layer else scale


def attention_scores(q: Array, keys: Array, scale: float, out: Array | None = None) -> Array:
    """Match each query with each key that it may see; -inf where it may not.

    q     (n_head, T, head_dim)  queries of the new positions
    keys  (n_head, S, head_dim)  keys of all positions
    scale scalar                 see `attention_scale`

    Returns (n_head, T, S). The mask is the lower triangle counted from the lower right corner:
    the last query sees every key, with or without a cache.
    Spec: attention_scores. Source: openai/gpt-2, src/model.py, attention_mask.
    """
    scores: Array = np.matmul(q * scale, keys.transpose(0, 2, 1), out=out)
    n_new, n_seen = scores.shape[1:]
    if n_new > 1:  # one query is the last one: it sees all
        hidden = np.arange(n_seen) > positions(n_seen - n_new, n_new)[:, None]
        np.copyto(scores, -np.inf, where=hidden)
    return scores


def attention_weights(scores: Array, out: Array | None = None) -> Array:
    """Softmax over the keys: each row of scores becomes shares that sum to 1.

    scores  (n_head, T, S)  -inf where a key is hidden; `out` may be the same array

    Returns (n_head, T, S). The largest score is subtracted first, so that nothing overflows.
    Spec: attention_weights. Source: Vaswani et al. 2017, section 3.2.1.
    """
    shares: Array = np.subtract(scores, scores.max(axis=-1, keepdims=True), out=out)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def attention_context(probs: Array, values: Array, out: Array | None = None) -> Array:
    """Mix the values by the weights of the keys, and put the heads side by side.

    probs   (n_head, T, S)
    values  (n_head, S, head_dim)

    Returns (T, n_embd).
    Spec: attention_context. Source: openai/gpt-2, src/model.py, merge_heads.
    """
    n_head, n_new, _ = probs.shape
    context = np.empty((n_new, n_head * values.shape[-1]), np.float32) if out is None else out
    np.matmul(probs, values, out=split_heads(context, n_head))
    return context


def residual(stream: Array, branch: Array, out: Array | None = None) -> Array:
    """Return stream + branch, both (T, n_embd): each of them once, unscaled; `out` may be either.

    Spec: residual.
    """
    return np.add(stream, branch, out=out)


def gelu_new(x: Array) -> Array:
    """GELU in the tanh form that GPT-2 was trained with. Source: Hendrycks and Gimpel 2016."""
    y = x * x
    y *= x
    y *= 0.044715
    y += x
    y *= math.sqrt(2 / math.pi)
    return _times_half_of_one_plus_tanh(x, y)


def gelu_fast(x: Array) -> Array:
    """GELU in the tanh form with sqrt(2/pi) cut to ten digits, as `gelu_fast` of transformers."""
    y = x * x
    y *= 0.044715
    y += 1.0
    y *= x
    y *= 0.7978845608
    return _times_half_of_one_plus_tanh(x, y)


def gelu(x: Array) -> Array:
    """GELU in its exact form, by the error function. Source: Hendrycks and Gimpel 2016."""
    y = erf(x * np.float32(math.sqrt(0.5)))
    y += 1.0
    y *= x
    y *= 0.5
    return y


def quick_gelu(x: Array) -> Array:
    """x times the sigmoid of 1.702 x."""
    return _times_half_of_one_plus_tanh(x, x * np.float32(0.851))  # sigmoid(2y) = (1 + tanh(y)) / 2


def silu(x: Array) -> Array:
    """x times its sigmoid."""
    return _times_half_of_one_plus_tanh(x, x * np.float32(0.5))


def relu(x: Array) -> Array:
    """The larger of x and 0."""
    return np.maximum(x, 0)


def _times_half_of_one_plus_tanh(x: Array, y: Array) -> Array:
    """Return x * (1 + tanh(y)) / 2, computed in the buffer of y."""
    np.tanh(y, out=y)
    y += 1.0
    y *= x
    y *= 0.5
    return y


def erf(x: Array) -> Array:
    """The error function, by the rational approximation that Eigen and XLA use.

    x  any shape. Returns the same shape, off by less than one unit in the last place of 1:
    the two polynomials are summed in float64, since their rounding would be larger than that.
    """
    z = np.clip(x, -4, 4).astype(np.float64)  # erf(4) is 1 in float32
    square = z * z
    ratio = np.polyval(_ERF_NUMERATOR, square) / np.polyval(_ERF_DENOMINATOR, square)
    return (z * ratio).astype(np.float32)


_ERF_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_DENOMINATOR = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu_new": gelu_new,
    "gelu": gelu,
    "gelu_fast": gelu_fast,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "silu": silu,
    "tanh": np.tanh,
}


def activation(x: Array, function: str, out: Array | None = None) -> Array:
    """Apply the activation that the config names to every element of x (T, n_inner); `out` may be x.

    Spec: activation. Source: transformers, activations.py, ACT2FN.
    """
    y = np.empty_like(x) if out is None else out
    for rows in spans(len(x), ROWS_IN_CACHE):
        y[rows] = ACTIVATIONS[function](x[rows])
    return y


def logits(x: Array, lm_head: Array) -> Array:
    """Compare each position with every token of the vocabulary.

    x        (T, n_embd)        after ln_f
    lm_head  (n_vocab, n_embd)  wte itself where the head is tied; no bias

    Returns (T, n_vocab), unnormalised log-probabilities.
    Spec: logits. Source: openai/gpt-2, src/model.py, model.
    """
    return x @ lm_head.T


def last_positions(lengths: list[int]) -> Ids:
    """Return the row of the last token of each sequence, where sequences lie one after the other.

    lengths  new tokens of each sequence
    Spec: last_position.
    """
    return np.cumsum(lengths, dtype=np.int64) - 1
