"""A client of a server on trial: plain sockets, and nothing of the server's own code."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60.0  # that an answer may take


class Answer:
    """What a server answered: status, headers by their names in lower case, and body."""

    def __init__(self, response: HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.text = body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.text)


class Stream:
    """The events of a stream, as they come: the name of each, and its data."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._response = connection.getresponse()
        self.status = self._response.status

    def __iter__(self) -> Iterator[tuple[str, str]]:
        name, data = "", []
        while line := self._response.readline():
            match line.decode().rstrip("\n").split(": ", 1):
                case ["event", value]:
                    name = value
                case ["data", value]:
                    data.append(value)
                case [""] if data:
                    yield name, "\n".join(data)
                    name, data = "", []

    def close(self) -> None:
        """Go away, whatever is still sent."""
        self._response.close()
        self._connection.close()


def call(
    address: str,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask a server, and return its whole answer.

    body  JSON can hold it, or bytes as they are sent; None for none
    """
    connection = _ask(address, method, path, body, headers)
    try:
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


def stream(address: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Stream:
    """Ask a server, and return what it sends while it sends it."""
    return Stream(_ask(address, "POST", path, body, headers))


def _ask(
    address: str, method: str, path: str, body: Any, headers: Mapping[str, str] | None
) -> HTTPConnection:
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, raw, dict(headers or {}))
    return connection


def call_slowly(address: str, path: str, body: Any, seconds: float) -> Answer:
    """Ask a server, with the last byte that long after all others, and return its whole answer."""
    parts, raw = urlsplit(address), json.dumps(body).encode()
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(len(raw)))
        connection.endheaders()
        connection.send(raw[:-1])
        time.sleep(seconds)
        connection.send(raw[-1:])
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()
