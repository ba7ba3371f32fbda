"""What an engine has to answer to be put on trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from llorch_core.spec.oracle import Step

Array = NDArray[Any]
Chunks = Sequence[Sequence[int]]


class NotHereError(Exception):
    """A scenario needs something that this machine, model or engine does not have; it is named."""


class Subject(Protocol):
    """An engine on trial, with a model in it.

    What it has not, it refuses by NotHereError, which names it: the scenario is then not run. One that
    reads no call after another says so by an attribute `has_past` that is False.

    name       how it is called in reports
    folder     the model's folder
    precision  float32, float16, bfloat16 or float64: the unit of its tolerances
    config     the model's config, under the names of the spec
    """

    name: str
    folder: Path

    @property
    def precision(self) -> str: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    def component(
        self,
        name: str,
        inputs: Mapping[str, Array],
        config: Mapping[str, Any],
        layer: int,
        sizes: Mapping[str, int],
    ) -> dict[str, Array]:
        """Compute one component on its own; return each of its outputs by its name in the spec."""

    def record(self, chunks: Chunks) -> list[Step]:
        """Read the chunks, each after what came before; return the checkpoints of each forward call."""

    def logits(self, chunks: Chunks) -> list[Array]:
        """Read the chunks as `record` does, without recording; return the logits of each call."""

    def batch(self, prompts: Chunks) -> Array:
        """Read all prompts at once; return for each the logits of its last position, [B, n_vocab]."""
