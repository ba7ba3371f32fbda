"""What a request may say: openapi.yaml, which is served, and which every body is held to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from llorch_core.engine.config import Config
from llorch_core.server.refusal import Violation, invalid

DOCUMENT = Path(__file__).with_name("openapi.yaml")
MOST_OF_A_NAME = 60  # characters of an unknown field that an answer repeats

WORDS = {  # a key of JSON Schema: what a value must be, with the key's own value
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be above {}",
    "exclusiveMaximum": "must be below {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "maxProperties": "must have at most {} fields",
    "pattern": "must match {}",
    "const": "must be {}",
    "enum": "must be {}, or left out",
}


class Contract:
    """The document, with the limits of the model that is served.

    secured  whether a bearer token is asked for
    """

    def __init__(self, config: Config, secured: bool = False) -> None:
        self.document: dict[str, Any] = deepcopy(_document())
        schemas = self.document["components"]["schemas"]
        schemas["Id"]["maximum"] = config.n_vocab - 1
        schemas["Ids"]["maxItems"] = config.n_ctx
        schemas["MaxTokens"]["maximum"] = config.n_ctx
        if secured:
            for path, methods in self.document["paths"].items():
                for method in methods.values():
                    method["security"] = [] if path in OPEN else [{"token": []}]

    @cached_property
    def as_json(self) -> bytes:
        return json.dumps(self.document).encode()

    def read(self, name: str, raw: bytes) -> dict[str, Any]:
        """Return a body that keeps to a schema of the document. Raises RefusedError with all that is wrong.

        No value of the body is repeated in what is told.
        """
        body = read_json(raw)
        errors = self._validators(name).iter_errors(body)
        if violations := list(_told(errors)):
            raise invalid(*sorted(violations, key=lambda violation: violation.field))
        assert isinstance(body, dict)
        return {key: value for key, value in body.items() if value is not None}

    def _validators(self, name: str) -> Draft202012Validator:
        schema = {"$ref": f"#/components/schemas/{name}", "components": self.document["components"]}
        return Draft202012Validator(schema)


@cache
def _document() -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is
    return yaml.load(DOCUMENT.read_text(encoding="utf-8"), loader)


OPEN = ("/livez", "/readyz", "/health")  # asked by what starts and watches servers, which has no token


def read_json(raw: bytes) -> Any:
    """Read JSON as its standard has it: UTF-8, no NaN, no field twice. Raises RefusedError."""
    try:
        text = raw.decode()
        body = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once_each)
        json.dumps(body, ensure_ascii=False).encode()  # a half of a surrogate pair is no character
    except RecursionError:
        raise invalid(Violation("", "json", "the body is nested too deeply")) from None
    except UnicodeError:
        raise invalid(Violation("", "json", "the body is not UTF-8, or holds half a character")) from None
    except ValueError as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else "a value that JSON does not have"
        raise invalid(Violation("", "json", f"the body is not JSON: {said}")) from None
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise invalid(Violation(_shown(twice), "once", "is there more than once"))
    return made


def _told(errors: Iterable[ValidationError]) -> Iterator[Violation]:
    """Say what is wrong in words; of alternatives, what is wrong with the one that was meant."""
    for error in errors:
        where = _field(error.absolute_path)
        instance: Any = error.instance
        schema: Any = error.schema
        wanted: Any = error.validator_value
        match error.validator:
            case "anyOf":
                meant = _meant(error)
                yield from _told(meant) if meant else iter([Violation(where, "type", _forms(schema, error))])
            case "type":
                kind = wanted if isinstance(wanted, str) else " or ".join(wanted)
                yield Violation(where, "type", f"must be {'an' if kind[0] in 'aeio' else 'a'} {kind}")
            case "required":
                name = next(name for name in wanted if error.message.startswith(repr(name)))
                yield Violation(_join(where, name), "required", "is missing")
            case "additionalProperties":
                for name in instance.keys() - schema["properties"].keys():
                    yield Violation(_join(where, _shown(name)), "known", "is not a field of this request")
            case key:
                values = wanted if isinstance(wanted, list) else [wanted]
                shown = ", ".join(str(value) for value in values if value is not None)
                yield Violation(where, f"{key}({shown})", WORDS[str(key)].format(shown))


def _meant(error: ValidationError) -> list[ValidationError]:
    """Return what is wrong with the alternative whose type fits; none where no type does."""
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(int(inner.schema_path[0]), []).append(inner)
    fitting = [
        found for found in branches.values() if not any(e.validator == "type" and not e.path for e in found)
    ]
    return min(fitting, key=len, default=[])


def _forms(schema: Any, error: ValidationError) -> str:
    """Say which forms a field may have."""
    said = schema.get("description")
    if not said:
        inner: list[Any] = list(error.context or ())
        wanted = [e.validator_value for e in inner if e.validator == "type" and not e.path]
        said = " or ".join(
            f"{'an' if kind[0] in 'aeio' else 'a'} {kind}" for kind in wanted if kind != "null"
        )
    return f"must be {said[0].lower()}{said[1:].rstrip('.')}"


def _field(path: Iterable[str | int]) -> str:
    name = ""
    for part in path:
        name = f"{name}[{part}]" if isinstance(part, int) else _join(name, _shown(part))
    return name


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(name: str) -> str:
    """Return a field's name as an answer may repeat it: short, and printable."""
    kept = "".join(c if c.isprintable() else "?" for c in name[:MOST_OF_A_NAME])
    return kept + ("…" if len(name) > MOST_OF_A_NAME else "")
