"""The author of a spec is at fault: what is wrong, in which file and line, and what to do next."""

from __future__ import annotations

from pathlib import Path


class SpecError(ValueError):
    """A spec that is not well-formed, is false, or says nothing."""

    def __init__(self, message: str, file: Path | None = None, line: int | None = None) -> None:
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + message)
        self.file = file
