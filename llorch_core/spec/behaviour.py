"""A component that is not arithmetic: what it decides is data, and a mistake is another datum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llorch_core.spec.component import Mistake, Rule, check_form, read_rules, schema
from llorch_core.spec.yaml_file import YamlFile, read_yaml


@dataclass(frozen=True)
class Behaviour:
    """The spec of a tokenizer, a file, a loop. Its rules are shown by examples and laws.

    data  what the component decides, by name: the right value
    """

    id: str
    title: str
    purpose: str
    source: tuple[str, ...]
    data: Mapping[str, Any]
    rules: Mapping[str, Rule]
    mistakes: Mapping[str, Mistake]
    file: YamlFile

    def data_of(self, mistake: str | None) -> dict[str, Any]:
        """Return the data of an engine that makes a mistake, or of the right one."""
        return {**self.data, **(self.mistakes[mistake].instead if mistake else {})}


def read_behaviour(path: Path, schemas: Path) -> Behaviour:
    """Read one spec and check its form. Raises SpecError where a mistake changes nothing.

    Whether a mistake can be caught is seen where it is put on trial: `llorch prove`.
    """
    file = read_yaml(path)
    check_form(file, schema(schemas, "behaviour"))
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
        rules=read_rules(file),
        mistakes={
            name: Mistake(
                f"{data['id']}.{name}", entry["instead"], entry["symptom"], tuple(entry.get("seen_in", ()))
            )
            for name, entry in data["mistakes"].items()
        },
        file=file,
    )
