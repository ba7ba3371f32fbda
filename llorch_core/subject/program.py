"""A program on trial: it is run once for each reading, and leaves a dump."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from textwrap import shorten

from llorch_core.engine.errors import UsageError
from llorch_core.spec.errors import SpecError
from llorch_core.spec.oracle import Step
from llorch_core.subject.foreign import EngineError, ForeignEngine
from llorch_core.subject.names import read_names
from llorch_core.subject.protocol import Chunks, NotHereError

WIDTH = 60  # of a program's name in reports
LAST_LINES = 5  # of standard error that a message quotes
EXAMPLE = "For example: --engine 'command: ./my_gpt2 {model} {ids} {calls} {dump}'"
PLACE = re.compile(r"\{([a-z.]+)\}")
DUMPS = {"dump": "dump.safetensors", "dump.npz": "dump.npz", "dump.folder": "dump"}
PLACES = ("model", "ids", "ids.file", "calls", *DUMPS)


class Program(ForeignEngine):
    """An engine that is a program in any language.

    command  its words as in a shell, but no shell reads them. {model} becomes the folder of the model, {ids}
             the ids with commas between them ({ids.file}: a file that holds them), {calls} the length of
             each forward call, and {dump} the safetensors file to write ({dump.npz}, {dump.folder})
    timeout  seconds that one reading may take; then it is stopped, with all that it started
    names    the names that it gives to checkpoints, as for a dump

    A program without {calls} is given nothing but whole prompts. Raises UsageError where the command has no
    place for the ids or the dump, or another place than these.
    """

    def __init__(
        self, command: str, model: Path | None, timeout: float = 120.0, names: str | None = None
    ) -> None:
        self.words, self._dump = parse(command)
        super().__init__(f"command: {shown(self.words)}", model)
        self.has_past = "{calls}" in command
        self.timeout = timeout
        self.names = read_names(names) if names else None
        self._hung: EngineError | None = None

    def record(self, chunks: Chunks) -> list[Step]:
        if len(chunks) > 1 and not self.has_past:
            raise NotHereError(f"a call after another, for which {self.name} has no {{calls}} in its command")
        ids = ",".join(str(i) for chunk in chunks for i in chunk)
        with tempfile.TemporaryDirectory(prefix="llorch_", ignore_cleanup_errors=True) as place:
            folder = Path(place)
            dump = folder / DUMPS[self._dump]
            given = {
                "model": str(self.folder),
                "ids": ids,
                "ids.file": str(folder / "ids"),
                "calls": ",".join(str(len(chunk)) for chunk in chunks),
                self._dump: str(dump),
            }
            (folder / "ids").write_text(f"{ids}\n")
            if self._dump == "dump.folder":
                dump.mkdir()
            self._run([PLACE.sub(lambda found: given[found[1]], word) for word in self.words], folder)
            return self._read(dump, chunks)

    def _run(self, words: list[str], folder: Path) -> None:
        """Run the program to its end. Raises EngineError where that is not a good one."""
        if self._hung:
            raise self._hung  # it is not waited for again
        said = folder / "said"
        with said.open("wb") as output:
            try:
                running = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise UsageError(
                    f"{words[0]} cannot be run: {error.strerror} (wanted a program).\n"
                    "Give its path, as in: --engine 'command: ./my_gpt2 {model} {ids} {dump}'"
                ) from error
        try:
            code = running.wait(self.timeout)
        except subprocess.TimeoutExpired:
            self._hung = EngineError(
                f"{self.name} ran longer than {self.timeout:g} s, and was stopped.{last_lines(said)}\n"
                "If it needs more time for a reading, give --timeout SECONDS."
            )
            raise self._hung from None
        finally:
            stop(running)
        if code:
            how = f"with exit code {code}" if code > 0 else f"by {signal.Signals(-code).name}"
            raise EngineError(f"{self.name} ended {how} (wanted 0).{last_lines(said)}")
        if not (folder / DUMPS[self._dump]).exists():
            raise EngineError(
                f"{self.name} ended, and wrote no dump (wanted tensors at {{{self._dump}}})."
                f"{last_lines(said)}\n"
                "It has to write the file whose path it is given; docs/subjects.md shows how."
            )

    def _read(self, path: Path, chunks: Chunks) -> list[Step]:
        source = f"{self.name}: its dump"
        try:
            dump = self.open(path, self.names)
        except SpecError as error:
            text = str(error).replace(f"{path}", path.name)
            raise EngineError(f"{source} cannot be used: {text}") from error
        if len(dump.sequences) != 1 or len(dump.sequences[0]) != len(chunks):
            got = ", ".join(str(len(steps)) for steps in dump.sequences) or "no"
            raise EngineError(
                f"{source} holds {got} forward calls (wanted {len(chunks)}, of one sequence).\n"
                "Write the tensors of call K under step.K/, from step.0/ on."
            )
        if self._stated is None:
            self.state(dump.precision, source)
        return [self.step(ids, shown, source) for ids, shown in zip(chunks, dump.sequences[0], strict=True)]


def parse(command: str) -> tuple[list[str], str]:
    """Return the words of a command, and which form of a dump it writes. Raises UsageError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"the command {command.strip()} cannot be cut into words: {error}.\nIt is read as a shell would."
        ) from error
    places = [found for word in words for found in PLACE.findall(word)]
    if not words:
        raise UsageError(f"the command is empty (wanted a program and its words).\n{EXAMPLE}")
    if unknown := [place for place in places if place not in PLACES]:
        known = ", ".join(f"{{{place}}}" for place in PLACES)
        raise UsageError(f"the command has a place {{{unknown[0]}}} (wanted {known}).\n{EXAMPLE}")
    if not {"ids", "ids.file"} & set(places):
        raise UsageError(f"the command has no place for the ids (wanted {{ids}} or {{ids.file}}).\n{EXAMPLE}")
    dumps = sorted(set(DUMPS) & set(places))
    if len(dumps) != 1:
        raise UsageError(
            f"the command has {' and '.join(dumps) or 'no place for the dump'} (wanted {{dump}}, the path of "
            f"the file that it writes; or {{dump.npz}}, or {{dump.folder}}).\n{EXAMPLE}"
        )
    return words, dumps[0]


def shown(words: list[str]) -> str:
    """Return the words before the first place, as a name for reports."""
    first = next(i for i, word in enumerate(words) if PLACE.search(word))
    return shorten(" ".join(words[: max(first, 1)]), WIDTH, placeholder=" …")


def stop(running: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started; what has ended already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def last_lines(said: Path) -> str:
    """Return the last lines of what a program said, indented; "" where it said nothing."""
    lines = said.read_text("utf-8", errors="replace").rstrip().splitlines()[-LAST_LINES:]
    return "".join(f"\n  | {line}" for line in lines)
