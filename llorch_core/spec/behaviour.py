"""A component that is not arithmetic: what it decides is data, and a mistake is another datum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.spec.component import Mistake, Rule, check_form, read_rules
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import FUNCTIONS, Equation
from llorch_core.spec.yaml_file import YamlFile, read_yaml

Facts = Mapping[str, float]


@dataclass(frozen=True)
class Condition:
    """What must be true of the data of a scenario, so that it proves something."""

    id: str
    holds: Equation
    why: str

    def unmet_by(self, facts: Facts) -> str | None:
        """Return what is there instead, in words, or None where the facts meet it."""
        if unknown := sorted(self.holds.names - facts.keys()):
            return f"no step measured {', '.join(unknown)}"
        if np.all(self.holds.run(facts) != 0):
            return None
        return ", ".join(f"{name} = {facts[name]:.6g}" for name in sorted(self.holds.names))


@dataclass(frozen=True)
class Behaviour:
    """The spec of a tokenizer, a file, a loop. Its rules are shown by examples and laws.

    data   what the component decides, by name: the right value
    needs  the conditions that the scenarios of each rule must meet
    """

    id: str
    title: str
    purpose: str
    source: tuple[str, ...]
    data: Mapping[str, Any]
    needs: Mapping[str, tuple[Condition, ...]]
    rules: Mapping[str, Rule]
    mistakes: Mapping[str, Mistake]
    file: YamlFile

    def data_of(self, mistake: str | None) -> dict[str, Any]:
        """Return the data of an engine that makes a mistake, or of the right one."""
        return {**self.data, **(self.mistakes[mistake].instead if mistake else {})}


def read_behaviour(path: Path, schemas: Path | None) -> Behaviour:
    """Read one spec and check its form. Raises SpecError where a mistake changes nothing.

    Whether a mistake can be caught is seen where it is put on trial: `llorch prove`.
    """
    file = read_yaml(path)
    check_form(file, schemas, "behaviour")
    data = file.data
    right = {name: entry["is"] for name, entry in data["data"].items()}
    for name, entry in data["mistakes"].items():
        for target, wrong in entry["instead"].items():
            at = ("mistakes", name, "instead", target)
            if target not in right:
                raise file.error(f"{target} is not one of the data of this spec.", *at)
            if wrong == right[target]:
                raise file.error(f"{name} changes nothing: {target} is {wrong!r} anyway.", *at)
    changed = {target for entry in data["mistakes"].values() for target in entry["instead"]}
    for name in right:
        if name not in changed:
            raise file.error(
                f"no mistake changes {name}. A datum that nothing depends on is none.", "data", name
            )
    if data["id"] != file.path.stem:
        raise file.error(f"the id is {data['id']}, but the file is {file.path.name}. Name them alike.", "id")
    return Behaviour(
        id=data["id"],
        title=data["title"],
        purpose=data["purpose"],
        source=tuple(data["source"]),
        data=right,
        needs=_read_needs(file),
        rules=read_rules(file),
        mistakes={
            name: Mistake(
                f"{data['id']}.{name}",
                entry["instead"],
                entry["symptom"],
                tuple(entry.get("seen_in", ())),
                shows_as=_shows_as(file, name),
            )
            for name, entry in data["mistakes"].items()
        },
        file=file,
    )


def _read_needs(file: YamlFile) -> dict[str, tuple[Condition, ...]]:
    """Return the conditions of each rule. Raises SpecError where one is no condition, or nobody needs it."""
    spec = file.data["id"]
    conditions = {}
    for name, entry in file.data["conditions"].items():
        at = ("conditions", name, "holds")
        try:
            holds = Equation(str(entry["holds"]))
        except SpecError as error:
            raise file.error(str(error), *at) from error
        for unknown in sorted(holds.calls - FUNCTIONS.keys()):
            raise file.error(f"{unknown} in {holds.text!r} is not a function of the language.", *at)
        if not holds.names:
            raise file.error(f"{holds.text!r} reads no fact that a step could measure.", *at)
        conditions[name] = Condition(f"{spec}.{name}", holds, entry["why"])
    needs = {rule: entry["needs"] for rule, entry in file.data["rules"].items()}
    for rule, names in needs.items():
        for name in names:
            if name not in conditions:
                raise file.error(f"{rule} needs {name}, which is not a condition.", "rules", rule, "needs")
    for name in conditions:
        if not any(name in names for names in needs.values()):
            raise file.error(f"no rule needs {name}. Name it in a rule, or leave it out.", "conditions", name)
    return {rule: tuple(conditions[name] for name in names) for rule, names in needs.items()}


def _shows_as(file: YamlFile, mistake: str) -> str | dict[str, Equation] | None:
    """Return what a mistake makes of a model: the mistake of another spec, or equations of weights."""
    shown = file.data["mistakes"][mistake].get("shows_as")
    if shown is None or isinstance(shown, str):
        return shown
    equations = {}
    for weight, text in shown.items():
        try:
            equations[weight] = Equation(text)
        except SpecError as error:
            raise file.error(str(error), "mistakes", mistake, "shows_as", weight) from error
        if read := ", ".join(sorted(equations[weight].names - {"w"})):
            reason = f"{text} reads {read}, wanted w: the right weight."
            raise file.error(reason, "mistakes", mistake, "shows_as", weight)
    return equations
