"""A client of a server on trial: plain sockets, and nothing of the server's own code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
        return events(iter(self._response.readline, b""))

    def close(self) -> None:
        """Go away, whatever is still sent."""
        self._response.close()
        self._connection.close()


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the name and the data of each event that comes to its end; what is no field is passed over.

    Source: WHATWG HTML, 9.2.6, interpreting an event stream; lines end with a line feed here.
    """
    name, data = "", list[str]()
    for raw in lines:
        line = raw.decode(errors="replace").rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not line:
            if data:
                yield name, "\n".join(data)
            name, data = "", []


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
