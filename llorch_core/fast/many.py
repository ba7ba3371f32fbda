"""What `engine.gpt2.forward` computes with, compiled, where there are many new positions.

Arithmetic is what takes the time then: products go to the matrix unit where there is one, and to BLAS or the
kernels where not; all else is shared out among the threads, by rows or by heads. What takes long is not cut
into equal shares: a thread that is done takes the next piece, since cores that others use too are not equally
fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine import gpt2, layers
from llorch_core.engine.layers import Array
from llorch_core.fast import amx, kernels
from llorch_core.fast.amx import PARTS, ROWS, TILE, K
from llorch_core.fast.kernels import arrive, compiled, summed, wait_for_all
from llorch_core.fast.packed import KINDS, LANES, PLACES, aligned
from llorch_core.fast.team import Team

BLOCK_ROWS = 256  # rows whose parts are multiplied with a share of the weights at a time: they stay in L2
BLOCK_K = 512  # inputs, likewise
FEW = 8  # queries of a sequence, for which its keys and values are not cut into parts
PAIR_OF_TILES = 2 * TILE
TILE_OF_ROWS, TILE_OF_PANELS = PARTS * TILE, PARTS * PAIR_OF_TILES  # with all parts of float32
INPUTS_IN_64_BYTES = tuple(len(PLACES[kind]) for kind in KINDS)
PARTS_OF = tuple(amx.PARTS_OF[kind] for kind in KINDS)
PARTS_OF_X = tuple(amx.PARTS_OF_X[parts] for parts in PARTS_OF)


class Many(gpt2.Layers):
    """The layers of a forward pass over many rows; see `gpt2.Layers`.

    team   shares the work
    plain  do with float32 alone what this processor could do with its matrix unit, or in whole numbers
    """

    def __init__(self, team: Team, plain: bool = False) -> None:
        self.team, self.plain = team, plain
        self.has_unit = not plain and amx.usable()
        self._rooms: dict[str, NDArray[np.uint8]] = {}

    def layer_norm(
        self, x: Array, weight: Array, bias: Array, epsilon: float, out: Array | None = None
    ) -> Array:
        y = np.empty_like(x) if out is None else out
        self.team.run(layer_norms, x, weight, bias, epsilon, y)
        return y

    def projection(self, x: Array, weight: Array, bias: Array, out: Array | None = None) -> Array:
        y: Array = np.matmul(x, weight, out=out)
        self.team.run(add_to_rows, y, bias)
        return y

    def activation(self, x: Array, function: str, out: Array | None = None) -> Array:
        y = np.empty_like(x) if out is None else out
        room = np.empty((self.team.size, x.shape[1]), np.float32)
        self.team.run(activations, kernels.FUNCTIONS.index(function), x, y, room)
        return y

    def residual(self, stream: Array, branch: Array, out: Array | None = None) -> Array:
        y = np.empty_like(stream) if out is None else out
        self.team.run(sums, stream, branch, y)
        return y

    def attend(
        self,
        q: Array,
        keys: Array,
        values: Array,
        scale: float,
        room: gpt2.Buffers,
        context: Array,
        shown: dict[str, Array] | None,
    ) -> None:
        if not self.has_unit or q.shape[1] < FEW:
            return super().attend(q, keys, values, scale, room, context, shown)
        n_head, n_new, head_dim = q.shape
        n_keys = keys.shape[1]
        wide, dims = _up(n_keys, ROWS), _up(head_dim, ROWS)
        parts = self._rooms_for("attention", 2 * PARTS * (2 * wide * dims + ROWS * (wide + dims)))
        scores = self._rooms_for("scores", 4 * ROWS * (2 * wide + dims)).view(np.float32)
        nowhere, turns = (0, 0, 0), np.zeros(1, np.int64)
        self.team.run(
            attentions,
            *(turns.ctypes.data, np.array([n_head, n_new, n_keys, head_dim]), scale),
            *(_place(q), _place(keys), _place(values)),
            *(context.ctypes.data, context.strides[0], parts, scores),
            *((_place(shown["scores"]), _place(shown["probs"])) if shown else (nowhere, nowhere)),
        )
        return None

    def multiply(self, entry: NDArray[np.int64], x: Array, y: Array) -> None:
        """Write y = x @ matrix by the matrix unit; x [n, inputs], y [n, all columns of the panels].

        32 must divide the inputs.

        entry  the matrix, as `kernels.product` reads it
        """
        width = x.shape[1]
        n_parts = PARTS_OF_X[entry[0]]
        parts = self._room("x", 2 * BLOCK_ROWS * width * n_parts)
        own = self._rooms_for("w", BLOCK_K // K * TILE_OF_PANELS + 4 * ROWS * ROWS)
        for rows in layers.spans(len(x), BLOCK_ROWS):
            self.team.run(
                split_rows, n_parts, _place_of_rows(x[rows]), rows.stop - rows.start, width, parts.ctypes.data
            )
            turns = np.zeros(1 + -(-width // BLOCK_K), np.int64)
            self.team.run(
                product, turns.ctypes.data, entry, parts.ctypes.data, width, rows.stop - rows.start,
                _place_of_rows(y[rows]), own,
            )  # fmt: skip

    def digits(self, size: int) -> int:
        """Return the address of room for digits, `size` bytes for each thread, and for what they make."""
        return int(self._room("digits", self.team.size * (size + amx.SUMS)).ctypes.data)

    def _rooms_for(self, name: str, size: int) -> NDArray[np.uint8]:
        """Return so many bytes for each thread, [threads, size], as `_room` does."""
        return self._room(name, self.team.size * size)[: self.team.size * size].reshape(-1, size)

    def _room(self, name: str, size: int) -> NDArray[np.uint8]:
        """Return bytes that are kept from call to call; their content is arbitrary."""
        if name not in self._rooms or len(self._rooms[name]) < size:
            self._rooms[name] = aligned((size,), np.uint8)
        return self._rooms[name]


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _place(x: Array) -> tuple[int, int, int]:
    """Return where an array (n_head, rows, numbers) is, and the bytes between heads, and between rows."""
    return x.ctypes.data, x.strides[0], x.strides[1]


def _place_of_rows(x: Array) -> tuple[int, int]:
    return x.ctypes.data, x.strides[0]


@compiled
def layer_norms(member: int, size: int, x: Any, weight: Any, bias: Any, epsilon: float, y: Any) -> None:
    """y = each row of x, as `kernels.layer_norm` makes it."""
    for r in range(len(x) * member // size, len(x) * (member + 1) // size):
        kernels.layer_norm(x[r], weight, bias, epsilon, y[r])


@compiled
def activations(member: int, size: int, function: int, x: Any, y: Any, room: Any) -> None:
    """y = the activation of x, row by row; `function` is an index of FUNCTIONS; y may be x.

    room  float32 [size, numbers in a row]: what is read where it is written, no processor takes 16 at a time
    """
    for r in range(len(x) * member // size, len(x) * (member + 1) // size):
        kernels.activate(function, x[r], room[member], 0, x.shape[1])
        y[r] = room[member]


@compiled
def sums(member: int, size: int, x: Any, y: Any, out: Any) -> None:
    """out = x + y, row by row."""
    for r in range(len(x) * member // size, len(x) * (member + 1) // size):
        kernels.add(x[r], y[r], out[r], x.shape[1])


@compiled
def add_to_rows(member: int, size: int, x: Any, bias: Any) -> None:
    """Add the bias to every row of x."""
    for r in range(len(x) * member // size, len(x) * (member + 1) // size):
        kernels.add(x[r], bias, x[r], len(bias))


@compiled
def split_rows(
    member: int, size: int, parts: int, x: tuple[int, int], n_rows: int, width: int, out: int
) -> None:
    """Write the parts of this member's share of the rows, as `amx.multiply_block` reads them.

    x    where the rows are, and the bytes from one to the next
    out  address; 16 rows take as many tiles as `width` inputs do, times `parts`
    """
    block = width // K * parts * TILE
    for r in range(n_rows * member // size, n_rows * (member + 1) // size):
        amx.split(parts, x[0] + r * x[1], width, out + r // LANES * block + r % LANES * 2 * K)


@compiled
def product(
    member: int, size: int, turns: int, matrix: Any, x: int, width: int, n_rows: int, y: tuple[int, int],
    room: Any,
) -> None:  # fmt: skip
    """Compute this member's share of y = x @ matrix, in whole pairs of panels.

    turns   address of int64, 0 at first: what the barrier counts in, and each block's next pair
    matrix  as `kernels.product` reads it
    x       address of the parts of the rows
    y       where the float32 rows go, and the bytes from one to the next
    room    bytes [size, room for the parts of a pair of panels, and for one block of results]
    """
    kind, pairs = matrix[0], matrix[7] // 2
    n_parts, tile_of_x = PARTS_OF[kind], PARTS_OF_X[kind] * TILE
    block = width // K * tile_of_x
    w = room[member].ctypes.data
    rest = w + BLOCK_K // K * TILE_OF_PANELS
    passed = 0
    amx.begin(LANES)
    for first in range(0, width, BLOCK_K):
        last = min(width, first + BLOCK_K)
        tiles, turn = (last - first) // K, turns + 8 * (1 + first // BLOCK_K)
        pair = arrive(turn)
        while pair < pairs:
            for p in range(2):
                _unpack(matrix, 2 * pair + p, width, first, last, w + p * TILE)
            for r in range(0, n_rows, ROWS):
                own = x + r // LANES * block + first // K * tile_of_x
                to, row = y[0] + r * y[1] + pair * 4 * ROWS, y[1]
                n = min(ROWS, n_rows - r)
                if n < ROWS:
                    _copy(to, y[1], n, ROWS, rest, 4 * ROWS)
                    to, row = rest, 4 * ROWS
                amx.multiply_block(n_parts, own, block, w, tiles, to, row, int(first > 0))
                if n < ROWS:
                    _copy(rest, 4 * ROWS, n, ROWS, y[0] + r * y[1] + pair * 4 * ROWS, y[1])
            pair = arrive(turn)
        passed = wait_for_all(size, turns, passed)
    amx.end()


@compiled
def _unpack(matrix: Any, panel: int, width: int, first: int, last: int, out: int) -> None:
    """Write the tiles of the parts of a panel, from one input to another; 32 divides both."""
    kind = matrix[0]
    each = INPUTS_IN_64_BYTES[kind]
    w, s = matrix[1] + panel * matrix[2], matrix[3] + panel * matrix[4]
    for k in range(first, last, K):
        scales = s + 2 * LANES * (k * matrix[5] // width)
        to = out + (k - first) // K * PARTS_OF[kind] * PAIR_OF_TILES
        amx.unpack(kind, w + k // each * 64, K // each, 64, scales, to)


@summed
def _copy(x: int, x_row: int, n_rows: int, n: int, y: int, y_row: int) -> None:
    """Copy rows of n float32 from one address to another."""
    for r in range(n_rows):
        given, taken = kernels.floats(x + r * x_row), kernels.floats(y + r * y_row)
        for i in range(n):
            taken[i] = given[i]


@summed
def _clear(x: int, n: int) -> None:
    place = kernels.floats(x)
    for i in range(n):
        place[i] = np.float32(0.0)


@compiled
def attentions(
    member: int, size: int, turns: int, sizes: Any, scale: float, q: Any, keys: Any, values: Any,
    context: int, context_row: int, room: Any, scores: Any, scores_shown: Any, probs_shown: Any,
) -> None:  # fmt: skip
    """Gather the context of the queries of one sequence: this member's share of the heads.

    turns    address of the int64 that the next head is in; 0 at first
    sizes    int64: heads, new positions, keys, head_dim
    q, keys, values, scores_shown, probs_shown
             address of float32 (n_head, rows, numbers), bytes from head to head, and from row to row; the
             last two are 0 where nobody looks on
    context  address of the rows, `context_row` bytes apart, the heads side by side
    room     bytes [size, room for the parts of all keys and values, of 32 rows of shares, and of queries]
    scores   float32 [size, room for 32 rows of scores, of shares, and of context]
    """
    n_head, n_new, n_keys, head_dim = sizes
    wide, dims = (n_keys + ROWS - 1) // ROWS * ROWS, (head_dim + ROWS - 1) // ROWS * ROWS
    k_parts = room[member].ctypes.data
    v_parts = k_parts + 2 * PARTS * wide * dims
    p_parts = v_parts + 2 * PARTS * wide * dims
    q_parts = p_parts + 2 * PARTS * ROWS * wide
    matched = scores[member, : ROWS * wide].reshape(ROWS, wide)
    shares = scores[member, ROWS * wide : 2 * ROWS * wide].reshape(ROWS, wide)
    rows = scores[member, 2 * ROWS * wide :].ctypes.data  # 32 rows of `dims` numbers, whatever they are
    columns = dims // K * TILE_OF_PANELS  # bytes of the parts of 32 keys
    amx.begin(LANES)
    h = arrive(turns)
    while h < n_head:
        for s in range(0, wide, ROWS):
            count = min(ROWS, n_keys - s)
            _padded(_row_of(keys, h, s), keys[2], count, head_dim, rows, dims)
            _split_padded(rows, dims, q_parts)
            _turn(q_parts, dims // K, k_parts + s // ROWS * columns)
            _padded(_row_of(values, h, s), values[2], count, head_dim, rows, dims)
            for panel in range(dims // LANES):
                to = v_parts + (panel // 2 * (wide // K) + s // K) * TILE_OF_PANELS + panel % 2 * TILE
                amx.unpack(0, rows + 64 * panel, K, 4 * dims, 0, to)
        for r in range(0, n_new, ROWS):
            count = min(ROWS, n_new - r)
            seen = n_keys - n_new + r + count
            near = (seen + ROWS - 1) // ROWS * ROWS
            _padded(_row_of(q, h, r), q[2], count, head_dim, rows, dims)
            _split_padded(rows, dims, q_parts)
            q_next, p_next = dims // K * TILE_OF_ROWS, wide // K * TILE_OF_ROWS
            for s in range(0, near, ROWS):
                to = matched.ctypes.data + 4 * s
                own = k_parts + s // ROWS * columns
                amx.multiply_block(PARTS, q_parts, q_next, own, dims // K, to, 4 * wide, 0)
            for i in range(count):
                n = seen - count + i + 1
                line, share = matched[i, :near], shares[i, :near]
                _scale(line, n, np.float32(scale))
                kernels.share_out(line, n, share)
                if scores_shown[0]:
                    _copy(line.ctypes.data, 0, 1, n, _row_of(scores_shown, h, r + i), 0)
                    _copy(share.ctypes.data, 0, 1, n, _row_of(probs_shown, h, r + i), 0)
                place = p_parts + i // LANES * p_next + i % LANES * 2 * K
                amx.split(PARTS, share.ctypes.data, near, place)
            for pair in range(dims // ROWS):
                own = v_parts + pair * (wide // K) * TILE_OF_PANELS
                amx.multiply_block(
                    PARTS, p_parts, p_next, own, near // K, rows + 4 * ROWS * pair, 4 * dims, 0
                )
            _copy(rows, 4 * dims, count, head_dim, context + r * context_row + 4 * head_dim * h, context_row)
        h = arrive(turns)
    amx.end()


@compiled
def _row_of(place: Any, h: int, r: int) -> Any:
    """Return the address of a row of a head."""
    return place[0] + h * place[1] + r * place[2]


@summed
def _scale(x: Any, n: int, by: Any) -> None:
    for i in range(n):
        x[i] *= by


@compiled
def _padded(x: int, x_row: int, n_rows: int, n: int, out: int, width: int) -> None:
    """Copy rows of n float32 to 32 rows of `width`; the rest of these is 0."""
    if n_rows < ROWS or n < width:
        _clear(out, ROWS * width)
    _copy(x, x_row, n_rows, n, out, 4 * width)


@compiled
def _split_padded(rows: int, width: int, out: int) -> None:
    """Write the parts of 32 rows, as `amx.multiply_block` reads them."""
    block = width // K * TILE_OF_ROWS
    for r in range(ROWS):
        amx.split(PARTS, rows + 4 * width * r, width, out + r // LANES * block + r % LANES * 2 * K)


@compiled
def _turn(x: int, tiles: int, out: int) -> None:
    """Write the parts of 32 rows as those of 32 columns: of 16 by 16 words, rows become columns."""
    for block in range(2):
        for tile in range(tiles):
            for part in range(PARTS):
                given = kernels.floats(x + (block * tiles + tile) * TILE_OF_ROWS + part * TILE)
                taken = kernels.floats(out + tile * TILE_OF_PANELS + part * PAIR_OF_TILES + block * TILE)
                for i in range(LANES):
                    for j in range(LANES):
                        taken[j * LANES + i] = given[i * LANES + j]
