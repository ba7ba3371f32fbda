"""Logs and metrics on trial. Spec: server_log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders

from llorch_core.server import redact
from llorch_core.server.logs import Log, correlation_id
from llorch_core.server.metrics import Metrics
from llorch_core.server.worker import Worker
from llorch_core.subject.behaviours.server import Served, with_body

Event = dict[str, Any]
RAN = ("stop", "length", "cancelled", "deadline", "failed")  # outcomes of what was accepted


class Logs(Served):
    """The server, or one whose log or metrics are wrong."""

    spec = "server_log"

    def worker(self, model: Any, *parts: Any) -> Worker:
        *others, log = parts
        name, value = self.wrong or ("", None)
        if name in CHANGES:
            log = _changed(log, *CHANGES[name])
        made = self._worker = super().worker(model, *others, log)
        if kind := {**METRICS, "counted as accepted": _Generous, "not counted": _Blind}.get(
            str(value) if name == "refusals" else name
        ):
            made.metrics = kind()
            made.watch.step = made.metrics.step
        return made

    def front(self) -> Callable[[Any], Any] | None:
        fronts: dict[str, Callable[[Any], Any]] = {
            "correlation_id": _another_id,
            "strange_id": _any_id,
            "prompt_in_the_log": self._prompt_logged,
            "labels": self._by_address,
            "scrape": self._waits,
        }
        return fronts.get(self.wrong[0]) if self.wrong else None

    def _prompt_logged(self, app: Any) -> Any:
        """Return an application that logs how each prompt begins."""
        log = self._worker.log

        def change(path: str, body: Event) -> tuple[str, Event]:
            log.info("asked", note=str(body.get("prompt"))[:40])
            return path, body

        return with_body(change)(app)

    def _by_address(self, app: Any) -> Any:
        """Return an application that counts requests by their addresses."""
        registry = self._worker.metrics._registry
        counter = Counter("llorch_asked", "Requests by address.", ["path"], registry=registry)

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                counter.labels(scope["path"]).inc()
            await app(scope, receive, send)

        return changed

    def _waits(self, app: Any) -> Any:
        """Return an application that answers a scrape when nothing runs."""
        batch = self._worker.batch

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            while scope["type"] == "http" and scope["path"] == "/metrics" and batch.running:
                await asyncio.sleep(0.005)
            await app(scope, receive, send)

        return changed


def _another_id(app: Any) -> Any:
    """Return an application that answers under a fresh id."""

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = correlation_id()
            await send(message)

        await app(scope, receive, named)

    return changed


MADE_SANE = "sane-"  # and the bytes of the id that came, in hexadecimal digits


def _any_id(app: Any) -> Any:
    """Return an application that takes any id; on the way through the right one it is written as digits."""

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        came = Headers(scope=scope).get("x-correlation-id") if scope["type"] == "http" else None
        if came is None:
            await app(scope, receive, send)
            return

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = came
            await send(message)

        others = [pair for pair in scope["headers"] if pair[0] != b"x-correlation-id"]
        sane = (b"x-correlation-id", f"{MADE_SANE}{came.encode().hex()}"[:128].encode())
        await app({**scope, "headers": [*others, sane]}, receive, named)

    return changed


# Logs


def _changed(log: Log, place: str, change: Callable[[Any, str, Event], Any]) -> Log:
    """Return a log that does something else at the step of that name."""
    steps: list[Any] = log._processors  # type: ignore[attr-defined]
    names = [getattr(step, "__name__", type(step).__name__) for step in steps]
    steps[names.index(place)] = change
    return log


def _not_redacted(logger: Any, method: str, event: Event) -> Event:
    return {"correlation_id": "-", **event}


def _redacted_too_early(logger: Any, method: str, event: Event) -> Event:
    def early(text: str) -> str:
        for pattern, instead in redact._SECRETS:
            text = pattern.sub(instead, text)
        return redact.visible(text)

    texts = {name: early(value) for name, value in event.items() if isinstance(value, str)}
    return {"correlation_id": "-", **event, **texts}


def _only_at_the_door(logger: Any, method: str, event: Event) -> Event:
    made: Event = redact.redact_all({"correlation_id": "-", **event})
    return made if event["event"] == "http" else {**made, "correlation_id": "-"}


def _in_lines(logger: Any, method: str, event: Event) -> str:
    lines = event.pop("exception", "").split("Traceback")
    return "\n".join([json.dumps(event), *(f"Traceback{line}" for line in lines[1:])])


CHANGES: dict[str, tuple[str, Callable[[Any, str, Event], Any]]] = {
    "secrets": ("_clean", _not_redacted),
    "looked_for_in": ("_clean", _redacted_too_early),
    "correlation_logged": ("_clean", _only_at_the_door),
    "error_in_the_log": ("JSONRenderer", _in_lines),
}


# Metrics


class _Generous(Metrics):
    """Counts what is turned away as accepted."""

    def refused(self, outcome: str | None) -> None:
        if outcome in RAN:
            super().refused(outcome)
        else:
            self.accepted()


class _Blind(Metrics):
    """Does not count what is turned away."""

    def refused(self, outcome: str | None) -> None:
        if outcome in RAN:
            super().refused(outcome)


class _Tokenless(Metrics):
    """Counts no tokens."""

    def finished(
        self,
        outcome: str | None,
        prompt_tokens: int = 0,
        tokens: int = 0,
        seconds: float | None = None,
    ) -> None:
        super().finished(outcome, seconds=seconds)


class _HighWater(Metrics):
    """Shows the most that ever ran."""

    most = 0

    def observe(self, *, running: int, **others: int) -> None:
        self.most = max(self.most, running)
        super().observe(running=self.most, **others)


METRICS: dict[str, type[Metrics]] = {"tokens": _Tokenless, "running_gauge": _HighWater}
