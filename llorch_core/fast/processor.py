"""What the processor that code is compiled for can do."""

from __future__ import annotations

import platform

from llvmlite import binding
from numba import config


def compiled_for(*features: str) -> bool:
    """Whether numba's code may have these instructions, named as LLVM names them."""
    chosen = config.CPU_NAME or config.CPU_FEATURES  # another processor than this one
    x86 = platform.machine() in ("x86_64", "AMD64")
    if not x86 or chosen:
        return False
    has = binding.get_host_cpu_features()
    return all(has.get(one) for one in features)
