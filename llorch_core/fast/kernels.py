"""A forward pass for a few new positions, compiled: every thread walks through the whole model.

Between two stages the threads wait for each other. A stage shares its outputs out: panels of a matrix, heads
of a row. Each stage writes a buffer with a slot for every layer where somebody looks on, and with one where
nobody does: the same code computes the same bits either way.
"""

from __future__ import annotations

import hashlib
import math
import sys
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from llorch_core.fast import amx
from llorch_core.fast.digits import ABOVE, DIGITS, IN_A_GROUP, multiply_digits, write_group
from llorch_core.fast.packed import BITS, KINDS, LANES
from llorch_core.fast.tiles import LONG, VECTOR, load, multiply

FUSED = {"reassoc", "contract", "nsz"}  # sums in any order, a product and a sum rounded once
ROOM = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
STAMP = hashlib.sha256(ROOM).hexdigest()


def compiled(function: Any = None, fastmath: Any = False) -> Any:
    """Have a function compiled, and kept for later processes until any file of this room changes.

    numba looks at the one file that a function is in, and would go on with what was compiled from another.
    """
    if function is None:
        return partial(compiled, fastmath=fastmath)
    made = njit(nogil=True, cache=True, error_model="numpy", fastmath=fastmath)(function)
    made._cache._cache_file._source_stamp = STAMP
    return made


summed = compiled(fastmath=FUSED)

BITS_OF = tuple(BITS[kind] for kind in KINDS)
ABOVE_OF = tuple(ABOVE.get(kind, 0) for kind in KINDS)
FUNCTIONS = ("gelu_new", "gelu", "gelu_fast", "quick_gelu", "relu", "silu", "tanh")
TURNS = 200  # looks at a barrier before a thread lets others have its core

let_others_run = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)


@intrinsic
def floats(typingctx: Any, address: Any) -> Any:
    """Return a pointer to the float32 numbers at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen


@intrinsic
def arrive(typingctx: Any, address: Any) -> Any:
    """Add 1 to the int64 at an address, for all threads to see; return what it was: a turn, or a share."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.IntType(64)(1), "acq_rel")

    return types.int64(types.int64), codegen


@intrinsic
def _arrived(typingctx: Any, address: Any) -> Any:
    """Return the int64 at an address, as the last thread left it."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _largest_of_vectors(typingctx: Any, x: Any, vectors: Any) -> Any:
    """Return the largest of 16 * vectors float32 at an address; -inf where there are none.

    What is no number is passed over. LLVM takes such a loop one by one: it may not suppose what we know.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        b, (x, vectors) = builder, arguments
        found = cgutils.alloca_once_value(b, ir.Constant(VECTOR, [-math.inf] * LANES))
        with cgutils.for_range(b, vectors) as n:
            here, so_far = load(b, b.add(x, b.mul(n.index, LONG(4 * LANES))), VECTOR, 4), b.load(found)
            b.store(b.select(b.fcmp_ordered(">", here, so_far), here, so_far), found)
        each = [b.extract_element(b.load(found), ir.IntType(32)(n)) for n in range(LANES)]
        return reduce(lambda one, two: b.select(b.fcmp_ordered(">", one, two), one, two), each)

    return types.float32(types.int64, types.int64), codegen


@compiled
def wait_for_all(size: int, counter: int, passed: int) -> int:
    """Wait until all threads are here; `passed` barriers are behind this one. Returns how many are then."""
    arrive(counter)
    wanted = (passed + 1) * size
    looks = 0
    while _arrived(counter) < wanted:
        looks += 1
        if looks > TURNS:
            let_others_run()
    return passed + 1


@compiled
def product(
    member: int, size: int, matrix: Any, x: int, x_row: int, n_rows: int, y: int, y_row: int, room: int
) -> None:
    """Compute this member's share of y = x @ matrix, in whole pairs of panels.

    matrix  int64: kind, address of panels, bytes of one, address of scales, bytes of one panel's, groups,
            turns of a group, panels, bytes of the digits of a row or 0, whether the matrix unit has them
    x, y    addresses of float32 rows, `x_row` and `y_row` bytes apart
    room    address for each member: the digits of as many rows, and SUMS bytes more
    """
    pairs, of_row = matrix[7] // 2, matrix[8]
    width = 8 * matrix[2] // (LANES * BITS_OF[matrix[0]])
    own = room + member * (n_rows * of_row + amx.SUMS)
    by_unit = matrix[9] != 0 and n_rows > 4
    if by_unit:
        amx.begin(min(n_rows, LANES))
    if of_row:
        for r in range(n_rows):
            write_digits(x + r * x_row, width, width // matrix[5], ABOVE_OF[matrix[0]], own + r * of_row)
    for pair in range(pairs * member // size, pairs * (member + 1) // size):
        first = 2 * pair
        w, s = matrix[1] + first * matrix[2], matrix[3] + first * matrix[4]
        row = 0
        while by_unit and row + min(n_rows, LANES) <= n_rows:
            rows = min(n_rows, LANES)
            amx.multiply_digits(
                w, matrix[2], s, matrix[4], matrix[5], matrix[6] // LANES, own + row * of_row, of_row, width,
                rows, own + n_rows * of_row, y + row * y_row + first * 64, y_row,
            )  # fmt: skip
            row += rows
        while row < n_rows:
            left = n_rows - row
            rows = 8 if left >= 8 else 4 if left >= 4 else 2 if left >= 2 else 1
            to = y + row * y_row + first * 64
            if of_row:
                multiply_digits(
                    matrix[0], rows, w, matrix[2], s, matrix[4], matrix[5], matrix[6],
                    own + row * of_row, of_row, width, to, y_row,
                )  # fmt: skip
            else:
                multiply(
                    matrix[0], rows, w, matrix[2], s, matrix[4], matrix[5], matrix[6],
                    x + row * x_row, x_row, to, y_row,
                )  # fmt: skip
            row += rows
    if by_unit:
        amx.end()


@compiled
def write_digits(x: int, width: int, group: int, above: int, out: int) -> None:
    """Write a row, float32 [width] at x, as `multiply_digits` reads it; a group of inputs shares a scale.

    above  what is added to every weight
    """
    beside = out + DIGITS * width
    for first in range(0, width, group):
        write_group(x + 4 * first, group // LANES, width, above, out + first, beside)
        beside += IN_A_GROUP


@intrinsic
def exp(typingctx: Any, x: Any) -> Any:
    """e to the x, float32, to a unit or two in the last place; as if x were in -87 to 88.

    In LLVM's own words, that loops which call it are vectorised and its sums are kept in their order.
    Source: Cephes, expf.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        b, (x,) = builder, arguments
        number, word = ir.FloatType(), ir.IntType(32)
        kind = ir.FunctionType(number, [number] * 3)
        fused = cgutils.get_or_insert_function(b.module, kind, "llvm.fmuladd.f32")
        floor = cgutils.get_or_insert_function(b.module, ir.FunctionType(number, [number]), "llvm.floor.f32")
        for condition, bound in (("<", -87.0), (">", 88.0)):  # what is no number stays so
            x = b.select(b.fcmp_ordered(condition, x, number(bound)), number(bound), x)
        n = b.call(floor, [b.call(fused, [x, number(_of(1.44269504)), number(0.5)])])
        r = b.call(fused, [n, number(-0.693359375), x])
        r = b.call(fused, [n, number(_of(2.12194440e-4)), r])
        p = number(_of(1.9875691500e-4))
        for coefficient in (
            1.3981999507e-3,
            8.3334519073e-3,
            4.1665795894e-2,
            1.6666665459e-1,
            5.0000001201e-1,
        ):
            p = b.call(fused, [p, r, number(_of(coefficient))])
        p = b.fadd(b.call(fused, [b.fmul(p, r), r, r]), number(1.0))
        power = b.shl(b.add(b.fptosi(n, word), word(127)), word(23))
        return b.fmul(p, b.bitcast(power, number))

    return types.float32(types.float32), codegen


def _of(x: float) -> float:
    """The nearest float32."""
    return float(np.float32(x))


@summed
def activate(function: int, x: Any, y: Any, first: int, last: int) -> None:
    """y = the activation of x, from `first` to `last`; `function` is an index of FUNCTIONS."""
    one, half = np.float32(1.0), np.float32(0.5)
    if function == 0 or function == 2:  # (1 + tanh(z)) / 2 is the sigmoid of 2z
        c = np.float32(math.sqrt(2 / math.pi)) if function == 0 else np.float32(0.7978845608)
        for i in range(first, last):
            v = x[i]
            z = c * (v + np.float32(0.044715) * v * v * v)
            y[i] = v / (one + exp(np.float32(-2.0) * z))
    elif function == 1:
        for i in range(first, last):
            y[i] = half * x[i] * (one + np.float32(math.erf(float(x[i]) * math.sqrt(0.5))))
    elif function == 3 or function == 5:
        c = np.float32(-1.702) if function == 3 else np.float32(-1.0)
        for i in range(first, last):
            y[i] = x[i] / (one + exp(c * x[i]))
    elif function == 4:
        for i in range(first, last):
            y[i] = max(x[i], np.float32(0.0))
    else:
        for i in range(first, last):
            y[i] = np.float32(math.tanh(float(x[i])))


@summed
def layer_norm(x: Any, weight: Any, bias: Any, epsilon: float, y: Any) -> None:
    """y = the row x at mean 0 and variance 1, times gain, plus bias. Spec: layer_norm."""
    n = len(weight)
    total = np.float32(0.0)
    for i in range(n):
        total += x[i]
    mean = total / np.float32(n)
    squares = np.float32(0.0)
    for i in range(n):
        y[i] = x[i] - mean
        squares += y[i] * y[i]
    scale = np.float32(1.0) / np.sqrt(squares / np.float32(n) + np.float32(epsilon))
    for i in range(n):
        y[i] = y[i] * scale * weight[i] + bias[i]


@summed
def match(q: Any, keys: int, n_keys: int, scale: float, scores: Any) -> None:
    """scores = the query q (head_dim,) matched with each key that it may see. Spec: attention_scores.

    keys    address of float32 (n_keys, head_dim)
    scores  (keys of the sequence,): -inf beyond `n_keys`
    """
    key, head_dim = floats(keys), len(q)
    for s in range(n_keys):
        total = np.float32(0.0)
        for d in range(head_dim):
            total += q[d] * key[s * head_dim + d]
        scores[s] = total * np.float32(scale)
    for s in range(n_keys, len(scores)):
        scores[s] = np.float32(-np.inf)


@summed
def share_out(scores: Any, n_keys: int, probs: Any) -> None:
    """probs = shares that sum to 1, of the first `n_keys` scores; 0 beyond. Spec: attention_weights."""
    vectors = n_keys // LANES
    largest = _largest_of_vectors(scores.ctypes.data, vectors)
    for s in range(vectors * LANES, n_keys):
        largest = scores[s] if scores[s] > largest else largest
    total = np.float32(0.0)
    for s in range(n_keys):
        probs[s] = exp(scores[s] - largest)
        total += probs[s]
    share = np.float32(1.0) / total
    for s in range(n_keys):
        probs[s] *= share
    for s in range(n_keys, len(scores)):
        probs[s] = np.float32(0.0)


@summed
def mix(probs: Any, values: int, n_keys: int, out: Any) -> None:
    """out = the values mixed by their shares, (head_dim,). Spec: attention_context.

    values  address of float32 (n_keys, head_dim)
    """
    value, head_dim = floats(values), len(out)
    for d in range(head_dim):
        out[d] = np.float32(0.0)
    for s in range(n_keys):
        for d in range(head_dim):
            out[d] += probs[s] * value[s * head_dim + d]


@summed
def add(x: Any, y: Any, out: Any, n: int) -> None:
    """out = x + y, of n numbers. Spec: residual."""
    for i in range(n):
        out[i] = x[i] + y[i]


@summed
def step(
    member: int, size: int, counter: int, digits: int, sizes: Any, epsilon: float, scales: Any,
    matrices: Any, biases: Any, norms: Any, caches: Any, rows: Any, wanted: Any, stream: Any, normed: Any,
    qkv: Any, scores: Any, probs: Any, context: Any, attended: Any, mid: Any, normed_2: Any, fc: Any,
    act: Any, out: Any, last: Any, logits: Any,
) -> None:  # fmt: skip
    """Read the rows of `stream[0]`, and write the logits of those that are wanted.

    counter   address of the int64 that barriers count in; 0 at first
    digits    address of room for the digits of T rows, for each member
    sizes     int64: layers, heads, n_embd, n_inner, activation, whether each layer has a slot
    scales    float32 [n_layer], of the attention scores
    matrices  int64 [4 * n_layer + 1, 8], as `product` reads them: c_attn, c_proj, c_fc, c_proj …, head
    biases    float32 [4 * n_layer, widest]
    norms     float32 [2 * n_layer + 1, 2, n_embd]: gain and bias
    caches    int64 [sequences, 3]: where keys and values are, [n_layer, n_head, capacity, head_dim]; capacity
    rows      int64 [T, 3]: the sequence of each row, its position, and the keys of its sequence
    wanted    int64: rows that get logits
    stream …  float32 [slots, T, width]; scores, probs [slots, T, n_head, keys]; last, logits [wanted, width]

    Spec: gpt2, qkv, cache, attention_output, residual, mlp, logits.
    """
    n_layer, n_head, n_embd, n_inner, function, slots = sizes
    n_rows = len(rows)
    head_dim = n_embd // n_head
    passed = 0
    for layer in range(n_layer):
        here, after = layer * slots, (layer + 1) * slots
        own = slice(n_rows * member // size, n_rows * (member + 1) // size)
        for r in range(own.start, own.stop):
            layer_norm(stream[here, r], norms[2 * layer, 0], norms[2 * layer, 1], epsilon, normed[here, r])
        passed = wait_for_all(size, counter, passed)
        _multiplied(
            member, size, matrices[4 * layer], biases[4 * layer], normed[here], qkv[here], 3 * n_embd, digits
        )
        passed = wait_for_all(size, counter, passed)
        for unit in range(member, n_rows * n_head, size):
            r, h = unit // n_head, unit % n_head
            keys, values, capacity = caches[rows[r, 0]]
            at = 4 * head_dim * (layer * n_head + h) * capacity + 4 * head_dim * rows[r, 1]
            key, value = floats(keys + at), floats(values + at)
            for d in range(head_dim):
                key[d] = qkv[here, r, n_embd + h * head_dim + d]
                value[d] = qkv[here, r, 2 * n_embd + h * head_dim + d]
        passed = wait_for_all(size, counter, passed)
        for unit in range(member, n_rows * n_head, size):
            r, h = unit // n_head, unit % n_head
            keys, values, capacity = caches[rows[r, 0]]
            head = slice(h * head_dim, (h + 1) * head_dim)
            at = 4 * head_dim * (layer * n_head + h) * capacity
            n_keys, seen = rows[r, 1] + 1, slice(0, rows[r, 2])
            match(qkv[here, r, head], keys + at, n_keys, scales[layer], scores[here, r, h, seen])
            share_out(scores[here, r, h, seen], n_keys, probs[here, r, h, seen])
            mix(probs[here, r, h, seen], values + at, n_keys, context[here, r, head])
        passed = wait_for_all(size, counter, passed)
        bias = biases[4 * layer + 1]
        _multiplied(
            member, size, matrices[4 * layer + 1], bias, context[here], attended[here], n_embd, digits
        )
        passed = wait_for_all(size, counter, passed)
        for r in range(own.start, own.stop):
            add(stream[here, r], attended[here, r], mid[here, r], n_embd)
            norm = norms[2 * layer + 1]
            layer_norm(mid[here, r], norm[0], norm[1], epsilon, normed_2[here, r])
        passed = wait_for_all(size, counter, passed)
        share = _multiplied(
            member,
            size,
            matrices[4 * layer + 2],
            biases[4 * layer + 2],
            normed_2[here],
            fc[here],
            n_inner,
            digits,
        )
        for r in range(n_rows):
            activate(function, fc[here, r], act[here, r], share[0], share[1])
        passed = wait_for_all(size, counter, passed)
        _multiplied(
            member, size, matrices[4 * layer + 3], biases[4 * layer + 3], act[here], out[here], n_embd, digits
        )
        passed = wait_for_all(size, counter, passed)
        for r in range(own.start, own.stop):
            add(mid[here, r], out[here, r], stream[after, r], n_embd)
    passed = wait_for_all(size, counter, passed)
    norm = norms[2 * n_layer]
    for r in range(len(wanted) * member // size, len(wanted) * (member + 1) // size):
        layer_norm(stream[n_layer * slots, wanted[r]], norm[0], norm[1], epsilon, last[r])
    passed = wait_for_all(size, counter, passed)
    head = matrices[4 * n_layer]
    product(
        member,
        size,
        head,
        last.ctypes.data,
        last.strides[0],
        len(wanted),
        logits.ctypes.data,
        logits.strides[0],
        digits,
    )


@summed
def _multiplied(
    member: int, size: int, matrix: Any, bias: Any, x: Any, y: Any, n_out: int, digits: int
) -> tuple[int, int]:
    """Compute this member's outputs of y = x @ matrix + bias for all rows; return the first and the end."""
    product(member, size, matrix, x.ctypes.data, x.strides[0], len(x), y.ctypes.data, y.strides[0], digits)
    pairs = matrix[7] // 2
    first = min(n_out, 32 * (pairs * member // size))
    last = min(n_out, 32 * (pairs * (member + 1) // size))
    for r in range(len(x)):
        for i in range(first, last):
            y[r, i] += bias[i]
    return first, last
