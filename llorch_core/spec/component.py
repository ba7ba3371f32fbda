"""One component of GPT-2 as its spec says it: equations, rules, tolerance, mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import CONSTANTS, FUNCTIONS, Equation, Tensor, bounded_shape
from llorch_core.spec.yaml_file import YamlFile, read_yaml

if TYPE_CHECKING:
    import jsonschema

SIZES = ("T", "P", "S", "B", "n_embd", "n_head", "head_dim", "n_inner", "n_vocab", "n_ctx")
TOLERANCE_NAMES = ("eps", "sum_eps", "tiny")
SUM_EPS = 2.0**-23  # engines that compute in 16 bits add up in float32
CONSTANT = r"config\.[a-z0-9_]+|layer"

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Input:
    """What a component reads: its shape in symbols, and what samples of it look like."""

    shape: tuple[Equation, ...]
    meaning: str
    kind: str = "real"
    among: tuple[float, ...] = ()
    spread: float = 1.0
    neutral: float | None = None


@dataclass(frozen=True)
class Rule:
    """One sentence that must hold, where it comes from, and the mistakes that break it."""

    id: str
    level: str
    text: str
    source: str
    catches: tuple[str, ...]


@dataclass(frozen=True)
class Mistake:
    """A wrong equation or constant that people really write in the place of the right one."""

    id: str
    instead: Mapping[str, Any]
    symptom: str
    seen_in: tuple[str, ...]
    hidden_in: tuple[str, ...] = ()  # precisions in which no element shows it
    shows_as: str | Mapping[str, Equation] | None = None  # another mistake, or weights made of the right ones


@dataclass(frozen=True)
class Component:
    """A spec that can be run. `file` knows the line of each part."""

    id: str
    title: str
    purpose: str
    source: tuple[str, ...]
    inputs: Mapping[str, Input]
    constants: Mapping[str, Any]
    equations: Mapping[str, Equation]
    outputs: Mapping[str, tuple[Equation, ...]]
    bounds: Mapping[str, Equation]
    why: str
    rules: Mapping[str, Rule]
    mistakes: Mapping[str, Mistake]
    file: YamlFile
    conditions: Mapping[str, Equation] = field(default_factory=dict)
    appears_as: tuple[str, ...] = ()
    cases: Mapping[str, Any] | None = None
    uses: Mapping[str, Component] = field(default_factory=dict)

    def sizes(self, inputs: Mapping[str, Tensor], known: Mapping[str, int]) -> dict[str, int]:
        """Return what the symbols of the shapes stand for. Raises SpecError where they disagree."""
        shapes = tuple((name, np.shape(tensor)) for name, tensor in inputs.items())
        key = (shapes, tuple(known.items()))
        if key not in self._sizes:
            self._sizes[key] = self._found_sizes(dict(shapes), known)
        return dict(self._sizes[key])

    @cached_property
    def _sizes(self) -> dict[tuple[Any, ...], dict[str, int]]:
        return {}

    def _found_sizes(self, shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, int]) -> dict[str, int]:
        sizes = dict(known)
        for name, found in shapes.items():
            if name not in self.inputs:
                raise SpecError(f"{self.id} has no input {name}. It reads {', '.join(self.inputs)}.")
            shape = self.inputs[name].shape
            if len(shape) != len(found):
                raise SpecError(f"{self.id}: {name} is {list(found)}, wanted {show_shape(shape)}.")
            for symbol, size in zip(shape, found, strict=True):
                if symbol.text in SIZES:
                    sizes.setdefault(symbol.text, size)
        if {"n_head", "head_dim"} <= sizes.keys():
            sizes.setdefault("n_embd", sizes["n_head"] * sizes["head_dim"])
        if sizes.get("n_head") and "n_embd" in sizes:
            sizes.setdefault("head_dim", sizes["n_embd"] // sizes["n_head"])
        if {"P", "T"} <= sizes.keys():
            sizes.setdefault("S", sizes["P"] + sizes["T"])
        for name, found in shapes.items():
            wanted = resolve(self.inputs[name].shape, sizes)
            if wanted != found:
                shape_text = show_shape(self.inputs[name].shape)
                raise SpecError(f"{self.id}: {name} is {list(found)}, wanted {shape_text} = {list(wanted)}.")
        return sizes

    def run(
        self,
        want: Iterable[str],
        inputs: Mapping[str, Tensor],
        config: Config,
        *,
        layer: int = 0,
        sizes: Mapping[str, int] | None = None,
        given: Mapping[str, Tensor] | None = None,
        mistake: str | None = None,
        uses: Mapping[str, str | None] | None = None,
        precision: tuple[float, float] | None = None,
    ) -> dict[str, Tensor]:
        """Compute equations in float64.

        want       names of outputs or other equations; `bound NAME` is the tolerance of an output,
                   `condition NAME` whether a condition holds
        inputs     a tensor for each input
        config     what `config.NAME` stands for
        given      outputs that are known already: what depends on them is computed from them; those that are
                   wanted are computed all the same
        mistake    the id of a mistake to make, or of several: one + another
        uses       which mistake each component makes that this one uses
        precision  (eps, tiny) of the engine on trial, for tolerances

        Returns the wanted tensors by name.
        """
        instead = self._instead(mistake)
        inputs = {name: np.asarray(tensor, np.float64) for name, tensor in inputs.items()}
        known: dict[str, Any] = {**self.sizes(inputs, sizes or {}), **inputs}
        for name, constant in self.constants.items():
            known[name] = self._constant(name, instead.get(name, constant), config, layer)
        if precision:
            known["eps"], known["tiny"] = precision
            known["sum_eps"] = min(known["eps"], SUM_EPS)
        known.update({name: np.asarray(tensor, np.float64) for name, tensor in (given or {}).items()})
        equations = {**self.equations, **{k: v for k, v in instead.items() if k in self.equations}}
        if self.cases:
            equations["out"] = equations[self._case(self.cases, config)]
        functions = {
            name: component.function(config, (uses or {}).get(name)) for name, component in self.uses.items()
        }

        def compute(equation: Equation, known: dict[str, Any]) -> Tensor:
            for name in equation.names - known.keys():
                if name in equations:
                    known[name] = compute(equations[name], known)
            result: Tensor = equation.run(known, functions)
            return result

        def wanted(name: str) -> Tensor:
            kind, _, of = name.rpartition(" ")
            if kind == "bound":  # of the right output, not of one that was given
                return compute(self.bounds[of], {**known, of: wanted(of)})
            if kind == "condition":
                return compute(self.conditions[of], known)
            if name not in fresh:
                if name in equations and (name in (given or {}) or name not in known):
                    fresh[name] = compute(equations[name], known)
                else:
                    fresh[name] = np.asarray(known[name], np.float64)
            return fresh[name]

        fresh: dict[str, Tensor] = {}
        made = {name: wanted(name) for name in want}
        known.clear()  # the functions above refer to themselves: what they hold would wait for the collector
        fresh.clear()
        return made

    def _instead(self, mistake: str | None) -> dict[str, Any]:
        """Return what stands in the place of what. Raises SpecError where two mistakes want one place."""
        instead: dict[str, Any] = {}
        for name in mistake.split(" + ") if mistake else ():
            if both := instead.keys() & self.mistakes[name].instead.keys():
                raise SpecError(
                    f"{mistake} cannot be made together: each replaces {', '.join(sorted(both))}."
                )
            instead |= self.mistakes[name].instead
        return instead

    @cached_property
    def behind(self) -> dict[str, frozenset[str]]:
        """What each output is computed from: names and called components, up to other outputs."""

        def names(of: str) -> set[str]:
            equation = self.equations.get(of)
            cases = set(self.cases["equation"].values()) if self.cases and of == "out" else set()
            read = cases | (set(equation.names | equation.calls) if equation else set())
            return read.union(*(names(name) for name in read - self.outputs.keys()))

        return {output: frozenset(names(output)) for output in self.outputs}

    def reads(self, output: str) -> frozenset[str]:
        """Return the other outputs that an output is computed from."""
        return self.behind[output] & self.outputs.keys() - {output}

    def changes(self, mistake: str, output: str) -> bool:
        """Whether a mistake of this component stands between an output and the outputs before it."""
        return not (self.behind[output] | {output}).isdisjoint(self.mistakes[mistake].instead)

    def degenerate(
        self, inputs: Mapping[str, Tensor], config: Config, layer: int, sizes: Mapping[str, int]
    ) -> str | None:
        """Return why an example with these inputs proves nothing, or None where every condition holds."""
        want = [f"condition {name}" for name in self.conditions]
        holds = self.run(want, inputs, config, layer=layer, sizes=sizes)
        for name in self.conditions:
            if not np.all(holds[f"condition {name}"] != 0):
                why = self.file.data["conditions"][name]["why"]
                return f"its data do not meet {self.id}.{name}, {self.conditions[name].text}: {why}"
        return None

    def function(self, config: Config, mistake: str | None = None) -> Callable[..., Tensor]:
        """Return the component as a function of its inputs in order, for equations that call it."""
        (output,) = self.outputs

        def call(*arguments: Tensor) -> Tensor:
            if len(arguments) != len(self.inputs):
                raise SpecError(f"{self.id} wants {', '.join(self.inputs)}; got {len(arguments)} arguments.")
            inputs = dict(zip(self.inputs, arguments, strict=True))
            return self.run([output], inputs, config, mistake=mistake)[output]

        return call

    def check_shapes(self, outputs: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
        """Raise SpecError where an output does not have the shape that the spec declares."""
        for name, tensor in outputs.items():
            try:
                wanted = resolve(self.outputs[name], sizes)
            except SpecError as error:
                raise self.file.error(str(error), "output", name) from error
            if tensor.shape != wanted:
                text = f"{name} has the shape {list(tensor.shape)}, but the spec declares "
                raise self.file.error(
                    f"{text}{show_shape(self.outputs[name])} = {list(wanted)}. Correct one of the two.",
                    *(("equations", name) if name in self.equations else ("output", name)),
                )

    def _constant(self, name: str, text: Any, config: Config, layer: int) -> Any:
        if isinstance(text, str) and text.startswith("config."):
            key = text.removeprefix("config.")
            if key not in config:
                text = f"{name} is {text}, but the config has no {key}."
                raise self.file.error(text, "constants", name)
            if isinstance(config[key], str) or np.ndim(config[key]):
                text = f"{name} is {text} = {config[key]!r}, wanted a number."
                raise self.file.error(text, "constants", name)
            return np.float64(config[key])
        return np.float64(layer) if text == "layer" else np.float64(text)

    def _case(self, cases: Mapping[str, Any], config: Config) -> str:
        key, equations = cases["config"], cases["equation"]
        if config.get(key) not in equations:
            known = ", ".join(equations)
            raise SpecError(f"{self.id} has no equation for {key} = {config.get(key)!r}. There are: {known}.")
        return str(equations[config[key]])


def resolve(shape: tuple[Equation, ...], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the shape in numbers."""
    numbers = {name: float(n) for name, n in sizes.items()}
    return bounded_shape(tuple(numbers.get(size.text) or size.run(numbers) for size in shape))


def show_shape(shape: tuple[Equation, ...]) -> str:
    """Return the shape as the spec writes it: [T, n_embd]."""
    return f"[{', '.join(size.text for size in shape)}]"


@cache
def schema(folder: Path, name: str) -> jsonschema.protocols.Validator:
    """Return the validator of `specs/schema/NAME.schema.json`."""
    import jsonschema  # 0.07 s that a process needs only where a form is not known to hold

    return jsonschema.Draft202012Validator(json.loads((folder / f"{name}.schema.json").read_text("utf-8")))


def check_form(file: YamlFile, schemas: Path | None, name: str) -> None:
    """Raise SpecError at the first part of the file that `schemas`/NAME.schema.json refuses.

    None for `schemas`: the form of these very bytes is known to hold.
    """
    if schemas is None:
        return
    for error in sorted(
        schema(schemas, name).iter_errors(file.data), key=lambda e: [str(p) for p in e.absolute_path]
    ):
        at, form = tuple(error.absolute_path), error.schema
        if error.validator == "additionalProperties" and isinstance(form, Mapping):
            given: Any = error.instance
            at += tuple(key for key in given if key not in form["properties"])[:1]
        elif "propertyNames" in error.absolute_schema_path:
            at += (str(error.instance),)
        where = ".".join(str(part) for part in error.absolute_path) or "the spec"
        reason = error.message
        if len(reason) > 300:  # it shows the part, which may be as long as the file
            reason = f"{reason[:150]} … {reason[-100:]}"
        if _is_number_as_text(error.instance):
            reason = f"{error.instance} is text to YAML. Write 1.0e-5"
        raise file.error(f"{where}: {reason}. The form is in specs/schema.", *at)


def _is_number_as_text(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value) is not None


def read_component(path: Path, schemas: Path | None, others: Mapping[str, Component]) -> Component:
    """Read one spec and check its form and names; `others` are the components that it may use.

    Raises SpecError with file and line. It is not run here: see `trial.check_component`.
    """
    file = read_yaml(path)
    check_form(file, schemas, "component")
    data = file.data

    def equation(text: Any, *at: str | int) -> Equation:
        try:
            return Equation(str(text))
        except SpecError as error:
            raise file.error(str(error), *at) from error

    inputs = {
        name: Input(
            shape=tuple(equation(size, "inputs", name, "shape") for size in entry["shape"]),
            meaning=entry["meaning"],
            kind=entry.get("kind", "real"),
            among=tuple(entry.get("among", ())),
            spread=entry.get("spread", 1.0),
            neutral=entry.get("neutral"),
        )
        for name, entry in data["inputs"].items()
    }
    equations = {name: equation(text, "equations", name) for name, text in data["equations"].items()}
    outputs = {
        name: tuple(equation(size, "output", name) for size in shape)
        for name, shape in data["output"].items()
    }
    for section, shapes in (("inputs", {n: i.shape for n, i in inputs.items()}), ("output", outputs)):
        for name, shape in shapes.items():
            for unknown in sorted(set().union(*(size.names for size in shape)) - set(SIZES)):
                text = f"{unknown} is not a size. There are: {', '.join(SIZES)}."
                raise file.error(text, section, name)
    bound = data["tolerance"]["bound"]
    bounds = bound if isinstance(bound, dict) else dict.fromkeys(outputs, bound)
    constants = data.get("constants", {})
    mistakes = {
        name: Mistake(
            id=f"{data['id']}.{name}",
            instead={
                target: replacement
                if target in constants
                else equation(replacement, "mistakes", name, "instead", target)
                for target, replacement in entry["instead"].items()
            },
            symptom=entry["symptom"],
            seen_in=tuple(entry.get("seen_in", ())),
            hidden_in=tuple(entry.get("hidden_in", ())),
        )
        for name, entry in data["mistakes"].items()
    }
    component = Component(
        id=data["id"],
        title=data["title"],
        purpose=data["purpose"],
        source=tuple(data["source"]),
        inputs=inputs,
        constants=constants,
        equations=equations,
        outputs=outputs,
        bounds={name: equation(text, "tolerance", "bound") for name, text in bounds.items()},
        why=data["tolerance"]["why"],
        rules=read_rules(file),
        mistakes=mistakes,
        file=file,
        conditions={
            name: equation(entry["holds"], "conditions", name, "holds")
            for name, entry in data["conditions"].items()
        },
        appears_as=tuple(data.get("appears_as", ())),
        cases=data.get("cases"),
        uses={name: others[name] for name in data.get("uses", ()) if name in others},
    )
    _check_names(component)
    return component


def read_rules(file: YamlFile, others: Collection[str] = ()) -> dict[str, Rule]:
    """Return the rules of a spec. Raises SpecError where one is not tied to the mistakes.

    others  mistakes of other specs that rules of this one may catch, as COMPONENT.MISTAKE
    """
    data = file.data
    rules = {}
    for name, entry in data["rules"].items():
        (level,) = entry.keys() & {"must", "should", "may"}
        for caught in entry["catches"]:
            if caught not in data["mistakes"] and caught not in others:
                raise file.error(f"{name} catches {caught}, which is not a mistake.", "rules", name)
        catches = tuple(c if "." in c else f"{data['id']}.{c}" for c in entry["catches"])
        rules[name] = Rule(f"{data['id']}.{name}", level, entry[level], entry["source"], catches)
    caught_by_any = {caught for rule in rules.values() for caught in rule.catches}
    for name in data["mistakes"]:
        if f"{data['id']}.{name}" not in caught_by_any:
            raise file.error(f"no rule catches {name}. Name it in the rule that it breaks.", "mistakes", name)
    return rules


def _check_names(component: Component) -> None:
    file = component.file
    if component.id != file.path.stem:
        raise file.error(
            f"the id is {component.id}, but the file is {file.path.name}. Name them alike.", "id"
        )
    for missing in set(file.data.get("uses", ())) - component.uses.keys():
        raise file.error(f"uses {missing}, which is not a component.", "uses")
    sections: dict[str, Mapping[str, Any]] = {
        "inputs": component.inputs,
        "constants": component.constants,
        "equations": component.equations,
    }
    taken = dict.fromkeys([*FUNCTIONS, *CONSTANTS], "a function or constant of the language")
    taken |= dict.fromkeys([*SIZES, *TOLERANCE_NAMES], "a size or unit of the language")
    for section, names in sections.items():
        for name in names:
            if name in taken:
                raise file.error(f"{name} is already {taken[name]}. Choose another name.", section, name)
            taken[name] = f"one of the {section}"

    readable = {*component.inputs, *component.constants, *SIZES}
    callable_names = {*FUNCTIONS, *component.uses}
    used: set[str] = set()
    for name, eq in component.equations.items():
        _check_equation(component, eq, readable, callable_names, "equations", name)
        used |= eq.names | eq.calls
        readable = readable | {name}
    computed = set(used)  # a tolerance may have equations of its own, but no inputs
    if component.cases:
        readable |= set(component.outputs)
        for case, name in component.cases["equation"].items():
            if name not in component.equations:
                raise file.error(
                    f"the case {case} is {name}, which is not an equation.", "cases", "equation", case
                )
            used.add(name)
        if list(component.outputs) != ["out"] or "out" in component.equations:
            raise file.error("a spec with cases has one output, out, and no equation of that name.", "output")
    for eq in component.bounds.values():
        _check_equation(component, eq, readable | set(TOLERANCE_NAMES), callable_names, "tolerance", "bound")
        used |= eq.names
    for name, eq in component.conditions.items():
        _check_equation(component, eq, readable, callable_names, "conditions", name, "holds")
        used |= eq.names
    for name, mistake in component.mistakes.items():
        for target, eq in mistake.instead.items():
            at = ("mistakes", name, "instead", target)
            if target in component.constants:
                if isinstance(eq, str) and not re.fullmatch(CONSTANT, eq):
                    text = "text to YAML; write 1.0e-5" if _is_number_as_text(eq) else "wanted a number"
                    raise file.error(f"{target} is {eq!r}: {text}, layer or config.NAME.", *at)
                continue
            if target not in component.equations:
                raise file.error(f"{target} is neither an equation nor a constant of this spec.", *at)
            above = set(list(component.equations)[: list(component.equations).index(target)])
            allowed = {*component.inputs, *component.constants, *SIZES, *above}
            _check_equation(component, eq, allowed, callable_names, *at)
    for section, names in sections.items():
        for name in names:
            if name not in (used if section == "equations" else computed) and name not in component.outputs:
                raise file.error(f"{name} is never used. Use it or leave it out.", section, name)
    for name in component.outputs:
        if name not in component.equations and not component.cases:
            raise file.error(f"the output {name} has no equation.", "output", name)
        if name not in component.bounds:
            raise file.error(f"the output {name} has no tolerance.", "tolerance")
    for name in component.bounds.keys() - component.outputs.keys():
        raise file.error(f"there is a tolerance for {name}, which is not an output.", "tolerance")
    for missing in component.uses.keys() - used:
        raise file.error(f"uses {missing}, but no equation calls it.", "uses")


def _check_equation(
    component: Component, eq: Equation, readable: set[str], callable_names: set[str], *at: str
) -> None:
    for name in sorted(eq.names - readable):
        raise component.file.error(
            f"{name} in {eq.text!r} is not known here. An equation reads inputs, constants, sizes and the "
            "equations above it.",
            *at,
        )
    for name in sorted(eq.calls - callable_names):
        raise component.file.error(f"{name} in {eq.text!r} is not a function of the language.", *at)
    if "dropout" in eq.calls and at[0] != "mistakes":
        raise component.file.error("dropout differs each time. Only a mistake may call it.", *at)
