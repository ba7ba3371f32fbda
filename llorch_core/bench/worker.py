"""llorch itself as an engine that is timed: `python -m llorch_core.bench.worker numpy` or `fast`.

What is timed is the forward pass of a loaded model, with the likeliest id chosen from each row: no sampling,
no text, no speculation. A smaller precision than float32 is read from a folder that is quantised once, as
`llorch quantize` does and as peers read what their own tools converted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llorch_core.bench.converted import converted
from llorch_core.bench.protocol import Stepwise, Unable, serve

if TYPE_CHECKING:
    from llorch_core.engine.layers import Array, Ids


class Ours(Stepwise):
    """A model of llorch. Raises Unable where the backend does not have the precision, or cannot run here."""

    engine = "llorch"

    def __init__(self, backend: str, request: Mapping[str, Any]) -> None:
        started = time.perf_counter()
        import numpy as np

        from llorch_core.engine.errors import UsageError
        from llorch_core.fast.choose import load

        spent = 0.0
        try:
            folder, precision = request["model"], request["precision"]
            if backend == "fast" and precision != "float32":
                folder, spent = _quantised(request)
            self.model = load(folder, backend, precision, request["threads"])
        except UsageError as error:
            raise Unable(str(error).replace("\n", " ")) from error
        self.precision = str(request["precision"])
        self.version = f"{backend}, numpy {np.__version__}"
        if backend == "fast":
            from importlib.metadata import version

            from llorch_core.fast import amx, digits

            used = ("AMX",) * amx.usable() + ("VNNI",) * digits.COMPILED
            self.version += f", numba {version('numba')} ({', '.join(used) or 'neither AMX nor VNNI'})"
        self.load_s = time.perf_counter() - started - spent

    def begin(self, sequences: int, room: int) -> None:
        self.caches = [self.model.new_cache(room) for _ in range(sequences)]

    def read(self, ids: Ids) -> Array:
        return self.model.forward(list(ids), self.caches, "last")


def _quantised(request: Mapping[str, Any]) -> tuple[Path, float]:
    """Return the folder of a model with packed weights, and the seconds that it took to be sure of it."""
    from llorch_core.fast import files, packed

    precision, model = request["precision"], Path(request["model"])
    if files.metadata_of(model):
        return model, 0.0

    def write(out: Path) -> None:
        files.quantize(model, out, precision, None, lambda: None)

    sources = [Path(str(module.__file__)) for module in (files, packed)]
    return converted(request, f"llorch-{precision}", write, sources)


if __name__ == "__main__":
    serve(partial(Ours, sys.argv[1]))
