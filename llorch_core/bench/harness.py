"""What llorch's other commands take, as whole processes: time, memory, and the start of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llorch_core.bench.machine import describe
from llorch_core.bench.memory import Watch
from llorch_core.bench.ratios import spread
from llorch_core.engine.errors import UsageError

LLORCH = (sys.executable, "-m", "llorch_core")
IDS = "1,2,3,4,5,6,7,8"  # a prompt that every vocabulary has
LONG = 160  # characters of what a command said last


@dataclass(frozen=True)
class Phase:
    """One command. `DUMP` and `PROOF` in it stand for a file and a folder that the next ones find.

    codes  the exit codes that it may have: a model with random weights may lack what a rule needs
    """

    what: str
    words: tuple[str, ...]
    codes: tuple[int, ...] = (0,)


PHASES = (
    Phase("run every spec on small tensors", ("spec", "check")),
    Phase("every rule", ("verify",), (0, 1)),
    Phase("every rule, with evidence and lines", ("verify", "-o", "PROOF"), (0, 1)),
    Phase("every mistake on trial", ("prove", "-o", "PROOF"), (0, 1)),
    Phase("write every checkpoint of a reading", ("record", "--ids", IDS, "-o", "DUMP")),
    Phase("find the first wrong number of it: there is none", ("diagnose", "DUMP"), (0, 1)),
)
WITHOUT_MODEL = ("spec",)


@dataclass(frozen=True)
class Start:
    """A command that shows something soon. wanted: seconds."""

    words: tuple[str, ...]
    model: bool
    wanted: float


STARTS = (
    Start(("--help",), False, 0.15),
    Start(("generate", IDS, "--ids", "--max-tokens", "1"), False, 0.4),
    Start(("generate", IDS, "--ids", "--max-tokens", "1"), True, 0.8),
)


def measure(
    folder: Path | None,
    rounds: int,
    patience: float,
    tell: Callable[[str], None],
    command: str,
    phases: Sequence[Phase] = PHASES,
) -> dict[str, Any]:
    """Run the commands of the harness, and what starts soon; returns what they took.

    folder    a model besides the embedded one; None for none
    patience  seconds for one command

    Raises UsageError where a command that must show something shows nothing.
    """
    models: list[Path | None] = [None] if folder is None else [None, folder]
    starts = []
    for start in STARTS:
        if start.model and folder is None:
            continue
        shown = _shown(start.words, folder if start.model else None)
        tell(shown)
        options = ["--model", str(folder)] if start.model else []
        took = [first_output([*LLORCH, *start.words, *options], patience) for _ in range(rounds)]
        found = spread(took)
        about = {"command": shown, "seconds": found, "wanted": start.wanted}
        starts.append({**about, "met": found["median"] < start.wanted})
    commands = []
    for model in models:
        with TemporaryDirectory() as place:
            for phase in phases:
                if model is not None and phase.words[0] in WITHOUT_MODEL:
                    continue
                tell(_shown(phase.words, model))
                commands.append(_phase(phase, model, Path(place), rounds, patience))
    return {
        "command": command,
        "machine": describe(os.cpu_count() or 1),
        "rounds": rounds,
        "starts": starts,
        "commands": commands,
    }


def _phase(phase: Phase, model: Path | None, place: Path, rounds: int, patience: float) -> dict[str, Any]:
    places = {"DUMP": str(place / "dump.safetensors"), "PROOF": str(place / "proof")}
    words = [places.get(word, word) for word in phase.words]
    words += [] if model is None else ["--model", str(model)]
    times, memory, says = [], [], ""
    for _ in range(rounds):
        ran = whole([*LLORCH, *words], patience)
        if ran.code not in phase.codes:
            says = f"exit code {ran.code}: {ran.said}" if ran.code is not None else ran.said
            break
        times.append(ran.seconds)
        memory.append(float(ran.memory))
        says = f"exit code {ran.code}"
    return {
        "model": "embedded" if model is None else model.name,
        "command": _shown(phase.words, model),
        "what": phase.what,
        "seconds": spread(times) if times else None,
        "memory": spread(memory) if memory and any(memory) else None,
        "says": says,
    }


def _shown(words: Sequence[str], model: Path | None) -> str:
    """Return a command as a reader would type it."""
    names = {"DUMP": "dump.safetensors", "PROOF": "proof/"}
    shown = ["llorch", *(names.get(word, word) for word in words)]
    return " ".join([*shown, *([] if model is None else ["--model", model.name])])


@dataclass(frozen=True)
class Ran:
    """A process that ended. code: None where it did not in time; memory: bytes of it and its children."""

    code: int | None
    seconds: float
    memory: int
    said: str


def _begin(command: Sequence[str], errors: int) -> subprocess.Popen[bytes]:
    """Start a command with those that it starts in a session of their own, and its output unbuffered."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=errors,
        stdin=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )


def whole(command: Sequence[str], patience: float) -> Ran:
    """Run a command to its end."""
    started = time.perf_counter()
    process = _begin(command, subprocess.STDOUT)
    watch = Watch(process.pid)
    try:
        said, _ = process.communicate(timeout=patience)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        end(process)
        process.communicate()
        said, code = f"not done in {patience:g} s (--timeout allows more)".encode(), None
    took = time.perf_counter() - started
    watch.stop()
    lines = said.decode(errors="replace").strip().splitlines()
    return Ran(code, took, watch.anonymous, lines[-1].strip()[:LONG] if lines else "")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, which would keep its output open."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def first_output(command: Sequence[str], patience: float) -> float:
    """Return the seconds until a command shows its first byte. Raises UsageError where it shows none."""
    started = time.perf_counter()
    process = _begin(command, subprocess.PIPE)
    watchdog = threading.Timer(patience, end, [process])
    watchdog.start()
    assert process.stdout is not None
    shown = process.stdout.read(1)
    took = time.perf_counter() - started
    _, said = process.communicate()
    watchdog.cancel()
    if not shown or process.returncode:
        last = (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise UsageError(
            f"`{' '.join(command[1:])}` showed nothing, or ended with exit code {process.returncode} "
            f"(wanted a text): {last}\nRun it by itself to see why."
        )
    return took
