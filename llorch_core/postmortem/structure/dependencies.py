"""Dependencies: which module imports which, among the tracked files, and which go round in circles."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from llorch_core.postmortem.commands import tracked
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.kinds import LANGUAGES, MODULES, is_module, suffix
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.structure.imports import imports
from llorch_core.postmortem.structure.resolve import Resolver


@dataclass(frozen=True)
class Edge:
    """How one module imports another: on which line first, and whether it only says that it is a part."""

    line: int
    part: bool  # `mod NAME;` of Rust and no use: not what a circle is made of


Edges = Mapping[tuple[str, str], Edge]
RULES = (
    "import of Python, `mod` and `use` of Rust, include with quotes of C, C++ and CUDA, import and require of"
    " JavaScript and TypeScript with a relative path, import of Go; only between tracked files below the path"
)


def measure(repository: Repository, facts: Facts) -> None:
    """Add the modules, the edges between them, and the circles."""
    modules = [file.path for file in repository.files if is_module(file.path)]
    found = edges(repository.contents)
    rings = circles(found)
    command = f"python3 -m {__name__} . {repository.commit} {quote(repository.path)}"
    facts.figure(
        "structure.modules",
        len(modules),
        "modules",
        f"Tracked files of a language whose imports are read (suffix {', '.join(LANGUAGES)}).",
        f"{tracked(repository)} | grep -aE '{MODULES}$' | awk 'END {{print NR}}'",
    )
    facts.figure(
        "structure.dependencies",
        len(found),
        "imports",
        f"Pairs of a module and another one that it imports ({RULES}).",
        f"{command} | awk 'END {{print NR}}'",
    )
    facts.figure(
        "structure.cycles",
        len(rings),
        "cycles",
        "Groups of two or more modules in which each reaches each other by imports (structure.dependencies);"
        " `mod` of Rust, which only says what the parts of a module are, does not count.",
        f"{command} --cycles | awk 'END {{print NR}}'",
    )
    tables(modules, found, rings, command, facts)


def tables(
    modules: Sequence[str], found: Edges, rings: Sequence[Sequence[str]], command: str, facts: Facts
) -> None:
    """Add the edges with their line, the modules with how many they have, and the circles."""
    facts.table(
        "structure.dependencies",
        ("module", "imports", "line"),
        ((a, b, edge.line) for (a, b), edge in sorted(found.items(), key=str)),
        f"Each module with another one that it imports, and the line of the first such import ({RULES}).",
        command,
    )
    out, into = Counter(a for a, _ in found), Counter(b for _, b in found)
    facts.table(
        "structure.modules",
        ("module", "language", "imports", "imported_by"),
        (
            (m, LANGUAGES[suffix(m)], out[m], into[m])
            for m in sorted(modules, key=lambda m: (-into[m], -out[m], m))
        ),
        "Each module with how many others it imports, and how many import it (structure.dependencies).",
        command,
    )
    facts.table(
        "structure.cycles",
        ("modules", "files"),
        ((len(ring), " ".join(ring)) for ring in rings),
        "Groups of modules in which each reaches each other by imports, the largest first.",
        f"{command} --cycles",
    )


def edges(contents: Mapping[str, bytes]) -> Edges:
    """Return how each module imports each other one."""
    resolver = Resolver(contents)
    found: dict[tuple[str, str], Edge] = {}
    for path, content in contents.items():
        if not is_module(path):
            continue
        for one in imports(path, content.decode(errors="replace").replace("\r\n", "\n")):
            for other in resolver.resolve(path, one):
                if other != path and is_module(other):
                    part = one.how in ("mod", "path")
                    known = found.get((path, other), Edge(one.line, part))
                    found[path, other] = Edge(min(known.line, one.line), known.part and part)
    return found


def circles(found: Edges) -> list[list[str]]:
    """Return the groups in which each module reaches each other one, the largest first."""
    out: dict[str, list[str]] = {}
    back: dict[str, list[str]] = {}
    for a, b in sorted(pair for pair, edge in found.items() if not edge.part):
        out.setdefault(a, []).append(b)
        back.setdefault(b, []).append(a)
    order = finished(out)
    seen: set[str] = set()
    rings = []
    for start in reversed(order):
        ring = list(reach(start, back, seen))
        if len(ring) > 1:
            rings.append(sorted(ring))
    return sorted(rings, key=lambda ring: (-len(ring), ring))


def finished(out: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the modules in the order in which a walk along the imports leaves them."""
    order: list[str] = []
    seen: set[str] = set()
    for start in out:
        if start in seen:
            continue
        seen.add(start)
        walk = [(start, iter(out[start]))]
        while walk:
            module, following = walk[-1]
            step = next((m for m in following if m not in seen), None)
            if step is None:
                order.append(module)
                walk.pop()
            else:
                seen.add(step)
                walk.append((step, iter(out.get(step, ()))))
    return order


def reach(start: str, along: Mapping[str, Sequence[str]], seen: set[str]) -> Iterator[str]:
    """Give a module and all that is reached from it and not seen yet."""
    waiting = [start] if start not in seen else []
    seen.add(start)
    while waiting:
        module = waiting.pop()
        yield module
        for other in along.get(module, ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)


def main(top: str, commit: str, path: str, *options: str) -> None:
    """Print the imports of a repository, or its circles, one a line."""
    found = edges(Repository(Path(top), commit, path).contents)
    if "--cycles" in options:
        rows = ["\t".join(ring) for ring in circles(found)]
    else:
        rows = [f"{a}\t{b}\t{edge.line}" for (a, b), edge in sorted(found.items(), key=str)]
    sys.stdout.write("".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
