"""What is told where a request is not served: the status, and every reason at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TYPES = {401: "authentication_error", 413: "invalid_request_error", 429: "rate_limit_error"}


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a request: of which field, what it breaks, and in words."""

    field: str
    constraint: str
    message: str

    def as_json(self) -> dict[str, str]:
        return {"field": self.field, "constraint": self.constraint, "message": self.message}


@dataclass
class RefusedError(Exception):
    """A request that is not served, or no longer.

    status      of HTTP
    code        in one word, for programs
    violations  all that is wrong with the request, at least one
    headers     that go with the answer
    """

    status: int
    code: str
    violations: Sequence[Violation]
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "; ".join(f"{v.field}: {v.message}" if v.field else v.message for v in self.violations)

    def as_json(self) -> dict[str, Any]:
        """Return the body of the answer: `error` as OpenAI's clients read it, `errors` one by one."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        fields = [violation.field for violation in self.violations if violation.field]
        error = {
            "message": str(self),
            "type": kind,
            "param": fields[0] if fields else None,
            "code": self.code,
        }
        return {"error": error, "errors": [violation.as_json() for violation in self.violations]}


def refuse(status: int, code: str, message: str, **headers: str) -> RefusedError:
    """Return a refusal that is of no field of the request; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RefusedError(status, code, [Violation("", code, message)], named)


def invalid(*violations: Violation) -> RefusedError:
    """Return the refusal of a request that is itself wrong."""
    return RefusedError(400, "invalid_request", violations)
