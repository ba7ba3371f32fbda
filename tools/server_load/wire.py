"""HTTP/1.1 and server-sent events over a plain socket of this machine: what is read is what was sent.

A client library would repair, retry and reuse; here the exact bytes count, and when they came.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a CR at the very end may be the half of CR LF
LIMIT = 1 << 20  # bytes of a line


class BadAnswerError(Exception):
    """What came is not HTTP, or ended before its end."""


class Events:
    """Takes bytes cut anywhere, gives (event, data) for each message that is whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._data = "", list[str]()

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Return the messages that these bytes complete. Raises UnicodeDecodeError for what is no UTF-8."""
        *lines, self._rest = LINE_END.split(self._rest + data)
        return [found for line in lines if (found := self._line(line.decode()))]

    def _line(self, line: str) -> tuple[str, str] | None:
        if not line:
            found = (self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return found
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        return None

    @property
    def unfinished(self) -> bool:
        """Whether bytes came that belong to a message without an end."""
        return bool(self._rest.strip() or self._data)


@dataclass
class Answer:
    """A status, headers by their small names, and a body that is still to be read."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader = field(repr=False)

    async def pieces(self, most: int = 1 << 16) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in pieces of at most so many bytes. Raises BadAnswerError."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := await self._size():
                while size:
                    piece = await self._some(min(size, most))
                    size -= len(piece)
                    yield piece
                await self._line()
            await self._line()
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                piece = await self._some(min(left, most))
                left -= len(piece)
                yield piece
        else:
            while piece := await self.reader.read(most):
                yield piece

    async def whole(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def json(self) -> Any:
        """Return the body as what it says. Raises BadAnswerError."""
        raw = await self.whole()
        try:
            return json.loads(raw)
        except ValueError as error:
            raise BadAnswerError(f"no JSON: {raw[:80]!r}") from error

    async def events(self, pause: float = 0.0) -> AsyncIterator[tuple[str, str]]:
        """Yield the messages of a stream. pause: seconds that a slow reader rests after a few bytes."""
        parser = Events()
        async for piece in self.pieces(64 if pause else 1 << 16):
            for found in parser.feed(piece):
                yield found
            if pause:
                await asyncio.sleep(pause)
        if parser.unfinished:
            raise BadAnswerError("the stream ended within a message")

    async def _line(self) -> bytes:
        return await _line(self.reader)

    async def _size(self) -> int:
        line = await self._line()
        try:
            return int(line.split(b";")[0], 16)
        except ValueError as error:
            raise BadAnswerError(f"no size of a chunk: {line[:40]!r}") from error

    async def _some(self, most: int) -> bytes:
        if piece := await self.reader.read(most):
            return piece
        raise BadAnswerError("the body ended before its end")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\n")).rstrip(b"\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BadAnswerError("the connection was closed within a line") from error


async def read_head(reader: asyncio.StreamReader) -> Answer:
    """Return an answer whose body is still to be read. Raises BadAnswerError."""
    line = await _line(reader)
    found = re.fullmatch(rb"HTTP/1\.[01] (\d{3})(?: .*)?", line)
    if not found:
        raise BadAnswerError(f"no status: {line[:80]!r}")
    headers = {}
    while line := await _line(reader):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Answer(int(found[1]), headers, reader)


def request_bytes(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, port: int = 0
) -> bytes:
    """Return a request that is whole. body: bytes are sent as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"Host": f"{HOST}:{port}", "Connection": "close", **(headers or {})}
    if body is not None:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(raw))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + raw


@asynccontextmanager
async def ask(
    port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Answer]:
    """Send one request on a connection of its own; who leaves cuts it. Raises OSError, BadAnswerError."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=LIMIT)
    try:
        with suppress(ConnectionError):  # who refuses a large body may not have read it: the answer is there
            writer.write(request_bytes(method, path, body, headers, port))
            await writer.drain()
        yield await read_head(reader)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def fetch_json(port: int, path: str, headers: Mapping[str, str] | None = None) -> Any:
    """Return what a GET answers."""
    async with ask(port, "GET", path, headers=headers) as answer:
        return await answer.json()
