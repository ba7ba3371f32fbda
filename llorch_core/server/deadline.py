"""When an answer comes too late: a wall clock is read once, and from then on only the monotonic one."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from llorch_core.engine.errors import UsageError

SHOWN = 60  # characters of a value, at most, that an error repeats
MAX_MS = 2**53 - 1  # the largest integer that every JSON reader keeps
UNKNOWN_TOKENS = 64  # so many are taken to have cost nothing: one short prompt on a cold machine says little
HALF_LIFE_TOKENS = 4096  # what was measured so many tokens ago counts half
HALF_LIFE_SECONDS = 60.0  # an estimate that nothing confirms fades: or a slow minute refuses prompts for ever

_EPOCH = date(1970, 1, 1).toordinal()
_CYCLE = 146_097  # days in 400 years, after which the calendar repeats
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d{1,30})?"
    r"([Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


class DeadlineError(UsageError):
    """A deadline is malformed.

    reasons  (field, constraint, message) of each one that is
    """

    def __init__(self, *reasons: tuple[str, str, str]) -> None:
        super().__init__("; ".join(f"{field} {message}" for field, _, message in reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Deadline:
    """The moment after which an answer is of no use. Spec: server_deadline.

    at      seconds on the clock of time.monotonic
    source  what set it: "X-Deadline", "body", "query", "default", or "maximum" where it was cut to that
    """

    at: float
    source: str

    def remaining(self) -> float:
        """Return the seconds that are left; below 0 where it is past."""
        return self.at - time.monotonic()

    def expired(self) -> bool:
        return self.remaining() <= 0


def read_deadline(
    header: str | Sequence[str] | None,
    body_ms: Any,
    query_ms: str | Sequence[str] | None,
    *,
    default_ms: int,
    maximum_ms: int,
    now_wall: float,
    now_monotonic: float,
) -> Deadline:
    """Return the deadline of a request: the earliest that it names, or the default; never past the maximum.

    header         X-Deadline: an instant in RFC 3339, such as 2026-05-04T12:30:00.5+02:00
    body_ms        deadline_ms of the body, as JSON has it: milliseconds from now, 1 or more
    query_ms       deadline_ms of the query, as text; it and the header may be there more than once
    now_wall       seconds since 1970, as time.time, when the request came
    now_monotonic  seconds of time.monotonic at the same moment

    An instant that is past is no error: the deadline has expired. Raises DeadlineError with all that is
    malformed, also beside one that is right. Spec: server_deadline.
    """
    told: list[tuple[str, Any, Callable[[Any], float]]] = [
        *(("X-Deadline", text, lambda text: _instant(text) - now_wall) for text in _each(header)),
        *(("body", value, _from_json) for value in [body_ms] if value is not None),
        *(("query", text, _from_query) for text in _each(query_ms)),
    ]
    given, reasons = [], []
    for source, value, read in told:
        try:
            given.append((read(value), source))
        except ValueError as error:
            reasons.append((source if source == "X-Deadline" else "deadline_ms", *error.args))
    if reasons:
        raise DeadlineError(*reasons)
    seconds, source = min(given, default=(default_ms / 1000, "default"))
    if seconds > maximum_ms / 1000:
        seconds, source = maximum_ms / 1000, "maximum"
    return Deadline(now_monotonic + seconds, source)


@dataclass
class PrefillSpeed:
    """How long a prompt takes to read, as far as this machine has shown. May be used from any thread.

    now  seconds of a monotonic clock

    It is the mean of what was measured, of each token alike, so that the cost of a call does not make a
    short prompt count for a slow machine. It errs on the side of too little, since a prompt that is refused
    for nothing is worse than one that is read for nothing: before anything is measured it is 0.
    """

    now: Callable[[], float] = time.monotonic
    _tokens: float = UNKNOWN_TOKENS
    _seconds: float = 0.0
    _at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def measured(self, tokens: int, seconds: float) -> None:
        """Take into account that so many tokens of a prompt took so many seconds."""
        with self._lock:
            fade = math.exp2(-tokens / HALF_LIFE_TOKENS)
            self._tokens = self._tokens * fade + tokens
            self._seconds = self._seconds * fade + seconds
            self._at = self.now()

    def seconds_for(self, tokens: int) -> float:
        """Return the seconds that a prompt of so many tokens will take."""
        with self._lock:
            fade = math.exp2(-max(0.0, self.now() - self._at) / HALF_LIFE_SECONDS)
            return tokens * fade * self._seconds / self._tokens

    def enough(self, deadline: Deadline, tokens: int) -> bool:
        """Return whether a prompt of so many tokens can be read before the deadline."""
        return deadline.remaining() >= self.seconds_for(tokens)


def _each(texts: str | Sequence[str] | None) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts or []


def _instant(text: str) -> float:
    """Return the seconds since 1970 of a timestamp in RFC 3339. Raises ValueError(constraint, message)."""
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        raise _malformed("rfc3339", text, "a time in RFC 3339 with its offset, such as 2026-05-04T12:30:00Z")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    try:  # a year without a date in Python, 0, is like the year 400
        days = date(year or 400, month, day).toordinal() - (0 if year else _CYCLE) - _EPOCH
    except ValueError:
        raise _malformed("rfc3339", text, "a day that is in the calendar") from None
    offset = (int(found[10]) * 60 + int(found[11])) * 60 if found[9] else 0
    local = days * 86_400 + hour * 3600 + minute * 60 + second
    utc = local + offset if found[9] == "-" else local - offset
    if second == 60 and not _ends_a_month(utc):
        raise _malformed(
            "rfc3339", text, "a leap second where there can be one: 23:59:60 UTC, last of a month"
        )
    return utc + float(found[7] or 0)


def _ends_a_month(utc: int) -> bool:
    """Return whether a second after 23:59:59 UTC follows the last day of a month."""
    days, seconds = divmod(utc, 86_400)
    first = date.fromordinal((days + _EPOCH - 1) % _CYCLE + 1)  # the year 10000 begins like the year 400
    return seconds == 0 and first.day == 1


def _from_json(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("integer", f"is {_kind(value)} (wanted an integer: milliseconds from now)")
    if not 1 <= value <= MAX_MS:
        shown = str(value) if abs(value) <= MAX_MS else "out of range"
        raise ValueError(f"range(1,{MAX_MS})", f"is {shown} (wanted 1 to {MAX_MS})")
    return value / 1000


def _from_query(text: str) -> float:
    if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII):
        raise _malformed("integer", text, "an integer: milliseconds from now")
    return _from_json(int(text))


def _malformed(constraint: str, text: str, wanted: str) -> ValueError:
    shown = ascii(text[:SHOWN])  # escaped, so that it may have become longer
    shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."
    return ValueError(constraint, f"is {shown} (wanted {wanted})")


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", float: "a number with a fraction or an exponent", str: "a string"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")
