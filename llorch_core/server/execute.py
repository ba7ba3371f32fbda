"""The worker's own stream: started, token after token, then exactly one of end and error."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from llorch_core.server.batch import LENGTH
from llorch_core.server.jobs import CODES, Job
from llorch_core.server.refusal import RefusedError

STOP_REASONS = {LENGTH: "MAX_TOKENS"}


def event(name: str, body: dict[str, Any]) -> bytes:
    """Return a server-sent event with its name, which its data repeat as `type`."""
    text = json.dumps({"type": name, **body}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


async def stream(job: Job) -> AsyncIterator[bytes]:
    """Yield the events of a job with one prompt and one continuation. Spec: server_stream."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    model = job.worker.model.folder.name
    yield event("started", {"job_id": job.id, "model": model, "started_at": now, "seed": job.ask.seed})
    started, count = time.monotonic(), 0
    async with aclosing(job.events()) as events:  # type: ignore[type-var]
        async for _, one in events:
            if one.id is not None or one.text:
                yield event("token", {"t": one.text, "i": count, "id": one.id})
            count += one.id is not None
    if job.failure:
        yield event("error", failure(job.refusal(), CODES[str(job.failure.reason)]))
        return
    reason = STOP_REASONS.get(job.last) or ("STOP_SEQUENCE" if job.stop_string else "EOS")
    yield event(
        "end",
        {
            "tokens_out": count,
            "decode_time_ms": round(1000 * (time.monotonic() - started), 3),
            "stop_reason": reason,
            "stop_sequence_matched": job.stop_string,
        },
    )


def failure(error: RefusedError, code: str) -> dict[str, Any]:
    """Return the data of an error event."""
    return {"code": code, "message": str(error), "retriable": error.status in (429, 503, 504)}
