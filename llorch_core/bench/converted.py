"""What an engine makes of a model before it can read it, kept in the cache folder of the bench."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def converted(
    request: Mapping[str, Any], name: str, write: Callable[[Path], object], sources: Sequence[Path] = ()
) -> tuple[Path, float]:
    """Return the file or folder `name` that `write` makes of this model, once, and the seconds that took.

    It is made again where the model changes, the file that `write` is in, or one of `sources`.
    """
    started = time.perf_counter()
    model = Path(request["model"]).resolve()
    files = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(model.iterdir())]
    writers = [Path(inspect.getfile(write)), *sources]
    code = b"".join(path.read_bytes() for path in writers)  # what another wrote is not what these would
    digest = hashlib.sha256(repr((str(model), files)).encode() + code).hexdigest()[:16]
    place = Path(request["cache"]) / digest / name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent) as unfinished:
            write(Path(unfinished) / name)
            (Path(unfinished) / name).rename(place)
    return place, time.perf_counter() - started
