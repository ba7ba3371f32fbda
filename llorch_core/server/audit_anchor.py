"""What holds the end of the audit log in place: the anchor, of every record, and the manifest, of every file.

The anchor is a file of two slots of SLOT bytes, written in place by turns: how many records there are, the
hash of the last one, and a checksum. One slot always holds while the other is written. Its file is the lock
of the folder, too: who writes holds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.server.audit_chain import ZERO, canonical

ANCHOR, MANIFEST, PARTIAL = "anchor", "manifest.json", "manifest.json.partial"
FORMAT = "llorch audit 1"
SLOT = 20 + 1 + 64 + 1 + 64 + 1  # count, head, checksum, each with what parts it from the next
LOCKED = 1 << 30  # where Windows locks: readers of the slots are not kept out
BINARY = getattr(os, "O_BINARY", 0)
sync_data = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True)
class Mark:
    """A place in the chain: so many records, and the hash of the last of them."""

    count: int
    head: str


def slot_of(mark: Mark) -> bytes:
    """Return the bytes of a slot."""
    text = f"{mark.count:020d} {mark.head}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()}\n".encode()


def read_slots(raw: bytes) -> list[Mark | None]:
    """Return what the slots of an anchor say; None for one that is not whole."""
    return [_mark(raw[:SLOT]), _mark(raw[SLOT:])]


def _mark(raw: bytes) -> Mark | None:
    parts = raw.decode("ascii", "replace").split(" ")
    if len(parts) != 3 or not parts[0].isdigit():
        return None
    mark = Mark(int(parts[0]), parts[1])
    return mark if slot_of(mark) == raw else None


class Anchor:
    """The anchor of a folder, locked by the one that writes. Raises UsageError where another one does."""

    def __init__(self, folder: Path) -> None:
        self.fd = os.open(folder / ANCHOR, os.O_RDWR | os.O_CREAT | BINARY, 0o600)
        try:
            self._lock(folder)
            self.raw = os.pread(self.fd, 2 * SLOT + 1, 0) if hasattr(os, "pread") else self._read()
        except BaseException:
            os.close(self.fd)
            raise

    def _read(self) -> bytes:
        os.lseek(self.fd, 0, os.SEEK_SET)
        return os.read(self.fd, 2 * SLOT + 1)

    def _lock(self, folder: Path) -> None:
        try:
            lock(self.fd)
        except OSError:
            raise UsageError(
                f"the audit log in {folder} is being written by another process (wanted: one at a time).\n"
                "Stop that one, or give this one a folder of its own."
            ) from None

    def write(self, mark: Mark) -> None:
        """Put a mark into the slot whose turn it is."""
        self._put(slot_of(mark), SLOT * (mark.count % 2))

    def write_both(self, mark: Mark) -> None:
        """Put a mark into both slots."""
        self._put(2 * slot_of(mark), 0)

    def _put(self, raw: bytes, place: int) -> None:
        if hasattr(os, "pwrite"):
            done = os.pwrite(self.fd, raw, place)
        else:
            os.lseek(self.fd, place, os.SEEK_SET)
            done = os.write(self.fd, raw)
        if done != len(raw):
            raise OSError(28, "the anchor was written in part")

    def close(self) -> None:
        """Let another one write."""
        os.close(self.fd)


def lock(fd: int) -> None:
    """Lock a file for this open file alone, at once. Raises OSError where another one holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(fd, LOCKED, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one file. What is only known of a closed one is None before.

    prev_hash  the hash before its first record
    first_id   the id of its first record, also where that is still to come
    """

    name: str
    created: str
    prev_hash: str
    first_id: str
    closed: str | None = None
    events: int | None = None
    last_id: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The files of a log in their order, the last one open, and the end of the chain when it was written."""

    mark: Mark
    files: tuple[Entry, ...]


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the one form of a manifest; its digest is over the canonical JSON of all else in it."""
    data: dict[str, Any] = {
        "format": FORMAT,
        "count": manifest.mark.count,
        "head": manifest.mark.head,
        "files": [asdict(entry) for entry in manifest.files],
    }
    data["digest"] = hashlib.sha256(canonical(data).encode()).hexdigest()
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(raw: bytes) -> Manifest | None:
    """Return what a manifest says; None where it is none, or not to the byte what was written."""
    try:
        data = json.loads(raw)
        names = {field.name for field in fields(Entry)}
        entries = tuple(Entry(**entry) for entry in data["files"] if entry.keys() == names)
        manifest = Manifest(Mark(int(data["count"]), str(data["head"])), entries)
        return manifest if entries and manifest_bytes(manifest) == raw else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the former one: all of it, or nothing, also if the power goes."""
    partial = folder / PARTIAL
    try:
        write_synced(partial, manifest_bytes(manifest))
        partial.replace(folder / MANIFEST)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    sync_folder(folder)


def write_synced(path: Path, raw: bytes) -> None:
    """Write a whole file, down to the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o600)
    try:
        write_all(fd, raw)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, raw: bytes) -> None:
    """Write all bytes; a disk that takes only some of them raises OSError at the next try."""
    while raw:
        raw = raw[os.write(fd, raw) :]


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power loss, where the system can."""
    if os.name == "nt":  # has no handle of a folder to sync
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def names(day: str) -> Iterator[str]:
    """Yield the names of the files of a day, in their order."""
    yield f"{day}.audit"
    number = 0
    while True:
        number += 1
        yield f"{day}.{number}.audit"


def name_after(files: Sequence[Entry], day: str) -> str:
    """Return the first name of a day that no file has."""
    taken = {entry.name for entry in files}
    return next(name for name in names(day) if name not in taken)


START = Mark(0, ZERO)
