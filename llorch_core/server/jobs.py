"""A request from the moment that it is accepted to its end, however it ends; each leaves its two records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from llorch_core.server.ask import Ask
from llorch_core.server.audit import AuditFullError
from llorch_core.server.audit_events import digest_of
from llorch_core.server.batch import CANCELLED, DEADLINE, FAILED, INVALID, Event, QueueFullError
from llorch_core.server.deadline import Deadline
from llorch_core.server.refusal import RefusedError, refuse
from llorch_core.server.run import Run
from llorch_core.server.who import Who
from llorch_core.server.worker import HEALTHY, Worker

CODES = {CANCELLED: "CANCELLED", DEADLINE: "TIMEOUT", INVALID: "INVALID_REQUEST", FAILED: "INFERENCE_FAILED"}
STATUSES = {CANCELLED: 499, DEADLINE: 504, INVALID: 400, FAILED: 500}
WORDS = {CANCELLED: "the request was cancelled", DEADLINE: "the deadline passed before the work was done"}


@dataclass(eq=False)
class Job:
    """A request that was accepted, and runs.

    id     names it in the answer, in the audit log, and for /cancel
    why    who or what cancelled it, once that is so
    """

    worker: Worker
    who: Who
    ask: Ask
    id: str
    run: Run
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    why: str = "by nobody"
    failure: Event | None = None
    stop_string: str | None = None
    last: str = ""
    _ended: bool = False

    def cancel(self, why: str) -> None:
        """Stop the work before its next token. What is over stays as it is."""
        if not any(work.over for work in self.run.works):
            self.why = why
        self.run.cancel()

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Yield what happens; at the end, however that comes, the record of it is written."""
        try:
            before = self.started
            async for index, event in self.run.events():
                now = time.monotonic()
                if event.id is not None:
                    if self.first_token is None:
                        self.first_token = now - self.started
                        self.worker.metrics.first_token(self.first_token)
                    else:
                        self.worker.metrics.between(now - before)
                    before = now
                if event.reason:
                    self.last = event.reason
                    self.stop_string = self.run.works[index].stop_string
                if event.reason in CODES and self.failure is None:
                    self.failure = event
                    self.run.cancel()  # a request is answered whole, or not at all
                yield index, event
        except BaseException:
            self.abandon()
            raise
        self._over()

    def abandon(self) -> None:
        """End a job whose answer nobody writes any more; one that is over stays as it is."""
        if not self._ended:
            self.cancel("the answer could not be written")
            self.failure = self.failure or Event(reason=CANCELLED)
            self._over()

    def refusal(self) -> RefusedError:
        """Return what is told of work that did not end as it was asked for."""
        assert self.failure is not None
        reason = str(self.failure.reason)
        if reason == CANCELLED and self.worker.status != HEALTHY:
            return refuse(503, "SHUTTING_DOWN", "the server stops, and the work was not done by then")
        return refuse(STATUSES[reason], CODES[reason], self.failure.why or WORDS[reason])

    def _over(self) -> None:
        """Let go of everything, and write the record."""
        self._ended = True
        worker, reason = self.worker, self.failure.reason if self.failure else self.last
        worker.jobs.pop((self.who.name, self.id), None)
        worker.streams.let_go(self.who.name)
        seconds = time.monotonic() - self.started
        worker.metrics.finished(
            reason, prompt_tokens=self.ask.prompt_tokens, tokens=self.run.tokens_out, seconds=seconds
        )
        made: dict[str, Any] = {
            "job_id": self.id,
            **self.who.for_audit(),
            "tokens_in": self.ask.prompt_tokens,
            "tokens_out": self.run.tokens_out,
            "duration_ms": round(1000 * seconds, 3),
        }
        if self.first_token is not None:
            made["first_token_ms"] = round(1000 * self.first_token, 3)
        if reason == CANCELLED:
            worker.note("request.cancelled", reason=self.why, **made)
        elif self.failure:
            worker.note("request.failed", code=CODES[str(reason)], **made)
        else:
            worker.note("request.finished", finish_reason=reason, **made)
        if reason == FAILED and self.failure:
            worker.log.error("engine.failed", job_id=self.id, why=self.failure.why)
        worker.log.info("request.over", job_id=self.id, reason=reason, tokens=self.run.tokens_out)


def accept(worker: Worker, who: Who, ask: Ask, id: str, route: str, deadline: Deadline) -> Job:
    """Let a request run, after it is in the audit log. Raises RefusedError where it cannot.

    429 where there is no room, 504 where its deadline leaves no time to read the prompt, 503 where the
    audit log is full, 409 where another job has its id.
    """
    if (who.name, id) in worker.jobs:
        raise refuse(409, "job_exists", "there is a running job with this job_id; choose another")
    if deadline.expired() or not worker.speed.enough(deadline, ask.prompt_tokens):
        said = "is past" if deadline.expired() else "leaves no time to read the prompt"
        raise refuse(504, "TIMEOUT", f"the deadline {said}; give the request more time")
    if not worker.streams.take(who.name):
        raise refuse(429, "busy", "this token has as many requests running as it may", Retry_After="1")
    run = None
    try:
        run = Run(worker.batch, ask.works(deadline.at), worker.mailbox)
        worker.record("request.accepted", job_id=id, **who.for_audit(), route=route, **_asked(ask, deadline))
    except QueueFullError as error:
        worker.streams.let_go(who.name)
        raise refuse(429, "busy", str(error), Retry_After=str(error.seconds)) from error
    except AuditFullError as error:
        worker.streams.let_go(who.name)
        if run:
            run.cancel()
        raise refuse(503, "audit_full", "the audit log cannot be written; nothing runs unrecorded") from error
    job = Job(worker, who, ask, id, run)
    worker.jobs[who.name, id] = job
    worker.metrics.accepted()
    worker.log.info("request.accepted", job_id=id, tokens_in=ask.prompt_tokens, sequences=len(run.works))
    return job


def _asked(ask: Ask, deadline: Deadline) -> dict[str, Any]:
    """Return what the audit log may know of a request."""
    text = "\0".join(
        one if one is not None else " ".join(map(str, ids.tolist()))
        for one, ids in zip(ask.texts, ask.prompts, strict=True)
    )
    return {
        **digest_of(text, "prompt"),
        "prompts": len(ask.prompts),
        "tokens_in": ask.prompt_tokens,
        "max_tokens": max(ask.max_tokens),
        "temperature": ask.settings.temperature,
        "top_p": ask.settings.top_p,
        "top_k": ask.settings.top_k,
        "n": ask.n,
        "seed": ask.seed,
        "stream": ask.stream,
        "deadline_ms": round(1000 * max(0.0, deadline.remaining()), 3),
    }


async def all_over(worker: Worker, seconds: float) -> bool:
    """Wait until no job runs; return whether that was so in time."""
    end = time.monotonic() + seconds
    while worker.jobs:
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(0.02)
    return True
