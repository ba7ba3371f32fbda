"""Every request comes in here: it gets a name, is let in or not, and is noted when it is over."""

from __future__ import annotations

import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llorch_core.server.contract import OPEN
from llorch_core.server.logs import correlation_id
from llorch_core.server.refusal import refuse
from llorch_core.server.who import Who
from llorch_core.server.wire import refusal
from llorch_core.server.worker import Worker

FREE = (*OPEN, "/")  # the page asks a person for the token


class Door:
    """The outermost part of the application. `scope["who"]` is set for what is behind it. Spec: server_auth."""

    def __init__(self, app: ASGIApp, worker: Worker) -> None:
        self._app, self._worker = app, worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, worker = time.monotonic(), self._worker
        headers = Headers(scope=scope)
        correlation = correlation_id(headers.get("x-correlation-id") or headers.get("x-request-id"))
        client = scope["client"][0] if scope.get("client") else ""
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Correlation-Id"] = correlation
            await send(message)

        header = headers.get("authorization")
        name = worker.tokens.check(header) if worker.tokens.enabled else ""
        who = Who(name or "", worker.tokens.fingerprint(name) if name else None, correlation, client)
        scope["who"] = who
        try:
            if name is None and scope["path"] not in FREE:
                await self._turn_away(scope, receive, named, header is None)
            else:
                await self._app(scope, receive, named)
        finally:
            fields: dict[str, Any] = {"method": scope["method"], "status": status}
            fields |= {"ms": round(1000 * (time.monotonic() - started), 1), "token": who.fingerprint}
            worker.log.info("http", correlation_id=correlation, path=scope["path"], **fields)

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send, missing: bool) -> None:
        worker, who = self._worker, scope["who"]
        said = "there is no bearer token" if missing else "the bearer token is not one of this server's"
        worker.note("auth.refused", reason="missing" if missing else "wrong", **who.for_audit())
        worker.metrics.refused("auth")
        challenge = 'Bearer realm="llorch"' + ("" if missing else ', error="invalid_token"')
        answer = refusal(refuse(401, "unauthorized", said, WWW_Authenticate=challenge))
        await answer(scope, receive, send)
