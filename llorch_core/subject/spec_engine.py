"""The oracle on trial: right, or with one mistake in it. With a mistake it must be caught."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.spec.model import ModelSpec
from llorch_core.spec.oracle import Step, read_oracle
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.subject.protocol import Array, Chunks


class SpecEngine:
    """An engine made of the specs, computed in float64.

    mistake  COMPONENT.MISTAKE, or None for the right one
    """

    precision = "float32"  # it is held to the tolerance of float32, and is far inside

    def __init__(self, spec: ModelSpec, folder: Path, mistake: str | None = None) -> None:
        self.name = f"spec:{mistake}" if mistake else "spec"
        self.folder = folder
        self.spec = spec
        self.mistake = mistake
        self.oracle = read_oracle(spec, folder, mistake)
        self.config = self.oracle.config
        part, _, name = (mistake or "").partition(".")
        self._policy = spec.mistakes[name].policy if part == spec.id else None

    def component(
        self,
        name: str,
        inputs: Mapping[str, Array],
        config: Mapping[str, Any],
        layer: int,
        sizes: Mapping[str, int],
    ) -> dict[str, Array]:
        component = self.spec.components[name]
        part, _, mistake = (self.mistake or "").partition(".")
        return component.run(
            component.outputs,
            inputs,
            config,
            layer=layer,
            sizes=sizes,
            mistake=mistake if part == name else None,
        )

    def record(self, chunks: Chunks) -> list[Step]:
        steps = self.oracle.run(chunks)
        if self._policy == "recorded_in_place":  # one buffer for all calls: the last one is what is seen
            for step in steps:
                step.update({name: steps[-1][name][: len(x)] for name, x in step.items() if name == "logits"})
        if self._policy == "recording_rounds":
            for step in steps:
                step["logits"] = step["logits"].astype(np.float16).astype(np.float64)
        return steps

    def logits(self, chunks: Chunks) -> list[Array]:
        return [step["logits"] for step in self.oracle.run(chunks)]

    def batch(self, prompts: Chunks) -> Array:
        rows = np.concatenate([self.oracle.run([prompt])[0]["logits"] for prompt in prompts])
        lengths = np.array([len(prompt) for prompt in prompts], np.float64)
        return self.component("last_position", {"logits": rows, "lengths": lengths}, self.config, 0, {})[
            "out"
        ]


def engine_of_specs(spec: ModelSpec, folder: Path, mistake: str | None = None) -> SpecEngine | NumpyEngine:
    """Return an engine with one mistake: the oracle with another equation, or ours with another datum."""
    if mistake and mistake.partition(".")[0] in {**spec.before, **spec.after}:
        return NumpyEngine(folder, mistake)
    return SpecEngine(spec, folder, mistake)
