"""What may stand in the audit log: a closed set of events, each with the fields it must and may have.

A prompt has no field to stand in, and no field takes a text that could pass for another one on a screen.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llorch_core.engine.errors import UsageError

MAX_TEXT = 1024  # characters of a text
MAX_LIST = 64  # elements of a list
REFUSED = {  # general categories of Unicode that show as nothing, or change how the rest is shown
    "Cc": "a control character",
    "Cf": "a character without a width, or one that turns the direction of writing",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
WHO = {"correlation_id": "text", "token": "token", "client": "text"}
ASKED = {"job_id": "text", "method": "text", "route": "text", "model": "text"}
MADE = {"tokens_in": "whole", "tokens_out": "whole", "duration_ms": "number", "first_token_ms": "number"}
MADE |= {"text_sha256": "digest", "text_chars": "whole"}


@dataclass(frozen=True)
class Event:
    """The fields of one type of event, by name: what each holds."""

    must: Mapping[str, str]
    may: Mapping[str, str] = field(default_factory=dict)


EVENTS: Mapping[str, Event] = {
    "server.started": Event(
        {"version": "text"},
        {"model": "text", "weights_sha256": "digest", "address": "text", "pid": "whole", "settings": "list"},
    ),
    "server.stopped": Event({"reason": "text"}, {"exit_code": "whole", "running": "whole"}),
    "config.loaded": Event({"source": "text"}, {"sha256": "digest", "settings": "list", "tokens": "list"}),
    "auth.accepted": Event({"token": "token"}, {**WHO, **ASKED, "name": "text"}),
    "auth.refused": Event({"reason": "text"}, {**WHO, **ASKED}),
    "request.accepted": Event(
        {"job_id": "text"},
        {
            **WHO,
            **ASKED,
            **{"prompt_sha256": "digest", "prompt_chars": "whole", "prompts": "whole", "tokens_in": "whole"},
            **{"max_tokens": "whole", "temperature": "number", "top_p": "number", "top_k": "whole"},
            **{"n": "whole", "seed": "whole", "stream": "flag", "deadline_ms": "number"},
        },
    ),
    "request.finished": Event({"job_id": "text", "finish_reason": "text"}, {**WHO, **ASKED, **MADE}),
    "request.failed": Event({"job_id": "text", "code": "text"}, {**WHO, **ASKED, **MADE}),
    "request.cancelled": Event({"job_id": "text", "reason": "text"}, {**WHO, **ASKED, **MADE}),
    "request.refused": Event(
        {"reason": "text"}, {**WHO, **ASKED, "status": "whole", "fields": "list", "retry_after_s": "number"}
    ),
    "audit.recovered": Event(
        {"adopted": "whole", "torn_bytes": "whole", "anchor_torn": "flag"},
        {"torn_file": "text", "torn_sha256": "digest"},
    ),
    "audit.rotated": Event({"closed": "text", "events": "whole", "sha256": "digest"}),
    "audit.gap": Event({"lost": "whole", "first": "text", "last": "text", "error": "text"}),
}
OWN = "audit."  # what only the log itself writes


def digest_of(text: str, name: str = "") -> dict[str, str | int]:
    """Return what the log may know of a text: {"sha256": …, "chars": …}. Spec: server_audit.

    name  of the text, which then stands before both: {"prompt_sha256": …, "prompt_chars": …}
    """
    before = f"{name}_" if name else ""
    found = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {f"{before}sha256": found, f"{before}chars": len(text)}


def check_event(type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as it goes into the log. Raises UsageError where the table does not allow it.

    Fields that are None are left out.
    """
    if type not in EVENTS:
        raise UsageError(f"there is no audit event {type!r} (wanted one of {', '.join(EVENTS)}).")
    event, given = EVENTS[type], {name: value for name, value in fields.items() if value is not None}
    if missing := event.must.keys() - given.keys():
        raise UsageError(
            f"the audit event {type} lacks {', '.join(sorted(missing))} (wanted {', '.join(event.must)})."
        )
    known = {**event.must, **event.may}
    if unknown := sorted(given.keys() - known.keys()):
        raise UsageError(
            f"the audit event {type} has no field {unknown[0]!r} (wanted some of {', '.join(known)}).\n"
            "Of a prompt or a text only its digest is kept: see digest_of."
        )
    for name, value in given.items():
        check_value(f"{name} of {type}", known[name], value)
    return {"type": type, **given}


def check_value(where: str, kind: str, value: Any) -> None:
    """Raise UsageError where a value is not of its kind; without showing it, for it may be a secret."""
    right, wanted = KINDS[kind]
    if not right(value):
        raise UsageError(f"{where} is no {kind} (wanted {wanted}; got {type(value).__name__}).")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            check_text(where, text)


def check_text(where: str, text: str) -> None:
    """Raise UsageError for a text that is too long, or that a screen would not show as it is."""
    if len(text) > MAX_TEXT:
        raise UsageError(f"{where} has {len(text):,} characters (wanted {MAX_TEXT:,} at most).")
    for place, character in enumerate(text):
        if reason := REFUSED.get(unicodedata.category(character)):
            raise UsageError(
                f"{where} holds {reason}, U+{ord(character):04X}, at {place} (wanted what a screen shows).\n"
                "Leave it out before it is recorded."
            )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


def _scalar(value: Any) -> bool:
    return isinstance(value, str | bool) or _number(value)


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), f"a text of at most {MAX_TEXT:,} characters"),
    "whole": (_whole, "a whole number of 64 bits"),
    "number": (_number, "a finite number"),
    "flag": (lambda value: isinstance(value, bool), "true or false"),
    "digest": (_matches("[0-9a-f]{64}"), "64 hexadecimal digits"),
    "token": (_matches("token:[0-9a-f]{6}"), "token: and six hexadecimal digits of its digest"),
    "list": (
        lambda value: isinstance(value, list) and len(value) <= MAX_LIST and all(map(_scalar, value)),
        f"a flat list of at most {MAX_LIST} texts, numbers and flags",
    ),
}
