"""The audit log: who did what when, in an append-only chain that shows each change and each cut.

The order of a record: its line is written, synced if the policy says so, and then anchored; only then does
`record` return. So the anchor never runs ahead of the file. A process that is killed at any moment leaves at
most one whole record behind the anchor, or one torn line: the next start adopts the one, moves the other
aside, and tells both. Fewer records than are anchored were cut by somebody, and no start goes on from there.
manifest.json, replaced as a whole, is written at the start, at each change of file, and at the end; of every
record it would cost a rename and two syncs, where the slot of the anchor costs one small write.

kill -9 does not lose what the system has taken: that outlives the process. A power loss does. `fsync` says
how much: "always" nothing that `record` returned for; "interval" what was recorded in the last `interval`
seconds; "never" what the system had not yet written, often 30 seconds. With the last two, a power loss may
leave the anchor ahead of the file, which then looks like a cut tail, and is refused like one.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.server.audit_anchor import (
    BINARY,
    Anchor,
    Entry,
    Manifest,
    Mark,
    name_after,
    sync_data,
    sync_folder,
    write_all,
    write_manifest,
)
from llorch_core.server.audit_chain import Form, id_of, stamp_of
from llorch_core.server.audit_events import EVENTS, OWN, check_event
from llorch_core.server.audit_recover import open_log

POLICIES = {"fsync": ("always", "interval", "never"), "on_full": ("refuse", "continue")}


class AuditFullError(RuntimeError):
    """A record could not be written, so what it is about must not happen. Nothing of it is in the log."""


@dataclass
class Lost:
    """Records that could not be written, while the log goes on: how many, since when, until when, why."""

    count: int
    first: str
    last: str
    error: str


class AuditLog:
    """The audit log of one server, in a folder of its own. Any thread may record. Spec: server_audit.

    folder      is made if it is not there; one process at a time may write in it
    service_id  who writes
    fsync       "always", "interval" or "never": what a power loss may take (see above)
    interval    seconds between two syncs of "interval"
    max_bytes   of a file, before the next one is begun; a new day in UTC begins one, too
    on_full     what happens when the disk takes no more: "refuse" raises AuditFullError for each record,
                "continue" counts what is lost, and tells it in an audit.gap as soon as it can
    clock       gives the time

    Raises UsageError where another process writes, or the log that is there is cut or broken.
    """

    form = Form()

    def __init__(
        self,
        folder: Path,
        *,
        service_id: str = "llorch",
        fsync: str = "always",
        interval: float = 1.0,
        max_bytes: int = 100_000_000,
        on_full: str = "refuse",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        for name, value in (("fsync", fsync), ("on_full", on_full)):
            if value not in POLICIES[name]:
                raise UsageError(f"{name} is {value!r} (wanted one of {', '.join(POLICIES[name])}).")
        self.folder, self._service_id, self._clock = Path(folder), service_id, clock
        self._fsync, self._max_bytes, self._on_full = fsync, max_bytes, on_full
        self._lock = threading.Lock()
        self._lost: Lost | None = None
        self._to_mend = self._to_sync = self._closed = False
        self._trouble: OSError | None = None
        self._told: list[dict[str, Any]] = []  # events of the log itself, that go before the next one
        try:
            self._open()
        except OSError as error:
            raise UsageError(
                f"the audit log in {folder} cannot be opened: {error.strerror or error}.\n"
                "Is the folder there to be written, and is there room on the disk?"
            ) from error
        self._ended = threading.Event()
        if fsync == "interval":
            threading.Thread(target=self._sync_by_turns, args=(interval,), daemon=True).start()

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._anchor = Anchor(self.folder)
        try:
            found = open_log(self.folder, self._anchor, self.form, stamp_of(self._clock()))
            self._files, self._chain, self._size = found.files, found.chain, found.size
            self._sha256 = found.sha256
            self._fd = self._open_file(self._files[-1].name)
            if not self._size and len(self._files) > 1:  # killed before it could say so
                self._told.append(_rotated(self._files[-2]))
            if found.told is not None:
                self._append(check_event("audit.recovered", found.told))
                self._anchor.write_both(self._mark)
            self._write_manifest()
        except BaseException:
            self._anchor.close()
            raise

    def _open_file(self, name: str) -> int:
        fd = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o600)
        sync_folder(self.folder)
        return fd

    @property
    def _mark(self) -> Mark:
        return Mark(self._chain.count, self._chain.head)

    @property
    def count(self) -> int:
        """How many records the chain has."""
        return self._chain.count

    @property
    def head(self) -> str:
        """The hash of the last record: told elsewhere, it shows also a log that was written anew."""
        return self._chain.head

    @property
    def full(self) -> bool:
        """Whether the last record could not be written."""
        return self._to_mend or self._lost is not None or self._trouble is not None

    def record(self, type: str, **fields: Any) -> str:
        """Write one record and return its audit id; "" where it is lost (on_full="continue").

        type    of audit_events.EVENTS, which says what fields it must and may have; None is left out

        Raises UsageError for what may not stand in the log, AuditFullError where it cannot be written.
        """
        if type in EVENTS and type.startswith(OWN):
            raise UsageError(f"{type} is written by the log itself (wanted another audit event).")
        event = check_event(type, fields)
        with self._lock:
            if self._closed:
                raise UsageError(f"the audit log in {self.folder} is closed (wanted: record before close).")
            try:
                self._catch_up()
                return self._append(event)
            except OSError as error:
                return self._not_written(error)

    def _catch_up(self) -> None:
        """Do what comes before the next record: mend, change the file, tell what was lost."""
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        if self._to_mend:
            self._cut_back()
        if self._is_due():
            self._rotate()
        while self._told:
            self._append(self._told[0])
            self._told.pop(0)
        if self._lost is not None:
            lost = self._lost
            fields = {"lost": lost.count, "first": lost.first, "last": lost.last, "error": lost.error}
            self._append(check_event("audit.gap", fields))
            self._lost = None

    def _stamp(self) -> str:
        return max(stamp_of(self._clock()), self._chain.time)  # a clock may be set back; the log may not

    def _append(self, event: dict[str, Any]) -> str:
        """Write, sync, anchor; or leave all as it was, and raise OSError."""
        chain = self._chain
        record = self.form.make(chain.count + 1, self._stamp(), self._service_id, event, chain.head)
        line = self.form.line(record)
        try:
            write_all(self._fd, line)
            self._sync(self._fd)
            self._anchor.write(Mark(chain.count + 1, record.hash))
            self._sync(self._anchor.fd)
        except OSError:
            self._to_mend = True
            self._cut_back()
            raise
        chain.count, chain.head, chain.time = chain.count + 1, record.hash, record.timestamp
        self._size += len(line)
        self._sha256.update(line)
        return record.audit_id

    def _sync(self, fd: int) -> None:
        if self._fsync == "always":
            sync_data(fd)
        self._to_sync = True

    def _cut_back(self) -> None:
        """Take back what was written of a record: first the anchor, which may never run ahead."""
        self._anchor.write_both(self._mark)
        os.ftruncate(self._fd, self._size)
        self._to_mend = False

    def _not_written(self, error: OSError) -> str:
        reason = error.strerror or str(error)
        if self._on_full == "refuse":
            raise AuditFullError(
                f"the audit log in {self.folder} cannot be written: {reason}.\n"
                "Make room on its disk; with on_full=continue, the server goes on without."
            ) from error
        now = self._stamp()
        if self._lost is None:
            self._lost = Lost(0, now, now, reason)
        self._lost = replace(self._lost, count=self._lost.count + 1, last=now)
        return ""

    def _is_due(self) -> bool:
        return self._size > 0 and (
            self._size >= self._max_bytes or self._stamp()[:10] > self._files[-1].name[:10]
        )

    def _rotate(self) -> None:
        """Begin the next file: first the manifest names it, then it is there; so no file is unknown."""
        os.fsync(self._fd)
        now, chain = self._stamp(), self._chain
        old = self._closed_entry(now)
        new = Entry(name_after(self._files, now[:10]), now, chain.head, id_of(chain.count + 1))
        files = [*self._files[:-1], old, new]
        write_manifest(self.folder, Manifest(self._mark, tuple(files)))
        fd = self._open_file(new.name)
        os.close(self._fd)
        self._fd, self._files, self._size, self._sha256 = fd, files, 0, hashlib.sha256()
        self._told.append(_rotated(old))

    def _closed_entry(self, now: str) -> Entry:
        entry, count = self._files[-1], self._chain.count
        events = count + 1 - int(entry.first_id.removeprefix("a-"))
        sha256 = self._sha256.hexdigest()
        return replace(entry, closed=now, events=events, last_id=id_of(count), sha256=sha256)

    def _write_manifest(self) -> None:
        write_manifest(self.folder, Manifest(self._mark, tuple(self._files)))

    def _sync_by_turns(self, interval: float) -> None:
        while not self._ended.wait(interval):
            with self._lock:
                if self._closed or not self._to_sync:
                    continue
                fds = [os.dup(self._fd), os.dup(self._anchor.fd)]
                self._to_sync = False
            try:
                for fd in fds:
                    sync_data(fd)
            except OSError as error:
                self._trouble = error  # the next record tells it
            finally:
                for fd in fds:
                    os.close(fd)

    def close(self) -> None:
        """Tell what is still to be told, sync, and let another one write. More than once does no harm.

        Raises AuditFullError where that cannot be written.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._ended.set()
            try:
                self._catch_up()
                os.fsync(self._fd)
                os.fsync(self._anchor.fd)
                self._write_manifest()
            except OSError as error:
                self._not_written(error)
            finally:
                os.close(self._fd)
                self._anchor.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rotated(old: Entry) -> dict[str, Any]:
    """Return the event that stands first in the file after this one."""
    return check_event("audit.rotated", {"closed": old.name, "events": old.events, "sha256": old.sha256})
