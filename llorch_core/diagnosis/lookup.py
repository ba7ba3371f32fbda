"""What the specs know of a checkpoint and of a mistake: who makes it, what is right, what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llorch_core.diagnosis.result import Cause
from llorch_core.spec.component import Component
from llorch_core.spec.model import ModelSpec, generic
from llorch_core.spec.suite import load_specs

SIGNATURE = "signature."  # of a cause of which only the look is known
AXES = {"T": "position", "S": "position read", "n_head": "head", "n_vocab": "token"}  # else: feature
HINTS = {  # name of a signature: where such a difference comes from
    "zero": "look for a buffer that nobody writes, and for a call that is never made",
    "constant": "look for a buffer that nobody writes, and for one number that is used for all",
    "not_finite": "look for a division by 0, an overflow, and memory that nobody has written",
    "shifted": "look at which rows are read and written: an index, a stride, or n_past is off by one",
    "reversed": "look at the order in which rows are written, and at the sign of a stride",
    "permuted": "look at how the axis is cut and put together again: an order or a stride is off",
    "transposed": "look at the order in which a matrix lies in memory: GPT-2's is (in, out), row after row",
    "another_tensor": "look at which buffer, block and call are read: an index or a pointer is off",
    "scaled": "look for a factor that is left out, applied twice, or inverted",
    "scaled_by_row": "look for a norm that is left out, done twice, or done over another axis",
    "offset": "look for a constant that is added, left out, or added twice",
    "offset_by_column": "look for a bias that is left out, added twice, or another one's",
    "offset_by_row": "look for a mean or a maximum that is subtracted, or not",
    "dropout": "switch dropout off: an engine that predicts has none",
    "lower_precision": "look for a product, a sum or a buffer that is kept in fewer bits than the others",
}


def block(checkpoint: str) -> int | None:
    """Return the number of the block, or None outside the blocks."""
    found = re.match(r"h\.(\d+)\.", checkpoint)
    return int(found[1]) if found else None


def flow(spec: ModelSpec) -> list[str]:
    """Return every checkpoint in the order of the data flow, with h.N for the blocks."""
    return [name for step in spec.file.data["steps"] for name in step["makes"]]


@dataclass(frozen=True)
class Maker:
    """What makes a checkpoint: a component, which of its outputs it is, what it reads, what it makes."""

    component: Component
    output: str
    sources: Mapping[str, str]
    others: Mapping[str, str]

    @property
    def axes(self) -> tuple[str, ...]:
        """What the axes of the tensor count."""
        return tuple(AXES.get(size.text, "feature") for size in self.component.outputs[self.output])

    @property
    def equation(self) -> str:
        """The equation, or where it is found."""
        if self.output in self.component.equations:
            return f"{self.output} = {self.component.equations[self.output].text}"
        return f"`llorch spec show {self.component.id}`"

    def reads(self) -> list[str]:
        """Return the tensors that the equation reads: inputs, and outputs of the component before it."""
        made = {output: name for name, output in self.others.items()}
        found: dict[str, None] = {}

        def follow(names: Iterable[str]) -> None:
            for name in sorted(names):
                if name in made and name != self.output:
                    found[made[name]] = None
                elif name in self.sources:
                    found[self.sources[name]] = None
                elif name in self.component.equations:
                    follow(self.component.equations[name].names)

        follow(
            self.component.equations[self.output].names
            if self.output in self.component.equations
            else self.sources
        )
        return list(found)


def maker(spec: ModelSpec, checkpoint: str) -> Maker | None:
    """Return what makes a checkpoint, or None for what no component makes, such as text."""
    for step in spec.file.data["steps"]:
        if generic(checkpoint) in step["makes"]:
            makes = step["makes"]
            return Maker(spec.components[step["by"]], makes[generic(checkpoint)], step["from"], makes)
    return None


# Mistakes: what is right, and what was computed instead.


@dataclass(frozen=True)
class Change:
    """One equation, constant or source that a mistake replaces."""

    name: str
    right: str
    wrong: str


def changes(mistake: str, config: Mapping[str, Any] | None = None) -> list[Change]:
    """Return what a mistake replaces; nothing for a signature, and for a policy of the engine.

    config  of the model, which decides what constants and some functions are; else the defaults
    """
    spec = load_specs()
    config = config or spec.defaults
    part = {p.id: p for p in spec.parts()}.get(mistake.partition(".")[0])
    found = part.mistakes.get(mistake.partition(".")[2]) if part else None
    if part is None or found is None:
        return []
    if isinstance(part, ModelSpec):
        return [
            Change(made, f"{name} = {_source(spec, made, name)}", f"{name} = {source}")
            for made, changed in part.mistakes[found.id.partition(".")[2]].instead.items()
            for name, source in changed.items()
        ]
    if not isinstance(part, Component):
        return [Change(k, str(part.data_of(None)[k]), str(v)) for k, v in found.instead.items()]
    changed = []
    for name, wrong in found.instead.items():
        right = part.equations[name].text if name in part.equations else str(part.constants[name])
        if right.startswith("config.") and (key := right.removeprefix("config.")) in config:
            right = f"{config[key]}, the config's {key}"
        changed.append(Change(name, _expand(part, right, config), getattr(wrong, "text", str(wrong))))
    return changed


def _source(spec: ModelSpec, made: str, name: str) -> str:
    found = maker(spec, made)
    return found.sources[name] if found else "?"


def _expand(part: Component, right: str, config: Mapping[str, Any]) -> str:
    """Add what a function of another component stands for: activation(fc) is the tanh form."""
    for name, used in part.uses.items():
        if used.cases and re.search(rf"\b{name}\(", right):
            equation = used.equations.get(used.cases["equation"].get(config.get(used.cases["config"])))
            right += f"   with {name}({', '.join(used.inputs)}) = {equation.text}" if equation else ""
    return right


def rule(mistake: str) -> str:
    """Return the rule that a mistake breaks, as a sentence; "" for a signature."""
    rules = [r for r in load_specs().all_rules().values() if mistake in r.catches]
    own = [r for r in rules if r.id.partition(".")[0] == mistake.partition(".")[0]]
    return (own or rules)[0].text if rules else ""


def hint(cause: Cause) -> str:
    """Return where a difference of this look comes from."""
    return HINTS.get(cause.mistake.removeprefix(SIGNATURE), "look for what can make it look so")
