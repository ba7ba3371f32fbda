"""The inner product of int8 and int4 weights with rows of activations, in whole numbers (AVX-512 VNNI).

An activation is a whole number of 23 bits, times a scale that its group shares: three digits of 8 bits, each
-128 to 127. Products of digits and weights are added in int32, exactly; only then do the scales come in. One
instruction multiplies 64 pairs, where float32 takes four, and four more to decode the weights.

The instruction takes one side without sign. So a weight is read as what it is above the least one, and each
sum begins at what that makes too much of it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from llorch_core.fast.packed import BITS, KINDS, LANES
from llorch_core.fast.processor import compiled_for
from llorch_core.fast.tiles import (
    FLOAT,
    LONG,
    ROWS,
    VECTOR,
    WORD,
    WORDS,
    fused,
    load,
    scales_at,
    spread,
    store,
    words,
)  # fmt: skip

COMPILED = compiled_for("avx512f", "avx512vnni")
DIGITS = 3
BYTES = ir.VectorType(ir.IntType(8), LANES)
LARGEST = 2**22 - 1  # of the whole numbers: three digits have room for twice that
ABOVE = {"int8": 128, "int4": 8}  # what is added to a weight, so that none is below 0
IN_A_GROUP = 16  # bytes, beside the digits: what each sum begins at, and the scale


def bytes_of_row(kind: str, width: int, groups: int) -> int:
    """Return the bytes that the digits of a row take; 0 where rows are multiplied as they are."""
    if not COMPILED or kind not in ABOVE or width // groups % LANES:
        return 0
    return -(-(DIGITS * width + IN_A_GROUP * groups) // 64) * 64


@intrinsic
def write_group(
    typingctx: Any, x: Any, vectors: Any, width: Any, above: Any, digits: Any, beside: Any
) -> Any:
    """Write the digits of 16 * vectors float32 that share a scale. Arguments are int64: numbers, addresses.

    x, digits, beside  where the group's numbers are, and where its first digits and the rest go
    above              what is added to every weight

    What is not finite leaves the group a scale that is no number.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if COMPILED:
            _group(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def _group(b: ir.IRBuilder, x: Any, vectors: Any, width: Any, above: Any, digits: Any, beside: Any) -> None:
    def function(name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
        return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, list(arguments)), name)

    largest = cgutils.alloca_once_value(b, words(0))
    with cgutils.for_range(b, vectors) as n:  # bits without a sign are in the order of their numbers
        size = b.and_(load(b, b.add(x, b.mul(n.index, LONG(64))), WORDS, 4), words(0x7FFFFFFF))
        b.store(b.select(b.icmp_signed(">", size, b.load(largest)), size, b.load(largest)), largest)
    most = b.call(function("llvm.vector.reduce.smax.v16i32", WORD, WORDS), [b.load(largest)])
    size = b.bitcast(most, FLOAT)
    per_unit = b.select(b.icmp_signed(">", most, WORD(0)), b.fdiv(FLOAT(float(LARGEST)), size), FLOAT(0.0))
    each = spread(b, per_unit, VECTOR)
    sums = [cgutils.alloca_once_value(b, words(0)) for _ in range(DIGITS)]
    with cgutils.for_range(b, vectors) as n:
        value = b.fmul(load(b, b.add(x, b.mul(n.index, LONG(64))), VECTOR, 4), each)
        left = b.fptosi(b.call(function("llvm.roundeven.v16f32", VECTOR, VECTOR), [value]), WORDS)
        for j in reversed(range(DIGITS)):
            digit = b.ashr(b.shl(left, words(24)), words(24))
            left = b.ashr(b.sub(left, digit), words(8))
            b.store(b.add(b.load(sums[j]), digit), sums[j])
            place = b.add(b.add(digits, b.mul(width, LONG(j))), b.mul(n.index, LONG(LANES)))
            store(b, b.trunc(digit, BYTES), place, 1)
    too_much = b.neg(b.trunc(above, WORD))
    for j, one in enumerate(sums):
        total = b.call(function("llvm.vector.reduce.add.v16i32", WORD, WORDS), [b.load(one)])
        store(b, b.mul(total, too_much), b.add(beside, LONG(4 * j)), 4)
    finite = b.icmp_signed("<", most, WORD(0x7F800000))
    scale = b.select(finite, b.fdiv(size, FLOAT(float(LARGEST))), FLOAT(float("nan")))
    store(b, scale, b.add(beside, LONG(4 * DIGITS)), 4)


def joined(b: ir.IRBuilder, sums: list[ir.Value]) -> ir.Value:
    """Return the float32 number that the int32 sums of three digits make, the high one first."""
    high, *lower = (b.sitofp(one, VECTOR) for one in sums)
    for part in lower:
        high = fused(b, high, ir.Constant(VECTOR, [256.0] * LANES), part)
    return high


@intrinsic
def multiply_digits(
    typingctx: Any, kind: Any, rows: Any, w: Any, w_panel: Any, s: Any, s_panel: Any, groups: Any,
    blocks: Any, x: Any, x_row: Any, width: Any, y: Any, y_row: Any,
) -> Any:  # fmt: skip
    """Write two panels of y = x @ w for some rows. Arguments are int64: numbers, addresses, strides in bytes.

    kind, rows, w, w_panel, s, s_panel, groups, y, y_row  as `tiles.multiply` takes them
    blocks  of 64 bytes in a group
    x       the first row: int8 [3, width], its digits, the high ones first; then for each group what the
            three sums begin at, int32, and the scale, float32. The next row is `x_row` further
    width   inputs
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind, rows, *rest = arguments
        for name in ABOVE if COMPILED else ():
            with builder.if_then(builder.icmp_signed("==", kind, LONG(KINDS.index(name)))):
                for count in ROWS:
                    with builder.if_then(builder.icmp_signed("==", rows, LONG(count))):
                        # 24 sums, of 32 registers; with as many as that, each panel has its own turn
                        for panels in [[0], [1]] if count == max(ROWS) else [[0, 1]]:
                            _Tile(builder, name, count, panels, rest).emit()
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13), codegen


class _Tile:
    """The code for one kind of weights, one number of rows, and some panels."""

    def __init__(
        self, builder: ir.IRBuilder, kind: str, rows: int, panels: list[int], arguments: list[ir.Value]
    ) -> None:
        self.b, self.kind, self.rows, self.panels = builder, kind, rows, panels
        self.w, self.w_panel, self.s, self.s_panel, self.groups, self.blocks, *xy = arguments
        self.x, self.x_row, self.width, self.y, self.y_row = xy
        function = ir.FunctionType(WORDS, [WORDS] * 3)
        self.dot = cgutils.get_or_insert_function(builder.module, function, "llvm.x86.avx512.vpdpbusd.512")

    def emit(self) -> None:
        b = self.b
        places = [(r, p) for r in range(self.rows) for p in self.panels]
        totals = {at: self.variable(ir.Constant(VECTOR, [0.0] * LANES)) for at in places}
        sums = {(*at, j): self.variable(words(0)) for at in places for j in range(DIGITS)}
        rows = [b.add(self.x, b.mul(self.x_row, LONG(r))) for r in range(self.rows)]
        with cgutils.for_range(b, self.groups) as group:
            beside = b.add(b.mul(self.width, LONG(DIGITS)), b.mul(group.index, LONG(IN_A_GROUP)))
            for r, p, j in sums:
                begin = load(b, b.add(b.add(rows[r], beside), LONG(4 * j)), WORD, 4)
                b.store(spread(b, begin, WORDS), sums[r, p, j])
            first = b.mul(group.index, self.blocks)
            with cgutils.for_range(b, self.blocks) as block:
                self.block(b.add(first, block.index), rows, sums)
            for p in self.panels:
                at = b.add(b.add(self.s, b.mul(self.s_panel, LONG(p))), b.mul(group.index, LONG(2 * LANES)))
                weight = scales_at(b, at)
                for r in range(self.rows):
                    scale = load(b, b.add(b.add(rows[r], beside), LONG(4 * DIGITS)), FLOAT, 4)
                    whole = joined(b, [b.load(sums[r, p, j]) for j in range(DIGITS)])
                    both = b.fmul(weight, spread(b, scale, VECTOR))
                    b.store(fused(b, whole, both, b.load(totals[r, p])), totals[r, p])
        for r, p in places:
            at = b.add(b.add(self.y, b.mul(self.y_row, LONG(r))), LONG(4 * LANES * p))
            store(b, b.load(totals[r, p]), at, 4)

    def block(self, n: ir.Value, rows: list[ir.Value], sums: dict[tuple[int, int, int], ir.Value]) -> None:
        """Add the products of 64 bytes of each panel with every digit of every row."""
        b, four = self.b, BITS["int8"] // BITS[self.kind]  # times four inputs in the block
        for p in self.panels:
            at = b.add(b.add(self.w, b.mul(self.w_panel, LONG(p))), b.mul(n, LONG(64)))
            for i, weights in enumerate(self.without_sign(load(b, at, WORDS, 64))):
                for r, row in enumerate(rows):
                    place = b.add(row, b.add(b.mul(n, LONG(4 * four)), LONG(4 * i)))
                    for j in range(DIGITS):
                        at_digit = b.add(place, b.mul(self.width, LONG(j)))
                        digits = spread(b, load(b, at_digit, WORD, 4), WORDS)
                        total = sums[r, p, j]
                        b.store(b.call(self.dot, [b.load(total), weights, digits]), total)

    def without_sign(self, block: ir.Value) -> list[ir.Value]:
        """Return the weights of four inputs each as bytes: what they are above the least one."""
        b = self.b
        if self.kind == "int8":
            return [b.xor(block, words(0x80808080))]
        above, low = b.xor(block, words(0x88888888)), words(0x0F0F0F0F)
        return [b.and_(above, low), b.and_(b.lshr(above, words(4)), low)]

    def variable(self, value: ir.Value) -> ir.Value:
        place = cgutils.alloca_once(self.b, value.type)
        self.b.store(value, place)
        return place
