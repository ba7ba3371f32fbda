"""Products of many rows by AMX, the matrix unit of x86 processors: float32 to rounding, by parts in bfloat16.

A float32 number is the sum of three bfloat16 numbers, exactly: 24 bits in three times 8. So a product of two
is the sum of nine products of parts, and the three of them that lie below 2**-24 of the whole are left out.
Packed weights are exact in one part (bfloat16) or two (int8 and int4 with their scales); what is multiplied
with them has two, which leaves out 2**-18 of it.

The unit multiplies tiles, [16, 32] @ [32, 16], and adds in float32. Here a block is [32, n] @ [n, 32]: four
tiles of sums, which stay in the unit's registers for all of n. In a tile of weights, 32 bits hold two inputs
of an output: bfloat16 panels have that layout already.

A few rows with int8 weights, whose panels have the unit's other layout, are multiplied in digits, exactly.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from llorch_core.fast.digits import DIGITS, IN_A_GROUP, joined
from llorch_core.fast.packed import GROUPS, KINDS, LANES, PLACES
from llorch_core.fast.processor import compiled_for
from llorch_core.fast.tiles import (
    FLOAT,
    LONG,
    SHORTS,
    VECTOR,
    WORD,
    WORDS,
    decoded,
    fused,
    load,
    scales_at,
    spread,
    store,
    words,
)  # fmt: skip

K = 32  # inputs of a tile
ROWS = 32  # of a block, and its columns
PARTS = 3  # of a float32 number
PARTS_OF_X = {1: 2, 2: 2, 3: 3}  # of rows, by the parts of what they are multiplied with
TILE = 2 * K * LANES  # bytes
PARTS_OF = {"float32": 3, "bfloat16": 1, "int8": 2, "int4": 2}
SUMS = 2 * DIGITS * TILE  # bytes of what a group of int8 weights makes
BYTE = ir.IntType(8)
ARCH_PRCTL, REQUEST, TILE_DATA = 158, 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)


COMPILED = sys.platform == "linux" and compiled_for("amx-tile", "amx-bf16", "amx-int8")


def usable() -> bool:
    """Whether the processor has the unit, and the system lets this process use it."""
    return COMPILED and ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST, TILE_DATA) == 0


@intrinsic
def begin(typingctx: Any, rows: Any) -> Any:
    """Set this thread's tiles up: eight of `rows` rows of 64 bytes, but for tile 6, which has 16."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        b = builder
        shape = bytes([1, *[0] * 15, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8])
        place = cgutils.alloca_once_value(b, cgutils.make_bytearray(shape))
        for tile in {*range(8)} - {6}:
            b.store(b.trunc(arguments[0], BYTE), b.gep(place, [WORD(0), WORD(48 + tile)]))
        _call(b, "ldtilecfg", b.bitcast(place, BYTE.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def end(typingctx: Any) -> Any:
    """Give this thread's tiles back: what holds none is switched faster."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def multiply_block(
    typingctx: Any, w_parts: Any, x: Any, x_next: Any, w: Any, tiles: Any, y: Any, y_row: Any, add: Any
) -> Any:
    """Write 32 rows and 32 columns of y = x @ w, or of y + x @ w. Arguments are int64.

    w_parts  1, 2 or 3
    x        16 rows, as `split` writes them; the next 16 are `x_next` bytes further
    w        two panels, as `unpack` writes them
    tiles    of 32 inputs
    y        the first row's first float32; rows are `y_row` bytes apart
    add      0 for y = x @ w, 1 for y + x @ w
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        w_parts, *rest = arguments
        for count in (1, 2, 3):
            with builder.if_then(builder.icmp_signed("==", w_parts, LONG(count))):
                _block(builder, count, *rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), codegen


def _block(
    b: ir.IRBuilder, w_parts: int, x: Any, x_next: Any, w: Any, tiles: Any, y: Any, y_row: Any, add: Any
) -> None:
    """Tiles 0 to 3 are sums, row by row; 4 and 5 are rows, 6 and 7 columns."""

    def read(tile: int, address: ir.Value, row: ir.Value) -> None:
        _call(b, "tileloadd64", BYTE(tile), _pointer(b, address), row)

    places = [
        b.add(b.add(y, b.mul(y_row, LONG(16 * r))), LONG(4 * LANES * p)) for r in range(2) for p in range(2)
    ]
    with b.if_else(b.icmp_signed("==", add, LONG(0))) as (new, more):
        with new:
            for n in range(4):
                _call(b, "tilezero", BYTE(n))
        with more:
            for n, place in enumerate(places):
                read(n, place, y_row)
    with cgutils.for_range(b, tiles) as tile:
        at_x = b.add(x, b.mul(tile.index, LONG(PARTS_OF_X[w_parts] * TILE)))
        at_w = b.add(w, b.mul(tile.index, LONG(2 * w_parts * TILE)))
        for j in range(w_parts):
            for p in range(2):
                read(6 + p, b.add(at_w, LONG((2 * j + p) * TILE)), LONG(64))
            for i in range(PARTS_OF_X[w_parts] - j):
                for r in range(2):
                    read(4 + r, b.add(b.add(at_x, b.mul(x_next, LONG(r))), LONG(i * TILE)), LONG(64))
                for n in range(4):
                    _call(b, "tdpbf16ps", BYTE(n), BYTE(4 + n // 2), BYTE(6 + n % 2))
    for n, place in enumerate(places):
        _call(b, "tilestored64", BYTE(n), _pointer(b, place), y_row)


@intrinsic
def split(typingctx: Any, parts: Any, x: Any, count: Any, out: Any) -> Any:
    """Write 2 or 3 parts of `count` float32 at `x`, a multiple of 16, to their row of the tiles at `out`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        parts, *rest = arguments
        for count in sorted({*PARTS_OF_X.values()}):
            with builder.if_then(builder.icmp_signed("==", parts, LONG(count))):
                _split(builder, count, *rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


def _split(b: ir.IRBuilder, parts: int, x: Any, count: Any, out: Any) -> None:
    with cgutils.for_range(b, b.sdiv(count, LONG(LANES))) as n:
        tile, half = b.lshr(n.index, LONG(1)), b.and_(n.index, LONG(1))
        at = b.add(out, b.add(b.mul(tile, LONG(parts * TILE)), b.mul(half, LONG(2 * LANES))))
        value = load(b, b.add(x, b.mul(n.index, LONG(4 * LANES))), VECTOR, 4)
        for i, bits in enumerate(_parts(b, value, parts)):
            store(b, b.trunc(b.lshr(bits, words(16)), SHORTS), b.add(at, LONG(i * TILE)), 32)


@intrinsic
def unpack(typingctx: Any, kind: Any, w: Any, blocks: Any, step: Any, scale: Any, out: Any) -> Any:
    """Write the parts of a panel's weights for at most 32 inputs, as a tile for each. Arguments are int64.

    kind    index of KINDS
    w       the first of `blocks` vectors of 64 bytes, `step` bytes apart
    scale   the address of 16 bfloat16 scales; not read where weights have none
    out     the tile of the first part; between it and the next is the other panel's
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind, *rest = arguments
        for index, name in enumerate(KINDS):
            with builder.if_then(builder.icmp_signed("==", kind, LONG(index))):
                _unpack(builder, name, *rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def _unpack(b: ir.IRBuilder, kind: str, w: Any, blocks: Any, step: Any, scale: Any, out: Any) -> None:
    each = len(PLACES[kind])  # inputs of a block
    scales = scales_at(b, scale) if kind in GROUPS else None
    at_once = 2 if each == 1 else 1  # blocks: two inputs share a word of a tile
    with cgutils.for_range(b, b.sdiv(blocks, LONG(at_once))) as n:
        at = b.add(w, b.mul(n.index, b.mul(step, LONG(at_once))))
        read = [load(b, b.add(at, b.mul(step, LONG(i))), WORDS, 4) for i in range(at_once)]
        if kind == "bfloat16":  # as it is in the tile
            store(b, read[0], b.add(out, b.mul(n.index, LONG(64))), 64)
            values = []
        else:
            values = [decoded(b, kind, block, j) for block in read for j in range(each)]
        if scales:
            values = [b.fmul(value, scales) for value in values]
        for pair in range(len(values) // 2):
            parts = [_parts(b, value, PARTS_OF[kind]) for value in values[2 * pair : 2 * pair + 2]]
            place = b.add(out, b.mul(b.add(b.mul(n.index, LONG(len(values) // 2)), LONG(pair)), LONG(64)))
            for i, (low, high) in enumerate(zip(*parts, strict=True)):
                both = b.or_(b.lshr(low, words(16)), high)
                store(b, both, b.add(place, LONG(2 * i * TILE)), 64)


@intrinsic
def multiply_digits(
    typingctx: Any, w: Any, w_panel: Any, s: Any, s_panel: Any, groups: Any, tiles: Any, x: Any, x_row: Any,
    width: Any, n_rows: Any, room: Any, y: Any, y_row: Any,
) -> Any:  # fmt: skip
    """Write two panels of y = x @ w for 16 rows or fewer, of int8 weights, as `digits.multiply_digits` does.

    tiles   of 64 inputs, in a group
    n_rows  as many as `begin` was told
    room    address of SUMS bytes
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _digits(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13), codegen


def _digits(
    b: ir.IRBuilder, w: Any, w_panel: Any, s: Any, s_panel: Any, groups: Any, tiles: Any, x: Any, x_row: Any,
    width: Any, n_rows: Any, room: Any, y: Any, y_row: Any,
) -> None:  # fmt: skip
    """Tiles 0 to 5 are sums: of three digits with one panel, then with the other; 6 is weights, 7 digits."""
    sums = [(p, j, DIGITS * p + j) for p in range(2) for j in range(DIGITS)]

    def outputs(row: ir.Value, p: int) -> ir.Value:
        return b.add(b.add(y, b.mul(y_row, row)), LONG(4 * LANES * p))

    with cgutils.for_range(b, n_rows) as r:
        for p in range(2):
            store(b, ir.Constant(VECTOR, [0.0] * LANES), outputs(r.index, p), 4)
    with cgutils.for_range(b, groups) as group:
        for _, _, n in sums:
            _call(b, "tilezero", BYTE(n))
        with cgutils.for_range(b, tiles) as tile:
            k = b.add(b.mul(group.index, tiles), tile.index)
            for p, j, n in sums:
                if j == 0:
                    at = b.add(b.add(w, b.mul(w_panel, LONG(p))), b.mul(k, LONG(64 * LANES)))
                    _call(b, "tileloadd64", BYTE(6), _pointer(b, at), LONG(64))
                at = b.add(b.add(x, b.mul(width, LONG(j))), b.mul(k, LONG(64)))
                _call(b, "tileloadd64", BYTE(7), _pointer(b, at), x_row)
                _call(b, "tdpbssd", BYTE(n), BYTE(7), BYTE(6))
        for _, _, n in sums:
            _call(b, "tilestored64", BYTE(n), _pointer(b, b.add(room, LONG(TILE * n))), LONG(64))
        scales = []
        for p in range(2):
            at = b.add(b.add(s, b.mul(s_panel, LONG(p))), b.mul(group.index, LONG(2 * LANES)))
            scales.append(scales_at(b, at))
        beside = b.add(b.mul(width, LONG(DIGITS)), b.mul(group.index, LONG(IN_A_GROUP)))
        with cgutils.for_range(b, n_rows) as r:
            at = b.add(b.add(x, b.mul(x_row, r.index)), b.add(beside, LONG(4 * DIGITS)))
            scale = spread(b, load(b, at, FLOAT, 4), VECTOR)
            for p in range(2):
                own = b.add(b.add(room, LONG(TILE * DIGITS * p)), b.mul(r.index, LONG(64)))
                whole = joined(b, [load(b, b.add(own, LONG(TILE * j)), WORDS, 64) for j in range(DIGITS)])
                place = outputs(r.index, p)
                total = load(b, place, VECTOR, 4)
                store(b, fused(b, whole, b.fmul(scales[p], scale), total), place, 4)


def _parts(b: ir.IRBuilder, value: ir.Value, count: int) -> list[ir.Value]:
    """Return float32 bits of bfloat16 numbers whose sum is the value: each the nearest to what is left."""
    found = []
    for _ in range(count):
        rounded = b.add(b.bitcast(value, WORDS), words(0x8000))
        found.append(b.and_(rounded, words(-65536)))
        value = b.fsub(value, b.bitcast(found[-1], VECTOR))
    return found


def _pointer(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.inttoptr(address, BYTE.as_pointer())


def _call(b: ir.IRBuilder, name: str, *arguments: ir.Value) -> None:
    """Call an instruction of the unit; where code is compiled for a processor without, there is none."""
    if COMPILED:
        kind = ir.FunctionType(ir.VoidType(), [one.type for one in arguments])
        b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.{name}"), arguments)
