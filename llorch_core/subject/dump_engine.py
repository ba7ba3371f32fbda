"""A dump on trial: an engine that has read already, and is asked for what it left in a file."""

from __future__ import annotations

from pathlib import Path

from llorch_core.spec.oracle import Step
from llorch_core.subject.foreign import ForeignEngine
from llorch_core.subject.names import read_names
from llorch_core.subject.protocol import Chunks, NotHereError


class DumpEngine(ForeignEngine):
    """The engine that wrote a dump. It shows a reading only if the dump holds it, call by call.

    path   the dump
    names  the names that it gives to checkpoints: a map of `specs/names/`, or a file; None: the contract's

    Raises SpecError where the dump cannot be used.
    """

    def __init__(self, path: Path, model: Path | None, names: str | None = None) -> None:
        super().__init__(f"dump:{path}", model)
        dump = self.open(path, read_names(names) if names else None)
        self.sequences = dump.sequences
        self.state(dump.precision, self.name)

    def record(self, chunks: Chunks) -> list[Step]:
        wanted = [list(map(int, chunk)) for chunk in chunks]
        for steps in self.sequences:
            if wanted == [list(map(int, step.get("ids", ()))) for step in steps]:
                return [self.step(ids, shown, self.name) for ids, shown in zip(wanted, steps, strict=True)]
        lengths = ", ".join(str(len(chunk)) for chunk in chunks)
        raise NotHereError(f"the ids of this reading, in calls of {lengths}, which {self.name} does not hold")
