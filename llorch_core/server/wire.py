"""What a request brings and what an answer sends, with a client that may go away at any moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llorch_core.server.refusal import RefusedError, refuse

PATIENCE = 4  # times the largest body that are read, and thrown away, before the connection is closed
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def refusal(error: RefusedError) -> Response:
    """Return the answer to a request that is refused."""
    return Json(error.as_json(), error.status, {**NO_STORE, **error.headers})


async def read_body(request: Request, most: int, idle_seconds: int) -> bytes:
    """Return the body of a request.

    most          bytes that it may have
    idle_seconds  that may pass without a byte of it

    Raises RefusedError: 413, 408, or 400 where the client went away.
    """
    body, length = bytearray(), 0
    try:
        async with asyncio.timeout(idle_seconds) as patience:
            async for chunk in request.stream():
                patience.reschedule(asyncio.get_running_loop().time() + idle_seconds)
                length += len(chunk)
                if length <= most:
                    body += chunk
                elif length > PATIENCE * most:  # a client that still sends does not read why it should not
                    break
    except ClientDisconnect:
        raise refuse(400, "gone", "the request was not sent to its end") from None
    except TimeoutError:
        said = f"nothing of the body came for {idle_seconds} s"
        raise refuse(408, "too_slow", said, Connection="close") from None
    if length > most:
        raise refuse(413, "too_large", f"the body has more than {most:,} bytes", Connection="close")
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
    over    called when no more is sent, whether or not the chunks came to their end, or even began
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], gone: Callable[[], None], over: Callable[[], None]
    ) -> None:
        kept = {**NO_STORE, "Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        super().__init__(None, 200, kept)
        del self.headers["content-length"]
        self._chunks, self._when_gone, self._over = chunks, gone, over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._when_gone, self._send(send))
        finally:
            self._over()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:  # type: ignore[type-var]
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
