"""Many clients that behave badly, for a long time: nothing may be lost, doubled, stuck, or grow."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .figures import flatness, percentiles
from .ledger import Followed, Ledger, job_of, read_log
from .servers import SERVE, Server, llorch, settings, verify
from .wire import BadAnswerError, ask

SAMPLE = 0.5  # seconds between two looks at memory and health
LONGEST = 60.0  # seconds for one request, slow readers included
PROMPTS = ("To be, or not to be", "ROMEO:\n", "the " * 40, "é語🙂 ", "a")


@dataclass
class Soak:
    """One run: the server, its tokens to choose from, and what became of what was asked."""

    server: Server
    random: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    did: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    def body(self, **more: Any) -> dict[str, Any]:
        """Return a request that is right."""
        given = {"prompt": self.random.choice(PROMPTS), "max_tokens": self.random.randint(1, 48)}
        given |= {"temperature": self.random.choice((0, 0.8, 1.5)), "seed": self.random.getrandbits(32)}
        return given | more

    def native(self) -> dict[str, Any]:
        """Return a request for /execute, with a job id that nobody else has."""
        return self.body(job_id=f"soak-{next(self.numbers)}")

    # What a client does. Each adds one line to the ledger.

    async def whole(self, pause: float = 0.0) -> None:
        """Read a stream to its end; slowly, where there is a pause."""
        extra: dict[str, Any] = {"n": 2} if self.random.random() < 0.1 else {}
        await self._stream(
            "/v1/completions", self.body(stream=True, **extra), pause=pause, ends=extra.get("n", 1)
        )

    async def slow(self) -> None:
        """Read a stream slower than it is written."""
        await self.whole(self.random.uniform(0.005, 0.1))

    async def execute(self) -> None:
        """Read a stream of the worker's own kind to its end."""
        await self._stream("/execute", self.native())

    async def at_once(self) -> None:
        """Ask for the text in one answer."""
        async with self._ask("/v1/completions", self.body()) as answer:
            found = await answer.json()
            good = answer.status == 200 and found["choices"][0]["finish_reason"] in ("stop", "length")
            self._count(answer.status, "finished" if good else "broken", found, job_of(found))

    async def leave(self) -> None:
        """Go away in the middle of a stream, or before it begins."""
        path, body = self.random.choice(
            (("/v1/completions", self.body(stream=True)), ("/execute", self.native()))
        )
        followed, left = Followed(path == "/execute"), self.random.randint(0, 8)
        async with self._ask(path, body | {"max_tokens": 200}) as answer:
            if answer.status != 200:
                self._count(answer.status, "broken", await answer.whole())
                return
            async for event, data in answer.events():
                followed.take(event, data)
                if (left := left - 1) < 0:
                    break
        self.ledger.add("left", id=followed.id)

    async def cancel(self) -> None:
        """Cancel a job that runs, twice: the second time is as good as the first."""
        body = self.native() | {"max_tokens": 200}

        async def twice() -> None:
            for _ in range(2):
                async with self._ask("/cancel", {"job_id": body["job_id"]}) as answer:
                    if answer.status != 202:
                        self.ledger.tell(f"/cancel answers {answer.status}")

        await self._stream("/execute", body, then=twice)

    async def deadline(self) -> None:
        """Ask with less time than it takes."""
        body = self.body(stream=True, deadline_ms=self.random.choice((1, 20, 100))) | {"max_tokens": 200}
        await self._stream("/v1/completions", body)

    async def oversized(self) -> None:
        """Send what is larger than any limit. Who does not read it to its end may cut the connection."""
        body = json.dumps(self.body(prompt="x" * self.random.choice((200_000, 20_000_000)))).encode()
        try:
            await self._refused(body, (400, 413))
        except ConnectionError:
            self.ledger.add("cut")

    async def malformed(self) -> None:
        """Send what is no request."""
        wrong = (b"{", b"[]", b"\xff\xfe", b'{"prompt": 1.5}', b'{"prompt": "a", "max_tokens": -1}', b"null")
        await self._refused(self.random.choice(wrong), (400, 422))

    # What they are made of.

    def _ask(self, path: str, body: Any) -> Any:
        return ask(self.server.port, "POST", path, body, self.server.headers)

    async def _refused(self, body: bytes, statuses: Sequence[int]) -> None:
        async with self._ask("/v1/completions", body) as answer:
            said = await answer.whole()
            self._count(answer.status, "broken", said)
            if answer.status not in (*statuses, 429, 503):
                self.ledger.tell(f"{answer.status} for {body[:40]!r} (wanted one of {statuses})")

    async def _stream(
        self,
        path: str,
        body: Mapping[str, Any],
        pause: float = 0.0,
        ends: int = 1,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Follow a stream. then: what is done behind its first token."""
        followed = Followed(path == "/execute", wanted=ends)
        async with self._ask(path, body) as answer:
            if answer.status != 200:
                self._count(answer.status, "broken", await answer.whole())
                return
            async for event, data in answer.events(pause):
                followed.take(event, data)
                if then and followed.tokens:
                    await then()
                    then = None
        self.ledger.add(followed.outcome, f"{path} {dict(body)} {followed}", followed.id)

    def _count(self, status: int, outcome: str, said: Any, id: str = "") -> None:
        """Count an answer without a stream: refused, or else the outcome."""
        known = status in (400, 413, 422, 429, 503, 504)
        self.ledger.add("refused" if known else outcome, f"{status}: {str(said)[:200]}", id)

    async def client(self, until: float) -> None:
        """Behave in one way after another."""
        ways = {
            self.whole: 6,
            self.execute: 4,
            self.at_once: 3,
            self.leave: 4,
            self.cancel: 3,
            self.slow: 2,
            self.deadline: 2,
            self.oversized: 1,
            self.malformed: 2,
        }
        while time.monotonic() < until:
            way = self.random.choices([*ways], [*ways.values()])[0]
            self.did[way.__name__] += 1
            try:
                async with asyncio.timeout(LONGEST):
                    await way()
            except TimeoutError:
                self.ledger.add("hung", f"{way.__name__} took {LONGEST:g} s")
            except (OSError, BadAnswerError, ValueError, KeyError) as error:
                self.ledger.add("broken", f"{way.__name__}: {error!r}")

    async def watch(self, until: float) -> None:
        """Look at memory, health and metrics from time to time."""
        while time.monotonic() < until:
            self.memory.append(self.server.memory())
            asked = time.perf_counter()
            try:
                async with asyncio.timeout(LONGEST):
                    await self.server.health()
                    self.health.append(time.perf_counter() - asked)
                    async with ask(
                        self.server.port, "GET", "/metrics", headers=self.server.headers
                    ) as answer:
                        await answer.whole()
            except (OSError, BadAnswerError, TimeoutError) as error:
                self.ledger.tell(f"/health or /metrics: {error!r}")
            await asyncio.sleep(SAMPLE)


async def soak(
    seconds: float,
    clients: int,
    folder: Path,
    model: Path | None,
    seed: int,
    serve: Sequence[str] = SERVE,
    backend: str = "fast",
) -> dict[str, Any]:
    """Soak a server for so long; returns what was found, with `holds` and a list of what does not."""
    audit = folder / "audit"
    words = settings(model, backend=backend, audit=audit, batch=8, queue=max(4, clients // 2))
    async with llorch(words, serve) as server:
        run = Soak(server, random.Random(seed))
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(run.watch(until))
            for _ in range(clients):
                group.create_task(run.client(until))
        stuck = await server.idle()
        code = await server.stop()
    return report(run, stuck, code, audit, seconds, clients)


def report(
    run: Soak, stuck: str, code: int | None, audit: Path, seconds: float, clients: int
) -> dict[str, Any]:
    """Return what became of a run, as JSON and in words."""
    log, memory = read_log(audit), flatness(run.memory)
    problems = [stuck] if stuck else []
    problems += [f"the server ended with {code} (wanted 0)"] if code else []
    problems += [f"the audit log does not verify: {said}"] if (said := verify(audit)) else []
    problems += log.problems() + log.fewer(run.ledger.counts)
    problems += [f"{id} was answered, and is not in the audit log" for id in log.missing(run.ledger.accepted)]
    problems += run.ledger.wrong
    if not memory["flat"]:
        problems.append(f"memory grew from {memory['early'] / 1e6:.1f} to {memory['late'] / 1e6:.1f} MB")
    counts, ends = dict(run.ledger.counts.most_common()), dict(log.ends)
    waited = percentiles(run.health) if run.health else {}
    says = [
        f"{seconds:g} s, {clients} clients: {sum(counts.values())} requests: {_listed(counts)}",
        f"audit log: {log.accepted.total()} accepted = {_listed(ends)}; besides, {log.refused} refused",
        f"memory of its own: {memory['early'] / 1e6:.1f} MB early, {memory['late'] / 1e6:.1f} MB late",
        f"/health answered within {1000 * waited.get('p99', 0):.0f} ms (p99)",
        "everything held" if not problems else f"{len(problems)} problems; the first: {problems[0]}",
    ]
    about: dict[str, Any] = {"counts": counts, "did": dict(run.did)}
    about |= {"audit": {"accepted": log.accepted.total(), **ends}}
    about |= {"refused": log.refused, "memory": {**memory, "samples": run.memory}, "health_s": waited}
    return {"holds": not problems, "problems": problems[:50], "says": says, **about}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items()) or "none"
