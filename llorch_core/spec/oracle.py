"""The oracle: the specs themselves, wired together and run in float64. It shares no code with any engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Tensor
from llorch_core.spec.model import ModelSpec, Node

Step = dict[str, Any]
"""The checkpoints of one forward call, by name."""

DRAWS = 4  # runs with every checkpoint moved, from which a global tolerance is taken
REACH = 8.0  # how many times the spread of those runs an honest engine may be away


class Wanted(NamedTuple):
    """What a checkpoint should be, and how far from it an engine may be."""

    step: int
    checkpoint: str
    component: str
    value: Tensor
    bound: Tensor


@dataclass
class Oracle:
    """A model in float64, computed from the equations of the specs alone.

    mistake  the id of a mistake (COMPONENT.MISTAKE) that it makes; it is then an engine on trial
    """

    spec: ModelSpec
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    mistake: str | None = None

    def __post_init__(self) -> None:
        if self.mistake and self.mistake not in self.spec.mistake_ids():
            raise SpecError(f"{self.mistake} is not a mistake. `llorch spec show COMPONENT` lists them.")
        part, _, name = (self.mistake or "").partition(".")
        self._nodes = self.spec.nodes(self.config["n_layer"], name if part == self.spec.id else None)
        self._wrong = {part: name} if part != self.spec.id else {}

    def run(
        self,
        chunks: Sequence[Sequence[int]],
        move: Callable[[int, str, Tensor], Tensor] | None = None,
    ) -> list[Step]:
        """Read the chunks one after the other, each with what came before it as its past.

        chunks  ids of each forward call
        move    what each checkpoint becomes, from forward call, name and right value

        Returns the checkpoints of each call.
        """
        steps: list[Step] = []
        for k, ids in enumerate(chunks):
            step: Step = {"ids": np.asarray(ids)}
            for node in self._nodes:
                made = self._compute(node, list(node.makes), steps, step)
                for checkpoint, output in node.makes.items():
                    value = made[output]
                    step[checkpoint] = value if move is None else move(k, checkpoint, value)
            steps.append(step)
        return steps

    def inputs(
        self, chunks: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Node, dict[str, Tensor], dict[str, int]]]:
        """Yield what every component reads at each of its places, with the sizes there."""
        steps: list[Step] = []
        for step in self.run(chunks):
            n_past = sum(len(s["ids"]) for s in steps)
            for node in self._nodes:
                read = {
                    name: self._source(source, steps, step, n_past) for name, source in node.sources.items()
                }
                yield node, read, self._sizes(len(step["ids"]), n_past)
            steps.append(step)

    def local(self, record: Sequence[Step], precision: str) -> Iterator[Wanted]:
        """Compute each recorded checkpoint again from the tensors that the engine itself recorded before it.

        record     checkpoints of each forward call; any subset of them
        precision  of the engine, in whose units the tolerance is

        Yields every recorded checkpoint in the order of the data flow. What was not recorded is computed
        from what was.
        """
        steps: list[Step] = []
        for k, recorded in enumerate(record):
            step = dict(recorded)
            for node in self._nodes:
                for checkpoint, output in node.makes.items():
                    if checkpoint in recorded:
                        made = self._compute(node, [checkpoint], steps, step, PRECISIONS[precision])
                        value, bound = made[output], made[f"bound {output}"]
                        bound = np.broadcast_to(bound, value.shape)
                        yield Wanted(k, checkpoint, node.component.id, value, bound)
                    else:
                        value = self._compute(node, [checkpoint], steps, step)[output]
                    if np.shape(step.get(checkpoint, 0.0)) != value.shape:  # not recorded, or not usable
                        step[checkpoint] = value
            steps.append(step)

    def everywhere(self, record: Sequence[Step], precision: str, seed: int = 0) -> Iterator[Wanted]:
        """Compute each recorded checkpoint from the ids alone.

        The tolerance is what the local tolerances add up to: the oracle runs DRAWS times with every
        checkpoint moved at random by its local tolerance, and each row may be REACH times as far away
        as those runs were in the mean of their squares. Hidden scores, which are -inf, do not count.
        """
        chunks = [step["ids"] for step in record]
        right = self.run(chunks)
        rng = np.random.default_rng(seed)
        bounds = {(w.step, w.checkpoint): w.bound for w in self.local(right, precision)}

        def move(k: int, checkpoint: str, value: Tensor) -> Tensor:
            return value + rng.uniform(-1, 1, value.shape) * bounds[k, checkpoint]

        moved = [self.run(chunks, move) for _ in range(DRAWS)]
        for k, recorded in enumerate(record):
            for node in self._nodes:
                for checkpoint in (name for name in node.makes if name in recorded):
                    value = right[k][checkpoint]
                    finite = np.isfinite(value)
                    away = [
                        np.where(finite, draw[k][checkpoint], 0) - np.where(finite, value, 0)
                        for draw in moved
                    ]
                    total = np.sum(np.square(away), axis=(0, -1))[..., None]
                    spread = total / np.maximum(finite.sum(axis=-1, keepdims=True), 1) / DRAWS
                    bound = REACH * np.sqrt(spread) + PRECISIONS[precision][1]
                    yield Wanted(k, checkpoint, node.component.id, value, np.broadcast_to(bound, value.shape))

    def _compute(
        self,
        node: Node,
        checkpoints: list[str],
        steps: Sequence[Step],
        step: Step,
        precision: tuple[float, float] | None = None,
    ) -> dict[str, Tensor]:
        """Return the outputs of a node that some checkpoints are, from the other tensors of the step.

        precision  where it is given, the tolerance of each comes too, as `bound OUTPUT`
        """
        component = node.component
        n_new, n_past = len(step["ids"]), sum(len(s["ids"]) for s in steps)
        inputs = {name: self._source(source, steps, step, n_past) for name, source in node.sources.items()}
        given = {
            output: step[name]
            for name, output in node.makes.items()
            if name in step and name not in checkpoints
        }
        sizes = self._sizes(n_new, n_past)
        outputs = [node.makes[name] for name in checkpoints]
        return component.run(
            outputs + [f"bound {output}" for output in outputs if precision],
            inputs,
            self.config,
            layer=node.layer,
            sizes=sizes,
            given=given,
            mistake=self._wrong.get(component.id),
            precision=precision,
        )

    def _sizes(self, n_new: int, n_past: int) -> dict[str, int]:
        known = {name: size for name, size in self.config.items() if name in _SIZES}
        return {**known, "T": n_new, "P": n_past, "S": n_past + n_new}

    def _source(self, name: str, steps: Sequence[Step], step: Step, n_past: int) -> Tensor:
        if name == "n_past":
            return np.asarray(float(n_past))
        if name.startswith("past."):
            if steps:
                return np.asarray(steps[-1][name.removeprefix("past.")], np.float64)
            return np.zeros((self.config["n_head"], 0, self.config["head_dim"]))
        if name in step:
            return np.asarray(step[name], np.float64)
        return self.weights[name]


_SIZES = ("n_embd", "n_head", "head_dim", "n_inner", "n_vocab", "n_ctx")


def read_oracle(spec: ModelSpec, folder: Path, mistake: str | None = None) -> Oracle:
    """Read a model folder by the safetensors library, with the names and shapes of the spec.

    Raises SpecError where a file cannot be read, or a tensor is missing or has another shape: the engine's
    own reader says more.
    """
    try:
        data = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot be read: {error}", folder / "config.json") from error
    config = spec.read_config(data)
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.startswith("model"):
            try:
                entries = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
            except safetensors.SafetensorError as error:
                raise SpecError(f"cannot be read as safetensors: {error}", path) from error
            for name, entry in entries:
                if entry["dtype"] in ("BF16", "F16", "F32", "F64"):  # masks may be anything else
                    tensors[name.removeprefix("transformer.")] = _decode(entry).reshape(entry["shape"])
    weights = {}
    for name, shape in spec.weight_shapes(config).items():
        stored = spec.tied.get(name, name) if config["tie_word_embeddings"] else name
        if stored not in tensors or tensors[stored].shape != shape:
            got = list(tensors[stored].shape) if stored in tensors else "nothing"
            raise SpecError(f"{folder}: the spec wants {stored} {list(shape)}, the files hold {got}.")
        weights[name] = tensors[stored]
    return Oracle(spec, config, weights, mistake)


def _decode(entry: Mapping[str, Any]) -> Tensor:
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (np.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(entry["data"], f"<f{int(entry['dtype'][1:]) // 8}").astype(np.float64)


def random_oracle(
    spec: ModelSpec, config: Mapping[str, Any], seed: int = 0, mistake: str | None = None
) -> Oracle:
    """Return a model with random weights: gains away from 1, biases away from 0, rows of small variance."""
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.normal(0, 1 / np.sqrt(shape[0]) if len(shape) > 1 else 0.3, shape)
        + name.endswith("weight") * (len(shape) == 1)
        for name, shape in spec.weight_shapes(config).items()
    }
    if config["tie_word_embeddings"]:
        weights |= {name: weights[stored] for name, stored in spec.tied.items()}
    return Oracle(spec, config, weights, mistake)
