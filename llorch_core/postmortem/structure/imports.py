"""Imports: what a module says that it uses, in the words of its language, with the line."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from llorch_core.postmortem.kinds import LANGUAGES, suffix

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.M)
RUST_MOD = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?mod[ \t]+(?:r#)?(\w+)[ \t]*;", re.M)
RUST_PATH = re.compile(r'#\[path[ \t]*=[ \t]*"([^"]+)"\]\s*$')
RUST_USE = re.compile(r"^([ \t]*)(?:pub(?:\([^)]*\))?[ \t]+)?use[ \t]+([^;]+);", re.M)
SCRIPT = re.compile(
    r"""^[ \t]*(?:import|export)\b[^'"`;]*?['"]([^'"\n]+)['"]"""
    r"""|\b(?:require|import)\(\s*['"]([^'"\n]+)['"]\s*\)""",
    re.M,
)
GO = re.compile(r'^[ \t]*import[ \t]+(?:[\w.]+[ \t]+)?"([^"\n]+)"|^[ \t]*import[ \t]*\(([^)]*)\)', re.M)
BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.S)


@dataclass(frozen=True)
class Import:
    """One import. `how` is include, mod, use, import or from; `names` are those of a `from`."""

    line: int
    how: str
    what: str
    names: tuple[str, ...] = ()


def imports(path: str, text: str) -> Iterator[Import]:
    """Give the imports of a module, by its language. What is in a comment is none."""
    language = LANGUAGES[suffix(path)]
    if language == "Python":
        yield from of_python(text)
        return
    text = BLOCK_COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    if language in ("C", "C++", "C/C++ header", "CUDA"):
        yield from (Import(line(text, m), "include", m[1]) for m in INCLUDE.finditer(text))
    elif language == "Rust":
        yield from of_rust(text)
    elif language == "Go":
        for m in GO.finditer(text):
            for one in re.finditer(r'^[^/\n]*?"([^"\n]+)"', m[2] or f'"{m[1]}"', re.M):
                at = m.start(2) + one.start() if m[2] else m.start()
                yield Import(text.count("\n", 0, at) + 1, "import", one[1])
    else:
        yield from (Import(line(text, m), "import", m[1] or m[2]) for m in SCRIPT.finditer(text))


def line(text: str, found: re.Match[str]) -> int:
    """Return the line on which a match begins."""
    return text.count("\n", 0, found.start()) + 1


def of_python(text: str) -> Iterator[Import]:
    """Give the imports of a Python module, also those within functions; none where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strings with odd escapes, which are not ours
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, "import", one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(one.name for one in node.names)
            yield Import(node.lineno, "from", "." * node.level + (node.module or ""), names)


def of_rust(text: str) -> Iterator[Import]:
    """Give the `mod NAME;` of a Rust module, and each path of its `use` with the braces resolved."""
    text = re.sub(r"//[^\n]*", "", text)
    for m in RUST_MOD.finditer(text):
        attribute = RUST_PATH.search(text[: m.start()])
        yield Import(line(text, m), "path", attribute[1]) if attribute else Import(line(text, m), "mod", m[1])
    for m in RUST_USE.finditer(text):
        for one in opened("".join(re.sub(r"\bas\s+\w+", "", m[2]).split())):
            # indented, it stands in a module within the file, above which the file itself is
            yield Import(line(text, m), "use", re.sub("^super::", "self::", one) if m[1] else one)


def opened(use: str) -> Iterator[str]:
    """Give each path of a use: a::{b, c::{d}} is a::b and a::c::d."""
    head, brace, rest = use.partition("{")
    if not brace:
        yield use
        return
    depth, begin = 0, 0
    inner = rest.rsplit("}", 1)[0]
    for at, sign in enumerate(f"{inner},"):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and not depth:
            if inner[begin:at]:
                yield from opened(head + inner[begin:at])
            begin = at + 1
