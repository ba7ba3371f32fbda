"""A process that is timed, seen from outside: started, asked with patience, watched, and ended.

Nothing that it does ends bench. That it dies, hangs, or answers what is no answer is a `FailedError` of its
own engine; that it says it cannot is a `CannotError`.
"""

from __future__ import annotations

import json
import math
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from llorch_core.bench.memory import Watch
from llorch_core.bench.protocol import Answer

WANTED: dict[str, dict[str, type | tuple[type, ...]]] = {  # what an answer holds, by what was asked
    "load": {"engine": str, "version": str, "precision": str, "seconds": (int, float)},
    "decode": {"ids": list, "first_s": (int, float), "rest_s": (int, float)},
    "prefill": {"id": int, "seconds": (int, float)},
    "batch": {"ids": list, "seconds": (int, float)},
    "logits": {"logits": str},
}
TIMES = ("seconds", "first_s", "rest_s")
LONG = 300  # characters of what a process said that are shown
GRACE = 5.0  # seconds to end after its input ended


class FailedError(Exception):
    """The process died, hung, or answered what is no answer; the text says which."""


class CannotError(Exception):
    """The engine says that it cannot do what was asked, and why."""


class Process:
    """One engine, alive while the `with` lasts.

    started  time.perf_counter() when it was started
    watch    its memory, sampled all along
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], patience: float) -> None:
        self.patience = patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.started = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                [*command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**environment},
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._errors.close()
            raise FailedError(f"{command[0]} does not start: {error.strerror}") from error
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.watch = Watch(self._process.pid)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watch.stop()
        if kind is None:
            try:
                if self._process.stdin:
                    self._process.stdin.close()
                self._process.wait(GRACE)
            except (OSError, subprocess.TimeoutExpired):
                pass  # it is killed below
        self._process.kill()
        self._process.wait()
        self._reader.join(GRACE)
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()
        self._errors.close()

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the answer to a request. Lines on standard output that are no JSON object are passed over.

        Raises FailedError and CannotError.
        """
        asked = time.perf_counter()
        stdin = self._process.stdin
        try:
            assert stdin is not None
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except OSError:
            raise FailedError(self._end()) from None
        answer = self._answer(request["do"], asked + self.patience)
        wall = time.perf_counter() - asked
        if "cannot" in answer:
            raise CannotError(str(answer["cannot"]))
        return checked(request["do"], answer, wall)

    def _answer(self, do: str, until: float) -> Answer:
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.perf_counter()))
            except queue.Empty:
                raise FailedError(
                    f"no answer to {do} in {self.patience:g} s (--timeout allows more)"
                ) from None
            if line is None:
                raise FailedError(self._end())
            try:
                found = json.loads(line)
            except ValueError:
                continue  # what a library prints
            if isinstance(found, dict):
                return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _end(self) -> str:
        """Return how the process ended, and the last line that it said."""
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "it closed its standard output and goes on"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"it ended with exit code {code}" + (f": {said[-1].strip()[:LONG]}" if said else "")


def checked(do: str, answer: Answer, wall: float) -> Answer:
    """Return an answer that holds what it must, with times that can be true. Raises FailedError.

    wall  seconds from question to answer, seen from outside
    """
    for key, kind in WANTED[do].items():
        if not isinstance(answer.get(key), kind):
            raise FailedError(f"its answer to {do} has no {key} (got {json.dumps(answer)[:LONG]})")
    spent = [float(answer[key]) for key in TIMES if key in WANTED[do]]
    if not all(math.isfinite(s) and s >= 0 for s in spent) or (do != "load" and sum(spent) > wall):
        raise FailedError(f"it says that {do} took {spent} s, and {wall:.3g} s passed")
    return answer
