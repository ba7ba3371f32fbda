"""What may be merged: `[tool.llorch.gate]` of pyproject.toml. What it leaves out has a strict default."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from llorch_core.spec.suite import suite_folder


class PolicyError(ValueError):
    """A policy that cannot be read, or that asks for something that does not exist."""


@dataclass(frozen=True)
class Floors:
    """The least share of lines and of branches that has to be run, in percent."""

    line: float
    branch: float


@dataclass(frozen=True)
class Allowance:
    """What may be not run, why, and until when. `rule` names one, or all of a component: sampling.*"""

    rule: str
    reason: str
    expires: date
    scenario: str | None = None

    def fits(self, rule: str, title: str) -> bool:
        """Whether it is about this scenario of this rule."""
        component, _, name = self.rule.partition(".")
        ours = rule.startswith(f"{component}.") if name == "*" else rule == self.rule
        return ours and self.scenario in (None, title)


@dataclass(frozen=True)
class Policy:
    """The policy, each entry as its schema says. `folder` holds its file, `given` names what that says."""

    folder: Path
    given: frozenset[str]
    proof: str
    allow_dirty: bool
    proved: tuple[str, ...]
    mistakes: float
    elements: float
    data: str
    package: Floors
    engine: Floors
    rules: float
    tests: tuple[str, ...]
    not_run: tuple[Allowance, ...] = field(default=())


@cache
def schema() -> dict[str, Any]:
    """Return the schema of a policy, which holds the defaults."""
    path = suite_folder() / "specs" / "schema" / "gate.schema.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def read_policy(path: Path) -> Policy:
    """Read the policy of a pyproject.toml; where there is no such file or table, the defaults.

    Raises PolicyError where it is not TOML, or says something that the schema does not know.
    """
    data: Any = {}
    if path.exists():
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PolicyError(
                f"{path} cannot be read: {error}.\nCorrect it; the gate needs its policy."
            ) from error
        for key in ("tool", "llorch", "gate"):
            data = data.get(key, {}) if isinstance(data, dict) else data
    _check(path, data)
    wanted = _with_defaults(schema(), data)
    coverage = wanted["coverage"]
    return Policy(
        folder=path.resolve().parent,
        given=frozenset(data),
        proof=wanted["proof"],
        allow_dirty=wanted["allow_dirty"],
        proved=tuple(wanted["proved"]),
        mistakes=wanted["mistakes"],
        elements=wanted["elements"],
        data=coverage["data"],
        package=Floors(**coverage["package"]),
        engine=Floors(**coverage["engine"]),
        rules=coverage["rules"],
        tests=tuple(wanted["tests"]),
        not_run=tuple(_allowance(path, entry) for entry in wanted["not_run"]),
    )


def _check(path: Path, data: Any) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    plain = json.loads(json.dumps(data, default=str))  # dates of TOML are no JSON
    for error in sorted(validator.iter_errors(plain), key=lambda e: [str(p) for p in e.absolute_path]):
        where = ".".join(["tool.llorch.gate", *(str(part) for part in error.absolute_path)])
        raise PolicyError(
            f"{path}: {where}: {error.message}.\n"
            f"It knows {', '.join(schema()['properties'])}; docs/gate.md says what each is."
        )


def _with_defaults(form: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    filled = {}
    for key, entry in form["properties"].items():
        if "properties" in entry:
            filled[key] = _with_defaults(entry, data.get(key, {}))
        else:
            filled[key] = data.get(key, entry.get("default"))
    return filled


def _allowance(path: Path, entry: Mapping[str, Any]) -> Allowance:
    expires = entry["expires"]
    if not isinstance(expires, date):
        raise PolicyError(
            f"{path}: tool.llorch.gate.not_run: {entry['rule']} expires {expires!r} (wanted a date).\n"
            "Write it without quotes: expires = 2030-01-31"
        )
    return Allowance(entry["rule"], entry["reason"], expires, entry.get("scenario"))
