"""The compiled kernels on trial: each alone where it can be, and together where they generate."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import save_file

from llorch_core.engine.errors import UsageError
from llorch_core.engine.weights import load_weights
from llorch_core.fast.choose import accelerate
from llorch_core.fast.packed import KINDS
from llorch_core.fast.threads import cores
from llorch_core.subject.numpy_engine import COMPONENTS, Named, NumpyEngine, as_engine
from llorch_core.subject.protocol import Array, NotHereError

OF_WEIGHTS = {  # component: its matrices; those of a head are [n_out, n_in]
    "embedding": ("wte",),
    "qkv": ("weight",),
    "attention_output": ("weight",),
    "mlp": ("fc_weight", "proj_weight"),
    "logits": ("weight",),
}
HEADS = ("embedding", "logits")


class FastEngine(NumpyEngine):
    """The fast backend. What is no arithmetic of the model (sampling, text, files) is the NumPy engine's.

    The oracle reads the weights that the kernels multiply with: where they are smaller than float32, a folder
    with the same model in float32 is written, and the engine is held to that. So the tolerances are those of
    float32, whatever the weights are. Raises UsageError where the kernels cannot run here.

    kind  of the weights: float32, bfloat16, int8 or int4
    """

    def __init__(self, folder: Path | None, kind: str) -> None:
        if kind not in KINDS:
            raise UsageError(f"the fast backend has no precision {kind} (wanted {', '.join(KINDS)}).")
        super().__init__(folder)
        self.kind = kind
        self.name = "fast" if kind == "float32" else f"fast:{kind}"
        accelerate(self.model, kind, cores())
        if kind != "float32":
            room = tempfile.TemporaryDirectory(prefix="llorch-")
            weakref.finalize(self, room.cleanup)
            self._hold_to(Path(room.name) / f"{self.folder.name}-{kind}")

    def _hold_to(self, folder: Path) -> None:
        """Write the model with the weights that the kernels multiply with, and let it be what is wanted."""
        from llorch_core.fast.forward import Forward

        forward = self.model.forward
        assert isinstance(forward, Forward)
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
        save_file(forward.in_float32(), folder / "model.safetensors")
        self.folder = self.model.folder = folder
        self.model.weights = load_weights(folder, self.model.config)

    def component(
        self, name: str, inputs: Mapping[str, Array], config: Named, layer: int, sizes: Mapping[str, int]
    ) -> dict[str, Array]:
        from llorch_core.subject import fast_kernels

        given = {key: as_engine(key, value) for key, value in inputs.items()}
        settings = {**config, **sizes, "layer": layer}
        if name in OF_WEIGHTS and self.kind != "float32":
            raise NotHereError(f"{name} alone, for weights that {self.kind} does not have")
        if name in OF_WEIGHTS:
            for key in OF_WEIGHTS[name]:
                given[key] = fast_kernels.packed(given[key], head=name in HEADS)
        alone = fast_kernels.ALONE.get(name, COMPONENTS[name])
        return alone(given, settings)
