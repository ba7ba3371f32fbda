"""What a server says while it runs: one event a line, each with its time and the request that it is of."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from llorch_core.engine.errors import UsageError
from llorch_core.server.redact import redact_all

Log = FilteringBoundLogger
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_FIRST = ("timestamp", "level", "event", "correlation_id")


def configure(stream: TextIO, level: str = "info", as_json: bool | None = None) -> Log:
    """Return what events are told to: `log.info("request.accepted", tokens_in=7)`. Spec: server_log.

    stream   where the lines go, such as standard error
    level    of the least event that is written: debug, info, warning or error
    as_json  one JSON object a line, or for people; None: for people where the stream is a terminal

    Nothing outside of it is changed, so that two servers in one process have two logs. The correlation id
    is the one given with the event or bound by `log.bind`, or else by structlog.contextvars; an event
    without a request has "-". Secrets are redacted, and texts become lengths: `redact.redact_all`.
    """
    if level not in LEVELS:
        raise UsageError(f"the log level is {level!r} (wanted {', '.join(LEVELS)}).\nChoose one of them.")
    if as_json is None:
        as_json = not stream.isatty()
    last: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False)
    )
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,  # before redaction: a message may hold a secret
            _clean,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _in_order,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return log


def correlation_id(*headers: str | None) -> str:
    """Return the first header that can be an id, 1 to 128 of [A-Za-z0-9._-], or else a fresh one.

    headers  X-Correlation-Id, X-Request-Id, as they came
    """
    for header in headers:
        if header is not None and _CORRELATION_ID.fullmatch(header):
            return header
    return uuid.uuid4().hex


def following(correlation: str) -> AbstractContextManager[None]:
    """Return a block in which each event of this task, whoever tells it, has a correlation id."""
    return structlog.contextvars.bound_contextvars(correlation_id=correlation)


class Forward(logging.Handler):
    """Tells a log what a library tells Python's own logging, such as uvicorn."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            about = {"exc_info": record.exc_info} if record.exc_info else {}
            level = max(level for level in LEVELS.values() if level <= max(record.levelno, 10))
            self._log.log(level, record.getMessage(), logger=record.name, **about)
        except Exception:
            self.handleError(record)


def _clean(logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return an event that is safe to write."""
    clean: dict[str, Any] = redact_all({"correlation_id": "-", **event})
    return clean


def _in_order(logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return an event that begins with what every one has."""
    return {name: event[name] for name in _FIRST} | dict(event)
