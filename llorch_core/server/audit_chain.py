"""The format of the audit log to the byte: records, their hashes, and the chain that they make.

A line is one record in canonical JSON, and a line feed. Canonical: UTF-8, no spaces, the six names of FIELDS
in their order, and within the event all names sorted. The hash of a record is the SHA-256 over audit_id,
timestamp, service_id, event as canonical JSON, and prev_hash: of each its length in bytes, as 8 bytes with
the highest first, and then its bytes in UTF-8. prev_hash is the hash of the record before, across files; the
first has 64 zeros. docs/audit.md says it again for other languages.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

ZERO = "0" * 64  # the prev_hash of the first record
MAX_LINE = 1 << 20  # bytes; no event that the table allows comes near
FIELDS = ("audit_id", "timestamp", "service_id", "event", "prev_hash", "hash")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SHOWN = 80  # characters of what was got, in a message


@dataclass(frozen=True)
class Record:
    """One record, as it stands in its line."""

    audit_id: str
    timestamp: str
    service_id: str
    event: dict[str, Any]
    prev_hash: str
    hash: str


class FlawError(ValueError):
    """What is wrong with a record: the kind of break, what was wanted, and what is there."""

    def __init__(self, kind: str, wanted: str, got: str, audit_id: str = "") -> None:
        super().__init__(f"{kind}: wanted {wanted}, got {got}")
        self.kind, self.wanted, self.got, self.audit_id = kind, wanted, got, audit_id


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: names sorted, no spaces, characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def id_of(number: int) -> str:
    """Return the audit id of the record with this number; the first is 1."""
    return f"a-{number:012d}"


def stamp_of(time: datetime) -> str:
    """Return a time as RFC 3339 in UTC, with microseconds: as text it sorts as in time."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


class Form:
    """How records become lines, and lines records. Spec: server_audit."""

    def hashed(self, record: Record) -> tuple[str, ...]:
        """Return what the hash of a record is over."""
        return (
            record.audit_id,
            record.timestamp,
            record.service_id,
            canonical(record.event),
            record.prev_hash,
        )

    def joined(self, fields: tuple[str, ...]) -> bytes:
        """Return fields as one string of bytes: the length of each stands before it, so no two share one."""
        raws = [field.encode() for field in fields]
        return b"".join(len(raw).to_bytes(8, "big") + raw for raw in raws)

    def hash_of(self, record: Record) -> str:
        """Return the hash that a record must have, whatever it has."""
        return hashlib.sha256(self.joined(self.hashed(record))).hexdigest()

    def same(self, wanted: str, got: str) -> bool:
        """Say whether two digests are one."""
        return wanted == got

    def make(self, number: int, stamp: str, service_id: str, event: dict[str, Any], prev_hash: str) -> Record:
        """Return the record with this number behind the one whose hash is prev_hash."""
        bare = Record(id_of(number), stamp, service_id, event, prev_hash, "")
        return Record(bare.audit_id, stamp, service_id, event, prev_hash, self.hash_of(bare))

    def line(self, record: Record) -> bytes:
        """Return the line of a record, with its line feed."""
        parts = (
            f'"{name}":{canonical(value)}' for name, value in zip(FIELDS, values_of(record), strict=True)
        )
        return ("{" + ",".join(parts) + "}\n").encode()

    def read(self, raw: bytes) -> Record:
        """Return the record of a line. Raises FlawError where it is none, or is not what its hash is of."""
        record = record_of(raw)
        self.check_bytes(raw, record)
        if not self.same(wanted := self.hash_of(record), record.hash):
            raise FlawError("hash", wanted, record.hash, record.audit_id)
        return record

    def check_bytes(self, raw: bytes, record: Record) -> None:
        """Raise FlawError where a line says what a record does, but in other bytes."""
        if raw != (line := self.line(record)):
            place = next((i for i, (a, b) in enumerate(zip(raw, line, strict=False)) if a != b), len(line))
            wanted, got = (shown(text[max(place - 20, 0) :]) for text in (line, raw))
            raise FlawError("non-canonical", wanted, got, record.audit_id)


def values_of(record: Record) -> tuple[Any, ...]:
    """Return the values of a record in the order of FIELDS."""
    return tuple(getattr(record, name) for name in FIELDS)


def record_of(raw: bytes) -> Record:
    """Return what a line says, unchecked but for its form. Raises FlawError where it is no record."""
    try:
        data = json.loads(raw.decode(), parse_constant=_no_number)
        if not isinstance(data, dict):
            raise ValueError
        canonical(data).encode()  # what has no canonical form, such as half a surrogate, is no JSON of ours
    except (ValueError, RecursionError):
        raise FlawError("not JSON", "one JSON object in a line", shown(raw)) from None
    types = [(name, dict if name == "event" else str) for name in FIELDS]
    if (
        [*data] != [*FIELDS]
        or not all(isinstance(data[name], kind) for name, kind in types)
        or not isinstance(data["event"].get("type"), str)
        or not TIME.fullmatch(data["timestamp"])
    ):
        raise FlawError("form", f"a record with {', '.join(FIELDS)}", shown(raw))
    return Record(**data)


def _no_number(name: str) -> Any:
    raise ValueError(name)


def shown(raw: bytes) -> str:
    """Return bytes for a message: the first of them, and nothing that a terminal would act on."""
    text = ascii(raw[: SHOWN + 1].decode(errors="backslashreplace"))
    return text if len(raw) <= SHOWN else f"{text[:SHOWN]}…"


class Chain:
    """A chain that is followed record by record: how many there were, the last hash and the last time."""

    def __init__(self, form: Form, count: int = 0, head: str = ZERO, time: str = "") -> None:
        self.form, self.count, self.head, self.time = form, count, head, time

    def follow(self, raw: bytes) -> Record:
        """Return the next record. Raises FlawError where the line does not go on with the chain."""
        record = self.form.read(raw)
        self.check_link(record)
        self.check_order(record)
        self.count, self.head, self.time = self.count + 1, record.hash, record.timestamp
        return record

    def check_link(self, record: Record) -> None:
        """Raise FlawError where a record stands behind another one than it says."""
        if not self.form.same(self.head, record.prev_hash):
            raise FlawError("link", self.head, record.prev_hash, record.audit_id)

    def check_order(self, record: Record) -> None:
        """Raise FlawError where ids leave one out or go back, or where time goes back."""
        if record.audit_id != (wanted := id_of(self.count + 1)):
            raise FlawError("order", wanted, record.audit_id, record.audit_id)
        if record.timestamp < self.time:
            raise FlawError("order", f"{self.time} or later", record.timestamp, record.audit_id)


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers from 1; one of more than MAX_LINE bytes in pieces."""
    number = 0
    while raw := file.readline(MAX_LINE):
        number += 1
        yield number, raw
