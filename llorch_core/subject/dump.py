"""Tensors that an engine left in a file: names of checkpoints, with the prefix step.K/ for call K."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from llorch_core.spec.errors import SpecError
from llorch_core.spec.oracle import Step


def read_dump(path: Path) -> list[Step]:
    """Read a dump in safetensors; return the checkpoints of each forward call.

    Raises SpecError where it is no safetensors file, or a call is missing between two others.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SpecError(f"cannot be read as safetensors: {error}", path) from error
    steps: dict[int, Step] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"step\.(\d+)/(.+)", name)
        number, checkpoint = (int(found[1]), found[2]) if found else (0, name)
        steps.setdefault(number, {})[checkpoint] = tensor
    if sorted(steps) != list(range(len(steps))):
        raise SpecError(f"holds the forward calls {sorted(steps)}, wanted 0 to {len(steps) - 1}.", path)
    return [steps[k] for k in range(len(steps))]
