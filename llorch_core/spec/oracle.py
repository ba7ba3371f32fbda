"""The oracle: the specs themselves, wired together and run in float64. It shares no code with any engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import safetensors
from numpy.typing import NDArray

from llorch_core.spec.component import resolve
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Equation, Tensor
from llorch_core.spec.model import ModelSpec, Node, generic

T = TypeVar("T")
Step = dict[str, Any]
"""The checkpoints of one forward call, by name."""

DRAWS = 4  # moved copies of what was not recorded, from which the tolerance behind it is taken
REACH = 2.0  # how many times the spread of those copies an honest engine may be away


class Wanted(NamedTuple):
    """What a checkpoint should be, and how far from it an engine may be."""

    step: int
    checkpoint: str
    component: str
    value: Tensor
    bound: Tensor


At = tuple[int, str]
"""A checkpoint of a forward call."""


class Place(NamedTuple):
    """A component at one place of one forward call."""

    step: int
    node: Node
    sizes: dict[str, int]


class Output(NamedTuple):
    """One output at a place: the checkpoint that it is, and those that it is computed from."""

    name: str
    at: At
    needs: frozenset[At]


@dataclass
class Oracle:
    """A model in float64, computed from the equations of the specs alone.

    mistake  the id of a mistake (COMPONENT.MISTAKE) that it makes, or of several: one + another; it is then
             an engine on trial
    """

    spec: ModelSpec
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    mistake: str | None = None

    def __post_init__(self) -> None:
        made: dict[str, list[str]] = {}
        known = self.spec.all_mistakes
        for mistake in self.mistake.split(" + ") if self.mistake else ():
            if mistake not in known:
                raise SpecError(f"{mistake} is not a mistake. `llorch spec show COMPONENT` lists them.")
            shown = getattr(known[mistake], "shows_as", mistake)
            if isinstance(shown, Mapping):
                self.weights = _made_of(self.weights, shown)
                continue
            part, _, name = (shown or mistake).partition(".")
            if part in {**self.spec.before, **self.spec.after}:
                raise SpecError(f"{mistake} is not made by equations: its spec does not say how it shows.")
            made.setdefault(part, []).append(name)
        self._nodes = self.spec.nodes(self.config["n_layer"], made.pop(self.spec.id, ()))
        self._wrong = {part: " + ".join(names) for part, names in made.items()}
        made_by = {name: n for n, node in enumerate(self._nodes) for name in node.makes}
        self._past_is_behind = all(
            made_by.get(source.removeprefix("past."), n) <= n
            for n, node in enumerate(self._nodes)
            for source in node.sources.values()
        )
        self._held: tuple[Node | None, dict[str, Tensor]] = (None, {})
        self._last_outline: tuple[tuple[int, ...], list[tuple[Place, list[Output]]]] = ((), [])

    def run(self, chunks: Sequence[Sequence[int]]) -> list[Step]:
        """Read the chunks one after the other, each with what came before it as its past.

        chunks  ids of each forward call

        Returns the checkpoints of each call.
        """
        steps: list[Step] = [{"ids": np.asarray(ids)} for ids in chunks]
        for place in self._in_turn(self.places(chunks), lambda place: place.node):
            inputs = {name: self._input(source, steps, place) for name, source in place.node.sources.items()}
            made = self._compute(place, list(place.node.component.outputs), inputs, {})
            steps[place.step].update({name: made[output] for name, output in place.node.makes.items()})
        self._held = (None, {})
        return steps

    def _in_turn(self, entries: Iterable[T], node_of: Callable[[T], Node]) -> list[T]:
        """Return entries of places component by component, each in every call, where the data flow allows it.

        The weights of each are made in float64 once, and not once for each call.
        """
        if not self._past_is_behind:
            return list(entries)
        turn = {id(node): n for n, node in enumerate(self._nodes)}
        return sorted(entries, key=lambda entry: turn[id(node_of(entry))])

    def places(self, chunks: Sequence[Sequence[int]]) -> Iterator[Place]:
        """Yield every component at each of its places, in the order of the data flow."""
        n_past = 0
        known = {name: size for name, size in self.config.items() if name in _SIZES}
        for k, ids in enumerate(chunks):
            for node in self._nodes:
                yield Place(k, node, {**known, "T": len(ids), "P": n_past, "S": n_past + len(ids)})
            n_past += len(ids)

    def inputs(
        self, chunks: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Node, dict[str, Tensor], dict[str, int]]]:
        """Yield what every component reads at each of its places, with the sizes there."""
        steps = self.run(chunks)
        for place in self.places(chunks):
            read = {name: self._input(source, steps, place) for name, source in place.node.sources.items()}
            yield place.node, read, place.sizes

    def local(
        self,
        record: Sequence[Step],
        precision: str,
        only: Container[At] | None = None,
        usable: Container[At] | None = None,
        in_turn: bool = False,
    ) -> Iterator[Wanted]:
        """Compute each recorded checkpoint again from the tensors that the engine itself recorded before it.

        record     checkpoints of each forward call; any subset of them, and the ids
        precision  of the engine, in whose units the tolerance is
        only       the checkpoints that are wanted, as (forward call, name); if not given, all
        usable     what `usable(record)` returns, where it is known already
        in_turn    component by component, each in every call: with weights of many gigabytes it is faster

        Yields them in the order of the data flow, or in turn. What was not recorded is computed from what
        was; as its rounding is unknown, DRAWS copies of it are moved at random by its tolerance, and each row
        behind it may be REACH times as far away as those copies are in the mean of their squares.
        """
        usable = self.usable(record) if usable is None else usable
        return self._wanted(record, usable, precision, only, in_turn=in_turn)

    def usable(self, record: Sequence[Step]) -> set[At]:
        """Return which checkpoints were recorded in the shape that they should have."""
        return {
            (place.step, name)
            for place in self.places([step["ids"] for step in record])
            for name, output in place.node.makes.items()
            if name in record[place.step] and np.shape(record[place.step][name]) == self.shape(place, output)
        }

    def needs(self, record: Sequence[Step], at: At, usable: Container[At]) -> list[tuple[Place, list[str]]]:
        """Return where, and by which outputs there, a checkpoint is computed from what was recorded."""
        return [(place, outputs) for place, outputs, _ in self._plan(record, usable, {at})]

    def everywhere(self, record: Sequence[Step], precision: str, seed: int = 0) -> Iterator[Wanted]:
        """Compute each recorded checkpoint from the ids alone, as if nothing else had been recorded."""
        return self._wanted(record, set(), precision, None, seed)

    def _wanted(
        self,
        record: Sequence[Step],
        usable: Container[At],
        precision: str,
        only: Container[At] | None,
        seed: int = 0,
        in_turn: bool = False,
    ) -> Iterator[Wanted]:
        """Yield what the recorded checkpoints should be, from those that are usable."""
        rng = np.random.default_rng(seed)
        plan = self._plan(record, usable, only)
        if in_turn:
            plan = self._in_turn(plan, lambda entry: entry[0].node)
        last_use = {name: i for i, (_, _, needs) in enumerate(plan) for name in needs}
        computed: dict[At, list[Tensor]] = {}  # the right value, and copies moved by rounding

        def reader(copy: int) -> Callable[[int, str], Tensor]:
            return lambda k, name: (
                computed[k, name][copy] if (k, name) in computed else np.asarray(record[k][name], np.float64)
            )

        for i, (place, outputs, needs) in enumerate(plan):
            k, component = place.step, place.node.component
            names = {output: name for name, output in place.node.makes.items()}
            runs: list[dict[str, Tensor]] = []
            for copy in range(1 + DRAWS * any(name in computed for name in needs)):
                read = reader(copy)
                inputs = {name: self._source(at, read, place) for name, at in place.node.sources.items()}
                others = {output: read(k, name) for output, name in names.items() if (k, name) in needs}
                want = [*outputs, *(f"bound {output}" for output in outputs)] if copy == 0 else outputs
                runs.append(
                    self._compute(place, want, inputs, others, PRECISIONS[precision] if copy == 0 else None)
                )
            for output in outputs:
                name, value, bound = names[output], runs[0][output], runs[0][f"bound {output}"]
                bound = np.broadcast_to(bound, value.shape)
                if name in record[k] and (only is None or (k, name) in only):
                    spread = REACH * _spread(value, [run[output] for run in runs[1:]])
                    yield Wanted(k, name, component.id, value, bound + spread)
                if (k, name) not in usable and (k, name) in last_use:
                    runs += [runs[0]] * (1 + DRAWS - len(runs))
                    with np.errstate(invalid="ignore"):  # -inf, where a wrong engine has no tolerance either
                        moved = [run[output] + rng.uniform(-1, 1, value.shape) * bound for run in runs[1:]]
                    computed[k, name] = [value, *moved]
            for done in [name for name in needs if last_use[name] == i]:
                computed.pop(done, None)
        self._held = (None, {})

    def _plan(
        self,
        record: Sequence[Step],
        usable: Container[At],
        only: Container[At] | None,
    ) -> list[tuple[Place, list[str], set[At]]]:
        """Return what has to be computed, in order: where, which outputs, and from which checkpoints."""
        plan: list[tuple[Place, list[str], set[At]]] = []
        missing: set[At] = set()
        for place, outputs in reversed(self._outline([len(step["ids"]) for step in record])):
            recorded = record[place.step]
            for name, at, needs in reversed(outputs):
                asked = at[1] in recorded and (only is None or at in only)
                if not asked and at not in missing:
                    continue
                missing.update(need for need in needs if need not in usable)
                if plan and plan[-1][0] is place and plan[-1][2].isdisjoint(output.at for output in outputs):
                    plan[-1][1].insert(0, name)  # outputs that do not need each other are computed together
                else:
                    plan.append((place, [name], set(needs)))
        return plan[::-1]

    def _outline(self, lengths: Sequence[int]) -> list[tuple[Place, list[Output]]]:
        """Return every place with its outputs, in the order of the data flow, for calls of so many ids."""
        key = tuple(lengths)
        if self._last_outline[0] != key:
            places = self.places([range(length) for length in lengths])
            self._last_outline = key, [(place, list(self._outputs(place))) for place in places]
        return self._last_outline[1]

    def _outputs(self, place: Place) -> Iterator[Output]:
        k, component = place.step, place.node.component
        read = {at for s in place.node.sources.values() if (at := self._origin(s, k)) is not None}
        names = {output: name for name, output in place.node.makes.items()}
        for name, output in place.node.makes.items():
            others = {(k, names[other]) for other in component.reads(output) & names.keys()}
            yield Output(output, (k, name), frozenset(read | others))

    def _origin(self, source: str, step: int) -> At | None:
        """Return which forward call and checkpoint a source is; None for what is always there."""
        if source.startswith("past."):
            return (step - 1, source.removeprefix("past.")) if step else None
        return None if source in ("ids", "n_past") or source in self.weights else (step, source)

    def _source(self, name: str, checkpoint: Callable[[int, str], Tensor], place: Place) -> Tensor:
        """Return what a source is at a place; `checkpoint` gives the checkpoints."""
        if name == "n_past":
            return np.asarray(float(place.sizes["P"]))
        if name in self.weights:
            return self._weight(name, place.node)
        at = self._origin(name, place.step) if name != "ids" else (place.step, name)
        if at is None:
            return np.zeros((self.config["n_head"], 0, self.config["head_dim"]))
        return checkpoint(*at)

    def _weight(self, name: str, node: Node) -> Tensor:
        """Return a weight in float64. Those of one component are held until another one asks."""
        if self._held[0] is not node:
            self._held = node, {}
        held = self._held[1]
        if name not in held:
            held[name] = np.asarray(self.weights[name], np.float64)
        return held[name]

    def _input(self, source: str, steps: Sequence[Step], place: Place) -> Tensor:
        return self._source(source, lambda k, name: np.asarray(steps[k][name], np.float64), place)

    def shape(self, place: Place, output: str) -> tuple[int, ...]:
        """Return the shape that an output has at a place."""
        return resolve(place.node.component.outputs[output], place.sizes)

    def _compute(
        self,
        place: Place,
        want: list[str],
        inputs: Mapping[str, Tensor],
        given: Mapping[str, Tensor],
        precision: tuple[float, float] | None = None,
    ) -> dict[str, Tensor]:
        component = place.node.component
        return component.run(
            want,
            inputs,
            self.config,
            layer=place.node.layer,
            sizes=place.sizes,
            given=given,
            mistake=self._wrong.get(component.id),
            uses={name: self._wrong.get(name) for name in component.uses},
            precision=precision,
        )


def _spread(value: Tensor, moved: Sequence[Tensor]) -> Tensor:
    """Return how far moved copies are away in the mean of their squares, by row; -inf does not count."""
    if not moved or not value.size:
        return np.zeros(())
    finite = np.isfinite(value)
    away = [np.where(finite, copy, 0) - np.where(finite, value, 0) for copy in moved]
    total = np.sum(np.square(away), axis=(0, -1))[..., None]
    spread: Tensor = np.sqrt(total / np.maximum(finite.sum(axis=-1, keepdims=True), 1) / len(moved))
    return spread


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
    tensors: dict[str, Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name.startswith("model"):
            tensors |= {name.removeprefix("transformer."): stored for name, stored in _read_stored(path)}
    weights = {}
    for name, shape in spec.weight_shapes(config).items():
        stored = spec.tied.get(name, name) if config["tie_word_embeddings"] else name
        if stored not in tensors or tensors[stored].shape != shape:
            got = list(tensors[stored].shape) if stored in tensors else "nothing"
            raise SpecError(f"{folder}: the spec wants {stored} {list(shape)}, the files hold {got}.")
        weights[name] = tensors[stored]
    return Oracle(spec, config, Weights(weights, lambda name: weights[name].decode()), mistake)


class Stored(NamedTuple):
    """A tensor in a file: how it is written there, its shape, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]

    def decode(self) -> Tensor:
        """Return the numbers, as exact as they are stored."""
        if self.dtype == "BF16":  # the upper half of a float32
            numbers: Tensor = (self.data.view("<u2").astype("<u4") << 16).view("<f4")
        else:
            numbers = self.data.view(f"<f{int(self.dtype[1:]) // 8}")
        return numbers.reshape(self.shape)


class Weights(Mapping[str, Tensor]):
    """Weights by name, made each time they are asked for: a model need not fit into memory in float64."""

    def __init__(self, names: Iterable[str], get: Callable[[str], Tensor]) -> None:
        self._names, self._get = dict.fromkeys(names), get

    def __getitem__(self, name: str) -> Tensor:
        return self._get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _made_of(weights: Mapping[str, Tensor], equations: Mapping[str, Equation]) -> Mapping[str, Tensor]:
    """Return weights, some of them made of the right one, w; h.N. in a name is every block."""

    def get(name: str) -> Tensor:
        equation = equations.get(generic(name))
        right = weights[name]
        return right if equation is None else np.asarray(equation.run({"w": np.asarray(right, np.float64)}))

    return Weights(weights, get)


def _read_stored(path: Path) -> Iterator[tuple[str, Stored]]:
    """Yield the tensors of a file that can be weights. Raises SpecError where the library refuses it."""
    try:
        with safetensors.safe_open(path, "numpy"):
            pass
    except (OSError, safetensors.SafetensorError) as error:
        raise SpecError(f"cannot be read as safetensors: {error}", path) from error
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    for name, entry in header.items():
        if entry.get("dtype") in ("BF16", "F16", "F32", "F64"):  # masks may be anything else
            start, end = (8 + size + offset for offset in entry["data_offsets"])
            yield name, Stored(entry["dtype"], tuple(entry["shape"]), data[start:end])


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
