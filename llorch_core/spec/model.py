"""How components make a model: the wiring of `specs/model/gpt2.yaml`, laid out for a number of blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from llorch_core.spec.behaviour import Behaviour
from llorch_core.spec.component import Component, Config, Mistake, Rule, check_form, read_rules
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Equation
from llorch_core.spec.lessons import Lesson, read_lessons
from llorch_core.spec.yaml_file import YamlFile, read_yaml


@dataclass(frozen=True)
class Node:
    """One component at one place: which tensors it reads, and which checkpoints it makes."""

    component: Component
    layer: int
    sources: Mapping[str, str]  # input of the component: name of a tensor
    makes: Mapping[str, str]  # checkpoint: output of the component


@dataclass(frozen=True)
class Rewiring:
    """A mistake of the model: other sources for a step, or a policy of the engine."""

    id: str
    instead: Mapping[str, Mapping[str, str]]
    policy: str | None
    symptom: str
    seen_in: tuple[str, ...]


@dataclass(frozen=True)
class ModelSpec:
    """The spec of the whole model, with the components that it wires together."""

    id: str
    title: str
    purpose: str
    source: tuple[str, ...]
    components: Mapping[str, Component]
    before: Mapping[str, Behaviour]
    after: Mapping[str, Behaviour]
    config: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, tuple[Equation, ...]]
    tied: Mapping[str, str]
    rules: Mapping[str, Rule]
    mistakes: Mapping[str, Rewiring]
    file: YamlFile

    def nodes(self, n_layer: int, mistakes: Sequence[str] = ()) -> list[Node]:
        """Return every component of a model with `n_layer` blocks, in the order of the data flow."""
        instead: dict[str, dict[str, str]] = {}
        for mistake in mistakes:
            for made, changed in self.mistakes[mistake].instead.items():
                instead[made] = {**instead.get(made, {}), **changed}
        steps: list[Mapping[str, Any]] = self.file.data["steps"]
        in_block = [step for step in steps if any("h.N." in name for name in step["makes"])]
        first = steps.index(in_block[0])
        layout = [(step, 0) for step in steps[:first]]
        layout += [(step, n) for n in range(n_layer) for step in in_block]
        layout += [(step, n_layer - 1) for step in steps[first + len(in_block) :]]
        nodes = []
        for step, n in layout:
            changed = {k: v for made in step["makes"] for k, v in instead.get(made, {}).items()}
            sources = {
                name: place(source, n, n_layer) for name, source in {**step["from"], **changed}.items()
            }
            makes = {place(name, n, n_layer): output for name, output in step["makes"].items()}
            nodes.append(Node(self.components[step["by"]], n, sources, makes))
        return nodes

    def weight_shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every tensor of the model."""
        sizes = {name: float(value) for name, value in config.items() if isinstance(value, int)}
        names = [
            (n, name) for name in self.weights for n in range(config["n_layer"] if "h.N." in name else 1)
        ]
        return {
            name.replace("h.N.", f"h.{n}."): tuple(int(size.run(sizes)) for size in self.weights[name])
            for n, name in names
        }

    def read_config(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `config.NAME` stands for, from config.json and the defaults of the spec."""
        config: dict[str, Any] = {}
        for name, entry in self.config.items():
            value = data.get(entry["file"])
            if value is None:
                if "default" not in entry:
                    raise SpecError(f"config.json does not give {entry['file']}: {entry['meaning']}.")
                value = entry["default"]
            if value == entry.get("default") and isinstance(value, str) and not value.isidentifier():
                value = int(Equation(value).run(config))
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            if name.startswith("n_") and not whole:
                raise SpecError(
                    f"config.json gives {entry['file']} = {value!r}, wanted a whole number above 0."
                )
            config[name] = value
        if config["n_embd"] % config["n_head"]:
            raise SpecError(f"n_embd {config['n_embd']} cannot be cut into {config['n_head']} heads.")
        config["head_dim"] = config["n_embd"] // config["n_head"]
        return config

    @property
    def defaults(self) -> dict[str, Any]:
        """What the spec says of the config where nothing else does; sizes are left out."""
        entries = {name: e["default"] for name, e in self.config.items() if "default" in e}
        return {name: value for name, value in entries.items() if name != "n_inner"}

    def mistake_ids(self) -> list[str]:
        """Return the id of every mistake of the model and its components: COMPONENT.MISTAKE."""
        return list(self.all_mistakes)

    @cached_property
    def all_mistakes(self) -> dict[str, Mistake | Rewiring]:
        """Every mistake by its id, in the order of the data flow."""
        return {mistake.id: mistake for part in self.parts() for mistake in part.mistakes.values()}

    @cached_property
    def lessons(self) -> tuple[Lesson, ...]:
        """What failures taught, each with what enforces it: of the folder lessons beside this spec's own."""
        return read_lessons(self.file.path.parents[1] / "lessons", None)

    def parts(self) -> list[Component | Behaviour | ModelSpec]:
        """Return every spec in the order of the data flow, this one behind its components."""
        return [*self.before.values(), *self.components.values(), self, *self.after.values()]

    def all_rules(self) -> dict[str, Rule]:
        """Return every rule by its id, in the order of the data flow."""
        return {rule.id: rule for part in self.parts() for rule in part.rules.values()}


def place(name: str, layer: int, n_layer: int) -> str:
    """Return the name of a tensor for one block: h.N.in of block 3 is h.2.out, of block 0 embed."""
    name = name.replace("h.last.", f"h.{n_layer - 1}.").replace("h.N.", f"h.{layer}.")
    if (found := re.fullmatch(r"h\.(\d+)\.in", name)) is not None:
        return f"h.{int(found[1]) - 1}.out" if int(found[1]) else "embed"
    return name


def generic(name: str) -> str:
    """Return the name of a tensor of a block for every block: h.N.mlp.act. It undoes `place`."""
    return re.sub(r"^h\.\d+\.", "h.N.", name)


def read_model(
    path: Path,
    schemas: Path | None,
    components: Mapping[str, Component],
    before: Mapping[str, Behaviour],
    after: Mapping[str, Behaviour],
) -> ModelSpec:
    """Read the wiring and check that it fits the components. Raises SpecError with file and line."""
    file = read_yaml(path)
    check_form(file, schemas, "model")
    data = file.data
    parts: list[Component | Behaviour] = [*before.values(), *components.values(), *after.values()]
    known = {mistake.id for part in parts for mistake in part.mistakes.values()}
    mistakes = {
        name: Rewiring(
            id=f"{data['id']}.{name}",
            instead=entry.get("instead", {}),
            policy=entry.get("policy"),
            symptom=entry["symptom"],
            seen_in=tuple(entry.get("seen_in", ())),
        )
        for name, entry in data["mistakes"].items()
    }
    model = ModelSpec(
        id=data["id"],
        title=data["title"],
        purpose=data["purpose"],
        source=tuple(data["source"]),
        components=components,
        before=before,
        after=after,
        config=data["config"],
        weights={name: _weight_shape(file, name) for name in data["weights"]},
        tied=data["tied"],
        rules=read_rules(file, known),
        mistakes=mistakes,
        file=file,
    )
    _check_wiring(model)
    return model


def _weight_shape(file: YamlFile, name: str) -> tuple[Equation, ...]:
    try:
        shape = tuple(Equation(str(size)) for size in file.data["weights"][name])
    except SpecError as error:
        raise file.error(str(error), "weights", name) from error
    for unknown in sorted(set().union(*(size.names for size in shape)) - file.data["config"].keys()):
        raise file.error(f"{unknown} is not an entry of the config.", "weights", name)
    return shape


def _check_wiring(model: ModelSpec) -> None:
    file = model.file
    steps = file.data["steps"]
    for name, stored in model.tied.items():
        for weight in (name, stored):
            if weight not in model.weights:
                raise file.error(f"{weight} is not a weight.", "tied", name)
    in_block = [any("h.N." in name for name in step["makes"]) for step in steps]
    if [part for part, _ in groupby(in_block)].count(True) != 1:
        raise file.error("the steps of a block, which make h.N.…, must stand together.", "steps")
    known = _known_before(model)
    for i, step in enumerate(steps):
        if step["by"] not in model.components:
            raise file.error(f"{step['by']} is not a component.", "steps", i, "by")
        component = model.components[step["by"]]
        if step["from"].keys() != component.inputs.keys():
            wanted, got = ", ".join(component.inputs), ", ".join(step["from"])
            raise file.error(f"{component.id} reads {wanted}; the step gives {got}.", "steps", i, "from")
        for name, source in step["from"].items():
            if source not in known[i]:
                text = f"{source} is not a tensor of the model, or is not made before it is read."
                raise file.error(text, "steps", i, "from", name)
        for name, output in step["makes"].items():
            if output not in component.outputs:
                raise file.error(f"{component.id} has no output {output}.", "steps", i, "makes", name)
            if name not in component.appears_as:
                text = f"{name} is made by {component.id}, whose spec does not list it in appears_as."
                raise file.error(text, "steps", i, "makes", name)
            if name in known[i]:
                raise file.error(f"{name} is made twice.", "steps", i, "makes", name)
    for component in model.components.values():
        made = {name for step in steps if step["by"] == component.id for name in step["makes"]}
        for name in component.appears_as:
            if name not in made:
                text = f"{name} is not made by any step of {file.path.name} that runs {component.id}."
                raise component.file.error(text, "appears_as")
    read = {source for step in steps for source in step["from"].values()}
    for name in model.weights:
        if name not in read:
            raise file.error(f"no step reads {name}. Use it or leave it out.", "weights", name)
    for name, mistake in model.mistakes.items():
        for target, changed in mistake.instead.items():
            at = ("mistakes", name, "instead", target)
            makers = [i for i, step in enumerate(steps) if target in step["makes"]]
            for key, source in changed.items():
                if not makers or key not in steps[makers[0]]["from"]:
                    raise file.error(f"no step makes {target} from {key}.", *at)
                if re.sub(r"\bh\.(\d+|last)\.", "h.N.", source) not in known[makers[0]]:
                    raise file.error(f"{source} is not a tensor that {target} could be made from.", *at)


def _known_before(model: ModelSpec) -> list[set[str]]:
    """Return what each step may read: ids, weights, the past, and what the steps above it make."""
    steps = model.file.data["steps"]
    known = {
        "ids",
        "n_past",
        "h.N.in",
        *model.weights,
        *(f"past.{name}" for s in steps for name in s["makes"]),
    }
    before = []
    for step in steps:
        before.append(set(known))
        known |= step["makes"].keys()
        if "h.N.out" in step["makes"]:
            known |= {"h.last.in", "h.last.out"}
    return before
