"""Servers in processes of their own: started, waited for, weighed, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llorch_core.bench.memory import family, resident

from .wire import HOST, BadAnswerError, ask, fetch_json

ROOT = Path(__file__).resolve().parents[2]
SERVE = (sys.executable, "-m", "llorch_core", "serve")
PATIENCE = 120.0  # seconds for a start
TOKEN = "token-of-the-measurement"


class NoServerError(Exception):
    """A server did not start; says what it said last."""


@dataclass
class Server:
    """A server that is ready."""

    name: str
    port: int
    process: subprocess.Popen[str]
    headers: Mapping[str, str]

    def memory(self) -> int:
        """Return the bytes in memory that are its own; 0 where the system does not tell."""
        return sum(resident(pid)[0] for pid in family(self.process.pid))

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it in the middle of what it does."""
        self.process.kill()
        self.process.wait()

    async def stop(self, patience: float = 60.0) -> int | None:
        """End it in order; returns its exit code, None where it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        for _ in range(int(patience * 20)):
            if not self.alive():
                return self.process.returncode
            await asyncio.sleep(0.05)
        self.kill()
        return None

    async def health(self) -> Any:
        """Return what /health says."""
        return await fetch_json(self.port, "/health", self.headers)

    async def idle(self, patience: float = 30.0) -> str:
        """Wait until nothing runs and nothing waits; returns "", or what is stuck."""
        found: Any = None
        for _ in range(int(patience * 10)):
            found = await self.health()
            if found["running"] == found["waiting"] == 0:
                return ""
            await asyncio.sleep(0.1)
        return f"after {patience:g} s /health says {found}"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as tried:
        tried.bind((HOST, 0))
        return int(tried.getsockname()[1])


def settings(
    model: Path | None = None,
    *,
    backend: str = "fast",
    audit: Path | None = None,
    metrics: bool = True,
    batch: int = 16,
    queue: int = 64,
) -> list[str]:
    """Return the words of `llorch serve` for these settings."""
    words = ["--backend", backend, "--host", HOST, "--max-batch", str(batch), "--queue", str(queue)]
    words += ["--model", str(model)] if model else []
    words += ["--audit", str(audit)] if audit else []
    return words if metrics else [*words, "--no-metrics"]


@asynccontextmanager
async def llorch(
    words: Sequence[str], serve: Sequence[str] = SERVE, token: bool = False
) -> AsyncIterator[Server]:
    """Start llorch's server on a port that the system gives. Raises NoServerError."""
    port = free_port()
    given = {"LLORCH_API_TOKEN": TOKEN} if token else {}
    headers = {"Authorization": f"Bearer {TOKEN}"} if token else {}
    command = [*serve, "--port", str(port), *words]
    async with started("llorch", command, port, given, headers, "/readyz") as server:
        yield server


@asynccontextmanager
async def started(
    name: str,
    command: Sequence[str],
    port: int,
    environment: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    probe: str = "/v1/models",
) -> AsyncIterator[Server]:
    """Start a process and wait until `probe` answers 200; at the end it is stopped. Raises NoServerError."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            [*command],
            stdout=said,
            stderr=said,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        server = Server(name, port, process, headers or {})
        try:
            if not await _ready(server, probe):
                said.seek(0)
                last = "\n".join(said.read().strip().splitlines()[-8:])
                raise NoServerError(f"{name} did not start: {' '.join(command)}\n{last}")
            yield server
        finally:
            if server.alive():
                await server.stop()


async def _ready(server: Server, probe: str) -> bool:
    for _ in range(int(PATIENCE * 20)):
        if not server.alive():
            return False
        try:
            async with ask(server.port, "GET", probe, headers=server.headers) as answer:
                if answer.status == 200:
                    return True
        except (OSError, BadAnswerError):
            pass
        await asyncio.sleep(0.05)
    return False


def verify(folder: Path) -> str:
    """Ask `llorch audit verify`; returns "", or what it said."""
    command = [sys.executable, "-m", "llorch_core", "audit", "verify", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return "" if ran.returncode == 0 else f"{ran.stdout}{ran.stderr}".strip()
