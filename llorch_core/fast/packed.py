"""Weights as the kernels read them: panels of 16 outputs, quantised or not, in one run of bytes.

A panel holds 16 outputs for all inputs. The weights of one input for 16 outputs lie side by side; those of 2,
4 or 8 inputs share 32 bits where they are smaller. So each block of 64 bytes is one vector, and a product
reads memory from one end to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine.layers import Array, Ids

LANES = 16
PANELS = 2  # outputs are padded to whole pairs of panels
BITS = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4}
KINDS = tuple(BITS)
LARGEST = {"int8": 127, "int4": 7}
WEIGHTS_IN_64_BYTES = {kind: 512 // bits for kind, bits in BITS.items()}
GROUPS = {"int8": 64, "int4": 32}  # inputs that share a scale, where nobody says otherwise
PADDED_TO = 8  # inputs, at least
# Where in 32 bits the weights of neighbours are. Of int4, the low halves of the bytes come first: so four
# neighbours are four bytes, with one mask.
PLACES = {
    "float32": (0,),
    "bfloat16": (0, 16),
    "int8": (0, 8, 16, 24),
    "int4": (0, 8, 16, 24, 4, 12, 20, 28),
}

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Packed:
    """A matrix [n_in, n_out], as y = x @ matrix reads it.

    kind    one of KINDS
    n_in    inputs, as the model has them; the rest of each group is 0
    n_out   outputs, as the model has them
    group   inputs that share a scale; all of them where weights have none
    panels  uint32 [panels, blocks, 16], aligned to 64 bytes
    scales  bfloat16 bits, uint16 [panels, groups, 16]; empty where weights have none
    """

    kind: str
    n_in: int
    n_out: int
    group: int
    panels: NDArray[np.uint32]
    scales: NDArray[np.uint16]

    def rows(self, outputs: Ids | slice) -> Array:
        """Return the float32 weights of some outputs, [outputs, n_in]: what the kernels multiply with."""
        chosen = np.arange(self.n_out)[outputs]
        panel, lane = np.divmod(chosen, LANES)
        words = np.ascontiguousarray(self.panels[panel, :, lane])  # [outputs, words]
        values = _decoded(words, self.kind)
        if self.scales.size:
            scale = from_bfloat16(np.ascontiguousarray(self.scales[panel, :, lane]))
            values *= np.repeat(scale, self.group, axis=1)
        return values[:, : self.n_in]


def pack(weight: Array, kind: str, group: int | None = None) -> Packed:
    """Pack a float32 matrix [n_out, n_in], one row for each output; `group` as in GROUPS.

    bfloat16 rounds to the nearest, ties to even. int8 and int4 divide each group by a scale, so that the
    largest weight is 127 or 7, and round to the nearest; the scale is the least bfloat16 that is enough.
    """
    n_out, n_in = weight.shape
    shape, scales_shape = packed_shapes(n_out, n_in, kind, group)
    panels, width = shape[0], shape[1] * 32 // BITS[kind]
    group = (group or GROUPS[kind]) if kind in GROUPS else width
    words, scales = aligned(shape, np.uint32), aligned(scales_shape, np.uint16)
    step = max(1, 2**20 // (LANES * width))  # panels at a time: nothing as large as the matrix is made
    for start in range(0, panels, step):
        end = min(start + step, panels)
        part = np.zeros(((end - start) * LANES, width), np.float32)
        given = weight[start * LANES : end * LANES]
        part[: len(given), :n_in] = given
        if kind in GROUPS:
            grouped = part.reshape(len(part), -1, group)
            scale = bfloat16_above(np.abs(grouped).max(axis=2) / LARGEST[kind])
            divisor = from_bfloat16(scale)[..., None]
            whole = np.rint(np.divide(grouped, divisor, out=np.zeros_like(grouped), where=divisor != 0))
            bits = _joined(whole.astype(np.int32).reshape(part.shape), kind)
            scales[start:end] = scale.reshape(end - start, LANES, -1).transpose(0, 2, 1)
        elif kind == "bfloat16":
            bits = _joined(to_bfloat16(part), kind)
        else:
            bits = part.view(np.uint32)
        words[start:end] = bits.reshape(end - start, LANES, -1).transpose(0, 2, 1)
    return Packed(kind, n_in, n_out, group, words, scales)


def packed_shapes(n_out: int, n_in: int, kind: str, group: int | None = None) -> tuple[Shape, Shape]:
    """Return the shapes of the panels and of the scales of a matrix [n_in, n_out]; `group` as in GROUPS."""
    panels = -(-n_out // (LANES * PANELS)) * PANELS
    size = (group or GROUPS[kind]) if kind in GROUPS else PADDED_TO
    groups = -(-n_in // size)
    words = groups * size * BITS[kind] // 32
    return (panels, words, LANES), (panels, groups if kind in GROUPS else 0, LANES)


def _joined(values: NDArray[Any], kind: str) -> NDArray[np.uint32]:
    """Put neighbours into words of 32 bits, at their places."""
    mask, ups = np.uint32(2 ** BITS[kind] - 1), np.array(PLACES[kind], np.uint32)
    parts = values.astype(np.uint32).reshape(len(values), -1, len(ups)) & mask
    joined: NDArray[np.uint32] = np.bitwise_or.reduce(parts << ups, axis=2)
    return joined


def _decoded(words: NDArray[np.uint32], kind: str) -> Array:
    if kind == "float32":
        return words.view(np.float32).copy()
    width = BITS[kind]
    ups = np.array([32 - width - place for place in PLACES[kind]], np.uint32)
    top = (words[..., None] << ups).reshape(len(words), -1)
    if kind == "bfloat16":
        return (top & np.uint32(0xFFFF0000)).view(np.float32)
    return (top.view(np.int32) >> np.int32(32 - width)).astype(np.float32)


def to_bfloat16(x: Array) -> NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16, ties to even; what is not finite stays so."""
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    kept = np.where(np.isnan(x), (bits >> np.uint32(16)) | np.uint32(64), rounded)
    return kept.astype(np.uint16)


def bfloat16_above(x: Array) -> NDArray[np.uint16]:
    """Return the bits of the least bfloat16 that is not below x, for x >= 0."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0xFFFF)) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> Array:
    """Return the float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array whose first byte has an address that 64 divides; its content is arbitrary."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    part: NDArray[Any] = room[start : start + size].view(dtype).reshape(shape)
    return part
