"""llorch finds the first wrong number in a GPT-2 inference engine.

from llorch_core import load
model = load("path/to/gpt2")  # or load() for the embedded model
model.logits([15496, 13])  # float32 [T, n_vocab]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llorch_core.engine.errors import ModelError, UsageError
    from llorch_core.engine.model import Completion, Model
    from llorch_core.engine.sampling import Sampling
    from llorch_core.fast.choose import load

_HOMES = {
    "load": "fast.choose",
    "Model": "engine.model",
    "Completion": "engine.model",
    "Sampling": "engine.sampling",
    "ModelError": "engine.errors",
    "UsageError": "engine.errors",
}
__all__ = ["Completion", "Model", "ModelError", "Sampling", "UsageError", "load"]


def __getattr__(name: str) -> Any:
    """Import the engine when it is first asked for: importing llorch_core imports nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"llorch_core.{_HOMES[name]}"), name)
