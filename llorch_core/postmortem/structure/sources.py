"""What each tracked file holds: its language and lines of code by pygount, its functions by lizard."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from llorch_core.postmortem.kinds import KINDS, LANGUAGES, NAMES, is_text, suffix
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.structure import rust
from llorch_core.postmortem.structure.rust import Function

# lizard reads these; CUDA only under a name of C++
FUNCTIONS_IN = (*LANGUAGES, "java", "kt", "swift", "scala", "cs", "php", "rb", "lua")
CUDA = ("cu", "cuh")
NO_CODE = {"binary": "binary", "generated": "generated", "empty": "empty", "error": "unreadable"}


@dataclass(frozen=True)
class Source:
    """A tracked file. Lines of code, comment and blank lines are 0 for documents and for what is no code."""

    path: str
    language: str
    code: int
    comment: int
    blank: int
    functions: tuple[Function, ...]

    @property
    def complexity(self) -> int:
        """The complexity of its functions together."""
        return sum(function.complexity for function in self.functions)

    @property
    def most_complex(self) -> int:
        """The complexity of its most complex function, 0 where it has none."""
        return max((function.complexity for function in self.functions), default=0)


def sources(repository: Repository) -> Iterator[Source]:
    """Give every tracked file with its language, lines and functions."""
    known: dict[tuple[str, str], Source] = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in repository.files:
            key = (file.path.rsplit("/", 1)[-1], file.blob)  # the same file in two folders is measured once
            if key not in known:
                known[key] = measured(file.path, repository.contents[file.path], Path(folder))
            yield Source(**{**vars(known[key]), "path": file.path})


def measured(path: str, content: bytes, folder: Path) -> Source:
    """Measure one file: both tools read files, so it lies in the folder for as long."""
    if is_text(path):
        language = "binary" if b"\0" in content[:8000] else KINDS[suffix(path).lower()]
        return Source(path, language if content else "empty", 0, 0, 0, ())
    place = folder / path.rsplit("/", 1)[-1]
    place.write_bytes(content)
    try:
        found = lines_of(place)
        language = language_of(path, found)
        functions = () if found.state.name in NO_CODE else tuple(functions_of(place))
        comment = found.documentation_count
        all_of = found.source_count + comment + found.empty_count
        blank = blank_lines(content) if all_of else 0
        # pygount takes a line of nothing but brackets for an empty one; it is code
        return Source(path, language, all_of - comment - blank, comment, blank, functions)
    finally:
        place.unlink(missing_ok=True)


def blank_lines(content: bytes) -> int:
    """Return how many lines hold nothing but blanks."""
    return sum(not line.strip() for line in content.removesuffix(b"\n").split(b"\n")) if content else 0


def lines_of(place: Path) -> Any:
    """Return pygount's analysis of a file, with the settings of its command."""
    import pygount.analysis as pygount
    from pygount.common import regexes_from

    logging.getLogger("pygount").setLevel(logging.CRITICAL)  # what it cannot read is in the table
    return pygount.SourceAnalysis.from_file(
        str(place),
        "",
        fallback_encoding=None,
        generated_name_regexes=regexes_from(pygount.DEFAULT_GENERATED_NAME_PATTERNS_TEXT),
        merge_embedded_language=True,
    )


def language_of(path: str, found: Any) -> str:
    """Return the language of a file: by its suffix where we know it, since pygount guesses at headers."""
    if found.state.name in NO_CODE:
        return NO_CODE[found.state.name]
    if suffix(path) in NAMES:
        return NAMES[suffix(path)]
    if found.state.name == "unknown":
        return f"unknown (.{suffix(path)})" if suffix(path) else "unknown"
    return str(found.language)


def functions_of(place: Path) -> Iterator[Function]:
    """Give the functions of a file that lizard can read, or which is Rust."""
    if suffix(place.name) == "rs":
        yield from rust.functions(place.read_bytes())
        return
    if suffix(place.name) not in FUNCTIONS_IN:
        return
    if suffix(place.name) in CUDA:
        place = place.rename(f"{place}.cpp")
    try:
        for one in functions_by_lizard(place):
            yield Function(one.name, one.start_line, one.length, one.cyclomatic_complexity)
    finally:
        place.unlink()


def functions_by_lizard(place: Path) -> list[Any]:
    """Return what lizard finds in a file; nothing where it fails."""
    import lizard

    try:
        with redirect_stderr(StringIO()):
            return list(lizard.analyze_file(str(place)).function_list)
    except (IndexError, RecursionError):
        return []
