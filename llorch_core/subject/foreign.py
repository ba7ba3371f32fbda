"""Engines of others: all that they can be asked is to read, and they show of it what they like."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.engine.errors import UsageError
from llorch_core.engine.model import load
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.oracle import Step
from llorch_core.spec.suite import load_specs
from llorch_core.subject.dump import Dump, check_layers, open_dump
from llorch_core.subject.names import NameMap
from llorch_core.subject.protocol import Array, Chunks, NotHereError


class EngineError(UsageError):
    """The engine on trial stopped with an error of its own."""


class Shown(dict[str, Any]):
    """The checkpoints of one call. Asking for one that the engine does not show is NotHereError."""

    def __init__(self, engine: str, tensors: Mapping[str, Any]) -> None:
        super().__init__(tensors)
        self._engine = engine

    def __missing__(self, checkpoint: str) -> Any:
        raise NotHereError(f"{checkpoint}, which {self._engine} does not show")


class ForeignEngine:
    """An engine that reads ids and shows some checkpoints; its other calls say that they are not here.

    name       how it is called in reports
    model      the model's folder; None is the embedded model
    precision  what it computes in; None: the lowest precision of the tensors that it shows
    has_past   whether it reads one call after another

    Raises ModelError where the folder is no GPT-2.
    """

    has_past = True
    aside = False  # whether it has a way to read without recording

    def __init__(self, name: str, model: Path | None, precision: str | None = None) -> None:
        self.name = name
        self.folder = load(model).folder.resolve()
        spec = load_specs()
        self.config = spec.read_config(json.loads((self.folder / "config.json").read_text("utf-8")))
        self._axes = {
            name: len(node.component.outputs[output])
            for node in spec.nodes(self.config["n_layer"])
            for name, output in node.makes.items()
        }
        self._dtypes: set[str] = set()
        self._stated = precision

    @property
    def precision(self) -> str:
        """What it says that it computes in; else the lowest precision of the tensors that it has shown."""
        if not (self._stated or self._dtypes):
            self.record([[0]])
        return self._stated or max(self._dtypes, key=lambda name: PRECISIONS[name], default="float32")

    def state(self, precision: str | None, source: str) -> None:
        """Take the precision that the engine states. Raises UsageError where there is no such precision."""
        if precision is not None and precision not in PRECISIONS:
            raise UsageError(
                f"{source} states the precision {precision!r} (wanted {', '.join(PRECISIONS)}).\n"
                "It is the unit of every tolerance: state what the engine computes in, or nothing."
            )
        self._stated = precision

    def step(self, ids: Sequence[int], tensors: Mapping[str, Any], source: str) -> Shown:
        """Return what the engine shows of one call, as arrays of its own.

        ids      what it was given in this call
        tensors  checkpoints by name, each with or without a batch axis of 1
        source   what showed them, for messages

        Raises UsageError where a name, a number of axes, a dtype or the ids are not those of the contract.
        """
        shown = Shown(self.name, {"ids": np.asarray(ids, np.int64)})
        for name, tensor in tensors.items():
            if name not in self._axes and name != "ids":
                near = get_close_matches(str(name), self._axes, 1)
                raise UsageError(
                    f"{source} shows {name!r} (wanted names of checkpoints"
                    + (f", such as {near[0]}).\n" if near else ").\n")
                    + "`llorch spec show gpt2` lists them; leave out what is none of them."
                )
            try:
                x, dtype = as_array(tensor)
            except (TypeError, ValueError, RuntimeError) as error:
                raise UsageError(f"{source} shows {name}, of which no array can be made: {error}") from error
            wanted = self._axes.get(name, 1)
            if x.ndim == wanted + 1 and len(x) == 1:
                x = x[0]
            if name == "ids":
                if x.tolist() != list(ids):
                    raise UsageError(
                        f"{source} shows the ids {np.ravel(x).tolist()} (wanted those it was given, "
                        f"{list(ids)}).\n"
                        "Show the ids of each call as they came, or leave them out."
                    )
                continue
            if x.ndim != wanted or dtype not in PRECISIONS:
                raise UsageError(
                    f"{source} shows {name} as {dtype} {list(x.shape)} (wanted {wanted} axes of "
                    f"{', '.join(PRECISIONS)}).\n"
                    "Show one sequence, in the shapes of the table in docs/subjects.md."
                )
            self._dtypes.add(dtype)
            shown[name] = x
        return shown

    def open(self, path: Path, names: NameMap | None) -> Dump:
        """Read a dump of this model. Raises SpecError where it cannot be used, or is of another model."""
        dump = open_dump(path, load_specs(), names, self.config)
        check_layers(dump, self.config["n_layer"])
        return dump

    def record(self, chunks: Chunks) -> list[Step]:
        raise NotImplementedError

    def logits(self, chunks: Chunks) -> list[Array]:
        return [step["logits"] for step in self.record(chunks)]

    def batch(self, prompts: Chunks) -> Array:
        raise NotHereError(f"batches, which {self.name} does not read")

    def component(
        self,
        name: str,
        inputs: Mapping[str, Array],
        config: Mapping[str, Any],
        layer: int,
        sizes: Mapping[str, int],
    ) -> dict[str, Array]:
        raise NotHereError(f"{name} on its own, for which {self.name} cannot be asked")


def as_array(tensor: Any) -> tuple[Array, str]:
    """Return a copy of an array of NumPy, or of what can become one, and the name of its dtype.

    A tensor of PyTorch may lie on any device. NumPy has no bfloat16: it becomes float32, which loses nothing.
    """
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        dtype = str(tensor.dtype).removeprefix("torch.")
        return np.array((tensor.float() if dtype == "bfloat16" else tensor).numpy()), dtype
    x = np.array(tensor)
    return (x.astype(np.float32) if x.dtype.name == "bfloat16" else x), x.dtype.name
