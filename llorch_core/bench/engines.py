"""Which engines there are to time: llorch in every precision, and the peers whose adapters are here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch_core.bench.sizes import WIDTHS
from llorch_core.engine.errors import UsageError
from llorch_core.fast.threads import TOLD_BY

PRECISIONS = tuple(WIDTHS)
OURS = (("numpy", "float32"), *(("fast", precision) for precision in PRECISIONS))
ENDING = "_peer.py"  # of an adapter's file name
THREADS = (  # how the libraries that engines use are told the number of threads
    *TOLD_BY,
    *("NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS"),
)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Engine:
    """One engine in one precision. command: what starts its process."""

    name: str
    precision: str
    ours: bool
    command: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name that --engines takes."""
        return f"{self.name}-{self.precision}"


def find_engines(peers: Path | None, python: str) -> list[Engine]:
    """Return every engine there may be; which of them can run is known when they are asked.

    peers   folder of adapters, `NAME_peer.py` each; None where there is none
    python  interpreter that has the peers
    """
    ours = [
        Engine(name, precision, True, (sys.executable, "-m", "llorch_core.bench.worker", name))
        for name, precision in OURS
    ]
    scripts = sorted(peers.glob(f"*{ENDING}")) if peers else []
    return ours + [
        Engine(path.name.removesuffix(ENDING), precision, False, (python, str(path)))
        for path in scripts
        for precision in PRECISIONS
    ]


def choose(engines: Sequence[Engine], names: Sequence[str]) -> list[Engine]:
    """Return the engines with these names: a name alone means each of its precisions. Raises UsageError."""
    if not names:
        return [*engines]
    known = {*(e.label for e in engines), *(e.name for e in engines)}
    for name in names:
        if name not in known:
            raise UsageError(
                f"--engines: there is no engine {name!r} here.\n"
                f"There are: {', '.join(dict.fromkeys(e.name for e in engines))}; "
                "with a precision behind it, as fast-int8, only that one."
            )
    return [e for e in engines if e.label in names or e.name in names]


def reference(engines: Sequence[Engine]) -> Engine:
    """Return the engine that every other is held to: llorch with NumPy, in float32."""
    return next(e for e in engines if e.ours and e.label == "numpy-float32")


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that is timed: ours, the threads, and where llorch's code is."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = dict.fromkeys(THREADS, str(threads))
    return {**os.environ, **told, "PYTHONPATH": os.pathsep.join(paths)}
