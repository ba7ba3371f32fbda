"""The addresses of the server, and what each of them does."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llorch_core.engine.errors import UsageError
from llorch_core.server import execute
from llorch_core.server.ask import Ask, read_ask
from llorch_core.server.completions import DONE, Completion, data, spelt
from llorch_core.server.deadline import Deadline, DeadlineError, read_deadline
from llorch_core.server.door import Door
from llorch_core.server.jobs import Job, accept
from llorch_core.server.page import page
from llorch_core.server.refusal import RefusedError, Violation, invalid, refuse
from llorch_core.server.settings import MIB
from llorch_core.server.who import Who
from llorch_core.server.wire import Events, Json, read_body, refusal, unless_gone
from llorch_core.server.worker import HEALTHY, Worker

CHAT = (
    "GPT-2 was not trained on chats and has no chat template: any would be made up. Write the text that is "
    "to be continued, and POST it to /v1/completions."
)


def make_app(worker: Worker) -> ASGIApp:
    """Return the application of a worker."""
    here = Addresses(worker)
    routes = [
        Route("/", here.page),
        Route("/v1/completions", here.completions, methods=["POST"]),
        Route("/v1/chat/completions", here.chat, methods=["POST"]),
        Route("/v1/models", here.models),
        Route("/tokenize", here.tokenize, methods=["POST"]),
        Route("/detokenize", here.detokenize, methods=["POST"]),
        Route("/execute", here.execute, methods=["POST"]),
        Route("/cancel", here.cancel, methods=["POST"]),
        Route("/health", here.health),
        Route("/livez", here.live),
        Route("/readyz", here.ready),
        Route("/metrics", here.metrics),
        Route("/openapi.json", here.openapi),
    ]
    handlers: dict[Any, Any] = {
        RefusedError: here.refused,
        HTTPException: here.unknown,
        Exception: here.broken,
    }
    return Door(Starlette(routes=routes, exception_handlers=handlers), worker)


class Addresses:
    """What is done at each address. Spec: server_api, server_stream."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    # Work

    async def completions(self, request: Request) -> Response:
        """Continue prompts, as OpenAI's legacy completions do."""
        body = await self._body(request, "CompletionRequest")
        ask = read_ask(body, self.worker.model)
        job = self._accept(request, ask, secrets.token_hex(12), body)
        completion = Completion(job.id, ask, self.worker.model)
        gone = partial(job.cancel, "the client went away")
        if ask.stream:
            return Events(self._stream(job, completion), gone, job.abandon)
        await unless_gone(request.receive, gone, self._collect(job, completion))
        if job.failure:  # which the job has noted already
            return refusal(job.refusal())
        return Json(completion.whole())

    async def _collect(self, job: Job, completion: Completion) -> None:
        async for index, event in job.events():
            completion.choices[index].take(event)

    async def _stream(self, job: Job, completion: Completion) -> AsyncIterator[bytes]:
        async with aclosing(job.events()) as events:  # type: ignore[type-var]
            async for index, event in events:
                if job.failure is None:
                    for part in completion.parts(index, event):
                        yield part
        if job.failure:
            yield data(job.refusal().as_json())
            yield DONE
            return
        for part in completion.last_parts():
            yield part

    async def execute(self, request: Request) -> Response:
        """Run one job of the worker's own protocol."""
        body = await self._body(request, "Job")
        id = body.pop("job_id")
        ask = read_ask({**body, "stream": True}, self.worker.model)
        job = self._accept(request, ask, id, body)
        return Events(execute.stream(job), partial(job.cancel, "the client went away"), job.abandon)

    async def cancel(self, request: Request) -> Response:
        """Stop a job, if it runs."""
        body = await self._body(request, "CancelRequest", work=False)
        who: Who = request.scope["who"]
        if job := self.worker.jobs.get((who.name, body["job_id"])):  # a job of somebody else is none
            job.cancel("asked for")
        return Json({"job_id": body["job_id"]}, 202)

    async def chat(self, request: Request) -> Response:
        await self._raw(request)
        raise invalid(Violation("messages", "no_chat", CHAT))

    # Text

    async def tokenize(self, request: Request) -> Response:
        body = await self._body(request, "TokenizeRequest", work=False)
        ids = self._tokenized(body["prompt"], bool(body.get("special", False)))
        return Json({"ids": ids, "tokens": [spelt(self.worker.model.tokenizer, i) for i in ids]})

    def _tokenized(self, text: str, special: bool) -> list[int]:
        try:
            return self.worker.model.encode(text, allow_special=special)
        except UsageError as error:
            raise invalid(Violation("prompt", "tokenizer", str(error))) from error

    async def detokenize(self, request: Request) -> Response:
        body = await self._body(request, "DetokenizeRequest", work=False)
        try:
            text = self.worker.model.decode(np.array(body["ids"], np.int64))
        except UsageError as error:
            raise invalid(Violation("ids", "tokenizer", str(error))) from error
        return Json({"text": text})

    # How it is

    async def models(self, request: Request) -> Response:
        name, created = (
            self.worker.model.folder.name,
            int(time.time() - time.monotonic() + self.worker.started),
        )
        one = {"id": name, "object": "model", "created": created, "owned_by": "llorch"}
        return Json({"object": "list", "data": [one]})

    async def health(self, request: Request) -> Response:
        return Json(self.worker.health(), 200 if self.worker.status == HEALTHY else 503)

    async def live(self, request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(self, request: Request) -> Response:
        status = self.worker.status
        return PlainTextResponse(f"{status}\n", 200 if status == HEALTHY else 503)

    async def metrics(self, request: Request) -> Response:
        """Tell numbers for Prometheus, from what the event loop knows: the batch is not asked."""
        worker = self.worker
        if not worker.settings.metrics:
            raise refuse(404, "not_found", "the server was started without metrics")
        batch = worker.batch
        worker.metrics.observe(queue=batch.waiting, running=batch.running, prefix_bytes=batch.prefixes.bytes)
        body, kind = worker.metrics.render()
        return Response(body, media_type=kind)

    async def openapi(self, request: Request) -> Response:
        return Response(self.worker.contract.as_json, media_type="application/json")

    async def page(self, request: Request) -> Response:
        body, headers = page()
        return Response(body, headers=headers)

    # What is not served

    async def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        who: Who = request.scope["who"]
        fields = sorted({v.field for v in error.violations if v.field and v.field.isascii()})[:64]
        self.worker.note(
            "request.refused", reason=error.code, status=error.status, fields=fields, **who.for_audit()
        )
        self.worker.metrics.refused(error.code)
        return refusal(error)

    async def unknown(self, request: Request, error: Exception) -> Response:
        """Answer what Starlette refuses: an address that is not there, or a method that it does not have."""
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        return refusal(
            RefusedError(error.status_code, code, [Violation("", code, error.detail)], error.headers or {})
        )

    async def broken(self, request: Request, error: Exception) -> Response:
        """Answer where the server itself is at fault. Starlette raises the error again: the door logs it."""
        self.worker.metrics.refused("internal")
        return refusal(refuse(500, "internal", "the server made a mistake; it is in its log"))

    # Steps that all work has

    async def _body(self, request: Request, schema: str, work: bool = True) -> dict[str, Any]:
        """Return the body of a request. Raises RefusedError: 503, 413 or 400."""
        if work and self.worker.status != HEALTHY:
            said = f"the server is {self.worker.status}, and takes no new work"
            raise refuse(503, self.worker.status, said, Retry_After="5")
        return self.worker.contract.read(schema, await self._raw(request))

    async def _raw(self, request: Request) -> bytes:
        settings = self.worker.settings
        return await read_body(request, settings.max_body_mib * MIB, settings.idle_seconds)

    def _accept(self, request: Request, ask: Ask, id: str, body: dict[str, Any]) -> Job:
        return accept(
            self.worker, request.scope["who"], ask, id, request.url.path, self._deadline(request, body)
        )

    def _deadline(self, request: Request, body: dict[str, Any]) -> Deadline:
        settings = self.worker.settings
        wall, monotonic = request.scope["came"]
        try:
            return read_deadline(
                request.headers.getlist("x-deadline"),
                body.get("deadline_ms"),
                request.query_params.getlist("deadline_ms"),
                default_ms=settings.default_deadline_ms,
                maximum_ms=settings.max_deadline_ms,
                now_wall=wall,
                now_monotonic=monotonic,
            )
        except DeadlineError as error:
            raise invalid(*(Violation(*reason) for reason in error.reasons)) from error
