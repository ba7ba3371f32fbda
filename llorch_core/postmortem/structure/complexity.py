"""Functions: how many there are, the longest and the most complex, as lizard finds them."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.commands import within_a_copy
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.structure import rust
from llorch_core.postmortem.structure.rust import Function
from llorch_core.postmortem.structure.sources import FUNCTIONS_IN, Source

ROWS = 50
NO_CODE = "$2 ~ /^__(binary|generated|empty|error)__$/ {print $4}"
FUNCTIONS = (
    f"functions that lizard finds in tracked files (suffix {', '.join(FUNCTIONS_IN)}; CUDA is read as C++),"
    " and in Rust those with a body in its syntax tree (what macros make is not read),"
    " which pygount does not take for binary or generated"
)


def measure(repository: Repository, sources: Sequence[Source], lines: dict[str, int], facts: Facts) -> None:
    """Add functions, the longest and the most complex ones, and what each file holds."""
    found = [(source.path, function) for source in sources for function in source.functions]
    command = by_lizard(repository)
    first_two = "awk -F, '/^[0-9]+,[0-9]+,[0-9]+,/ {n++; if ($2 > c) c = $2; if ($5 > l) l = $5} END"
    for name, value, unit, definition, shown in (
        ("functions", len(found), "functions", "All", "n"),
        ("most_complex", max((f.complexity for _, f in found), default=0), "complexity", MOST, "c"),
        ("longest_function", max((f.lines for _, f in found), default=0), "lines", LONGEST, "l"),
    ):
        facts.figure(
            f"structure.{name}",
            value,
            unit,
            f"{definition} {FUNCTIONS}.",
            command.replace("AWK", f"{first_two} {{print {shown} + 0}}'"),
        )
    listed = command.replace(" | AWK", "")
    tables(found, listed, facts)
    files(sources, lines, listed, facts)


MOST = "The cyclomatic complexity (branches plus one) of the most complex of the"
LONGEST = "The lines, from the first to the last, of the longest of the"


def by_lizard(repository: Repository) -> str:
    """Return the command that runs lizard on a copy, its CSV going to AWK."""
    ends = "|".join(end for end in FUNCTIONS_IN if end != "rs")
    steps = (
        f"pygount -d -F .git -N '' -f sloccount . | awk -F '\\t' '{NO_CODE}'"
        " | tr '\\n' '\\0' | xargs -0 rm -f",
        "find . -type f \\( -name '*.cu' -o -name '*.cuh' \\) -exec mv {} {}.cpp \\;",
        f"find . -name .git -prune -o -type f -print | grep -E '\\.({ends})$' > .git/list",
        "{ lizard --csv -f .git/list;"
        f" find . -name '*.rs' -type f -print0 | xargs -0 python3 -m {rust.__name__}; }} | AWK",
    )
    return within_a_copy(repository, "; ".join(steps))


def tables(found: Sequence[tuple[str, Function]], command: str, facts: Facts) -> None:
    """Add the longest and the most complex functions."""
    columns = ("function", "file", "line", "lines", "complexity")
    rows = [(f.name, path, f.line, f.lines, f.complexity) for path, f in found]
    longest = sorted(rows, key=lambda row: (-row[3], row[1], row[2]))
    most_complex = sorted(rows, key=lambda row: (-row[4], row[1], row[2]))
    for name, what, ordered in (
        ("longest", "longest", longest),
        ("most_complex", "most complex", most_complex),
    ):
        facts.table(
            f"structure.{name}_functions",
            columns,
            ordered[:ROWS],
            f"The {ROWS} {what} of the {FUNCTIONS}; lines are from the first to the last, complexity is"
            " cyclomatic (branches plus one).",
            command,
        )


def files(sources: Sequence[Source], lines: dict[str, int], command: str, facts: Facts) -> None:
    """Add what each tracked file holds."""
    facts.table(
        "structure.files",
        ("file", "language", "lines", "code", "comment", "blank", "functions", "complexity", "most_complex"),
        (
            (
                s.path,
                s.language,
                lines[s.path],
                s.code,
                s.comment,
                s.blank,
                len(s.functions),
                s.complexity,
                s.most_complex,
            )
            for s in sorted(sources, key=lambda s: (-s.complexity, -s.code, s.path))
        ),
        f"Every tracked file with its lines by pygount, and the {FUNCTIONS}; complexity is the sum over its"
        " functions.",
        command,
    )
