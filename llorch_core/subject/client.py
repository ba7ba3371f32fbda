"""A client of a server on trial: plain sockets, and nothing of the server's own code."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60.0  # that an answer may take
PATIENCE = 2.0  # seconds that something may take which is waited for


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


class Listener:
    """An address that servers call back; it looks at each call whether the caller is ready.

    statuses  what the calls are answered with, one after the other
    calls     what each call said, and what /readyz of the caller answered meanwhile
    """

    def __init__(self, statuses: Sequence[int]) -> None:
        self.calls: list[tuple[Any, int]] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                calls.append((said, call(said["uri"], "GET", "/readyz").status))
                self.send_response(statuses[min(len(calls), len(statuses)) - 1])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *parts: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/ready"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# For steps: what they all do with a server on trial


def start(context: Any, **settings: Any) -> None:
    """Start the server of the spec that the scenario is about; it is stopped when the scenario ends."""
    part = context.session.outcomes[-1].rules[0].partition(".")[0]
    with context.session.trial():
        context.server = context.session.behaviour(part).start(**settings)
    context.add_cleanup(context.server.stop)


def ask(context: Any, path: str, body: Any = None, method: str = "POST", **headers: str) -> Answer:
    """Ask the server of a scenario; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with context.session.trial():
        return call(context.server.address, method, path, body, named)


def open_stream(context: Any, path: str, body: Any, **headers: str) -> Stream:
    """Ask the server of a scenario for a stream; it is closed when the scenario ends."""
    with context.session.trial():
        opened = stream(context.server.address, path, body, headers)
    context.add_cleanup(opened.close)
    return opened


def waited(condition: Callable[[], Any], seconds: float = PATIENCE) -> bool:
    """Return whether something comes true before long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def scripted_ids(context: Any, count: int) -> list[int]:
    """Return ids that a model may write without an end of its text."""
    end = context.session.subject.config.get("eos_token_id")
    return [i for i in context.session.ids(count + 1) if i != end][:count]


def _ask(
    address: str, method: str, path: str, body: Any, headers: Mapping[str, str] | None
) -> HTTPConnection:
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, raw, dict(headers or {}))
    return connection
