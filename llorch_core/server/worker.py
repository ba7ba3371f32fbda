"""All that a server has while it runs."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llorch_core.engine.model import Model
from llorch_core.server.audit import AuditFullError, AuditLog
from llorch_core.server.auth import Streams, Tokens
from llorch_core.server.batch import Batch, Watch
from llorch_core.server.contract import Contract
from llorch_core.server.deadline import PrefillSpeed
from llorch_core.server.logs import Log
from llorch_core.server.metrics import Metrics
from llorch_core.server.run import Mailbox
from llorch_core.server.settings import MIB, Settings

if TYPE_CHECKING:
    from llorch_core.server.jobs import Job

STARTING, HEALTHY, DRAINING, UNHEALTHY = "starting", "healthy", "draining", "unhealthy"


class Worker:
    """A model, the batch that computes with it, and what keeps watch over both.

    status  "starting" until the self-check has passed; new work is taken while it is "healthy"
    audit   None where no log is kept
    """

    def __init__(
        self, model: Model, settings: Settings, tokens: Tokens, audit: AuditLog | None, log: Log
    ) -> None:
        self.model, self.settings, self.tokens, self.audit, self.log = model, settings, tokens, audit, log
        self.status = STARTING
        self.weights_sha256: str | None = None
        self.started = time.monotonic()
        self.contract = Contract(model.config, tokens.enabled)
        self.metrics = Metrics()
        self.speed = PrefillSpeed()
        self.streams = Streams(settings.streams_per_token)
        self.jobs: dict[tuple[str, str], Job] = {}  # by the name of who asked, and their name for it
        self.watch = Watch(joined=self._joined, read=self.speed.measured, step=self.metrics.step)
        self.batch = Batch(model, settings.max_batch, settings.queue, settings.prefix_mib * MIB, self.watch)

    @cached_property
    def mailbox(self) -> Mailbox:
        """What brings events to the event loop, which runs when this is asked for first."""
        return Mailbox()

    def _joined(self, seconds: float, known: int, unread: int) -> None:
        self.metrics.waited(seconds)
        self.metrics.prefix(known, unread)

    def record(self, type: str, **fields: Any) -> None:
        """Write into the audit log, if there is one. Raises AuditFullError where that cannot be."""
        if self.audit:
            self.audit.record(type, **fields)

    def note(self, type: str, **fields: Any) -> None:
        """Write into the audit log what happened in any case; where that cannot be, the log says so."""
        try:
            self.record(type, **fields)
        except AuditFullError as error:
            self.metrics.audit_lost()
            self.log.error("audit.lost", type=type, why=str(error))

    def health(self) -> dict[str, Any]:
        """Return what /health tells. Nothing of it waits for the batch."""
        config = self.model.config
        return {
            "status": self.status,
            "model": self.model.folder.name,
            "weights_sha256": self.weights_sha256,
            "vocab_size": config.n_vocab,
            "context_length": config.n_ctx,
            "running": self.batch.running,
            "waiting": self.batch.waiting,
            "uptime_seconds": round(time.monotonic() - self.started, 3),
            "memory_bytes": self.metrics.memory_bytes(),
        }
