"""A worker that listens: from its start, over its self-check, to its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from llorch_core.engine.errors import UsageError
from llorch_core.server.app import make_app
from llorch_core.server.door import MOST_OF_HEADERS
from llorch_core.server.jobs import all_over
from llorch_core.server.self_check import (
    Known,
    SelfCheckError,
    check,
    check_digest,
    digest_of_weights,
)
from llorch_core.server.worker import DRAINING, HEALTHY, UNHEALTHY, Worker

LAST_WORDS = 5.0  # seconds that work which was stopped has to say so
TRIES = 4  # of the ready callback


class _Connection(H11Protocol):
    """uvicorn's connection, which is closed where no request comes to the end of its head in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(None)

    def _watch(self, before: object) -> None:
        """Close the connection where nothing has begun since the last look."""
        if self.transport.is_closing():
            return
        now: object = self.cycle
        waits = self.cycle is None or self.cycle.response_complete
        if waits and now is before and self._looked:
            self.transport.close()
            return
        self._looked = True
        self.loop.call_later(self.idle_seconds, self._watch, now)

    idle_seconds = 30
    _looked = False


class _Listener(uvicorn.Server):
    """uvicorn, without its own handlers of signals: it would refuse connections while work goes on."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """A worker at an address. Raises UsageError where the address cannot be had. Spec: server_life.

    port         0 for one that is free
    known        what the self-check holds the engine to
    callback     an address that is told when the server is ready; where that fails, the server ends
    worker_id    names the server to whom it calls
    on_ready     called when new work is taken
    weights_sha256  what the digest of the weight files has to be; None: any
    """

    wait = 0.5  # seconds before the second try of the callback, doubled for each further one

    def __init__(
        self,
        worker: Worker,
        host: str,
        port: int,
        known: Known | None = None,
        callback: str | None = None,
        worker_id: str = "llorch",
        on_ready: Callable[[], None] = lambda: None,
        weights_sha256: str | None = None,
    ) -> None:
        self.worker, self._known, self._weights_sha256 = worker, known, weights_sha256
        self._callback, self._worker_id, self.on_ready = callback, worker_id, on_ready
        self._socket = _listen(host, port, worker.settings.idle_seconds)
        self.address = _address_of(self._socket)
        self._stopping = False
        self._clean = True
        config = uvicorn.Config(
            self.application(),
            http=type("Connection", (_Connection,), {"idle_seconds": worker.settings.idle_seconds}),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=2 * MOST_OF_HEADERS,
            timeout_keep_alive=worker.settings.idle_seconds,
            timeout_graceful_shutdown=int(LAST_WORDS),
        )
        self._listener = _Listener(config)

    def application(self) -> ASGIApp:
        """Return what answers requests."""
        return make_app(self.worker)

    async def serve(self) -> int:
        """Listen until told to stop, which may be before it is ready.

        Returns 0 where all work was finished, 1 where some was cut off.
        Raises SelfCheckError where the engine computes something else than is known, and UsageError
        where the ready callback cannot be called.
        """
        self._loop = asyncio.get_running_loop()
        handled = self._handle_signals()
        worker = self.worker
        listening = asyncio.create_task(self._listener.serve(sockets=[self._socket]))
        why = "self-check"
        try:
            worker.weights_sha256 = await asyncio.to_thread(digest_of_weights, worker.model.folder)
            check_digest(worker.weights_sha256, self._weights_sha256)
            await asyncio.to_thread(check, worker.model, self._known)
            if not self._stopping:
                worker.record(
                    "server.started",
                    version=version("llorch"),
                    model=worker.model.folder.name,
                    weights_sha256=worker.weights_sha256,
                    address=self.address,
                )
                worker.record(
                    "config.loaded",
                    source="start",
                    settings=[f"{name} = {value}" for name, value in asdict(worker.settings).items()],
                    tokens=list(worker.tokens.names),
                )
                worker.status = HEALTHY
                if self._callback:
                    why = "callback"
                    await asyncio.to_thread(self._call, self._callback)
            why = "stop"
            if not self._stopping:
                worker.log.info("ready", address=self.address, model=worker.model.folder.name)
                self.on_ready()
            await listening
        except BaseException:
            worker.status = UNHEALTHY
            raise
        finally:
            self._listener.should_exit = True
            await asyncio.gather(listening, return_exceptions=True)
            for number in handled:
                self._loop.remove_signal_handler(number)
            await asyncio.to_thread(worker.batch.close)
            code = 2 if why == "callback" else int(why != "stop" or not self._clean)
            worker.note("server.stopped", reason=why, exit_code=code)
            worker.log.info("stopped", reason=why, exit_code=code)
            if worker.audit:
                worker.audit.close()
        return code

    def stop(self) -> None:
        """Take no new work, let what runs come to its end, and end. May be called from any thread."""
        with suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._stop)

    def reload(self) -> None:
        """Read the tokens again, as SIGHUP does; the log says how it went. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._reload)

    def _stop(self) -> None:
        if self._stopping:  # asked twice: at once
            self._listener.force_exit = self._listener.should_exit = True
            self._clean = not self.worker.jobs
            return
        self._stopping = True
        self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        worker = self.worker
        worker.status = DRAINING
        worker.log.info("draining", jobs=len(worker.jobs))
        if not await all_over(worker, worker.settings.drain_seconds):
            self._clean = False
            for job in list(worker.jobs.values()):
                job.cancel("the server stops")
            await all_over(worker, LAST_WORDS)
        self._listener.should_exit = True

    def _handle_signals(self) -> list[signal.Signals]:
        """Let signals stop the server, where this is the main thread of a Unix; SIGHUP reads tokens again."""
        if threading.current_thread() is not threading.main_thread():
            return []
        if not hasattr(signal, "SIGHUP"):

            def ctrl_c(number: int, frame: FrameType | None) -> None:
                del number, frame
                self.stop()

            signal.signal(signal.SIGINT, ctrl_c)
            return []
        actions = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        for number, action in actions.items():
            self._loop.add_signal_handler(number, action)
        return list(actions)

    def _reload(self) -> None:
        try:
            self.worker.tokens.reload()
        except UsageError as error:
            self.worker.log.error("tokens.kept", why=str(error))
            return
        self.worker.note("config.loaded", source="tokens, on SIGHUP", tokens=list(self.worker.tokens.names))
        self.worker.log.info("tokens.loaded")

    def _call(self, url: str) -> None:
        """Tell that the server is ready. Raises UsageError where nobody takes it."""
        body = {
            "worker_id": self._worker_id,
            "uri": self.address,
            "vram_bytes": 0,
            "memory_bytes": self.worker.metrics.memory_bytes(),
            "memory_architecture": "cpu",
            "worker_type": "cpu",
            "capabilities": ["text-gen"],
        }
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        said = ""
        for attempt in range(TRIES):
            if attempt:
                threading.Event().wait(self.wait * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    if 200 <= answer.status < 300:
                        return
                    said = f"it answered {answer.status}"
            except (OSError, ValueError) as error:
                said = str(error)
        raise UsageError(
            f"the ready callback {url} was called {TRIES} times, and {said} (wanted 200 to 299).\n"
            "Correct --callback-url, or start what should listen there."
        )


def _address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int, idle_seconds: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # what a client leaves unread ends its connection
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * idle_seconds)
        made.bind(place)
        made.listen(1024)
    except (OSError, OverflowError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{host}:{port} cannot be listened to: {said}.\n"
            "Is another server there? --port 0 takes a port that is free."
        ) from error
    return made


@contextmanager
def running(server: Server, seconds: float = 60.0) -> Iterator[Server]:
    """Have a server listen in a thread of its own, ready when this begins and stopped when it ends.

    Raises what made the server end before it was ready.
    """
    ready, failed = threading.Event(), list[BaseException]()
    server.on_ready = ready.set

    def run() -> None:
        try:
            asyncio.run(server.serve())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    ready.wait(seconds)
    if failed:
        raise failed[0]
    try:
        yield server
    finally:
        server.stop()
        thread.join(seconds)


__all__ = ["SelfCheckError", "Server", "running"]
