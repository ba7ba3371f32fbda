"""Names of tensors: those of the contract, and those of other projects, cut and turned into checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llorch_core.spec.component import check_form, show_shape
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import CONSTANTS, FUNCTIONS, Equation
from llorch_core.spec.model import ModelSpec, place
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.spec.yaml_file import YamlFile, read_yaml

Array = NDArray[Any]
Shape = tuple[Equation, ...]

OF_THE_MODEL = ("n_layer", "n_embd", "n_head", "head_dim", "n_inner", "n_vocab", "n_ctx")
OF_THE_CALL = ("T", "P", "S")  # new positions, those before them, both together
SIZES = {*OF_THE_MODEL, *OF_THE_CALL}
BATCH = Equation("B")
BLOCK = re.compile(r"(?<![A-Za-z0-9])N(?![A-Za-z0-9])")  # where the number of the block stands in a name


@dataclass(frozen=True)
class Source:
    """What one checkpoint is made of.

    tensors   names of tensors, by the names that the equation gives them; N is the number of the block
    equation  what to compute of them, or None where the tensor is the checkpoint as it stands
    """

    tensors: Mapping[str, str]
    equation: Equation | None = None


@dataclass(frozen=True)
class NameMap:
    """The tensors of one project: their shapes, and how checkpoints are made of them.

    name         how the project is called, or "" for the names of the contract alone
    shapes       shape of each tensor; B marks the batch axis, which a tensor may lack
    checkpoints  for each checkpoint its sources; the first whose tensors are all there is taken
    ignore       patterns of tensors that are no checkpoint; * is anything
    record       how to record such a dump
    """

    name: str
    shapes: Mapping[str, Shape]
    checkpoints: Mapping[str, tuple[Source, ...]]
    ignore: tuple[str, ...] = ()
    record: str = ""

    @cached_property
    def _patterns(self) -> dict[str, re.Pattern[str]]:
        return {name: _pattern(name) for name in self.shapes}

    @cached_property
    def _found(self) -> dict[str, tuple[str, int] | None]:
        return {}  # what `find` has found before

    def find(self, name: str) -> tuple[str, int] | None:
        """Return the entry of `shapes` that a tensor is of, and its block. None: the map does not know it."""
        if name not in self._found:
            matches = ((entry, form.fullmatch(name)) for entry, form in self._patterns.items())
            found = next(((entry, match) for entry, match in matches if match), None)
            self._found[name] = (found[0], int((*found[1].groups(), 0)[0])) if found else None
        return self._found[name]

    def shape(self, name: str) -> Shape:
        """Return the declared shape of a tensor that the map knows."""
        found = self.find(name)
        assert found is not None, f"{name} was let through"
        return self.shapes[found[0]]

    def block(self, name: str) -> int:
        """Return the block that a tensor is of, 0 outside the blocks."""
        found = self.find(name)
        return found[1] if found else 0

    def row_shape(self, name: str) -> Shape:
        """Return the shape of what one sequence has of a tensor."""
        return tuple(size for size in self.shape(name) if size != BATCH)

    def ignores(self, name: str) -> bool:
        """Return whether the map says that this tensor is no checkpoint."""
        return self.find(name) is None and any(fnmatchcase(name, form) for form in self.ignore)

    def is_ids(self, name: str) -> bool:
        """Return whether a tensor holds token ids."""
        return any(name in source.tensors.values() for source in self.checkpoints["ids"])

    def positions(self, step: Mapping[str, Array]) -> int | None:
        """Return how many positions a call reads, None where no tensor shows it.

        Raises SpecError where two tensors disagree; those of fewest axes, as the ids, are believed.
        """
        shown = [
            (name, n)
            for name in sorted(step, key=lambda name: len(self.row_shape(name)))
            for size, n in zip(self.row_shape(name), step[name].shape, strict=True)
            if size.text == "T"
        ]
        for name, n in shown:
            if n != shown[0][1]:
                raise self._error(f"{name} has {n} positions, and {shown[0][0]} has {shown[0][1]}.")
        return shown[0][1] if shown else None

    def translate(
        self, step: Mapping[str, Array], config: Mapping[str, Any], n_past: int
    ) -> dict[str, Array]:
        """Return the checkpoints of one forward call of one sequence, each in the dtype that it came in.

        step    tensors without a batch axis
        config  the model's config, under the names of the spec
        n_past  positions that the calls before have read

        Raises SpecError where a tensor does not have the shape that the map declares.
        """
        sizes = {name: float(config[name]) for name in OF_THE_MODEL} | {"P": float(n_past)}
        if (n_new := self.positions(step)) is not None:
            sizes |= {"T": float(n_new), "S": float(n_past + n_new)}
        made: dict[str, Array] = {}
        for checkpoint, source, layer in self._all_sources(config["n_layer"]):
            if checkpoint in made or not all(name in step for name in source.tensors.values()):
                continue
            known: dict[str, Any] = {**sizes, "layer": float(layer)}
            for variable, name in source.tensors.items():
                known |= self._fit(name, step[name].shape, known)
                known[variable] = step[name]
            first = step[next(iter(source.tensors.values()))]
            result = source.equation.run(known) if source.equation else first
            made[checkpoint] = result.astype(first.dtype, copy=False)
        return made

    def _all_sources(self, n_layer: int) -> Iterator[tuple[str, Source, int]]:
        for checkpoint, sources in self.checkpoints.items():
            for layer in range(n_layer if "h.N." in checkpoint else 1):
                for source in sources:
                    tensors = {key: of_block(name, layer) for key, name in source.tensors.items()}
                    yield place(checkpoint, layer, n_layer), Source(tensors, source.equation), layer

    def _fit(self, name: str, got: tuple[int, ...], sizes: Mapping[str, Any]) -> dict[str, float]:
        """Return what the free sizes of a shape stand for. Raises SpecError where the others do not fit."""
        shape, free = self.row_shape(name), dict[str, float]()
        for size, n in zip(shape, got, strict=True):
            if size.text.isidentifier() and size.text not in sizes:
                free.setdefault(size.text, float(n))
        wanted = [int(size.run({**sizes, **free})) for size in shape]
        if wanted != list(got):
            raise self._error(f"{name} has the shape {list(got)}, wanted {show_shape(shape)} = {wanted}.")
        return free

    def _error(self, text: str) -> SpecError:
        return SpecError(f"{text} {self.record}".strip())


def own_names(spec: ModelSpec) -> NameMap:
    """Return the names of the contract: every checkpoint by its own name."""
    shapes: dict[str, Shape] = {"ids": (BATCH, Equation("T"))}
    for step in spec.file.data["steps"]:
        outputs = spec.components[step["by"]].outputs
        shapes |= {name: (BATCH, *outputs[output]) for name, output in step["makes"].items()}
    return NameMap("", shapes, {name: (Source({"x": name}),) for name in shapes})


def known_maps() -> list[str]:
    """Return the names of the maps that come with llorch."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().glob("*.yaml"))


def read_names(name_or_path: str | Path, spec: ModelSpec | None = None) -> NameMap:
    """Read a map of names: one of `known_maps()`, or a file of the user's own.

    Names of the contract stay valid beside those of the map. Raises SpecError, with file and line, where
    there is no such map, or it does not fit the specs.
    """
    path = _folder() / f"{name_or_path}.yaml" if name_or_path in known_maps() else Path(name_or_path)
    if not path.is_file():
        text = f"{name_or_path} is neither a map of names nor a file. There are: {', '.join(known_maps())}."
        raise SpecError(text)
    file = read_yaml(path)
    check_form(file, suite_folder() / "specs" / "schema", "names")
    own = own_names(spec or load_specs())
    shapes = {
        name: tuple(_equation(file, size, "tensors", name) for size in shape)
        for name, shape in file.data["tensors"].items()
    }
    checkpoints = {
        name: tuple(_source(file, entry, name) for entry in (given if isinstance(given, list) else [given]))
        for name, given in file.data["checkpoints"].items()
    }
    _check(file, shapes, checkpoints, {"h.N.in", *own.shapes})
    for name in own.shapes.keys() - shapes.keys():
        shapes[name] = own.shapes[name]
        checkpoints[name] = (*checkpoints.get(name, ()), *own.checkpoints[name])
    ignore = tuple(file.data.get("ignore", ()))
    return NameMap(path.name.removesuffix(".yaml"), shapes, checkpoints, ignore, file.data["record"])


def _folder() -> Path:
    return suite_folder() / "specs" / "names"


def of_block(name: str, layer: int) -> str:
    """Return the name for one block: h.N.ln_1 of block 2 is h.2.ln_1."""
    return BLOCK.sub(str(layer), name)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(BLOCK.sub("(0|[1-9][0-9]*)", re.escape(name)))


def _source(file: YamlFile, entry: Any, checkpoint: str) -> Source:
    if isinstance(entry, str):
        return Source({"x": entry})
    tensors = entry["from"] if isinstance(entry["from"], dict) else {"x": entry["from"]}
    return Source(tensors, _equation(file, entry["as"], "checkpoints", checkpoint) if "as" in entry else None)


def _equation(file: YamlFile, text: Any, *at: str) -> Equation:
    try:
        return Equation(str(text))
    except SpecError as error:
        raise file.error(str(error), *at) from error


def _check(
    file: YamlFile,
    shapes: Mapping[str, Shape],
    checkpoints: Mapping[str, tuple[Source, ...]],
    known: set[str],
) -> None:
    """Raise SpecError where the map names what does not exist, or what becomes nothing."""
    for name, shape in shapes.items():
        if shape.count(BATCH) > 1:
            raise file.error(f"{name} has more than one batch axis B.", "tensors", name)
        for size in shape:
            for unknown in sorted(size.names - SIZES if not size.text.isidentifier() else ()):
                text = f"{unknown} is not a size. There are: {', '.join(sorted(SIZES))}."
                raise file.error(text, "tensors", name)
    used: set[str] = set()
    for checkpoint, sources in checkpoints.items():
        at = ("checkpoints", checkpoint)
        if checkpoint not in known:
            text = f"{checkpoint} is not a checkpoint. There are: {', '.join(sorted(known))}."
            raise file.error(text, *at)
        for source in sources:
            for tensor in source.tensors.values():
                if tensor not in shapes:
                    raise file.error(f"{tensor} has no shape. Give it one in `tensors`.", *at)
                if _pattern(tensor).groups > ("h.N." in checkpoint):
                    raise file.error(f"{tensor} is of one block N, and {checkpoint} of none.", *at)
            reads = source.equation.names if source.equation else frozenset[str]()
            if (
                "h.N." in checkpoint
                and "layer" not in reads
                and not any(map(BLOCK.search, source.tensors.values()))
            ):
                raise file.error(
                    f"{checkpoint} is the same tensor in every block. Name N, or use layer.", *at
                )
            free = {size.text for tensor in source.tensors.values() for size in shapes[tensor]}
            _check_source(file, source, free, *at)
            used |= set(source.tensors.values())
    for name in shapes:
        if name not in used:
            text = f"{name} becomes no checkpoint. Use it, or move it to `ignore`."
            raise file.error(text, "tensors", name)


def _check_source(file: YamlFile, source: Source, free: set[str], *at: str) -> None:
    equation = source.equation
    if equation is None:
        if len(source.tensors) > 1:
            raise file.error("several tensors need `as`: what to compute of them.", *at)
        return
    taken = {*SIZES, *free, "layer", *FUNCTIONS, *CONSTANTS}
    readable = {*source.tensors, *SIZES, *free, "layer"} - {"B"}
    for name in sorted(source.tensors.keys() & taken):
        raise file.error(f"{name} is already a name of the language. Choose another.", *at)
    for name in sorted(source.tensors.keys() - equation.names):
        raise file.error(f"{name} is not used in {equation.text!r}.", *at)
    for name in sorted(equation.names - readable):
        text = f"{name} in {equation.text!r} is not known here. Known: {', '.join(sorted(readable))}."
        raise file.error(text, *at)
    for name in sorted(equation.calls - (FUNCTIONS.keys() - {"dropout"})):
        raise file.error(f"{name} in {equation.text!r} is not a function of the language.", *at)
