"""What the steps of every spec of the server do with it: start it for a scenario, ask it, wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llorch_core.subject import client

SECONDS = 10  # that something may take which is waited for


def start(context: Any, **settings: Any) -> None:
    """Start the server of the spec that the scenario is about; it is stopped when the scenario ends."""
    part = context.session.outcomes[-1].rules[0].partition(".")[0]
    with context.session.trial():
        context.server = context.session.behaviour(part).start(**settings)
    context.add_cleanup(context.server.stop)


def ask(context: Any, path: str, body: Any = None, method: str = "POST", **headers: str) -> client.Answer:
    """Ask the server; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with context.session.trial():
        return client.call(context.server.address, method, path, body, named)


def open_stream(context: Any, path: str, body: Any, **headers: str) -> client.Stream:
    """Ask the server for a stream, which is closed when the scenario ends."""
    with context.session.trial():
        stream = client.stream(context.server.address, path, body, headers)
    context.add_cleanup(stream.close)
    return stream


def waited(condition: Callable[[], Any]) -> bool:
    """Return whether something comes true before long."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
