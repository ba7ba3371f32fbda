"""How many threads compute."""

from __future__ import annotations

import os
from pathlib import Path

from threadpoolctl import threadpool_limits

TOLD_BY = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


def cores() -> int:
    """Return the physical cores that this process may use; its logical ones where that is not told."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    siblings = set()
    for cpu in allowed:
        try:
            path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            siblings.add(path.read_text().strip())
        except OSError:
            return len(allowed)
    return len(siblings)


def limit_blas(threads: int | None) -> None:
    """Let NumPy's products use so many threads; without a number, and where nobody has said so, the cores.

    Threads that share a core wait for each other in a product: both want all of it.
    """
    if threads or not any(name in os.environ for name in TOLD_BY):
        threadpool_limits(threads or cores(), user_api="blas")
