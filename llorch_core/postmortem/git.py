"""Git as a program: run it, and say what went wrong in words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shlex import join

from llorch_core.postmortem.errors import PostmortemError

# what a user has set must not change a figure: no colours, no quoting of names, no pager, no replaced objects
SETTINGS = ("-c", "core.quotePath=false", "-c", "color.ui=false", "-c", "log.showSignature=false")
ENVIRONMENT = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_PAGER": "cat"}


def environment() -> dict[str, str]:
    """Return the environment for git: ours, without what would point it at another repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | ENVIRONMENT


def attempt(top: Path, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git in a repository, whatever its exit code. Raises PostmortemError where there is no git."""
    command = ["git", "-C", str(top), *SETTINGS, *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, env=environment(), check=False)
    except FileNotFoundError:
        raise PostmortemError("git is not installed (wanted the program git).\nInstall it.") from None


def git(top: Path, *arguments: str, given: bytes | None = None) -> bytes:
    """Run git in a repository and return what it prints. Raises PostmortemError where it fails."""
    done = attempt(top, *arguments, given=given)
    if done.returncode:
        raise PostmortemError(
            f"git failed in {top}: {join(['git', *arguments])}\n"
            f"{done.stderr.decode(errors='replace').strip()}"
        )
    return done.stdout


def text(top: Path, *arguments: str) -> str:
    """Run git and return what it prints as text, without the newline at its end."""
    return git(top, *arguments).decode(errors="replace").rstrip("\n")


def lines(top: Path, *arguments: str) -> Sequence[str]:
    """Run git and return the lines that it prints."""
    return text(top, *arguments).splitlines()
