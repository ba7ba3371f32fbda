"""What a request brings and what an answer sends, with a client that may go away at any moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llorch_core.server.refusal import RefusedError, refuse

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def refusal(error: RefusedError) -> Response:
    """Return the answer to a request that is refused."""
    return Json(error.as_json(), error.status, {**NO_STORE, **error.headers})


async def read_body(request: Request, most: int) -> bytes:
    """Return the body of a request. Raises RefusedError where it has more than `most` bytes."""
    body = bytearray()
    too_large = refuse(413, "too_large", f"the body has more than {most:,} bytes", Connection="close")
    with suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > most:
            raise too_large
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
    except ClientDisconnect:
        raise refuse(400, "gone", "the request was not sent to its end") from None
    return bytes(body)


async def _gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, gone: Callable[[], None], work: Any) -> Any:
    """Await some work to its end; call `gone` as soon as the client has closed the connection."""
    watch = asyncio.create_task(_gone(receive))
    watch.add_done_callback(lambda task: None if task.cancelled() else gone())
    try:
        return await work
    finally:
        watch.cancel()


class Events(Response):
    """Server-sent events, each sent when it is there; to a client that went away no more is sent.

    chunks  whole events, as bytes
    gone    called when the client has closed the connection: the chunks should soon come to an end
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], gone: Callable[[], None], headers: Mapping[str, str] | None = None
    ) -> None:
        kept = {**NO_STORE, "Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        super().__init__(None, 200, {**kept, **(headers or {})})
        del self.headers["content-length"]
        self._chunks, self._when_gone = chunks, gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_gone(receive, self._when_gone, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:  # type: ignore[type-var]
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
