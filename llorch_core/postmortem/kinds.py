"""Which tracked files are documents, and which are modules of a programming language, by their names."""

from __future__ import annotations

import re

# Extended regular expressions, for grep -iE as well as for Python: what is counted here is counted there.
DOCUMENTS = r"\.(md|markdown|mdx|rst|txt|text|adoc|asciidoc)"
# text that a build reads or a program has written, and nobody as a document
NO_DOCUMENTS = r"(^|[/:])(CMakeLists|requirements[^/]*|constraints[^/]*|robots|[^/]*output[^/]*)\.txt"

KINDS = {
    "md": "Markdown",
    "markdown": "Markdown",
    "mdx": "Markdown",
    "rst": "reStructuredText",
    "txt": "text",
    "text": "text",
    "adoc": "AsciiDoc",
    "asciidoc": "AsciiDoc",
}

LANGUAGES = {
    "py": "Python",
    "rs": "Rust",
    "c": "C",
    "h": "C/C++ header",
    "cc": "C++",
    "cpp": "C++",
    "cxx": "C++",
    "hh": "C++",
    "hpp": "C++",
    "cu": "CUDA",
    "cuh": "CUDA",
    "go": "Go",
    "js": "JavaScript",
    "cjs": "JavaScript",
    "mjs": "JavaScript",
    "jsx": "JavaScript",
    "ts": "TypeScript",
    "tsx": "TypeScript",
}

# pygments takes a go.mod for Modula-2
NAMES = LANGUAGES | {"mod": "Go modules"}

MODULES = rf"\.({'|'.join(LANGUAGES)})"  # in lower case, as compilers want them


def is_document(path: str) -> bool:
    """Return whether a file is a document that people read, by its name."""
    return bool(
        re.search(f"{DOCUMENTS}$", path, re.IGNORECASE)
        and not re.search(f"{NO_DOCUMENTS}$", path, re.IGNORECASE)
    )


def is_text(path: str) -> bool:
    """Return whether a file ends as documents do, also where it is none: what pygount takes for no code."""
    return bool(re.search(f"{DOCUMENTS}$", path, re.IGNORECASE))


def is_module(path: str) -> bool:
    """Return whether a file is a module of a language whose imports are read."""
    return bool(re.search(f"{MODULES}$", path))


def suffix(path: str) -> str:
    """Return what follows the last dot of a file's name, "" where there is none."""
    name = path.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[1] if "." in name else ""
