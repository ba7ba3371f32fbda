"""The server on trial: the product over a real socket, or with one mistake put in front of it or into it."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
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


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


LEAVING = 8  # servers that may take the moment that they need to end, while others are asked
_LEAVING: list[ExitStack] = []


def _all_gone(but: int = 0) -> None:
    """Wait until every server that was stopped has ended, but for the last ones."""
    while len(_LEAVING) > but:
        _LEAVING.pop(0).close()


Finalize(
    None, _all_gone, exitpriority=10
)  # at the end of any process, also of a forked one, which no atexit is


class Gate:
    """What a model waits at, before each call, while it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pass: int | None = None  # calls that may pass; None: all
        self.held = 0  # calls that wait

    def close(self, after: int = 0) -> None:
        """Let so many calls pass, and no more."""
        with self._changed:
            self._pass = after

    def open(self) -> None:
        with self._changed:
            self._pass = None
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self.held += 1
            self._changed.wait_for(lambda: self._pass != 0)
            self.held -= 1
            if self._pass:
                self._pass -= 1


class Live:
    """A server that runs, until it is stopped.

    address  where it listens
    audit    folder of its audit log
    logged   what it has logged
    gate     what its model waits at
    """

    def __init__(
        self, stack: ExitStack, server: Fronted, audit: Path, logged: io.StringIO, gate: Gate
    ) -> None:
        self._stack, self.server, self.audit, self.logged, self.gate = stack, server, audit, logged, gate
        self.address = server.address
        self._left = False

    def stop(self) -> None:
        """Let it end. That takes a moment, which nobody waits for."""
        self.gate.open()
        self.server.stop()
        if not self._left:
            self._left = True
            _LEAVING.append(self._stack)

    def log(self) -> list[Any]:
        """Return the lines of the log; None in the place of one that is no JSON object."""
        return [_object(line) for line in self.logged.getvalue().splitlines()]

    def audited(self) -> list[dict[str, Any]]:
        """Return the events of the audit log, oldest first."""
        lines = [line for path in sorted(self.audit.glob("*.audit")) for line in _lines(path)]
        return [json.loads(line)["event"] for line in lines if line.endswith("\n")]


def _object(line: str) -> Any:
    with suppress(ValueError):
        if isinstance(said := json.loads(line), dict):
            return said
    return None


class Fronted(Server):
    """The server, with something in front of its application.

    state  "" at first; "ready"; then its exit code, or the name of what made it end
    """

    front: Callable[[Any], Any] | None = None
    state = ""

    def application(self) -> Any:
        made = super().application()
        return self.front(made) if self.front else made

    async def serve(self) -> int:
        said = self.on_ready

        def ready() -> None:
            self.state = "ready"
            said()

        self.on_ready = ready
        try:
            code = await super().serve()
        except BaseException as error:
            self.state = type(error).__name__
            raise
        self.state = str(code)
        return code


@contextmanager
def beginning(server: Fronted) -> Iterator[None]:
    """Have a server listen in a thread, as `running`, whether it becomes ready or not."""

    def run() -> None:
        with suppress(Exception):  # server.state tells it
            asyncio.run(server.serve())

    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(60)


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
        breaks: str | None = None,
        times: float = 1.0,
        held: int | None = None,
        options: Mapping[str, Any] | None = None,
        wait: bool = True,
        **settings: Any,
    ) -> Live:
        """Start a server on a free port of 127.0.0.1.

        writes       ids that the model then writes, whatever it is asked; None: the model on trial
        environment  of the process, as far as tokens are concerned
        tokens       a file of tokens
        breaks       what the model says when it fails, which it does behind its first call
        times        the logits of the model, as if ln_f were of other weights
        held         calls of the model that pass before it is held
        options      of `Server`, such as known and callback
        wait         until it is ready
        """
        model, gate = self.model, Gate()
        if times != 1.0:
            model = _with_forward(model, lambda right: lambda *a, **b: right(*a, **b) * np.float32(times))
        if writes is not None:
            model = scripted(model, writes)
        if breaks is not None:
            model = broken(model, breaks)
        if held is not None:
            gate.close(held)
        model = gated(model, gate)
        with ExitStack() as stack:
            # a TemporaryDirectory would be emptied at the exit of the process before its server has ended
            audit = Path(tempfile.mkdtemp(prefix="llorch-audit-"))
            stack.callback(shutil.rmtree, audit, ignore_errors=True)
            logged = io.StringIO()
            read = Tokens.read(environment or {}, tokens)
            worker = self.worker(
                model,
                Settings(**settings),
                read,
                AuditLog(audit, fsync="never"),
                configure(logged, "info", True),
            )
            server = self.server(worker, **(options or {}))
            stack.enter_context(running(server) if wait else beginning(server))
            _all_gone(but=LEAVING)
            return Live(stack.pop_all(), server, audit, logged, gate)
        raise AssertionError

    def worker(self, model: Model, *parts: Any) -> Worker:
        """Return the worker; a mistake may change it before it takes work."""
        return Worker(model, *parts)

    def server(self, worker: Worker, **options: Any) -> Fronted:
        """Return the server; a mistake may stand in front of its application."""
        kind = (
            type("Fronted", (self.kind,), {"front": staticmethod(front)})
            if (front := self.front())
            else self.kind
        )
        made: Fronted = kind(worker, "127.0.0.1", 0, **options)
        return made

    @property
    def kind(self) -> type[Fronted]:
        """The server; a mistake may be of another kind."""
        return Fronted

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


Forward = Callable[..., Array]


def _with_forward(model: Model, change: Callable[[Forward], Forward]) -> Model:
    made = copy(model)
    made.forward = change(model.forward)
    return made


def gated(model: Model, gate: Gate) -> Model:
    """Return a model that waits at a gate before each call."""

    def change(right: Forward) -> Forward:
        def forward(*parts: Any, **named: Any) -> Array:
            gate.wait()
            return right(*parts, **named)

        forward.rows_alone = getattr(right, "rows_alone", False)  # type: ignore[attr-defined]
        return forward

    return _with_forward(model, change)


def broken(model: Model, says: str) -> Model:
    """Return a model that raises an error at each call but the first, which is the self-check's."""

    def change(right: Forward) -> Forward:
        first = iter([True])

        def forward(*parts: Any, **named: Any) -> Array:
            if not next(first, False):
                raise RuntimeError(says)
            return right(*parts, **named)

        return forward

    def decode(ids: Any) -> str:
        raise RuntimeError(says)

    made = _with_forward(model, change)
    made.decode = decode  # type: ignore[method-assign]
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
