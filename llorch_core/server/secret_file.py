"""A file that only its owner can read: anything else is refused before a byte of it is used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from llorch_core.engine.errors import UsageError

MAX_BYTES = 2**20


def read_secret(path: Path) -> str:
    """Return the text of a file of secrets.

    Raises UsageError where it is missing, no regular file, not ours, readable by others, too large or not
    UTF-8, and where others could put another file in its place: through a link of theirs, or in a folder
    that they can write.
    """
    if not hasattr(os, "geteuid"):
        raise UsageError(
            f"who may read {path} cannot be told on this system (wanted Unix).\n"
            "Give the tokens in LLORCH_API_TOKENS instead."
        )
    try:
        for place in (path.absolute(), Path(os.path.realpath(path))):
            _check_place(place)
        # what is checked is what is read: the open file, not whatever has its name by then
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not block us
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.\nName a file of your own.") from None
    with os.fdopen(descriptor, "rb") as file:
        _check_file(path, os.fstat(descriptor))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} has more than {MAX_BYTES} bytes (wanted a few lines).\nIs it another file?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}.\nWrite it as plain text.") from None


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no regular file (wanted one).\nName the file itself.")
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"{path} belongs to user {found.st_uid} (wanted {os.geteuid()}, who runs this).\n"
            f"Make it your own, then: chmod 600 {path}"
        )
    if others := stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"{path} has permissions {stat.S_IMODE(found.st_mode):03o}: others have {others:03o} "
            f"(wanted none).\nchmod 600 {path}"
        )


def _check_place(place: Path) -> None:
    """Raise UsageError where somebody else could exchange what has this name."""
    found = place.lstat()
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise UsageError(
            f"{place} is a link of user {found.st_uid} (wanted your own).\nName the file itself."
        )
    folder = place.parent.stat()
    writable = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable and not folder.st_mode & stat.S_ISVTX:  # in a sticky folder only owners rename
        raise UsageError(
            f"others can write {place.parent}, and so exchange {place.name} (wanted: only you can).\n"
            f"chmod go-w {place.parent}, and chmod 600 {place}"
        )
