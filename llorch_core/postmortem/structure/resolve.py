"""Which tracked file an import means. What means none is of somebody else, or is made by a build."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from llorch_core.postmortem.kinds import LANGUAGES, suffix
from llorch_core.postmortem.structure.imports import Import

SCRIPT_ENDS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", "/index.ts", "/index.tsx", "/index.js")


class Resolver:
    """The tracked files of a repository, in which imports are looked up."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        """Remember the files, the packages of Cargo and of Go."""
        self.files = contents.keys()
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for path in contents:
            self.by_name[path.rsplit("/", 1)[-1]].append(path)
        self.crates = {name: posixpath.dirname(p) for p, name in names(contents, "Cargo.toml", CRATE)}
        self.go = {name: posixpath.dirname(p) for p, name in names(contents, "go.mod", GO_MODULE)}

    def resolve(self, path: str, one: Import) -> Iterator[str]:
        """Give the tracked files that an import of the module at `path` means."""
        language = LANGUAGES[suffix(path)]
        if language == "Python":
            yield from self.python(path, one)
        elif language == "Rust":
            yield from self.rust(path, one)
        elif language == "Go":
            yield from self.go_package(one.what)
        elif one.how == "include":
            yield from self.include(path, one.what)
        elif one.what.startswith("."):
            base = joined(posixpath.dirname(path), one.what)
            stem = re.sub(r"\.[cm]?jsx?$", "", base)  # TypeScript imports the .js that it will be
            yield from self.first(
                [base + end for end in SCRIPT_ENDS] + [stem + end for end in (".ts", ".tsx")]
            )

    def first(self, candidates: Iterable[str]) -> Iterator[str]:
        """Give the first candidate that is tracked."""
        for candidate in candidates:
            if candidate in self.files:
                yield candidate
                return

    def include(self, path: str, what: str) -> Iterator[str]:
        """Look beside the file, then for the only tracked file whose path ends so."""
        beside = joined(posixpath.dirname(path), what)
        if beside in self.files:
            yield beside
            return
        tail = re.sub(r"^(\.{1,2}/)+", "", what)
        ends = [p for p in self.by_name[tail.rsplit("/", 1)[-1]] if p == tail or p.endswith(f"/{tail}")]
        if len(ends) == 1:
            yield ends[0]

    def python(self, path: str, one: Import) -> Iterator[str]:
        """Look up a dotted name from its folder where it is relative, else from each folder above."""
        dots = len(one.what) - len(one.what.lstrip("."))
        parts = one.what.lstrip(".").split(".") if one.what.lstrip(".") else []
        if dots:
            base = posixpath.dirname(path)
            for _ in range(dots - 1):
                base = posixpath.dirname(base)
            roots = [base]
        else:
            roots = list(self.roots(path))
        for root in roots:
            found = list(self.python_below(root, parts, one.names))
            if found:
                yield from found
                return

    def python_below(self, root: str, parts: list[str], wanted: tuple[str, ...]) -> Iterator[str]:
        """Give the module that is imported, and for `from` those of its names that are modules."""
        base = joined(root, "/".join(parts))
        package = joined(base, "__init__.py")
        modules = [m for n in wanted for m in self.first(both(joined(base, n)))]
        yield from modules
        if parts and len(modules) < max(1, len(wanted)):
            yield from self.first([f"{base}.py", package])
        elif not parts and len(modules) < len(wanted):
            yield from self.first([package])

    def roots(self, path: str) -> Iterator[str]:
        """Give the folders from which a Python module may import, the nearest first: packages are none."""
        folder = posixpath.dirname(path)
        while True:
            if joined(folder, "__init__.py") not in self.files:
                yield folder
                yield joined(folder, "src")
            if not folder:
                return
            folder = posixpath.dirname(folder)

    def rust(self, path: str, one: Import) -> Iterator[str]:
        """Look up `mod NAME;` beside the file, and a use from its crate, this module or the one above."""
        folder, name = posixpath.split(path)
        own = folder if name in ("mod.rs", "lib.rs", "main.rs") else joined(folder, name.removesuffix(".rs"))
        if one.how == "path":
            yield from self.first([joined(folder, one.what)])
        elif one.how == "mod":
            # tests/a.rs is a crate of its own: its modules lie beside it
            yield from self.first([*rust_files(joined(own, one.what)), *rust_files(joined(folder, one.what))])
        else:
            head, *parts = one.what.removeprefix("::").split("::")
            start = self.rust_start(path, own, head)
            while head == "super" and parts[:1] == ["super"] and start:
                start, parts = posixpath.dirname(start), parts[1:]
            if start is not None:
                yield from self.rust_below(start, parts, path)

    def rust_start(self, path: str, own: str, head: str) -> str | None:
        """Return the folder of the modules in which a use begins; None where it is another's crate."""
        if head == "self":
            return own
        if head == "super":
            return posixpath.dirname(own)
        if head == "crate":
            crate = self.crate_of(path)
            return None if crate is None else joined(crate, "src")
        if head in self.crates:
            return joined(self.crates[head], "src")
        return own if any(f in self.files for f in rust_files(joined(own, head))) else None

    def crate_of(self, path: str) -> str | None:
        """Return the folder of the Cargo.toml above a file."""
        folder = posixpath.dirname(path)
        while joined(folder, "Cargo.toml") not in self.files:
            if not folder:
                return None
            folder = posixpath.dirname(folder)
        return folder

    def rust_below(self, start: str, parts: list[str], path: str) -> Iterator[str]:
        """Give the file of the longest part of a path that is a module, else that of its beginning."""
        for many in range(len(parts), 0, -1):
            found = list(self.first(rust_files(joined(start, "/".join(parts[:many])))))
            if found:
                yield from found
                return
        yield from self.first([f"{start}/lib.rs", f"{start}/main.rs", f"{start}/mod.rs", f"{start}.rs"])

    def go_package(self, what: str) -> Iterator[str]:
        """Give the files of the package that is imported, without its tests."""
        for module, folder in self.go.items():
            if what == module or what.startswith(f"{module}/"):
                package = joined(folder, what[len(module) + 1 :])
                for path in sorted(self.files):
                    own = posixpath.dirname(path) == package and path.endswith(".go")
                    if own and not path.endswith("_test.go"):
                        yield path
                return


CRATE = re.compile(r'^\[(?:package|lib)\][^\[]*?^name[ \t]*=[ \t]*"([^"]+)"', re.M)
GO_MODULE = re.compile(r"^module[ \t]+(\S+)", re.M)


def names(contents: Mapping[str, bytes], file: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Give the path and each name that files of a kind (Cargo.toml, go.mod) give their packages."""
    for path, content in contents.items():
        if path.rsplit("/", 1)[-1] == file:
            for found in pattern.finditer(content.decode(errors="replace")):
                yield path, found[1].replace("-", "_") if file == "Cargo.toml" else found[1]


def joined(folder: str, name: str) -> str:
    """Return a path below a folder, without dots; "" is the top."""
    whole = posixpath.normpath(posixpath.join(folder, name))
    return "" if whole == "." else whole


def both(base: str) -> list[str]:
    """Return the two files that a Python module may be."""
    return [f"{base}.py", f"{base}/__init__.py"]


def rust_files(base: str) -> list[str]:
    """Return the two files that a Rust module may be."""
    return [f"{base}.rs", f"{base}/mod.rs"]
