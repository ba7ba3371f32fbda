"""The server on trial: the product over a real socket, or with one mistake put in front of it or into it."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.gpt2 import Observer, Rows
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.model import Model
from llorch_core.spec.suite import load_specs
from llorch_core.subject.protocol import NotHereError

try:
    from llorch_core.server.audit import AuditLog
    from llorch_core.server.auth import Tokens
    from llorch_core.server.logs import configure
    from llorch_core.server.serve import Server, running
    from llorch_core.server.settings import Settings
    from llorch_core.server.worker import Worker
except ImportError as error:
    raise NotHereError(f"{error.name}, of the extra `serve`") from error


LEAVING = 8  # servers that may take the moment that they need to end, while others are asked
_LEAVING: list[ExitStack] = []


def _all_gone(but: int = 0) -> None:
    """Wait until every server that was stopped has ended, but for the last ones."""
    while len(_LEAVING) > but:
        _LEAVING.pop(0).close()


Finalize(
    None, _all_gone, exitpriority=10
)  # at the end of any process, also of a forked one, which no atexit is


class Live:
    """A server that runs, until it is stopped.

    address  where it listens
    audit    folder of its audit log
    logged   what it has logged
    """

    def __init__(self, stack: ExitStack, server: Server, audit: Path, logged: io.StringIO) -> None:
        self._stack, self.server, self.audit, self.logged = stack, server, audit, logged
        self.address = server.address

    def stop(self) -> None:
        """Let it end. That takes a moment, which nobody waits for."""
        self.server.stop()
        _LEAVING.append(self._stack)

    def audited(self) -> list[dict[str, Any]]:
        """Return the events of the audit log, oldest first."""
        lines = [line for path in sorted(self.audit.glob("*.audit")) for line in path.open(encoding="utf-8")]
        return [json.loads(line)["event"] for line in lines if line.endswith("\n")]


class Served:
    """What starts servers of the model on trial. A subclass for each spec knows what its mistakes are.

    wrong  the datum that is wrong, and its value; None where all are right
    """

    spec = ""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self.model = model
        right = load_specs().after[self.spec].data
        changed = [(name, value) for name, value in data.items() if value != right[name]]
        self.wrong: tuple[str, Any] | None = changed[0] if changed else None

    def start(
        self,
        writes: Sequence[int] | None = None,
        environment: Mapping[str, str] | None = None,
        tokens: Path | None = None,
        **settings: Any,
    ) -> Live:
        """Start a server on a free port of 127.0.0.1.

        writes       ids that the model then writes, whatever it is asked; None: the model on trial
        environment  of the process, as far as tokens are concerned
        tokens       a file of tokens
        """
        model = self.model if writes is None else scripted(self.model, writes)
        with ExitStack() as stack:
            audit = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llorch-audit-")))
            logged = io.StringIO()
            read = Tokens.read(environment or {}, tokens)
            worker = self.worker(
                model,
                Settings(**settings),
                read,
                AuditLog(audit, fsync="never"),
                configure(logged, "info", True),
            )
            server = self.server(worker)
            stack.enter_context(running(server))
            _all_gone(but=LEAVING)
            return Live(stack.pop_all(), server, audit, logged)
        raise AssertionError

    def worker(self, model: Model, *parts: Any) -> Worker:
        """Return the worker; a mistake may change it before it takes work."""
        return Worker(model, *parts)

    def server(self, worker: Worker) -> Server:
        """Return the server; a mistake may stand in front of its application."""
        front = self.front()

        class Fronted(Server):
            def application(self) -> Any:
                return front(super().application()) if front else super().application()

        return Fronted(worker, "127.0.0.1", 0)

    def front(self) -> Callable[[Any], Any] | None:
        """Return what a mistake puts in front of the application; None for nothing."""
        return None


def scripted(model: Model, writes: Sequence[int]) -> Model:
    """Return a model that writes given ids, one after the other, whatever its prompt was."""
    made = copy(model)
    begun: dict[int, int] = {}

    def forward(
        chunks: Sequence[Ids], caches: Sequence[KVCache], rows: Rows = "all", observer: Observer | None = None
    ) -> Array:
        found = []
        for chunk, cache in zip(chunks, caches, strict=True):
            if len(chunk) > 1 or cache.n_past == 0:
                begun[id(cache)] = cache.n_past + len(chunk)
            cache.advance(len(chunk))
            place = cache.n_past - begun[id(cache)]
            row = np.zeros(model.config.n_vocab, np.float32)
            row[writes[place % len(writes)]] = 50.0
            found += [row] * (len(chunk) if rows == "all" else 1)
        return np.stack(found)

    made.forward = forward
    return made


# What mistakes are made of: applications in front of the right one


def with_body(change: Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]) -> Callable[[Any], Any]:
    """Return a front that changes address and body of each request that has a JSON object."""

    def front(app: Any) -> Any:
        async def changed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["method"] != "POST":
                await app(scope, receive, send)
                return
            raw, more = b"", True
            while more:
                message = await receive()
                raw, more = raw + message.get("body", b""), message.get("more_body", False)
            try:
                path, body = change(scope["path"], json.loads(raw))
                scope, raw = {**scope, "path": path, "raw_path": path.encode()}, json.dumps(body).encode()
            except (ValueError, TypeError, KeyError, AttributeError):
                pass  # what is no request of that kind goes on as it is
            sent = False

            async def again() -> Any:
                nonlocal sent
                if sent:
                    return await receive()
                sent = True
                return {"type": "http.request", "body": raw, "more_body": False}

            headers = [(k, v) for k, v in scope["headers"] if k != b"content-length"]
            length = (b"content-length", str(len(raw)).encode())
            await app({**scope, "headers": [*headers, length]}, again, send)

        return changed

    return front


Answer = tuple[int, dict[str, str], bytes]


def with_answer(change: Callable[[str, Answer], Answer]) -> Callable[[Any], Any]:
    """Return a front that changes each answer, once it is complete: status, headers and body."""

    def front(app: Any) -> Any:
        async def changed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            start: dict[str, Any] = {}
            body = bytearray()

            async def hold(message: Any) -> None:
                if message["type"] == "http.response.start":
                    start.update(message)
                else:
                    body.extend(message.get("body", b""))

            await app(scope, receive, hold)
            headers = {k.decode(): v.decode() for k, v in start["headers"]}
            status, headers, raw = change(scope["path"], (start["status"], headers, bytes(body)))
            if "content-length" in headers:
                headers["content-length"] = str(len(raw))
            listed = [(k.encode(), v.encode()) for k, v in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": listed})
            await send({"type": "http.response.body", "body": raw, "more_body": False})

        return changed

    return front


def with_json(change: Callable[[str, int, Any], tuple[int, Any]]) -> Callable[[Any], Any]:
    """Return a front that changes each answer that is JSON: its status, and what it says."""

    def changed(path: str, answer: Answer) -> Answer:
        status, headers, raw = answer
        try:
            status, said = change(path, status, json.loads(raw))
        except (ValueError, TypeError, KeyError, IndexError):
            return answer
        return status, headers, json.dumps(said).encode()

    return with_answer(changed)


def with_chunks(begin: Callable[[], Callable[[bytes], Sequence[bytes]]]) -> Callable[[Any], Any]:
    """Return a front that puts other events in the place of each event of a stream.

    begin  called for each stream; returns what is called with each event
    """

    def front(app: Any) -> Any:
        async def changed(scope: Any, receive: Any, send: Any) -> None:
            streamed, change = False, begin()

            async def instead(message: Any) -> None:
                nonlocal streamed
                if message["type"] == "http.response.start":
                    streamed = (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]
                if not streamed or not message.get("body"):
                    await send(message)
                    return
                for chunk in change(message["body"]):
                    await send({**message, "body": chunk})

            await app(scope, receive, instead)

        return changed

    return front


def read_data(chunk: bytes) -> Any:
    """Return what the data of an event are; None where they are no JSON."""
    for line in chunk.decode().splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            return json.loads(line[6:])
    return None


def as_event(chunk: bytes, said: Any) -> bytes:
    """Return an event with other data."""
    name = [line for line in chunk.decode().splitlines() if line.startswith("event: ")]
    return "\n".join([*name, f"data: {json.dumps(said)}", "", ""]).encode()
