"""How much memory a process and those that it starts take, sampled from outside (Linux alone)."""

from __future__ import annotations

import threading
from pathlib import Path

EVERY = 0.02  # seconds between two looks
ABSENT = "only Linux tells what a process does not share"


class Watch:
    """Samples the memory of a process until it is stopped.

    anonymous  most bytes at once that belong to it alone: RssAnon
    mapped     most bytes at once of files that it maps: RssFile, which are shared with whoever maps them too
    Both stay 0 where the system does not tell.
    """

    def __init__(self, pid: int) -> None:
        self.anonymous = self.mapped = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            found = [resident(pid) for pid in family(self._pid)]
            self.anonymous = max(self.anonymous, sum(anonymous for anonymous, _ in found))
            self.mapped = max(self.mapped, sum(mapped for _, mapped in found))
            if self._ended.wait(EVERY):
                return


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *(one for child in text.split() for one in family(int(child)))]


def resident(pid: int) -> tuple[int, int]:
    """Return the bytes in memory that are a process's own, and of the files it maps; 0 where unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return 1024 * int(found.get("RssAnon", 0)), 1024 * int(found.get("RssFile", 0))
