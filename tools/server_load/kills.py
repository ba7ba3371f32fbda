"""kill -9 in the middle of requests: each restart's audit log verifies, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .ledger import Followed, job_of, read_log
from .servers import SERVE, Server, llorch, settings, verify
from .wire import BadAnswerError, ask

CLIENTS = 16
LONGEST = 60.0  # seconds for one request


@dataclass
class Round:
    """The requests of one life of the server, and where it ends."""

    server: Server
    requests: int
    killed_at: int
    random: random.Random
    asked: int = 0
    shown: set[str] = field(default_factory=set)  # ids that a client has seen

    async def run(self) -> None:
        """Ask until the server is killed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self.asked < self.requests and self.server.alive():
            self.asked += 1
            if self.asked == self.killed_at:
                self.server.kill()
                return
            with suppress(OSError, BadAnswerError, TimeoutError, ValueError):
                async with asyncio.timeout(LONGEST):
                    await self._one()

    async def _one(self) -> None:
        stream, followed = self.random.random() < 0.7, Followed()
        body = {
            "prompt": "To be",
            "max_tokens": self.random.randint(1, 6),
            "stream": stream,
            "temperature": 0,
        }
        async with ask(self.server.port, "POST", "/v1/completions", body) as answer:
            if answer.status != 200:
                return
            if not stream:
                self.shown.add(job_of(await answer.json()))
                return
            async for event, data in answer.events():
                followed.take(event, data)
                self.shown.add(followed.id)


async def kills(
    count: int,
    requests: int,
    folder: Path,
    model: Path | None,
    seed: int,
    serve: Sequence[str] = SERVE,
    backend: str = "fast",
) -> dict[str, Any]:
    """Kill a server so many times, each in the middle of so many requests; returns what was found."""
    rng, audit = random.Random(seed), folder / "audit"
    shown: set[str] = set()
    problems: list[str] = []
    asked = 0
    words = settings(model, backend=backend, audit=audit)
    for turn in range(count):
        async with llorch(words, serve) as server:
            at = rng.randint(max(1, requests // 10), max(1, 9 * requests // 10))
            life = Round(server, requests, at, rng)
            await life.run()
            server.kill()
        asked += life.asked
        shown |= life.shown - {""}
        async with llorch(words, serve):  # a start mends what a crash left
            pass
        problems += judge(audit, shown, turn)
    log = read_log(audit)
    says = [
        f"killed {count} times in the middle of {requests} requests: {asked} asked, {len(shown)} seen by "
        f"a client, {log.accepted.total()} accepted in the log, {log.types['audit.recovered']} recoveries",
        "after each restart the log verified, and no accepted request was missing"
        if not problems
        else f"{len(problems)} problems; the first: {problems[0]}",
    ]
    about = {"asked": asked, "seen": len(shown), "accepted": log.accepted.total(), "types": dict(log.types)}
    return {"holds": not problems, "problems": problems[:50], "says": says, **about}


def judge(audit: Path, shown: set[str], turn: int) -> list[str]:
    """Return what is wrong with the log after a kill and a restart."""
    said, log = verify(audit), read_log(audit)
    found = [f"kill {turn + 1}: the audit log does not verify: {said}"] if said else []
    found += [f"kill {turn + 1}: {id} was answered, and is not in the log" for id in log.missing(shown)]
    return found + [f"kill {turn + 1}: {problem}" for problem in log.problems(killed=True)]
