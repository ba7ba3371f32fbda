"""How a server begins and ends, on trial. Spec: server_life."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.request
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.server.settings import Settings
from llorch_core.server.worker import DRAINING, HEALTHY, Worker
from llorch_core.subject.behaviours.server import Fronted, Served, with_chunks, with_json

DRAINS = {"running_work": 0, "drain": 86_400}  # seconds


class Life(Served):
    """The server, or one that begins or ends wrongly."""

    spec = "server_life"

    def worker(self, model: Any, *parts: Any) -> Worker:
        settings, *others = parts
        name = self.wrong[0] if self.wrong else ""
        if name in DRAINS:
            settings = replace(settings, drain_seconds=DRAINS[name])
        assert isinstance(settings, Settings)
        made = self._worker = super().worker(model, settings, *others)
        if name == "ready_from":
            made.status = HEALTHY
        return made

    def server(self, worker: Worker, **options: Any) -> Fronted:
        if self.wrong and self.wrong[0] == "self_check":
            options["known"] = None
        return super().server(worker, **options)

    @property
    def kind(self) -> type[Fronted]:
        kinds: dict[str, type[Fronted]] = {
            "exit_code_of_a_cut": _AlwaysZero,
            "callback_tries": _Once,
            "callback_comes": _Early,
        }
        return kinds.get(self.wrong[0], Fronted) if self.wrong else Fronted

    def front(self) -> Callable[[Any], Any] | None:
        fronts: dict[str, Callable[[Any], Any]] = {
            "digest": with_json(self._other_digest),
            "new_work": self._takes_work,
            "said_meanwhile": self._healthy,
            "alive_meanwhile": self._dead,
            "stream_of_cut_work": with_chunks(lambda: _without_error),
        }
        return fronts.get(self.wrong[0]) if self.wrong else None

    def _other_digest(self, path: str, status: int, said: Any) -> tuple[int, Any]:
        if path == "/health":
            raw = (self.model.folder / "config.json").read_bytes()
            said["weights_sha256"] = hashlib.sha256(raw).hexdigest()
        return status, said

    def _takes_work(self, app: Any) -> Any:
        """Return an application that takes work while it drains."""
        worker = self._worker

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            before = worker.status

            async def hears() -> Any:  # the status has been looked at
                worker.status = before
                return await receive()

            if before == DRAINING and scope["type"] == "http" and scope["method"] == "POST":
                worker.status = HEALTHY
            await app(scope, hears, send)

        return changed

    def _healthy(self, app: Any) -> Any:
        """Return an application that says it is healthy while it drains."""
        worker = self._worker

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            before = worker.status
            if before == DRAINING and scope["type"] == "http" and scope["path"] in ("/readyz", "/health"):
                worker.status = HEALTHY
            try:
                await app(scope, receive, send)
            finally:
                worker.status = before if before == DRAINING else worker.status

        return changed

    def _dead(self, app: Any) -> Any:
        """Return an application that is not alive while it drains."""
        worker = self._worker

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            async def dead(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "status": 503}
                await send(message)

            drains = worker.status == DRAINING and scope["path"] == "/livez"
            await app(scope, receive, dead if drains else send)

        return changed


def _without_error(chunk: bytes) -> list[bytes]:
    return [] if chunk.startswith((b'data: {"error"', b"data: [DONE]")) else [chunk]


class _AlwaysZero(Fronted):
    """Ends with exit code 0, whatever was cut off."""

    _clean = property(lambda self: True, lambda self, clean: None)


class _Once(Fronted):
    """Calls the ready callback once."""

    def _call(self, url: str) -> None:
        raw = json.dumps({"uri": self.address}).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, raw), timeout=10):
                return
        except OSError as error:
            raise UsageError(str(error)) from error


class _Early(Fronted):
    """Calls the ready callback before it checks itself."""

    async def serve(self) -> int:
        url, self._callback = self._callback, None
        if url:
            self._check_after(url)
        return await super().serve()

    def _check_after(self, url: str) -> None:
        """Let the model wait until the callback was taken."""
        taken, model = threading.Event(), copy(self.worker.model)
        right = model.forward

        def call() -> None:
            self._call(url)
            taken.set()

        def forward(*parts: Any, **named: Any) -> Any:
            taken.wait()
            return right(*parts, **named)

        model.forward = forward
        self.worker.model = model
        threading.Thread(target=call, daemon=True).start()
