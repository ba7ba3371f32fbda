"""The verifier of audit logs: every byte of every file in the folder, in one reading, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.server.audit_anchor import (
    ANCHOR,
    MANIFEST,
    PARTIAL,
    SLOT,
    START,
    Entry,
    Manifest,
    Mark,
    read_manifest,
    read_slots,
)
from llorch_core.server.audit_chain import Chain, FlawError, Form, Record, id_of, lines_of, shown

KINDS = {  # of break: what it means
    "not JSON": "a line is no JSON object: bytes were changed, or lines were joined or split",
    "form": "a line is JSON, and no record: names or types are others",
    "non-canonical": "a line says what the record says, but in other bytes",
    "hash": "a record is not what its hash was made of: it was changed",
    "link": "a record does not stand behind the one that it was written behind: one is missing or was put in",
    "order": "an id was left out or is there twice, or time goes back",
    "torn line": "the last line is not whole: a crash leaves that, and the next start mends it",
    "cut tail": "there are fewer records than were anchored: the end was cut off",
    "anchor": "the anchor is not what was written, or names another record",
    "manifest": "the manifest is not what was written, or does not say what the files hold",
    "file digest": "a closed file has other bytes than when it was closed",
    "missing file": "a file that belongs to the log is not there",
    "unknown file": "a file is there that does not belong to the log",
}
BLOCK = 1 << 16


@dataclass(frozen=True)
class Break:
    """The first thing that is wrong: kind (of KINDS), file, line (0 for a whole file), record, and what."""

    kind: str
    file: str
    line: int
    audit_id: str
    wanted: str
    got: str

    @property
    def next(self) -> str:
        """What to do about it."""
        if self.kind == "torn line":
            return "After a crash, start the server once with this folder. If one writes now, verify again."
        return (
            "Keep the folder as it is, and let the server write into another one. Compare it with a backup."
        )


@dataclass
class Report:
    """What a verifier found: how far the log is right, and the first break, if there is one.

    first, last   times of the first and the last record
    anchored      how many records the anchor names
    notes         what a crash left, that the next start mends; it is no break
    """

    folder: Path
    files: int = 0
    records: int = 0
    first: str = ""
    last: str = ""
    head: str = ""
    anchored: int = 0
    notes: list[str] = field(default_factory=list)
    broken: Break | None = None

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.broken is None


class BrokenError(Exception):
    """Ends the reading at the first break."""

    def __init__(self, found: Break) -> None:
        super().__init__(found.kind)
        self.found = found


def verify(folder: Path, on_bytes: Callable[[int], None] = lambda count: None) -> Report:
    """Read the audit log in a folder, also while a server writes, and say whether it is intact.

    on_bytes  called with the number of bytes that were read since the last call

    Raises UsageError where there is no log, or it cannot be read. Spec: server_audit.
    """
    return Verifier(folder, on_bytes).run()


def size_of(folder: Path) -> int:
    """Return how many bytes of records a folder holds."""
    return sum(path.stat().st_size for path in folder.glob("*.audit"))


class Verifier:
    """One reading of a folder. What moves while a server writes is read in an order that does no harm."""

    form = Form()

    def __init__(self, folder: Path, on_bytes: Callable[[int], None] = lambda count: None) -> None:
        self.folder, self.on_bytes = Path(folder), on_bytes
        self.report = Report(self.folder)
        self.chain = Chain(self.form)
        self.marks: list[tuple[str, Mark]] = []
        self.sides: dict[str, str] = {}  # torn files by name, with their digests

    def run(self) -> Report:
        """Return what was found."""
        try:
            self.read()
        except BrokenError as error:
            self.report.broken = error.found
        except OSError as error:
            raise UsageError(f"{error.filename or self.folder} cannot be read: {error.strerror}.") from error
        self.report.records, self.report.head, self.report.last = (
            self.chain.count,
            self.chain.head,
            self.chain.time,
        )
        return self.report

    def read(self) -> None:
        """Read everything. Raises BrokenError at the first break."""
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is no folder (wanted the folder of an audit log).")
        self.read_anchor()
        there = sorted(path.name for path in self.folder.iterdir())
        manifest = self.read_manifest(there)
        self.report.anchored = max(mark.count for name, mark in self.marks if name == ANCHOR)
        self.check_known(there, manifest)
        self.check_marks("", 0, "")
        for entry in manifest.files:
            self.read_file(entry, last=entry is manifest.files[-1])
        self.check_end(manifest)
        self.check_sides(there, manifest.files[-1])

    def read_anchor(self) -> None:
        """Read both slots; a writer may be at one of them, so that it is asked for again."""
        path = self.folder / ANCHOR
        for _ in range(3):
            raw = path.read_bytes() if path.exists() else None
            slots = read_slots(raw or b"")
            if None not in slots:
                break
        begun = (self.folder / MANIFEST).exists() or any(self.folder.glob("*.audit"))
        if not begun and (not raw or slots == [START, START]):
            raise UsageError(f"{self.folder} holds no audit log (wanted {MANIFEST}, {ANCHOR}, *.audit).")
        if raw is None:
            self.fail("missing file", ANCHOR, "the anchor", "none")
        for number, slot in enumerate(slots):
            if slot is None:
                part = (raw or b"")[number * SLOT :][:SLOT]
                self.fail("anchor", ANCHOR, "count, head and their checksum", shown(part), number + 1)
            else:
                self.marks.append((ANCHOR, slot))

    def read_manifest(self, there: list[str]) -> Manifest:
        """Return the manifest, if it is to the byte what was written."""
        if MANIFEST not in there:
            self.fail("missing file", MANIFEST, "the manifest", "none")
        manifest = read_manifest((self.folder / MANIFEST).read_bytes())
        if manifest is None:
            self.fail("manifest", MANIFEST, "what its digest is of", "something else")
        assert manifest is not None
        self.marks.append((MANIFEST, manifest.mark))
        return manifest

    def check_known(self, there: list[str], manifest: Manifest) -> None:
        """Break at a file that does not belong to the log; those of torn lines are looked at in the end."""
        known = {ANCHOR, MANIFEST, *(entry.name for entry in manifest.files)}
        for name in there:
            if name == PARTIAL:
                self.report.notes.append(f"{PARTIAL} was left by a crash; the next start removes it")
            elif name not in known and not name.endswith(".torn"):
                self.fail("unknown file", name, "only files that the manifest names", name)

    def read_file(self, entry: Entry, last: bool) -> None:
        """Follow the chain through one file, and compare the file with what the manifest says of it."""
        path, before = self.folder / entry.name, self.chain.count
        first = (id_of(before + 1), self.chain.head)
        if not self.form.same(" ".join(first), f"{entry.first_id} {entry.prev_hash}"):
            got = f"{entry.first_id} behind {entry.prev_hash}"
            self.fail("manifest", entry.name, f"{first[0]} behind {first[1]}", got)
        if not path.exists():
            if last and before >= self.report.anchored:
                self.report.notes.append(f"{entry.name} was not begun yet; the next start makes it")
                return
            self.fail("missing file", entry.name, "a file that the manifest names", "none")
        self.report.files += 1
        sha256 = self.read_lines(path)
        if entry.closed is not None:
            self.check_closed(entry, self.chain.count - before, sha256)

    def read_lines(self, path: Path) -> str:
        """Follow the chain through the lines of a file; return its digest."""
        found = hashlib.sha256()
        with path.open("rb") as file:
            for number, raw in lines_of(file):
                if not raw.endswith(b"\n"):
                    self.fail_torn(path.name, number, raw)
                try:
                    record = self.chain.follow(raw)
                except FlawError as flaw:
                    self.fail(flaw.kind, path.name, flaw.wanted, flaw.got, number, flaw.audit_id)
                found.update(raw)
                self.on_bytes(len(raw))
                self.take(record)
                self.check_marks(path.name, number, record.audit_id)
        return found.hexdigest()

    def take(self, record: Record) -> None:
        """Keep what is told of a record, and what a recovery says that it moved aside."""
        self.report.first = self.report.first or record.timestamp
        if record.event["type"] == "audit.recovered" and "torn_file" in record.event:
            self.sides[str(record.event["torn_file"])] = str(record.event.get("torn_sha256"))

    def check_marks(self, file: str, line: int, audit_id: str) -> None:
        """Break where the anchor or the manifest names another hash for the record that was just read."""
        for name, mark in self.marks:
            if mark.count == self.chain.count and not self.form.same(self.chain.head, mark.head):
                at = f"{self.chain.head} ({file}, line {line})"
                self.fail("anchor" if name == ANCHOR else "manifest", name, at, mark.head, audit_id=audit_id)

    def check_closed(self, entry: Entry, events: int, sha256: str) -> None:
        """Break where the manifest says something else of a closed file than it holds."""
        if not self.form.same(entry.sha256 or "", sha256):
            self.fail("file digest", entry.name, str(entry.sha256), sha256)
        wanted, got = f"{events} to {id_of(self.chain.count)}", f"{entry.events} to {entry.last_id}"
        if wanted != got:
            self.fail("manifest", entry.name, wanted, got)

    def fail_torn(self, file: str, line: int, raw: bytes) -> None:
        """Break at a line without its line feed: torn, or cut where it was whole once."""
        cut = self.chain.count < max(mark.count for _, mark in self.marks)
        self.fail("cut tail" if cut else "torn line", file, "a line with a line feed", shown(raw), line)

    def check_end(self, manifest: Manifest) -> None:
        """Break where fewer records are there than were anchored."""
        for _, mark in self.marks:
            if self.chain.count < mark.count:
                wanted, got = f"{mark.count} records", f"{self.chain.count}"
                self.fail("cut tail", manifest.files[-1].name, wanted, got, audit_id=id_of(mark.count))
        if later := self.chain.count - self.report.anchored:
            self.report.notes.append(
                f"{later} after the anchor: the server writes now, or was killed; the next start adopts them"
            )

    def check_sides(self, there: list[str], last: Entry) -> None:
        """Break where a torn line that was moved aside is not there any more, or not as it was."""
        for name, wanted in self.sides.items():
            if name not in there:
                self.fail("missing file", name, "a torn line that was moved aside", "none")
            if not self.form.same(wanted, got := digest_of_file(self.folder / name)):
                self.fail("file digest", name, wanted, got)
        path = self.folder / last.name
        half = f"{last.name}.{path.stat().st_size if path.exists() else 0}.torn"
        for name in there:
            if name.endswith(".torn") and name not in self.sides:
                if name != half:
                    self.fail("unknown file", name, "only torn lines that a record tells of", name)
                self.report.notes.append(
                    f"{name} was left by a recovery that was cut off; the next one tells"
                )

    def fail(self, kind: str, file: str, wanted: str, got: str, line: int = 0, audit_id: str = "") -> None:
        """Break here."""
        raise BrokenError(Break(kind, file, line, audit_id, wanted, got))


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    found: Any = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return str(found.hexdigest())
