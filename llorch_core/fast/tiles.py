"""The inner product of packed weights with rows of activations, in LLVM's own vectors.

NumPy has no such product, and loops that LLVM is left to vectorise reach a fifth of the memory's speed. A
tile is two panels of 16 outputs for 1, 2, 4 or 8 rows: each vector of weights is read and decoded once, and
multiplied with all of the rows. A vector has 16 float32, as in AVX-512; LLVM splits it elsewhere.

An output is one sum in the order of the inputs, however many rows a tile has: a row has the bits that it
has alone.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from llorch_core.fast.packed import BITS, KINDS, LANES, PLACES, WEIGHTS_IN_64_BYTES

ROWS = (8, 4, 2, 1)
PANELS = 2
FLOAT, SHORT, WORD, LONG = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
VECTOR, WORDS, SHORTS = (ir.VectorType(scalar, LANES) for scalar in (FLOAT, WORD, SHORT))
UNROLLED = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 1}  # blocks of 64 bytes in one turn of the loop


def k_in_a_turn(kind: str) -> int:
    """Return how many inputs one turn of the loop reads; the inputs of a matrix are padded to this."""
    return WEIGHTS_IN_64_BYTES[kind] // LANES * UNROLLED[kind]


@intrinsic
def multiply(
    typingctx: Any, kind: Any, rows: Any, w: Any, w_panel: Any, s: Any, s_panel: Any, groups: Any, turns: Any,
    x: Any, x_row: Any, y: Any, y_row: Any,
) -> Any:  # fmt: skip
    """Write two panels of y = x @ w for some rows. Arguments are int64: numbers, addresses, strides in bytes.

    kind     index of KINDS
    rows     one of ROWS
    w        the first panel, aligned to 64 bytes; the second is `w_panel` further
    s        bfloat16 scales of the first panel, one vector a group; not read where weights have none
    groups   groups of inputs, each of `turns` turns of the loop
    x        the first row, float32; the next is `x_row` further
    y        where the first row's 32 outputs go, float32
    """
    del typingctx, kind, rows, w, w_panel, s, s_panel, groups, turns, x, x_row, y, y_row

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        del signature
        kind, rows, *rest = arguments
        for index, name in enumerate(KINDS):
            with builder.if_then(builder.icmp_signed("==", kind, LONG(index))):
                for count in ROWS:
                    with builder.if_then(builder.icmp_signed("==", rows, LONG(count))):
                        _Tile(builder, name, count, rest).emit()
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), codegen


class _Tile:
    """The code for one kind of weights and one number of rows."""

    def __init__(self, builder: ir.IRBuilder, kind: str, rows: int, arguments: list[ir.Value]) -> None:
        self.b, self.kind, self.rows = builder, kind, rows
        self.w, self.w_panel, self.s, self.s_panel, self.groups, self.turns, *xy = arguments
        self.x, self.x_row, self.y, self.y_row = xy
        self.scaled = kind in ("int8", "int4")

    def emit(self) -> None:
        b, zero = self.b, ir.Constant(VECTOR, [0.0] * LANES)
        places = [(r, p) for r in range(self.rows) for p in range(PANELS)]
        sums = {at: self.variable(zero) for at in places}
        totals = {at: self.variable(zero) for at in places}
        with cgutils.for_range(b, self.groups) as group:
            first = b.mul(group.index, self.turns)
            with cgutils.for_range(b, self.turns) as turn:
                self.turn(b.add(first, turn.index), sums)
            scales = self.scales(group.index)
            for r, p in places:
                part = b.load(sums[r, p])
                total = b.load(totals[r, p])
                added = fused(b, part, scales[p], total) if scales else b.fadd(total, part)
                b.store(added, totals[r, p])
                b.store(zero, sums[r, p])
        for r, p in places:
            at = b.add(b.add(self.y, b.mul(self.y_row, LONG(r))), LONG(4 * LANES * p))
            store(b, b.load(totals[r, p]), at, 4)

    def turn(self, i: ir.Value, sums: dict[tuple[int, int], ir.Value]) -> None:
        """Add the products of one turn: some blocks of 64 bytes of each panel, with every row."""
        b, blocks = self.b, UNROLLED[self.kind]
        each = WEIGHTS_IN_64_BYTES[self.kind] // LANES
        at = b.mul(i, LONG(64 * blocks))
        x = b.add(self.x, b.mul(i, LONG(4 * each * blocks)))
        read = {
            (p, n): load(
                b, b.add(b.add(b.add(self.w, b.mul(self.w_panel, LONG(p))), at), LONG(64 * n)), WORDS, 64
            )
            for p in range(PANELS)
            for n in range(blocks)
        }
        for n in range(blocks):
            for j in range(each):
                k = n * each + j
                weights = [decoded(b, self.kind, read[p, n], j) for p in range(PANELS)]
                for r in range(self.rows):
                    place = b.add(b.add(x, b.mul(self.x_row, LONG(r))), LONG(4 * k))
                    value = spread(b, load(b, place, FLOAT, 4), VECTOR)
                    for p in range(PANELS):
                        total = sums[r, p]
                        b.store(fused(b, weights[p], value, b.load(total)), total)

    def scales(self, group: ir.Value) -> list[ir.Value]:
        b = self.b
        if not self.scaled:
            return []
        at = [b.add(self.s, b.mul(self.s_panel, LONG(p))) for p in range(PANELS)]
        return [scales_at(b, b.add(a, b.mul(group, LONG(2 * LANES)))) for a in at]

    def variable(self, value: ir.Value) -> ir.Value:
        place = cgutils.alloca_once(self.b, VECTOR)
        self.b.store(value, place)
        return place


def decoded(b: ir.IRBuilder, kind: str, block: ir.Value, j: int) -> ir.Value:
    """Return the weights of the j-th input in a block as float32, for 16 outputs, without their scale."""
    if kind == "float32":
        return b.bitcast(block, VECTOR)
    if kind == "bfloat16":
        return b.bitcast(b.and_(block, words(-65536)) if j else b.shl(block, words(16)), VECTOR)
    width = BITS[kind]
    up = 32 - width - PLACES[kind][j]
    top = b.shl(block, words(up)) if up else block
    return b.sitofp(b.ashr(top, words(32 - width)), VECTOR)


def load(b: ir.IRBuilder, address: ir.Value, what: ir.Type, align: int) -> ir.Value:
    """Return what lies at an address."""
    return b.load(b.inttoptr(address, what.as_pointer()), align=align)


def store(b: ir.IRBuilder, value: ir.Value, address: ir.Value, align: int) -> None:
    """Write a value to an address."""
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=align)


def scales_at(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Return the bfloat16 scales of 16 outputs as float32."""
    return b.bitcast(b.shl(b.zext(load(b, address, SHORTS, 32), WORDS), words(16)), VECTOR)


def fused(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Return x * y + z, rounded once where the processor can."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.fmuladd.v16f32"), [x, y, z])


def spread(b: ir.IRBuilder, value: ir.Value, to: ir.Type) -> ir.Value:
    """Return a vector of 16 times the same."""
    nothing = ir.Constant(to, ir.Undefined)
    return b.shuffle_vector(b.insert_element(nothing, value, WORD(0)), nothing, words(0))


def words(n: int) -> ir.Constant:
    """Return 16 times the same 32 bits."""
    return ir.Constant(WORDS, [n] * LANES)
