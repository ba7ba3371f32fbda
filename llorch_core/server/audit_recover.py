"""How a log is opened: what a crash left is mended and told, what somebody cut or changed is refused."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.server.audit_anchor import (
    ANCHOR,
    BINARY,
    MANIFEST,
    PARTIAL,
    START,
    Anchor,
    Entry,
    Manifest,
    Mark,
    name_after,
    read_manifest,
    read_slots,
    sync_folder,
    write_manifest,
    write_synced,
)
from llorch_core.server.audit_chain import ZERO, Chain, FlawError, Form, id_of, lines_of


@dataclass
class Found:
    """A log that may be written on: its files, the end of its chain, and what there is to tell.

    size, sha256  of the last file
    told          the fields of an audit.recovered, where there is something to recover
    """

    files: list[Entry]
    chain: Chain
    size: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)
    told: dict[str, Any] | None = None


def open_log(folder: Path, anchor: Anchor, form: Form, stamp: str) -> Found:
    """Return the log in a folder, or a new one. Raises UsageError where it is cut or broken."""
    (folder / PARTIAL).unlink(missing_ok=True)
    if not (folder / MANIFEST).exists():
        return _new(folder, anchor, form, stamp)
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    if manifest is None:
        raise refused(folder, f"{MANIFEST} is not what was written")
    return Recovery(folder, anchor, form, manifest).run()


def _new(folder: Path, anchor: Anchor, form: Form, stamp: str) -> Found:
    there = sorted(path.name for path in folder.iterdir() if path.name != ANCHOR)
    if there or (anchor.raw and max_mark(read_slots(anchor.raw)) != START):
        raise refused(folder, f"{MANIFEST} is missing, and there are {', '.join(there) or 'records'}")
    anchor.write_both(START)
    entry = Entry(name_after([], stamp[:10]), stamp, ZERO, id_of(1))
    write_manifest(folder, Manifest(START, (entry,)))
    return Found([entry], Chain(form))


def max_mark(slots: list[Mark | None]) -> Mark | None:
    """Return the mark of the slot that was written last, of those that hold."""
    return max((mark for mark in slots if mark), key=lambda mark: mark.count, default=None)


class Recovery:
    """Follows the last file of a log from its first record to its end."""

    def __init__(self, folder: Path, anchor: Anchor, form: Form, manifest: Manifest) -> None:
        self.folder, self.anchor, self.manifest = folder, anchor, manifest
        self.slots = read_slots(anchor.raw)
        marks = [mark for mark in self.slots if mark]
        if not marks:
            raise refused(folder, "no slot of the anchor holds")
        self.marks = [*marks, manifest.mark]
        self.anchored = max(mark.count for mark in marks)
        self.entry = manifest.files[-1]
        before = int(self.entry.first_id.removeprefix("a-")) - 1
        self.found = Found(list(manifest.files), Chain(form, before, self.entry.prev_hash))
        self.torn = b""

    def run(self) -> Found:
        """Return the log as it can go on."""
        path, chain = self.folder / self.entry.name, self.found.chain
        self.check_marks()
        if path.exists():
            self.follow(path)
        self.check_end()
        adopted, anchor_torn = chain.count - self.anchored, None in self.slots
        told: dict[str, Any] = {"adopted": adopted, "torn_bytes": 0, "anchor_torn": anchor_torn}
        side = self.folder / f"{self.entry.name}.{self.found.size}.torn"
        if self.torn:
            self.move_aside(path, side)
        if side.exists():  # also where a recovery was itself cut off, before it was told
            raw = side.read_bytes()
            told |= {"torn_bytes": len(raw), "torn_file": side.name}
            told["torn_sha256"] = hashlib.sha256(raw).hexdigest()
        if adopted or anchor_torn or side.exists():
            self.found.told = told
        return self.found

    def follow(self, path: Path) -> None:
        """Follow the file up to a torn line. Raises UsageError at a record that is not right."""
        chain, found = self.found.chain, self.found
        with path.open("rb") as file:
            for number, raw in lines_of(file):
                if not raw.endswith(b"\n"):
                    self.torn = raw
                    return
                try:
                    chain.follow(raw)
                except FlawError as flaw:
                    if chain.count >= self.anchored and flaw.kind == "not JSON" and not file.peek(1):
                        self.torn = raw  # a power loss leaves holes, too
                        return
                    raise refused(self.folder, f"{path.name}, line {number}: {flaw}") from None
                found.size += len(raw)
                found.sha256.update(raw)
                self.check_marks()

    def check_marks(self) -> None:
        """Raise UsageError where an anchor or the manifest has another hash for where the chain is."""
        chain = self.found.chain
        for mark in self.marks:
            if mark.count == chain.count and not chain.form.same(chain.head, mark.head):
                raise refused(self.folder, f"record {chain.count} is not the one that was anchored")

    def check_end(self) -> None:
        """Raise UsageError where there are fewer records than were anchored, or may have been."""
        wanted = max(mark.count for mark in self.marks) + (None in self.slots)
        if self.found.chain.count < wanted:
            raise refused(
                self.folder, f"its tail was cut: wanted {wanted:,} records, got {self.found.chain.count:,}"
            )

    def move_aside(self, path: Path, side: Path) -> None:
        """Move a torn line to a file of its own: first there, then away from here."""
        write_synced(side, self.torn)
        sync_folder(self.folder)
        fd = os.open(path, os.O_WRONLY | BINARY)
        try:
            os.ftruncate(fd, self.found.size)
            os.fsync(fd)
        finally:
            os.close(fd)


def refused(folder: Path, reason: str) -> UsageError:
    """Return the error for a log that nobody may go on with."""
    return UsageError(
        f"the audit log in {folder} is broken: {reason}.\n"
        f"`llorch audit verify {folder}` says more. Keep it, and name another folder to go on."
    )
