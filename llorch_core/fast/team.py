"""Threads that work on one thing together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any


class Team:
    """`size` threads, the caller's among them; they wait between calls without using a core.

    What they run must let go of Python's lock, or they run one after the other.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._process = 0
        self._started: list[threading.Semaphore] = []
        self._finished = threading.Semaphore(0)
        self._work: tuple[Callable[..., None], tuple[Any, ...]]

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call function(member, size, *arguments) in every thread; return when all have."""
        if self._process != os.getpid():  # threads do not live on in a process that was forked
            self._begin()
        self._work = (function, arguments)
        for started in self._started:
            started.release()
        function(0, self.size, *arguments)
        for _ in self._started:
            self._finished.acquire()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._finished = threading.Semaphore(0)
        self._started = [threading.Semaphore(0) for _ in range(self.size - 1)]
        for member, started in enumerate(self._started, 1):
            threading.Thread(target=self._member, args=(member, started), daemon=True).start()

    def _member(self, member: int, started: threading.Semaphore) -> None:
        while True:
            started.acquire()
            function, arguments = self._work
            function(member, self.size, *arguments)
            self._finished.release()
