"""The form of a judgement: what its JSON Schema refuses, said with the line and in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from llorch_core.postmortem.judgement.marked_yaml import Key, Marked
from llorch_core.postmortem.judgement.problems import Problem

SENTENCES = ("#/$defs/sentence", "#/$defs/title")
ValidationError = Any  # jsonschema's, which leaves its parts untyped
NAME = "judgement.schema.json"
READ = f"The form is in specs/schema/{NAME}; docs/postmortem.md explains it."
# lacking parts leave a kind of problem of their own; everything else that is left out is "incomplete"
LACKS = {
    "evidence": ("no evidence", "Show where it can be seen: a text in a file, a commit, a figure."),
    "guardrails": ("no guardrail", "Name what turns red when it happens again: an id of guardrails.yaml."),
}
CAN_LACK = ("claimed", "delivered", "steps")  # parts that can be read, though something is left out of them


def problems_of_form(kind: str, file: Marked) -> tuple[list[Problem], set[int | None]]:
    """Return the problems of a file's form, and the numbers of the entries that cannot be read.

    None among the numbers: the file as a whole cannot be read.
    """
    problems: list[Problem] = []
    wrong: set[int | None] = set()
    if not isinstance(file.data, dict) or kind not in file.data:
        got = ", ".join(file.data) if isinstance(file.data, dict) else type(file.data).__name__
        next_step = f"Begin the file with `{kind}:`, and a list below it."
        return [
            Problem("form", file.path.name, 1, "", "the file holds no such list", kind, got, next_step)
        ], {None}
    for error in sorted(validator().iter_errors(file.data), key=lambda e: [str(p) for p in e.absolute_path]):
        at = tuple(error.absolute_path)
        lacking = list(left_out(error))
        problems += [lack(kind, name, at, file) for name in lacking] or told(error, kind, at, file)
        harmless = (
            lacking and "id" not in lacking and (len(at) == 2 or at[2] in CAN_LACK or error.instance == [])
        )
        if not harmless and not idle(error, kind):
            wrong.add(at[1] if len(at) > 1 else None)
    return problems, wrong


def left_out(error: ValidationError) -> Iterator[str]:
    """Give the names of what is left out, where that is what the schema refuses."""
    if error.validator == "required":
        # the schema reports each missing name by itself
        yield next(name for name in error.validator_value if error.message.startswith(f"{name!r} "))
    elif error.validator == "minItems" and error.instance == []:
        yield str(error.absolute_path[-1])
    elif error.validator == "anyOf":
        yield " or ".join(one["required"][0] for one in error.validator_value)


def lack(kind: str, name: str, at: Key, file: Marked) -> Problem:
    """Return the problem of an entry that leaves something out."""
    what, next_step = LACKS.get(name, ("incomplete", READ))
    inside = ".".join(str(p) for p in at[2:] if p != name)
    says = f"{name} is left out" + (f" of {inside}" if inside else "")
    return Problem(what, *file.place(at), says, described(kind, name), "nothing", next_step)


def told(error: ValidationError, kind: str, at: Key, file: Marked) -> list[Problem]:
    """Return the problem that an error of the schema is; none where it only follows from another one."""
    if idle(error, kind):
        return []
    says = (".".join(str(p) for p in at[2:]) or ("the entry" if at[1:] else "the file")) + " has not its form"
    names = known(kind) if error.validator == "unevaluatedProperties" else error.schema.get("properties", ())
    if error.validator in ("unevaluatedProperties", "additionalProperties"):
        strange = [name for name in error.instance if name not in names]
        wanted, got = f"some of {', '.join(names)}", ", ".join(strange)
        return [Problem("form", *file.place((*at, strange[0])), says, wanted, got, READ)]
    return [Problem("form", *file.place(at), says, wanted_by(error), short(error.instance), READ)]


def wanted_by(error: ValidationError) -> str:
    """Return what a form wants, in words where the schema has some."""
    if error.validator == "enum":
        return f"one of {', '.join(error.validator_value)}"
    if error.validator in ("oneOf", "pattern", "type") and "description" in error.schema:
        return str(error.schema["description"])
    name = "a value of type" if error.validator == "type" else error.validator
    return f"{name} {error.validator_value}"


def idle(error: ValidationError, kind: str) -> bool:
    """Return whether an error says nothing new: names count as unknown where their values are wrong."""
    return error.validator == "unevaluatedProperties" and not set(error.instance) - set(known(kind))


def short(value: Any) -> str:
    """Return a value in a few words."""
    words = json.dumps(value, ensure_ascii=False, default=str)
    return words if len(words) <= 100 else f"{words[:97]}..."


@cache
def known(kind: str) -> tuple[str, ...]:
    """Return the names that an entry of a kind may hold."""
    return tuple(properties(kind))


def described(kind: str, name: str) -> str:
    """Return what the schema says about a name: a description, the words that it may be, or the name."""
    form = properties(kind).get(name, {})
    while True:
        if "description" in form:
            return str(form["description"])
        if "enum" in form:
            return " | ".join(form["enum"])
        if "$ref" not in form:
            return name.replace("_", " ")
        form = definition(form["$ref"])


def of_kind(kind: str) -> str:
    """Return what the schema says about a kind of entry."""
    whole = validator().schema["properties"][kind]
    return str(definition(whole["items"]["$ref"]).get("description", kind))


def may_lack(kind: str, name: str) -> bool:
    """Return whether an entry may leave a name out, whatever else it says."""
    form = definition(validator().schema["properties"][kind]["items"]["$ref"])
    parts = [form, form.get("then", {}), *form.get("oneOf", ()), *form.get("anyOf", ())]
    if "$ref" in form:
        parts.append(definition(form["$ref"]))
    return not any(name in part.get("required", ()) for part in parts)


@cache
def properties(kind: str) -> dict[str, Any]:
    """Return the forms of what an entry of a kind may hold, by name."""
    return collected(definition(validator().schema["properties"][kind]["items"]["$ref"]))


def collected(form: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a form and of those that it is made of."""
    found: dict[str, Any] = {}
    for part in (form, *form.get("allOf", ())):
        if "$ref" in part:
            found |= collected(definition(part["$ref"]))
        found |= part.get("properties", {})
    return found


def definition(reference: str) -> dict[str, Any]:
    """Return the part of the schema that a reference names."""
    found: dict[str, Any] = validator().schema["$defs"][reference.rpartition("/")[2]]
    return found


@cache
def sentences() -> frozenset[str]:
    """Return the names that hold text of the case's own: not quotes, names or commands."""
    forms = validator().schema["$defs"].values()
    named = ((name, one) for form in forms for name, one in form.get("properties", {}).items())
    return frozenset(name for name, one in named if one.get("$ref") in SENTENCES)


@cache
def validator() -> Any:
    """Return the validator of the form of a judgement."""
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(schema_file().read_text(encoding="utf-8")))


def schema_file() -> Path:
    """Return the schema of a judgement: the checkout's, or the installed package's."""
    package = Path(__file__).parents[2]
    checkout = package.parent / "specs" / "schema"
    return (checkout if checkout.is_dir() else package / "suite" / "specs" / "schema") / NAME
