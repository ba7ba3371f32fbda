"""Deadlines on trial. Spec: server_deadline."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from llorch_core.server.batch import CANCELLED, DEADLINE, Batch, Event, Work
from llorch_core.server.deadline import Deadline, PrefillSpeed
from llorch_core.server.settings import MIB, Settings
from llorch_core.server.worker import Worker
from llorch_core.subject.behaviours.server import Live, Served, with_body, with_chunks, with_json
from llorch_core.subject.behaviours.slowed import Pace

Told = dict[str, Any]  # what a request names: header and query as texts, body as its number; None: nothing
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class Deadlines(Served):
    """The server, or one that reads deadlines wrongly, or does not keep them."""

    spec = "server_deadline"
    settings: Settings

    def start(self, *parts: Any, pace: Pace | None = None, **settings: Any) -> Live:
        """Start a server, as `Served.start`. pace says how slow its model is; None: as fast as it can be."""
        other = copy(self)
        if pace:
            other.model = pace.slow(self.model)
        return Served.start(other, *parts, **settings)

    def worker(self, model: Any, settings: Settings, *parts: Any) -> Worker:
        name, value = self.wrong or ("", "")
        self.settings = settings
        if f"{name}: {value}" == "longest: taken as it is":
            settings = replace(settings, max_deadline_ms=86_400_000)
        if name == "none_given":
            settings = replace(settings, default_deadline_ms=settings.max_deadline_ms)
        made = super().worker(model, settings, *parts)
        if name == "needed_for_a_prompt":
            made.speed = _OneToken() if value == "what one token takes" else _NoTime()
            made.watch.read = made.speed.measured
        if kind := _BATCHES.get(f"{name}: {value}"):
            made.batch.close()
            s = made.settings
            made.batch = kind(model, s.max_batch, s.queue, s.prefix_mib * MIB, made.watch)
        return made

    def front(self) -> Callable[[Any], Any] | None:
        name, value = self.wrong or ("", "")
        fronts: dict[str, Callable[[Any], Any]] = {
            "past: 400": with_json(lambda path, status, said: (400 if status == 504 else status, said)),
            "counted_from: the last byte of the body": with_body(lambda path, body: (path, body)),
            "longest: the default": _told(self._too_long),
            "last_of_a_stream: nothing": with_chunks(lambda: _without_error),
            "last_of_a_stream: finish_reason length": with_chunks(lambda: _whole),
            **{of: _told(change) for of, change in _CHANGES.items()},
        }
        return fronts.get(f"{name}: {value}")

    def _too_long(self, told: Told) -> Told:
        most = self.settings.max_deadline_ms
        return {
            name: None if text is not None and float(text) > most else text for name, text in told.items()
        }


@contextmanager
def clock_set_forward(seconds: float) -> Iterator[None]:
    """Let the wall clock, as this process reads it, be another one."""
    right = time.time
    time.time = lambda: right() + seconds
    try:
        yield
    finally:
        time.time = right


# Requests that name another deadline


def _told(change: Callable[[Told], Told]) -> Callable[[Any], Any]:
    """Return a front that changes the deadlines that a request names."""

    def front(app: Any) -> Any:
        async def changed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["method"] != "POST":
                await app(scope, receive, send)
                return
            header = dict(scope["headers"]).get(b"x-deadline")
            query = parse_qs(scope["query_string"].decode()).get("deadline_ms", [None])[0]
            named: Told = {"header": header.decode() if header else None, "query": query}

            def inside(path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
                named.update(change({**named, "body": body.pop("deadline_ms", None)}))
                number = named["body"]
                return path, body if number is None else {**body, "deadline_ms": number}

            async def behind(scope: Any, receive: Any, send: Any) -> None:
                kept = [pair for pair in scope["headers"] if pair[0] != b"x-deadline"]
                if named["header"] is not None:
                    kept.append((b"x-deadline", named["header"].encode()))
                query = b"" if named["query"] is None else f"deadline_ms={named['query']}".encode()
                await app({**scope, "headers": kept, "query_string": query}, receive, send)

            await with_body(inside)(behind)(scope, receive, send)

        return changed

    return front


def _header(change: Callable[[str], str | None]) -> Callable[[Told], Told]:
    return lambda told: {**told, "header": told["header"] and change(told["header"])}


def _turned_round(text: str) -> str:
    other = {"+": "-", "-": "+"}
    return text[:-6] + other.get(text[-6], text[-6]) + text[-5:]


def _number(unit: float) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text.isdigit():
            return text
        try:
            return datetime.fromtimestamp(int(text) * unit, UTC).isoformat()
        except (ValueError, OverflowError):
            return "9999-12-31T23:59:59Z"

    return read


def _seconds_left(text: str) -> float:
    return (datetime.fromisoformat(text.upper().replace(":60", ":59")) - datetime.now(UTC)).total_seconds()


def _only(first: str) -> Callable[[Told], Told]:
    """Return what leaves one deadline, where it is there."""
    return lambda told: (
        {name: told[name] if name == first else None for name in told} if told[first] is not None else told
    )


def _latest(told: Told) -> Told:
    left = {
        name: _seconds_left(text) if name == "header" else float(text) / 1000
        for name, text in told.items()
        if text is not None
    }
    return {name: told[name] if left and name == max(left, key=left.__getitem__) else None for name in told}


_CHANGES: Mapping[str, Callable[[Told], Told]] = {
    "offset: ignored": _header(lambda text: re.sub(r"[+-]\d\d:\d\d$", "Z", text)),
    "offset: turned round": _header(_turned_round),
    "fraction: is cut": _header(lambda text: re.sub(r"\.\d+", "", text)),
    "header: RFC 3339 or seconds since 1970": _header(_number(1)),
    "header: RFC 3339 or milliseconds since 1970": _header(_number(1e-3)),
    "header: RFC 3339 or local time": _header(
        lambda text: text if INSTANT.fullmatch(text) or "T" not in text else f"{text}Z"
    ),
    "malformed: ignored": _header(lambda text: text if INSTANT.fullmatch(text) else None),
    "past: nothing": _header(lambda text: None if _seconds_left(text) < 0 else text),
    "unit: seconds": lambda told: {
        name: text if text is None or name == "header" else 1000 * int(text) for name, text in told.items()
    },
    "of_several: the header": _only("header"),
    "of_several: the body": _only("body"),
    "of_several: the latest": _latest,
}


# Work that keeps to another deadline


class _NoTime(PrefillSpeed):
    def enough(self, deadline: Deadline, tokens: int) -> bool:
        return True


class _OneToken(PrefillSpeed):
    def enough(self, deadline: Deadline, tokens: int) -> bool:
        return super().enough(deadline, 1)


class _Unstopped(Work):
    """Is not over when its time is."""

    @property
    def over(self) -> str | None:
        return CANCELLED if self._cancelled else None


class _Deaf(Work):
    """Is not over when its time is, and from then on not when it is cancelled either."""

    @property
    def over(self) -> str | None:
        return None if _late(self) else super().over


class _ByTheWall(Work):
    """Is over when the wall clock says so."""

    until: float

    @property
    def over(self) -> str | None:
        return CANCELLED if self._cancelled else DEADLINE if time.time() >= self.until else None


def _late(work: Work) -> bool:
    return work.deadline is not None and time.monotonic() >= work.deadline


class _AtTheEnd(Batch):
    """Sees at the end that the time was over."""

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            work.__class__, tell = _Unstopped, work.sink

            def sink(event: Event, work: Work = work, tell: Any = tell) -> None:
                tell(replace(event, reason=DEADLINE) if event.reason and _late(work) else event)

            work.sink = sink
        super().submit(works)


class _GoesOn(Batch):
    """Says that the time is over, and computes what nobody is told."""

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            work.__class__, tell, told = _Deaf, work.sink, list[bool]()

            def sink(event: Event, work: Work = work, tell: Any = tell, told: list[bool] = told) -> None:
                if not told:
                    tell(Event(reason=DEADLINE) if _late(work) else event)
                told += [True] * _late(work)

            work.sink = sink
        super().submit(works)


class _FromItsPlace(Batch):
    """Counts the time of a sequence from when it joins."""

    def submit(self, works: Sequence[Work]) -> None:
        self._left: dict[int, float] = getattr(self, "_left", {})
        for work in works:
            if work.deadline is not None:
                self._left[id(work)], work.deadline = work.deadline - time.monotonic(), None
        super().submit(works)

    def _join(self) -> Any:
        joined = super()._join()
        for sequence in joined:
            if (left := self._left.pop(id(sequence.work), None)) is not None:
                sequence.work.deadline = time.monotonic() + left
        return joined


class _WallClock(Batch):
    """Measures the time of a sequence by the wall clock."""

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            left = (work.deadline or time.monotonic()) - time.monotonic()
            work.__class__ = _ByTheWall
            vars(work)["until"] = time.time() + left
        super().submit(works)


_BATCHES: Mapping[str, type[Batch]] = {
    "noticed: at the end": _AtTheEnd,
    "rest_of_the_work: done": _GoesOn,
    "counted_from: its place in the batch": _FromItsPlace,
    "clock: wall": _WallClock,
}


# Streams that end in another way


def _without_error(chunk: bytes) -> Sequence[bytes]:
    return [] if chunk.startswith(b'data: {"error"') else [chunk]


def _whole(chunk: bytes) -> Sequence[bytes]:
    end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    return [chunk] if _without_error(chunk) else [f"data: {json.dumps(end)}\n\n".encode()]
