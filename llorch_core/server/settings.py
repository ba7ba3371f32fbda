"""What a person can set of a server."""

from __future__ import annotations

from dataclasses import dataclass, fields

from llorch_core.engine.errors import UsageError

MIB = 2**20
LIMITS = {  # least and most of each number
    "max_batch": (1, 256),
    "queue": (0, 100_000),
    "prefix_mib": (0, 2**20),
    "max_body_mib": (1, 1024),
    "streams_per_token": (1, 100_000),
    "default_deadline_ms": (1, 86_400_000),
    "max_deadline_ms": (1, 86_400_000),
    "drain_seconds": (0, 86_400),
    "idle_seconds": (1, 3600),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a server. Raises UsageError for a number out of its limits.

    max_batch            sequences that are continued at a time
    queue                sequences that wait for a place
    prefix_mib           MiB of keys and values of prompts, kept for prompts that begin alike
    max_body_mib         MiB of the body of a request
    streams_per_token    requests at a time that one bearer token, or everybody without one, may have
    default_deadline_ms  for a request that names none
    max_deadline_ms      that a request may name
    drain_seconds        that running work has left when the server is told to stop
    idle_seconds         that a client may be silent in the middle of a request, or read nothing of its answer
    metrics              whether /metrics is there
    """

    max_batch: int = 16
    queue: int = 64
    prefix_mib: int = 256
    max_body_mib: int = 4
    streams_per_token: int = 1000
    default_deadline_ms: int = 600_000
    max_deadline_ms: int = 3_600_000
    drain_seconds: int = 30
    idle_seconds: int = 30
    metrics: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name not in LIMITS:
                continue
            (least, most), got = LIMITS[field.name], getattr(self, field.name)
            if not least <= got <= most:
                option = field.name.replace("_", "-")
                raise UsageError(
                    f"--{option} is {got} (wanted {least} to {most}).\nChange it, or leave it out."
                )
