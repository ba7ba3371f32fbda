"""Tests of modules that no longer exist: what a test file imports, and nothing of the repository declares."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from llorch_core.postmortem.git import git
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.tests.tokens import OPENING, WORD, Source

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
PACKAGE = re.compile(r'^\s*name\s*=\s*"([^"]+)"', re.M)
ITEMS = {"mod", "fn", "struct", "enum", "trait", "type", "const", "static", "union", "crate"}
RELATIVE = re.compile(r"""(?:from|require\(|import\(?)\s*["'](\.{1,2}/[^"']+)["']""")
ENDINGS = (
    "",
    ".js",
    ".ts",
    ".tsx",
    ".jsx",
    ".mjs",
    ".cjs",
    ".json",
    "/index.js",
    "/index.ts",
    ".d.ts",
    ".vue",
)


class History:
    """The names of files that a repository has now, everywhere, and of those that it once had."""

    def __init__(self, repository: Repository) -> None:
        """Read both, each in one run of git."""
        top, commit = repository.top, repository.commit
        now = git(top, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
        self.now = set(now.decode(errors="surrogateescape").split("\0")) - {""}
        options = ("-z", "--format=", "--name-only", "--no-renames", "--diff-filter=D", "-m")
        then = git(top, "log", *options, commit).decode(errors="surrogateescape")
        self.then = {name.strip("\n") for name in then.split("\0")} - self.now - {""}

    def lost(self, ending: str) -> bool:
        """Return whether a file of that name, with any folders before it, is gone."""
        return not any(same_end(n, ending) for n in self.now) and any(same_end(n, ending) for n in self.then)


def same_end(name: str, ending: str) -> bool:
    """Return whether a path ends in another, folder by folder."""
    return name == ending or name.endswith(f"/{ending}")


def includes(_: str, data: bytes, history: History) -> str:
    """Return the first file that a C or C++ file includes, and that is tracked no longer; else ""."""
    names: list[str] = INCLUDE.findall(data.decode(errors="replace"))
    for name in names:
        plain = re.sub(r"^(\.\.?/)+", "", name)
        if history.lost(plain):
            return f'#include "{name}"'
    return ""


def relatives(path: str, data: bytes, history: History) -> str:
    """Return the first file that a JavaScript file imports, and that is tracked no longer; else ""."""
    names: list[str] = RELATIVE.findall(data.decode(errors="replace"))
    for name in names:
        whole = normal(PurePosixPath(path).parent / name)
        stem = re.sub(r"\.[cm]?js$", "", whole)
        places = {base + ending for base in (whole, stem) for ending in ENDINGS}
        if not places & history.now and places & history.then:
            return name
    return ""


def normal(path: PurePosixPath) -> str:
    """Return a path without `.` and `..`."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", ".."):
            parts.append(part)
    return "/".join(parts)


def modules(_: str, data: bytes, history: History) -> str:
    """Return the first module that a Python file imports, and that is tracked no longer; else ""."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    for node in tree.body:  # one in a try, an if or a function may be waited for
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            base = name.replace(".", "/")
            if "/" in base and is_gone(base, history):
                return f"import {name}"
    return ""


def is_gone(base: str, history: History) -> bool:
    """Return whether the module or package of that path was in the repository, and is no longer."""
    here = any(same_end(n, f"{base}.py") or f"/{base}/" in f"/{n}" for n in history.now)
    then = (f"{base}.py", f"{base}/__init__.py")
    return not here and any(same_end(n, ending) for n in history.then for ending in then)


class Crates:
    """The crates of a repository below its path: what each declares at its root."""

    def __init__(self, sources: Sequence[Source], contents: Mapping[str, bytes]) -> None:
        """Read the names from Cargo.toml, and what src/lib.rs declares."""
        by_path = {source.path: source for source in sources}
        exported = {
            source.code[at + 1].text
            for source in sources
            for at in source.places("macro_rules!")
            if at + 1 < len(source.code)
        }
        self.declared: dict[str, set[str] | None] = {}
        self.folders: dict[str, str] = {}
        for path, data in contents.items():
            folder, _, name = path.rpartition("/")
            found = PACKAGE.search(data.decode(errors="replace")) if name == "Cargo.toml" else None
            root = by_path.get(f"{folder}/src/lib.rs".lstrip("/"))
            if found is None or root is None:
                continue
            crate = found[1].replace("-", "_")
            names = declared(root)
            self.declared[crate] = None if names is None else names | exported
            self.folders[folder] = crate

    def missing(self, source: Source) -> str:
        """Return the first `use` of a crate of the repository that its root does not declare; else ""."""
        for start in source.places("use"):
            if start + 2 >= len(source.code) or conditional(source, start):
                continue
            at = start + source.is_(start + 1, "::")
            crate = source.code[at + 1].text
            names = self.declared.get(crate)
            if names is None or not source.is_(at + 2, "::"):
                continue
            for name in firsts(source, at + 3):
                if name not in names and name not in ("self", "*", "prelude"):
                    return f"use {crate}::{name}"
        return ""


def conditional(source: Source, at: int) -> bool:
    """Return whether a `use` stands under a cfg, or in something that does."""
    blocks = [i for i in source.places("{") if at in source.inside(i)]
    return any(has_cfg(source, i) for i in (at, *(start_of(source, b) for b in blocks)))


def start_of(source: Source, opening: int) -> int:
    """Return the first place of the item that a block belongs to, behind its attributes."""
    at = opening - 1
    while at >= 0 and source.code[at].text not in (";", "{", "}", "]"):
        at -= 1
    return at + 1


def has_cfg(source: Source, at: int) -> bool:
    """Return whether an attribute cfg of a feature or platform stands before a place."""
    at -= 1
    while at >= 0 and source.code[at].text in ("pub", "async", "]"):
        if source.code[at].text == "]":
            opening = source.partner.get(at, 0)
            texts = [source.code[i].text for i in range(opening + 1, at)]
            if texts[:1] == ["cfg"] and texts != ["cfg", "(", "test", ")"]:
                return True
            at = opening - 1
        at -= 1
    return False


def firsts(source: Source, at: int) -> Iterator[str]:
    """Give the first name of each path in a use, from the place behind `crate::`."""
    if not source.is_(at, "{"):
        yield source.code[at].text
        return
    fresh, end = True, at + 1
    for i in source.inside(at):
        if i < end:
            continue
        token = source.code[i]
        if token.text in OPENING:
            end = source.partner.get(i, i) + 1
        elif token.text == ",":
            fresh = True
        elif fresh and token.kind == WORD:
            yield token.text
            fresh = False


def declared(root: Source) -> set[str] | None:
    """Return what the root of a crate declares; None where a macro or a * may declare more."""
    found: set[str] = set()
    end = 0
    for at, token in enumerate(root.code):
        if at < end:
            continue
        if token.text in OPENING and not root.is_(at - 1, "::"):
            end = root.partner.get(at, at) + 1
        elif token.text in ("include", "cfg_if") and root.is_(at + 1, "!"):
            return None
        elif token.text in ITEMS and at + 1 < len(root.code):
            found.add(root.code[at + 1].text)
        elif token.text == "use" and (root.is_(at - 1, "pub") or root.is_(at - 1, ")")):
            stop = next((i for i in range(at, len(root.code)) if root.code[i].text == ";"), at)
            words = [root.code[i] for i in range(at, stop)]
            if any(w.text == "*" for w in words):
                return None
            found |= {w.text for w in words if w.kind == WORD}
    return found
