"""Streams on trial. Spec: server_stream."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Callable, Sequence
from typing import Any

from llorch_core.subject.behaviours.server import (
    Served,
    as_event,
    read_data,
    with_answer,
    with_body,
    with_chunks,
)

Change = Callable[[bytes], Sequence[bytes]]
DONE = b"data: [DONE]\n\n"


class Stream(Served):
    """The server, or one that sends streams wrongly."""

    spec = "server_stream"

    def front(self) -> Callable[[Any], Any] | None:
        name, value = self.wrong or ("", None)
        fronts: dict[str, Callable[[Any], Any]] = {
            "tokens_are_sent": with_answer(lambda path, answer: answer),
            "ends_of_a_job": with_chunks(lambda: _ends(2 if value == "two" else 0)),
            "last_of_a_completion": with_chunks(lambda: lambda chunk: [] if chunk == DONE else [chunk]),
            "shown_of_bytes": with_chunks(
                lambda: self._again(lambda raw, last: raw.decode(errors="replace"))
            ),
            "stop_string": with_chunks(lambda: self._again(_decoder())),
            "text_at_the_end": with_chunks(_without_the_last),
            "client_goes_away": _deaf,
            "cancel": with_body(_cancel_of_nobody),
            "cancel_of_the_unknown": _refuses_late_cancels,
        }
        return fronts.get(name)

    def _again(self, show: Callable[[bytes, bool], str]) -> Change:
        """Return what shows each token of a job anew, by its bytes."""
        tokenizer = self.model.tokenizer

        def changed(chunk: bytes) -> list[bytes]:
            said = read_data(chunk)
            if said and said.get("type") == "token" and said["id"] is not None and tokenizer:
                return [as_event(chunk, {**said, "t": show(tokenizer.token_bytes(said["id"]), False)})]
            return [chunk]

        return changed


def _decoder() -> Callable[[bytes, bool], str]:
    return codecs.getincrementaldecoder("utf-8")(errors="replace").decode


def _ends(count: int) -> Change:
    """Return what sends the last event of a job so many times."""
    return lambda chunk: [chunk] * (count if chunk.startswith((b"event: end", b"event: error")) else 1)


def _without_the_last() -> Change:
    """Return what takes the text away from the last token of a job."""
    held: list[bytes] = []

    def changed(chunk: bytes) -> list[bytes]:
        if chunk.startswith(b"event: token"):
            sent, held[:] = list(held), [chunk]
            return sent
        if chunk.startswith(b"event: end") and held:
            last = held.pop()
            return [as_event(last, {**read_data(last), "t": ""}), chunk]
        return [*held, chunk] if not chunk.startswith(b"event: started") else [chunk]

    return changed


def _cancel_of_nobody(path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return path, {"job_id": "nobody"} if path == "/cancel" else body


def _deaf(app: Any) -> Any:
    """Return an application that is not told when its client goes away."""

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        async def hears() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                await asyncio.Event().wait()
            return message

        await app(scope, hears, send)

    return changed


def _refuses_late_cancels(app: Any) -> Any:
    """Return an application that answers 404 to the second cancel of a job."""
    seen: set[str] = set()

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/cancel":
            await app(scope, receive, send)
            return
        message = await receive()
        id = json.loads(message["body"])["job_id"]
        if id not in seen:
            seen.add(id)

            async def again() -> Any:
                return message

            await app(scope, again, send)
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    return changed
