"""The models that are timed where none is given: GPT-2's sizes with seeded random weights, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from llorch_core.bench.engines import environment
from llorch_core.engine.errors import UsageError
from llorch_core.engine.model import EMBEDDED

OWN = "embedded"
SHAPES = (OWN, "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")


def model_of(shape: str, cache: Path, writer: Path | None) -> Path:
    """Return the folder of a shape: the embedded model, or one in the cache, written on first use.

    writer  tools/peers/seeded.py of a checkout; None where there is none

    Raises UsageError where a model is to be written and cannot be.
    """
    if shape == OWN:
        return EMBEDDED
    place = cache / "seeded" / shape
    if place.is_dir():
        return place
    if writer is None:
        raise UsageError(
            f"there is no model of the shape {shape} here (wanted {place}).\n"
            "A checkout of llorch has tools/peers/seeded.py, which writes one. Or name a model with --model, "
            "or take --shape embedded."
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent) as unfinished:
            command = [sys.executable, str(writer), shape, str(Path(unfinished) / shape)]
            ran = subprocess.run(command, capture_output=True, text=True, env=environment(1), check=False)
            if ran.returncode == 0:
                (Path(unfinished) / shape).rename(place)
                return place
            said = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
    except OSError as error:
        said = f"{error.strerror}: {error.filename}"
    raise UsageError(
        f"a model of the shape {shape} cannot be written to {place}: {said}.\n"
        "Is there room? Its weights are float32. Or name a model: --model FOLDER."
    )
