"""Bytes that no client sends: each is answered or its connection closed in time, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .servers import SERVE, Server, llorch, settings
from .wire import HOST, LIMIT, BadAnswerError, ask, read_head, request_bytes

PATIENCE = 10.0  # seconds for an answer, or for the end of the connection
QUIET = 1.0  # seconds without an answer, after which nothing more is said to come
KEPT = 20
POSTS = ("/v1/completions", "/execute", "/cancel", "/tokenize", "/detokenize", "/v1/chat/completions")
GETS = (
    "/",
    "/v1/models",
    "/health",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/nothing",
    "/%ff/../..",
)
RIGHT: dict[str, Any] = {
    **{"prompt": "To be", "max_tokens": 4, "temperature": 0.8, "top_p": 0.9, "top_k": 40, "n": 1, "seed": 7},
    **{"stop": ["\n"], "logprobs": 2, "echo": False, "stream": True, "repetition_penalty": 1.1},
    **{"stream_options": {"include_usage": True}, "deadline_ms": 2000, "job_id": "fuzz", "ids": [1, 2]},
    **{"return_token_ids": True, "model": "gpt2", "messages": []},
}
WILD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.5,
        -0.0,
        1e308,
        -1e308,
        2**31,
        2**63,
        2**64,
        10**400,
        "",
        "0",
        "a" * 5000,
    ),
    *("\x00", "\ud800", "\u202e", "é語🙂", "<|endoftext|>", [], [[]], [0], [-1], [10**9], [1.5], [[0], [0]]),
    *(["a", 1], [None], [""] * 1000, {}, {"a": {}}, [[[[[[]]]]]], float("nan"), float("inf")),
)
HEADERS = (
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: 1\r\nContent-Length: 2",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Transfer-Encoding: gzip, chunked",
    "Authorization: Bearer " + "x" * 9000,
    "Authorization: Bearer \x01",
    "Authorization: Basic !!!",
    "X-Deadline: 2000-01-01T00:00:00Z",
    "X-Deadline: 9999-99-99T99:99:99Z",
    "X-Deadline: \xff",
    "X-Correlation-Id: " + "\u00e9" * 300,
    "X-Request-Id: a\r\n b",
    "Content-Type: text/plain; charset=\xff",
    "Content-Encoding: gzip",
    "Expect: 100-continue",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Cookie: " + "a=b; " * 20000,
    "Accept: " + ",".join(["*/*"] * 5000),
    ": empty",
    "No colon",
)


class Maker:
    """Makes inputs, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def make(self) -> tuple[str, bytes]:
        """Return one input, and its kind."""
        ways = (
            self.noise,
            self.line,
            self.header,
            self.broken_json,
            self.values,
            self.values,
            self.mutated,
            self.many,
        )
        way = self.random.choice(ways)
        return way.__name__, way()

    def noise(self) -> bytes:
        """Any bytes at all."""
        return self.random.randbytes(self.random.choice((1, 10, 100, 1000, 70_000)))

    def line(self) -> bytes:
        """A first line that is almost one."""
        r = self.random
        method = r.choice(
            ("GET", "POST", "PUT", "get", "", "HEAD", "OPTIONS", "TRACE", "CONNECT", "G\x00T", "A" * 9999)
        )
        path = r.choice(
            (*POSTS, *GETS, "", "*", "//", "/" + "a" * 70_000, "/?deadline_ms=x", "/%", "/\xff", "http://a/")
        )
        version = r.choice(("HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2", "HTTP/9.9", "", "HTTP/1.1\x00"))
        return f"{method} {path} {version}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(
            "latin-1", "replace"
        )

    def header(self) -> bytes:
        """A request that is right but for a header."""
        extra = "\r\n".join(self.random.sample(HEADERS, self.random.randint(1, 3)))
        whole = request_bytes("POST", self.random.choice(POSTS), RIGHT)
        first, rest = whole.split(b"\r\n", 1)
        return first + b"\r\n" + extra.encode("latin-1", "replace") + b"\r\n" + rest

    def broken_json(self) -> bytes:
        """A body that is JSON no more."""
        text = bytearray(json.dumps(RIGHT).encode())
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(text))
            way = self.random.randrange(4)
            if way == 0:
                text[at] = self.random.randrange(256)
            elif way == 1:
                del text[at:]
            elif way == 2:
                text[at:at] = self.random.choice(
                    (b"[" * 50_000, b'{"a":' * 3000, b"\xff", b'"', b"1e999", b"\\ud800")
                )
            else:
                text[at:at] = text[: self.random.randrange(at + 1)]
            if not text:
                break
        return request_bytes("POST", self.random.choice(POSTS), bytes(text))

    def values(self) -> bytes:
        """A body whose fields hold wild values."""
        given = dict(RIGHT)
        for name in self.random.sample([*given], self.random.randint(1, 4)):
            given[name] = self.random.choice(WILD)
        for name in self.random.sample([*given], self.random.randint(0, 6)):
            del given[name]
        if not self.random.randrange(6):
            given[self.random.choice(("", "x", "\x00", "a" * 500))] = 1
        query = self.random.choice(
            ("", "", "?deadline_ms=-1", "?deadline_ms=1e9", "?deadline_ms=", "?%ff=%00")
        )
        return request_bytes("POST", self.random.choice(POSTS) + query, given)

    def mutated(self) -> bytes:
        """A whole request with bytes changed, cut or doubled anywhere."""
        raw = bytearray(request_bytes("POST", self.random.choice(POSTS), RIGHT))
        for _ in range(self.random.randint(1, 8)):
            at = self.random.randrange(len(raw))
            raw[at] = self.random.randrange(256)
        return bytes(raw[: self.random.randrange(1, len(raw))] if self.random.random() < 0.4 else raw)

    def many(self) -> bytes:
        """Several requests behind each other on one connection."""
        some = [
            request_bytes("GET", self.random.choice(GETS), headers={"Connection": "keep-alive"})
            for _ in range(5)
        ]
        return b"".join([*some, request_bytes("POST", "/tokenize", {"prompt": "a"})])


@dataclass
class Fuzzed:
    """What became of all inputs."""

    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    bad: list[dict[str, str]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, kind: str, raw: bytes, found: str, spent: float) -> None:
        """Count one input; `found` is a status, "closed", or what must not be."""
        self.kinds[kind] += 1
        self.statuses[found] += 1
        self.slowest = max(self.slowest, spent)
        if not acceptable(found) and len(self.bad) < KEPT:
            self.bad.append({"found": found, "kind": kind, "bytes": base64.b64encode(raw[:5000]).decode()})


def acceptable(found: str) -> bool:
    """Whether an input may end so: closed, or answered by anything that is no fault of the server."""
    return found == "closed" or (found.isdigit() and (int(found) < 500 or int(found) in (501, 503, 504, 505)))


async def throw(port: int, raw: bytes) -> str:
    """Send bytes; returns the status of the first answer, "closed", "hung", or what is wrong."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=LIMIT)
    came = Came(reader, writer)
    pouring = asyncio.create_task(came.pour())
    try:
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                writer.write(raw)
                await writer.drain()
            return str(await _status(came.poured, raw.startswith(b"HEAD ")))
    except TimeoutError:
        return "hung"
    except BadAnswerError as error:
        return "closed" if came.ended or not came.some else f"bad answer: {error}"
    finally:
        pouring.cancel()
        writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)


@dataclass
class Came:
    """What comes on a connection.

    some   whether anything came
    ended  whether we said, after a quiet while, that nothing more will be sent: then an answer may be cut
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    some: bool = False
    ended: bool = False
    poured: asyncio.StreamReader = field(default_factory=lambda: asyncio.StreamReader(limit=LIMIT))

    async def pour(self) -> None:
        """Hand on what comes, until nothing does any more."""
        with suppress(OSError):
            while (piece := await self._piece()) != b"":
                if piece is None:
                    self.ended = True
                    self.writer.write_eof()
                else:
                    self.some = True
                    self.poured.feed_data(piece)
        self.poured.feed_eof()

    async def _piece(self) -> bytes | None:
        """Return the next bytes, b"" at the end; None when it was quiet for the first time."""
        try:
            return await asyncio.wait_for(self.reader.read(1 << 16), None if self.ended else QUIET)
        except TimeoutError:
            return None


async def _status(reader: asyncio.StreamReader, head: bool) -> int:
    """Return the status of an answer that was read to its end. head: it has no body."""
    answer = await read_head(reader)
    while answer.status == 100:  # "continue": the answer itself is still to come
        answer = await read_head(reader)
    if answer.status not in (101, 204, 304) and not head:
        await answer.whole()
    return answer.status


async def fuzz(
    seconds: float, clients: int, seed: int, serve: Sequence[str] = SERVE, backend: str = "fast"
) -> dict[str, Any]:
    """Throw inputs at a server for so long; returns what was found, with `holds` and what does not."""
    made, found = Maker(seed), Fuzzed()
    async with llorch(settings(backend=backend, batch=8, queue=64), serve) as server:
        until = time.monotonic() + seconds

        async def client() -> None:
            while time.monotonic() < until and server.alive():
                kind, raw = made.make()
                started = time.perf_counter()
                try:
                    status = await throw(server.port, raw)
                except OSError as error:
                    status = f"no connection: {error}"
                found.add(kind, raw, status, time.perf_counter() - started)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        problems = await after(server)
    problems += [f"{one['found']} for an input of kind {one['kind']}" for one in found.bad]
    total = found.kinds.total()
    says = [
        f"{seconds:g} s, seed {seed}: {total} inputs: {_listed(found.statuses)}",
        f"the slowest was answered, or closed, after {found.slowest:.1f} s",
        "everything held" if not problems else f"{len(problems)} problems; the first: {problems[0]}",
    ]
    about = {"inputs": total, "kinds": dict(found.kinds), "statuses": dict(found.statuses), "bad": found.bad}
    return {"holds": not problems, "problems": problems, "says": says, "slowest_s": found.slowest, **about}


async def after(server: Server) -> list[str]:
    """Return what is wrong with a server behind it all: dead, stuck, or writing no more."""
    if not server.alive():
        return [f"the server is dead, with exit code {server.process.returncode}"]
    problems = [stuck] if (stuck := await server.idle()) else []
    async with ask(server.port, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 2}) as answer:
        if answer.status != 200:
            problems.append(f"afterwards it answers {answer.status}: {(await answer.whole())[:200]!r}")
    return problems


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())
