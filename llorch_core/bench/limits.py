"""What this machine can do: how fast its cores read memory together, and multiply float32 matrices.

Both are measured with NumPy alone. Reading is a product of a matrix and a vector, or a search for the largest
number, in one thread for each core; whichever reads more counts. What a compiled loop could read beyond that
is not known here: an engine may pass a limit by some percent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Array = npt.NDArray[np.float32]

LEAST, MOST = 1 << 20, 2 << 30  # bytes that are read: worth a thread, and not more than memory allows
AT_ONCE = 64 << 20  # bytes that are read before threads wait for each other
WIDTH = 1024  # columns of the matrix that is read
PATIENCE = 0.15  # seconds for each way of reading
SIDE = 2048  # of the matrices that are multiplied


def bandwidth(size: float, threads: int, patience: float = PATIENCE) -> float:
    """Return the bytes a second that threads read together from `size` bytes, over and over."""
    rows = max(threads, int(min(max(size, LEAST), MOST)) // (4 * WIDTH))
    matrix = np.ones((rows, WIDTH), np.float32)
    times = -(-AT_ONCE // matrix.nbytes)  # in each thread, so that handing out work costs nothing
    parts = np.array_split(matrix, threads)
    vector = np.ones(WIDTH, np.float32)
    outs = [np.empty(len(part), np.float32) for part in parts]
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:

        def product(part: Array, out: Array) -> None:
            for _ in range(times):
                np.dot(part, vector, out=out)

        def largest(part: Array) -> None:
            for _ in range(times):
                part.max()

        fastest = min(
            seconds(lambda: list(pool.map(product, parts, outs)), patience),
            seconds(lambda: list(pool.map(largest, parts)), patience),
        )
        return times * matrix.nbytes / fastest


def product_rate(threads: int, side: int = SIDE) -> float:
    """Return the float32 operations a second of NumPy's product of two square matrices."""
    a = np.ones((side, side), np.float32)
    out = np.empty_like(a)
    with threadpool_limits(threads):
        return 2.0 * side**3 / seconds(lambda: np.dot(a, a, out=out), PATIENCE)


def seconds(act: Callable[[], object], patience: float) -> float:
    """Return the median time of an act, done once in vain and then again and again for so many seconds."""
    act()
    times: list[float] = []
    while len(times) < 3 or sum(times) < patience:
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
