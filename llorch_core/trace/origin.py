"""What evidence is about: digests of specs, features, code and model, the commit, versions, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llorch_core.spec.suite import suite_folder

PACKAGE = Path(__file__).parents[1]
SUITE = ("specs", "features", "steps", "environment.py")
VERSIONS = ("llorch", "numpy", "behave", "coverage", "safetensors", "tiktoken")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(entries: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """Return one SHA-256 of named digests, in the order of their names."""
    pairs = sorted(dict(entries).items())
    return hashlib.sha256("".join(f"{name}\0{value}\n" for name, value in pairs).encode()).hexdigest()


def suite_files() -> dict[str, str]:
    """Return the digest of every file of specs, features and steps, by its name in the suite's folder."""
    top = suite_folder()
    found = [
        path for part in SUITE for path in ([top / part] if (top / part).is_file() else _below(top / part))
    ]
    return {path.relative_to(top).as_posix(): sha256(path) for path in found}


def code_files() -> dict[str, str]:
    """Return the digest of every file of the package that is code, by its name: llorch_core/….py."""
    kept = (".py", ".j2", ".css", ".js")
    found = [path for path in _below(PACKAGE) if path.suffix in kept and "suite" not in path.parts]
    return {path.relative_to(PACKAGE.parent).as_posix(): sha256(path) for path in found}


def model_files(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a model folder that decides what is computed."""
    kept = (".json", ".safetensors", ".txt", ".bpe")
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.suffix in kept}


def _below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def versions() -> dict[str, str]:
    """Return the versions of Python and of what computes and compares."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an unpacked wheel has no metadata
            found[name] = "unknown"
    return found


def machine() -> str:
    """Return the kind of this machine, without its name."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {sys.byteorder} endian"


def git(*arguments: str, folder: Path | None = None) -> str | None:
    """Return what git says of the checkout that holds a folder; None where there is no git or checkout."""
    command = ["git", "-C", str(folder or Path.cwd()), *arguments]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=60, errors="replace", check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout if ran.returncode == 0 else None


def checkout(proof: Path | None = None) -> dict[str, Any]:
    """Return the commit of the checkout around this folder, and which files differ from it.

    proof  the proof bundle, which is no part of the tree
    """
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "changed": []}
    top = Path((git("rev-parse", "--show-toplevel") or "").strip())
    lines = (git("status", "--porcelain", "-z", "--no-renames") or "").split("\0")
    changed = sorted(line[3:] for line in lines if line)
    if proof is not None:
        changed = [name for name in changed if not (top / name).resolve().is_relative_to(proof.resolve())]
    return {"commit": commit.strip(), "dirty": bool(changed), "changed": changed}
