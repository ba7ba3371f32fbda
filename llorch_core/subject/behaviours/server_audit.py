"""The audit log and its verifier on trial: the server's own, or one that makes a mistake."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llorch_core.engine.model import Model
from llorch_core.server.audit import AuditLog
from llorch_core.server.audit_anchor import (
    ANCHOR,
    MANIFEST,
    Anchor,
    Entry,
    Manifest,
    Mark,
    read_manifest,
    read_slots,
    slot_of,
    write_manifest,
)
from llorch_core.server.audit_chain import ZERO, Chain, Form, Record, record_of, stamp_of
from llorch_core.server.audit_events import digest_of
from llorch_core.server.audit_verify import Report, Verifier


class ServerAudit:
    """The audit log of a server, and what verifies it."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        found = [shim for (datum, value), shim in SHIMS.items() if data[datum] == value]
        self._shim = found[0] if found else Shim()
        self._length = 64 if data["digest"] == "of the first 64 characters" else None

    def open(self, folder: Path, **options: Any) -> AuditLog:
        """Open the log in a folder; `options` are those of AuditLog."""
        return self._shim.log(folder, **options)

    def verify(self, folder: Path) -> Report:
        """Say whether the log in a folder is intact."""
        return self._shim.verifier(folder).run()

    def digest_of(self, text: str) -> dict[str, str | int]:
        """Return what the log keeps of a text."""
        return digest_of(text[: self._length]) | {"chars": digest_of(text)["chars"]}


@dataclass(frozen=True)
class Shim:
    """The log and the verifier, of which one or both are wrong."""

    log: type[AuditLog] = AuditLog
    verifier: type[Verifier] = Verifier


def _formed(wrong: type[Form]) -> Shim:
    """Return a log and a verifier that agree on a wrong form."""
    log = type("Formed", (AuditLog,), {"form": wrong()})
    return Shim(log, type("FormedVerifier", (Verifier,), {"form": wrong()}))


class _TypeNotHashed(Form):
    def hashed(self, record: Record) -> tuple[str, ...]:
        event = {name: value for name, value in record.event.items() if name != "type"}
        return super().hashed(replace(record, event=event))


class _RunTogether(Form):
    def joined(self, fields: tuple[str, ...]) -> bytes:
        return "".join(fields).encode()


class _FirstDigits(Form):
    def same(self, wanted: str, got: str) -> bool:
        return wanted[:8] == got[:8]


class _AnySpelling(Form):
    def check_bytes(self, raw: bytes, record: Record) -> None:
        pass


class _FirstLinkTaken(Chain):
    def check_link(self, record: Record) -> None:
        if self.count:
            super().check_link(record)


class _AnyOrder(Chain):
    def check_order(self, record: Record) -> None:
        pass


class _FirstLinkNotChecked(Verifier):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.chain = _FirstLinkTaken(self.form)


class _OrderNotChecked(Verifier):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.chain = _AnyOrder(self.form)


class _TailNotAnchored(Verifier):
    def check_marks(self, file: str, line: int, audit_id: str) -> None:
        pass

    def check_end(self, manifest: Manifest) -> None:
        pass


class _UnknownPassedOver(Verifier):
    def check_known(self, there: list[str], manifest: Manifest) -> None:
        pass


class _MissingPassedOver(Verifier):
    def read_file(self, entry: Entry, last: bool) -> None:
        if (self.folder / entry.name).exists():
            super().read_file(entry, last)


class _ClosedNotCompared(Verifier):
    def check_closed(self, entry: Entry, events: int, sha256: str) -> None:
        pass


# Logs with a mistake


class _BeginsAnew(AuditLog):
    def _rotate(self) -> None:
        super()._rotate()
        self._chain.head = ZERO


class _ClockCopied(AuditLog):
    def _stamp(self) -> str:
        return stamp_of(self._clock())


class _OneFile(AuditLog):
    def _is_due(self) -> bool:
        return False


class _WallClock(AuditLog):
    def _is_due(self) -> bool:
        return self._size > 0 and f"{self._clock():%Y-%m-%d}" > self._files[-1].name[:10]


class _Idle(Anchor):
    def write(self, mark: Mark) -> None:
        pass


class _AnchoredAtTheEnd(AuditLog):
    anchoring = _Idle

    def close(self) -> None:
        if not self._closed:
            self._anchor.write_both(self._mark)
        super().close()


class _NotLocked(Anchor):
    def _lock(self, folder: Path) -> None:
        pass


class _LetIn(AuditLog):
    anchoring = _NotLocked


class _WrittenOn(AuditLog):
    """Puts the end that it finds in the place of the one that was anchored."""

    def _open(self) -> None:
        last, lines = _last_file(self.folder)
        record = record_of(lines[-1]) if lines else None
        manifest = read_manifest((self.folder / MANIFEST).read_bytes()) if last else None
        if record and manifest:
            mark = Mark(int(record.audit_id.removeprefix("a-")), record.hash)
            (self.folder / ANCHOR).write_bytes(2 * slot_of(mark))
            write_manifest(self.folder, replace(manifest, mark=min(mark, manifest.mark, key=_count)))
        super()._open()


def _count(mark: Mark) -> int:
    return mark.count


def _last_file(folder: Path) -> tuple[Path | None, list[bytes]]:
    """Return the file that a log goes on with, and its lines, torn or whole; None where there is no log."""
    path = folder / MANIFEST
    manifest = read_manifest(path.read_bytes()) if path.exists() else None
    if manifest is None:
        return None, []
    last = folder / manifest.files[-1].name
    return last, last.read_bytes().splitlines(keepends=True)


class _TornThrownAway(AuditLog):
    torn = b""

    def _open(self) -> None:
        last, lines = _last_file(self.folder)
        if last and lines and not lines[-1].endswith(b"\n"):
            self.torn = lines[-1]
            last.write_bytes(b"".join(lines[:-1]))
        super()._open()


class _TornKept(_TornThrownAway):
    def _open(self) -> None:
        super()._open()
        self._size += os.write(self._fd, self.torn)


class _WholeThrownAway(AuditLog):
    def _open(self) -> None:
        last, lines = _last_file(self.folder)
        if last:
            slots = read_slots((self.folder / ANCHOR).read_bytes())
            last.write_bytes(b"".join(lines[: max(mark.count for mark in slots if mark)]))
        super()._open()


class _NotTold(AuditLog):
    def _append(self, event: dict[str, Any]) -> str:
        return "" if event["type"] == "audit.recovered" else super()._append(event)


class _Lets(AuditLog):
    """Writes what the right log refuses: it is let past the check, and put back behind it."""

    categories: tuple[str, ...] = ()
    any_field = False
    given: Mapping[str, Any] = {}

    def record(self, type: str, **fields: Any) -> str:
        self.given = fields
        checked = {name: self._cleaned(value) for name, value in fields.items()}
        if self.any_field:
            checked.pop("prompt", None)
        return super().record(type, **checked)

    def _cleaned(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return "".join("?" if unicodedata.category(c) in self.categories else c for c in value)

    def _append(self, event: dict[str, Any]) -> str:
        return super()._append({**event, **self.given})


class _PromptWritten(_Lets):
    any_field = True


class _EscapesWritten(_Lets):
    categories = ("Cc", "Zl", "Zp")


class _DirectionTurned(_Lets):
    categories = ("Cf",)


class _HalfLeft(AuditLog):
    def _cut_back(self) -> None:
        self._to_mend = False


class _FullPassedOver(AuditLog):
    def _not_written(self, error: OSError) -> str:
        return ""


class _LossForgotten(AuditLog):
    def _not_written(self, error: OSError) -> str:
        given = super()._not_written(error)
        self._lost = None
        return given


SHIMS: dict[tuple[str, str], Shim] = {
    ("hashed", "id, time, service, event without its type, link"): _formed(_TypeNotHashed),
    ("joined", "one after another"): _formed(_RunTogether),
    ("compared", "the first eight digits"): _formed(_FirstDigits),
    ("lines", "any that say the same"): _formed(_AnySpelling),
    ("first_link", "as it stands"): Shim(verifier=_FirstLinkNotChecked),
    ("across_files", "begins anew"): Shim(_BeginsAnew),
    ("order", "any"): Shim(verifier=_OrderNotChecked),
    ("clock_back", "that of the clock"): Shim(_ClockCopied),
    ("tail", "where the file ends"): Shim(verifier=_TailNotAnchored),
    ("anchored", "at the end"): Shim(_AnchoredAtTheEnd),
    ("cut_log", "written on"): Shim(_WrittenOn),
    ("torn_line", "kept"): Shim(_TornKept),
    ("torn_line", "thrown away"): Shim(_TornThrownAway),
    ("behind_anchor", "thrown away"): Shim(_WholeThrownAway),
    ("recovery", "not told"): Shim(_NotTold),
    ("unknown_file", "passed over"): Shim(verifier=_UnknownPassedOver),
    ("missing_file", "passed over"): Shim(verifier=_MissingPassedOver),
    ("closed_file", "not compared"): Shim(verifier=_ClosedNotCompared),
    ("new_file", "never"): Shim(_OneFile),
    ("new_file", "at each day of the wall clock"): Shim(_WallClock),
    ("fields", "any"): Shim(_PromptWritten),
    ("controls", "written"): Shim(_EscapesWritten),
    ("invisible", "written"): Shim(_DirectionTurned),
    ("half_written", "left"): Shim(_HalfLeft),
    ("full", "nothing"): Shim(_FullPassedOver),
    ("lost", "forgotten"): Shim(_LossForgotten),
    ("second_writer", "let in"): Shim(_LetIn),
}
