"""Rates and delays of servers side by side: in turn, in rounds, each answer checked before it counts."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import peer
from .figures import Timed, figures
from .servers import SERVE, Server, free_port, llorch, settings, started
from .wire import ask

LETTERS = sorted(peer.LETTERS)
APART, SHARED = "apart", "shared"  # prompts: nothing in common, or all but the end
OWN = 16  # ids of a prompt that it does not share
LEAST = 4  # answers of a measurement, however few the clients
LONGEST = 300.0  # seconds for one answer


class WrongAnswerError(Exception):
    """An answer is not what was asked for; nothing is timed."""


@dataclass(frozen=True)
class Load:
    """What is asked of a server in one measurement."""

    clients: int
    prefix: str
    tokens: int
    prompt: int
    seed: int

    def prompts(self) -> list[list[int]]:
        """Return the prompts, in ids that both servers know; new ones for each seed."""
        rng = random.Random(f"{self.seed} {self.prefix} {self.clients}")
        shared = self.prompt - min(OWN, self.prompt // 2) if self.prefix == SHARED else 0
        head, rest = rng.choices(LETTERS, k=shared), self.prompt - shared
        return [head + rng.choices(LETTERS, k=rest) for _ in range(max(LEAST, self.clients))]


@dataclass(frozen=True)
class Side:
    """How one kind of server is asked, and how its answers are read into ids."""

    name: str
    body: Callable[[list[int], int], dict[str, Any]]
    ids: Callable[[dict[str, Any]], list[int]]


def _ours(prompt: list[int], tokens: int) -> dict[str, Any]:
    return {"prompt": prompt, "return_token_ids": True, **_both(tokens)}


def _theirs(prompt: list[int], tokens: int) -> dict[str, Any]:
    return {"prompt": peer.text_of(prompt), "repeat_penalty": 1.0, **_both(tokens)}


def _both(tokens: int) -> dict[str, Any]:
    return {"max_tokens": tokens, "temperature": 0, "stream": True}


OURS = Side("llorch", _ours, lambda choice: list(choice.get("token_ids") or ()))
PEER = Side("llama-cpp-python", _theirs, lambda choice: peer.ids_of(choice.get("text") or ""))


@dataclass
class Row:
    """One measurement: who, in which round, under which load, and what was found."""

    side: str
    round: int
    clients: int
    prefix: str
    found: dict[str, Any]
    ids: list[list[int]] = field(default_factory=list, repr=False)

    def flat(self) -> dict[str, Any]:
        """Return it for JSON."""
        about = {"side": self.side, "round": self.round, "clients": self.clients, "prefix": self.prefix}
        return {**about, **self.found}


async def one(server: Server, side: Side, prompt: list[int], tokens: int) -> tuple[Timed, list[int]]:
    """Ask for one answer; returns when its tokens came, and their ids. Raises WrongAnswerError."""
    asked, came, ids, done = time.perf_counter(), [], [], False
    body = side.body(prompt, tokens)
    async with (
        asyncio.timeout(LONGEST),
        ask(server.port, "POST", "/v1/completions", body, server.headers) as answer,
    ):
        if answer.status != 200:
            raise WrongAnswerError(f"{side.name} answers {answer.status}: {(await answer.whole())[:200]!r}")
        async for _, data in answer.events():
            now, done = time.perf_counter(), data == "[DONE]"
            for choice in () if done else json.loads(data).get("choices", ()):
                new = side.ids(choice)
                ids += new
                came += [now] * len(new)
    if not done or len(ids) != tokens:
        raise WrongAnswerError(f"{side.name} wrote {len(ids)} tokens (wanted {tokens}), [DONE]: {done}")
    return Timed(asked, tuple(came)), ids


async def measure(server: Server, side: Side, load: Load) -> tuple[dict[str, Any], list[list[int]]]:
    """Let so many clients ask, each again as soon as it has its answer; returns figures, and all ids."""
    waiting = list(enumerate(load.prompts()))
    found: dict[int, tuple[Timed, list[int]]] = {}

    async def client() -> None:
        while waiting:
            at, prompt = waiting.pop(0)
            found[at] = await one(server, side, prompt, load.tokens)

    async with asyncio.TaskGroup() as group:
        for _ in range(load.clients):
            group.create_task(client())
    return figures([timed for timed, _ in found.values()]), [found[at][1] for at in sorted(found)]


def turns(sides: Sequence[Any], rounds: int) -> Iterator[tuple[int, Any]]:
    """Yield (round, side): the order turns from round to round, so that nobody is always first."""
    for round_ in range(rounds):
        at = round_ % len(sides)
        for side in (*sides[at:], *sides[:at]):
            yield round_, side


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    model: Path
    clients: Sequence[int] = (1, 4, 16, 64)
    rounds: int = 3
    tokens: int = 32
    prompt: int = 128
    threads: int = 2
    n_ctx: int = 1024
    seed: int = 0
    serve: Sequence[str] = SERVE
    backend: str = "fast"


async def side_by_side(
    plan: Plan, peer_python: str, gguf: Path | None, tell: Callable[[str], None]
) -> list[Row]:
    """Measure llorch and, where there is a file for it, the peer: in turn, one of them at a time."""
    rows = []
    async with AsyncExitStack() as stack:
        words = settings(plan.model, backend=plan.backend)
        running = [(OURS, await stack.enter_async_context(llorch(words, plan.serve)))]
        if gguf:
            port = free_port()
            command = peer.command(peer_python, gguf, port, plan.n_ctx, plan.threads)
            running.append((PEER, await stack.enter_async_context(started(PEER.name, command, port))))
        for side, server in running:  # what is made at the first request is not part of any
            await measure(server, side, Load(1, APART, plan.tokens, plan.prompt, -1))
        for round_, (side, server) in turns(running, plan.rounds):
            for prefix in (APART, SHARED):
                for clients in plan.clients:
                    load = Load(clients, prefix, plan.tokens, plan.prompt, 1000 * plan.seed + round_)
                    row = Row(side.name, round_, clients, prefix, *await measure(server, side, load))
                    tell(
                        f"{side.name}, {clients} clients, {prefix}: {row.found['tokens_per_s']:.1f} tokens/s"
                    )
                    rows.append(row)
    return rows


def agreement(rows: Sequence[Row]) -> dict[str, int] | None:
    """Return how many answers of both sides are the same ids; None where there is one side alone."""
    by = {(row.side, row.round, row.clients, row.prefix): row.ids for row in rows}
    pairs = [
        (ids, by[PEER.name, *key[1:]])
        for key, ids in by.items()
        if key[0] == OURS.name and (PEER.name, *key[1:]) in by
    ]
    if not pairs:
        return None
    each = [a == b for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)]
    return {"answers": len(each), "the_same": sum(each)}


VARIANTS = {  # what it costs: token, audit, metrics
    "none": (False, False, False),
    "auth": (True, False, False),
    "audit": (False, True, False),
    "metrics": (False, False, True),
    "all": (True, True, True),
}
COST_CLIENTS = 16


async def cost(plan: Plan, tell: Callable[[str], None]) -> list[Row]:
    """Measure llorch with and without auth, audit and metrics, each in a server of its own, in turn."""
    rows = []
    for round_, (name, (token, audit, metrics)) in turns(list(VARIANTS.items()), plan.rounds):
        with TemporaryDirectory(prefix="llorch-measure-") as folder:
            words = settings(
                plan.model,
                backend=plan.backend,
                audit=Path(folder) / "audit" if audit else None,
                metrics=metrics,
            )
            async with llorch(words, plan.serve, token) as server:
                await measure(server, OURS, Load(1, APART, plan.tokens, plan.prompt, -1))
                load = Load(COST_CLIENTS, APART, plan.tokens, plan.prompt, 1000 * plan.seed + round_)
                row = Row(name, round_, COST_CLIENTS, APART, *await measure(server, OURS, load))
        tell(f"cost, {name}: {row.found['tokens_per_s']:.1f} tokens/s")
        rows.append(row)
    return rows
