"""What a server measures of itself, for Prometheus. A scrape reads what was told, and waits for nothing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

OUTCOMES = (  # of requests that ran, and of requests that were turned away
    *("stop", "length", "cancelled", "deadline", "failed"),
    *("invalid", "auth", "busy", "draining", "audit", "other"),
)
CODES = {  # of refusals, where the outcome has another name
    "invalid_request": "invalid",
    "too_large": "invalid",
    "job_exists": "invalid",
    "not_found": "invalid",
    "unauthorized": "auth",
    "TIMEOUT": "deadline",
    "CANCELLED": "cancelled",
    "INVALID_REQUEST": "invalid",
    "INFERENCE_FAILED": "failed",
    "internal": "failed",
    "SHUTTING_DOWN": "draining",
    "audit_full": "audit",
}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
WHOLE = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)


class Metrics:
    """The numbers of one server, in a registry of their own. Any thread may tell them. Spec: server_log."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        started = time.monotonic()

        def counter(name: str, help: str) -> Counter:
            return Counter(f"llorch_{name}", help, registry=registry)

        def gauge(name: str, help: str) -> Gauge:
            return Gauge(f"llorch_{name}", help, registry=registry)

        def histogram(name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"llorch_{name}", help, registry=registry, buckets=buckets)

        self._accepted = counter("requests_accepted", "Requests that were accepted.")
        by_outcome = Counter(
            "llorch_requests", "Requests that are over, by outcome.", ["outcome"], registry=registry
        )
        self._outcomes = {outcome: by_outcome.labels(outcome) for outcome in OUTCOMES}  # each from 0 on
        self._prompt_tokens = counter("prompt_tokens", "Tokens of the prompts of requests that are over.")
        self._tokens = counter("generated_tokens", "Tokens that were generated for requests that are over.")
        self._seconds = histogram("request_seconds", "From a request to its end.", WHOLE)
        self._waited = histogram("queue_seconds", "From a request to its place in the batch.", FIRST)
        self._first = histogram("time_to_first_token_seconds", "From a request to its first token.", FIRST)
        self._between = histogram("time_between_tokens_seconds", "From one token to the next.", BETWEEN)
        self._batch = histogram("batch_size", "Tokens that one step of the batch made.", BATCHES)
        self._step = histogram("step_seconds", "What one step of the batch took.", BETWEEN)
        self._hits = counter("prefix_cache_hit_tokens", "Tokens of prompts that were known already.")
        self._misses = counter("prefix_cache_miss_tokens", "Tokens of prompts that were read.")
        self._audit_lost = counter("audit_records_lost", "Records that the audit log could not take.")
        self._queue = gauge("queue_length", "Requests that wait for a place.")
        self._running = gauge("requests_running", "Requests that are in the batch.")
        self._prefix_bytes = gauge("prefix_cache_bytes", "Keys and values that are held for other prompts.")
        memory = gauge("process_resident_memory_bytes", "Memory of the process that is in use.")
        memory.set_function(self.memory_bytes)
        uptime = gauge("uptime_seconds", "Since the server was started.")
        uptime.set_function(lambda: time.monotonic() - started)

    def accepted(self) -> None:
        """Count a request that was accepted."""
        self._accepted.inc()

    def finished(
        self,
        outcome: str | None,
        prompt_tokens: int = 0,
        tokens: int = 0,
        seconds: float | None = None,
    ) -> None:
        """Count a request that was accepted and is over.

        outcome        one of OUTCOMES; anything else is "other", so that there are never more of them
        prompt_tokens  tokens of its prompt
        tokens         tokens that were generated for it
        seconds        from its acceptance to its end
        """
        self.refused(outcome)
        self._prompt_tokens.inc(prompt_tokens)
        self._tokens.inc(tokens)
        if seconds is not None:
            self._seconds.observe(seconds)

    def refused(self, outcome: str | None) -> None:
        """Count a request that was turned away, by an outcome as of `finished` or the code of its refusal."""
        named = CODES.get(outcome or "", outcome)
        self._outcomes[named if named in self._outcomes else "other"].inc()

    def waited(self, seconds: float) -> None:
        """Count a sequence that has got its place in the batch."""
        self._waited.observe(seconds)

    def first_token(self, seconds: float) -> None:
        """Count a first token, so long after its request."""
        self._first.observe(seconds)

    def between(self, seconds: float) -> None:
        """Count a token, so long after the one before it."""
        self._between.observe(seconds)

    def step(self, batch_size: int, seconds: float | None = None) -> None:
        """Count a step of the batch, which made so many tokens."""
        self._batch.observe(batch_size)
        if seconds is not None:
            self._step.observe(seconds)

    def prefix(self, hit_tokens: int, miss_tokens: int) -> None:
        """Count the tokens of a prompt that the prefix cache knew, and those that it did not."""
        self._hits.inc(hit_tokens)
        self._misses.inc(miss_tokens)

    def audit_lost(self, records: int = 1) -> None:
        """Count records that the audit log could not take."""
        self._audit_lost.inc(records)

    def observe(self, *, queue: int, running: int, prefix_bytes: int = 0) -> None:
        """Set what is so at the moment, from plain numbers: nobody is asked, and nothing is waited for.

        queue         sequences that wait for a place
        running       sequences that are in the batch
        prefix_bytes  of keys and values that are held for other prompts
        """
        self._queue.set(queue)
        self._running.set(running)
        self._prefix_bytes.set(prefix_bytes)

    def memory_bytes(self) -> int:
        """Return the resident memory of this process; where the system does not tell it, the most so far."""
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return peak_bytes()
        return pages * os.sysconf("SC_PAGE_SIZE")

    def render(self) -> tuple[bytes, str]:
        """Return the text that Prometheus reads, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def peak_bytes() -> int:
    """Return the most memory that this process has had resident; 0 where the system does not tell."""
    try:
        import resource  # of Unix
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
