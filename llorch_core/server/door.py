"""Every request comes in here: it gets a name, is let in or not, and is noted when it is over."""

from __future__ import annotations

import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llorch_core.server.auth import LOOPBACK
from llorch_core.server.contract import OPEN
from llorch_core.server.logs import correlation_id, following
from llorch_core.server.refusal import refuse
from llorch_core.server.who import Who
from llorch_core.server.wire import refusal
from llorch_core.server.worker import Worker

OTHER_HOST = (
    "the Host header names another machine, and without a bearer token only this one may ask; "
    "address the server as 127.0.0.1 or localhost"
)
MOST_OF_HEADERS = 2**14  # bytes of all headers of a request
TOO_LONG = f"the headers have more than {MOST_OF_HEADERS:,} bytes; leave out what the server does not read"
FREE = (*OPEN, "/")  # the page asks a person for the token


class Door:
    """The outermost part of the application. Spec: server_auth.

    For what is behind it, it sets `scope["who"]`, and `scope["came"]`: when the request came, as time.time
    and as time.monotonic.
    """

    def __init__(self, app: ASGIApp, worker: Worker) -> None:
        self._app, self._worker = app, worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        came, worker = (time.time(), time.monotonic()), self._worker
        scope["came"] = came
        headers = Headers(scope=scope)
        correlation = correlation_id(headers.get("x-correlation-id"), headers.get("x-request-id"))
        client = scope["client"][0] if scope.get("client") else ""
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Correlation-Id"] = correlation
            await send(message)

        sent = headers.getlist("authorization")
        header = ", ".join(sent) if sent else None  # of two, nobody could say which one counts: neither does
        name = worker.tokens.check(header) if worker.tokens.enabled else ""
        who = Who(name or "", worker.tokens.fingerprint(name) if name else None, correlation, client)
        scope["who"] = who
        with following(correlation):
            try:
                if sum(len(field) + len(value) for field, value in scope["headers"]) > MOST_OF_HEADERS:
                    await refusal(refuse(431, "headers_too_large", TOO_LONG))(scope, receive, named)
                elif not worker.tokens.enabled and not self._meant_for_us(headers.get("host", "")):
                    await refusal(refuse(421, "other_host", OTHER_HOST))(scope, receive, named)
                elif name is None and scope["path"] not in FREE:
                    await self._turn_away(scope, receive, named, header is None)
                else:
                    if name and scope["method"] == "POST":  # what only looks would fill the log
                        worker.note("auth.accepted", name=name, **who.for_audit())
                    await self._app(scope, receive, named)
            except Exception:  # it has been answered; raised again it would be printed past the log
                worker.log.error("broken", exc_info=True)
            finally:
                fields: dict[str, Any] = {"method": scope["method"], "status": status}
                fields |= {"ms": round(1000 * (time.monotonic() - came[1]), 1), "token": who.fingerprint}
                worker.log.info("http", path=scope["path"], **fields)

    def _meant_for_us(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        name, _, port = host.rpartition(":")
        return (name if port.isdigit() else host).lower() in LOOPBACK

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send, missing: bool) -> None:
        worker, who = self._worker, scope["who"]
        said = "there is no bearer token" if missing else "the bearer token is not one of this server's"
        worker.note("auth.refused", reason="missing" if missing else "wrong", **who.for_audit())
        worker.metrics.refused("auth")
        challenge = 'Bearer realm="llorch"' + ("" if missing else ', error="invalid_token"')
        answer = refusal(refuse(401, "unauthorized", said, WWW_Authenticate=challenge))
        await answer(scope, receive, send)
