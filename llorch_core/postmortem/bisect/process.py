"""Run a program of somebody else: in a folder, for so long, and with all that it started it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

# with these git tells the programs that it starts which repository is meant; they are to look for themselves
OF_GIT = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NO_REPLACE_OBJECTS"),
    *("GIT_CONFIG_PARAMETERS", "GIT_EXEC_PATH", "GIT_INTERNAL_GETTEXT_SH_SCHEME", "GIT_REFLOG_ACTION"),
)
ENDS = (signal.SIGTERM, signal.SIGHUP)


def surroundings() -> dict[str, str]:
    """Return the environment of the user, without what would point git at another repository."""
    return {name: value for name, value in os.environ.items() if name not in OF_GIT}


def ours(code: str) -> list[str]:
    """Return the words that run Python code with this very llorch, whatever lies in the current folder."""
    paths = [str(Path(path).absolute()) for path in sys.path]
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {paths!r}; {code}"]


def run(
    words: Sequence[str],
    folder: Path,
    out: IO[bytes],
    errors: IO[bytes] | None = None,
    timeout: float | None = None,
    more: Mapping[str, str] | None = None,
) -> int | None:
    """Run a program to its end, and return its exit code; that of a signal is negative, None is out of time.

    errors   where its standard error goes; None: where its output goes
    timeout  seconds after which it is stopped
    more     what it finds in its environment besides ours

    Nothing that it started is left, however this function is left. Raises OSError where it cannot be run.
    """
    running = subprocess.Popen(
        words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=errors or subprocess.STDOUT,
        env={**surroundings(), **(more or {})},
        start_new_session=True,
    )
    try:
        return running.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@contextlib.contextmanager
def ended_cleanly() -> Iterator[None]:
    """Let an end from outside (kill, a closed terminal) run what must be done at last, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Do something to its end, also where a user is impatient and presses Ctrl-C again."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *ENDS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
