"""The audit log: nothing returned for is lost, and nothing changed or cut goes unseen.

What is expected is worked out here, with hashlib and json alone, from the page docs/audit.md.
With LLORCH_AUDIT_FLIPS, LLORCH_AUDIT_CUTS and LLORCH_AUDIT_KILLS more bytes, tails and processes are tried.
"""

import hashlib
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import unicodedata
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch_core.engine.errors import UsageError
from llorch_core.server.audit import AuditFullError, AuditLog
from llorch_core.server.audit_anchor import Anchor
from llorch_core.server.audit_events import EVENTS, digest_of
from llorch_core.server.audit_verify import KINDS, verify

ROOT = Path(__file__).parents[2]
FLIPS = int(os.environ.get("LLORCH_AUDIT_FLIPS", "60"))
CUTS = int(os.environ.get("LLORCH_AUDIT_CUTS", "25"))
KILLS = int(os.environ.get("LLORCH_AUDIT_KILLS", "3"))
ZERO = "0" * 64
NAMES = ["audit_id", "timestamp", "service_id", "event", "prev_hash", "hash"]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_log(tmp_path, clock):
    """open_log(folder=…, **options) -> a log that is closed in the end; by default in tmp_path/audit."""
    logs = []

    def make(folder=tmp_path / "audit", **options):
        logs.append(AuditLog(folder, **{"fsync": "never", "clock": clock, **options}))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


def fill(log, count, begin=0):
    return [log.record("request.accepted", job_id=f"j{n}", tokens_in=n) for n in range(begin, begin + count)]


def records(folder):
    """Return every record of the files that the manifest names, as JSON."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return [json.loads(x) for f in files for x in (folder / f["name"]).read_text("utf-8").splitlines()]


def last_file(folder):
    return folder / json.loads((folder / "manifest.json").read_text())["files"][-1]["name"]


def compact(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sealed(record):
    """Return a record with the hash that the page says it has."""
    fields = [*(record[name] for name in NAMES[:3]), compact(record["event"]), record["prev_hash"]]
    raws = [field.encode() for field in fields]
    found = hashlib.sha256(b"".join(len(raw).to_bytes(8, "big") + raw for raw in raws)).hexdigest()
    return {**record, "hash": found}


def line(record):
    parts = (f'"{name}":{compact(record[name])}' for name in NAMES)
    return "{" + ",".join(parts) + "}\n"


def copy_of(folder, name="copy"):
    """Return a copy of a folder as a process that was killed now would leave it."""
    return shutil.copytree(folder, folder.with_name(name))


@contextmanager
def full_disk(limit):
    """Have no file grow beyond `limit` bytes: a part is written, then comes an error, as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The format


def test_the_first_record_is_the_line_that_the_page_says(open_log, tmp_path):
    log = open_log(service_id="wörker")
    assert log.record("server.stopped", reason="SIGTERM, “später”") == "a-000000000001"
    fields = ["a-000000000001", "2026-01-02T03:04:05.000006Z", "wörker"]
    event = '{"reason":"SIGTERM, “später”","type":"server.stopped"}'
    hashed = b"".join(len(x.encode()).to_bytes(8, "big") + x.encode() for x in [*fields, event, ZERO])
    wanted = (
        '{"audit_id":"a-000000000001","timestamp":"2026-01-02T03:04:05.000006Z","service_id":"wörker",'
        f'"event":{event},"prev_hash":"{ZERO}","hash":"{hashlib.sha256(hashed).hexdigest()}"}}\n'
    )
    assert (tmp_path / "audit" / "2026-01-02.audit").read_bytes() == wanted.encode()


def test_each_record_stands_behind_the_one_before_it_across_files_and_starts(open_log, tmp_path):
    for begin in (0, 12):
        log = open_log(max_bytes=1500)
        fill(log, 12, begin)
        log.close()
    found, before = records(tmp_path / "audit"), ZERO
    assert len({path.name for path in (tmp_path / "audit").glob("*.audit")}) > 3
    for number, record in enumerate(found, 1):
        assert record["audit_id"] == f"a-{number:012d}"
        assert record["prev_hash"] == before
        assert record == sealed(record)
        before = record["hash"]
    assert (log.count, log.head) == (len(found), before)


def test_the_anchor_names_the_last_record_at_once(open_log, tmp_path):
    log = open_log()
    for count in range(1, 5):
        fill(log, 1)
        slots = (tmp_path / "audit" / "anchor").read_text().splitlines()
        text = f"{count:020d} {log.head}"
        assert slots[count % 2] == f"{text} {hashlib.sha256(text.encode()).hexdigest()}"


def test_the_check_on_the_page_finds_what_it_should(open_log, tmp_path):
    log, folder = open_log(max_bytes=1500), tmp_path / "audit"
    fill(log, 12)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", code, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stdout == f"{log.count} records are right; head {log.head}\n", ran.stderr
    path = last_file(folder)
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1]))
    assert "the end is not the one" in subprocess.run(command, capture_output=True, text=True).stderr


def test_the_page_names_every_kind_of_break():
    text = (ROOT / "docs" / "audit.md").read_text()
    assert re.findall(r"^\| `([a-zA-Z -]+)` \| ([^|]+) \|$", text, re.MULTILINE)[-len(KINDS) :] == [
        *KINDS.items()
    ]


def test_all_policies_write_the_same_bytes(open_log, tmp_path):
    for policy in ("always", "interval", "never"):
        fill(open_log(tmp_path / policy, fsync=policy, interval=0.001), 5)
    contents = {(tmp_path / p / "2026-01-02.audit").read_bytes() for p in ("always", "interval", "never")}
    assert len(contents) == 1
    assert contents.pop().count(b"\n") == 5


# What may stand in it


@pytest.mark.parametrize(
    ("type", "fields", "said"),
    [
        ("request.started", {}, "no audit event 'request.started'"),
        ("request.accepted", {}, "lacks job_id"),
        ("request.accepted", {"job_id": "j", "prompt": "To be"}, "has no field 'prompt'"),
        ("request.accepted", {"job_id": "j" * 1025}, "has 1,025 characters"),
        ("request.accepted", {"job_id": 7}, "is no text"),
        ("request.accepted", {"job_id": "j", "temperature": math.nan}, "wanted a finite number"),
        ("request.accepted", {"job_id": "j", "temperature": math.inf}, "wanted a finite number"),
        ("request.accepted", {"job_id": "j", "n": True}, "is no whole"),
        ("request.accepted", {"job_id": "j", "seed": 2**64}, "is no whole"),
        ("request.accepted", {"job_id": "j", "stream": 1}, "is no flag"),
        ("request.accepted", {"job_id": "j", "token": "swordfish-swordfish"}, "is no token"),
        ("request.accepted", {"job_id": "j", "prompt_sha256": "To be"}, "is no digest"),
        ("request.refused", {"reason": "x", "fields": [["n"]]}, "is no list"),
        ("request.refused", {"reason": "x", "fields": {"n": 1}}, "is no list"),
        ("request.refused", {"reason": "x", "fields": ["n\x1b[2J"]}, "U+001B"),
        ("request.refused", {"reason": "x", "fields": ["n"] * 65}, "is no list"),
        ("audit.gap", {"lost": 1, "first": "", "last": "", "error": ""}, "written by the log itself"),
    ],
)
def test_what_the_table_does_not_allow_is_refused_and_not_shown(open_log, tmp_path, type, fields, said):
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        open_log().record(type, **fields)
    assert not re.search("swordfish|To be|\x1b", str(refused.value))
    assert (tmp_path / "audit" / "2026-01-02.audit").read_bytes() == b""


def test_every_event_of_the_table_can_be_written_and_read_again(open_log, tmp_path):
    values = {"text": "“ø”", "whole": 2**64 - 1, "number": 0.1, "flag": False, "digest": "ab" * 32}
    values |= {"token": "token:a1b2c3", "list": ["a", 1, 0.5, True]}
    log, wanted = open_log(), []
    for type, event in EVENTS.items():
        fields = {name: values[kind] for name, kind in {**event.must, **event.may}.items()}
        if not type.startswith("audit."):
            log.record(type, **fields, correlation_id=None) if "correlation_id" not in fields else log.record(
                type, **fields
            )
            wanted.append({"type": type, **fields})
    assert [record["event"] for record in records(tmp_path / "audit")] == wanted
    assert verify(tmp_path / "audit").intact


HIDDEN = st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])
SHOWN = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])


@given(st.text(SHOWN, max_size=20), HIDDEN, st.text(SHOWN, max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_text_with_a_character_that_does_not_show_is_refused(session_log, before, hidden, after):
    with pytest.raises(UsageError, match=f"U\\+{ord(hidden):04X}, at {len(before)}"):
        session_log.record("server.stopped", reason=before + hidden + after)


@pytest.mark.parametrize(
    "hidden", "\0\n\t\x1b\x7f\x85\x9b\u200b\u200d\u202e\u2066\u2028\u2029\ufeff\u00ad\ud800"
)
def test_the_well_known_ones_are_among_them(session_log, hidden):
    assert unicodedata.category(hidden) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    with pytest.raises(UsageError, match="U\\+"):
        session_log.record("server.stopped", reason=f"a{hidden}b")


@given(st.text(SHOWN, max_size=30), st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=60, deadline=None)
def test_any_other_text_and_number_comes_back_as_it_was(session_log, text, number):
    session_log.record("request.refused", reason=text, retry_after_s=number)
    event = records(session_log.folder)[-1]["event"]
    assert event == {"type": "request.refused", "reason": text, "retry_after_s": number}
    assert verify(session_log.folder).intact


@pytest.fixture(scope="module")
def session_log(tmp_path_factory):
    with AuditLog(tmp_path_factory.mktemp("log") / "audit", fsync="never", max_bytes=10_000) as log:
        yield log


def test_of_a_prompt_only_its_digest_and_length_are_kept(open_log, tmp_path):
    prompt = "Who's there? Nay, answer me: \ud83d stand & unfold"
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
    assert digest_of(prompt) == {"sha256": digest, "chars": len(prompt)}
    open_log().record("request.accepted", job_id="j", **digest_of(prompt, "prompt"))
    (record,) = records(tmp_path / "audit")
    assert record["event"]["prompt_sha256"] == digest
    for path in (tmp_path / "audit").iterdir():
        assert b"there" not in path.read_bytes()


# Who writes


def test_threads_write_one_chain(open_log, tmp_path):
    log, ids = open_log(max_bytes=4000), []
    threads = [threading.Thread(target=lambda n=n: ids.extend(fill(log, 25, 25 * n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 100
    assert set(ids) <= {record["audit_id"] for record in records(tmp_path / "audit")}
    assert verify(tmp_path / "audit").intact


def test_a_second_writer_is_refused_until_the_first_is_done(open_log, tmp_path):
    log = open_log()
    fill(log, 1)
    with pytest.raises(UsageError, match="written by another process"):
        AuditLog(tmp_path / "audit")
    code = "import sys; from llorch_core.server.audit import AuditLog; AuditLog(sys.argv[1])"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "audit")], capture_output=True, text=True, cwd=ROOT
    )
    assert "written by another process" in ran.stderr
    log.close()
    fill(open_log(), 1)
    assert verify(tmp_path / "audit").records == 2


def test_a_closed_log_takes_no_record(open_log):
    log = open_log()
    log.close()
    log.close()
    with pytest.raises(UsageError, match="is closed"):
        fill(log, 1)


@pytest.mark.parametrize("wrong", [{"fsync": "sometimes"}, {"on_full": "panic"}])
def test_a_policy_that_does_not_exist_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="wanted one of"):
        AuditLog(tmp_path / "audit", **wrong)
    assert not (tmp_path / "audit").exists()


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file/audit cannot be opened"):
        AuditLog(tmp_path / "file" / "audit")


# Files


def test_a_new_day_in_utc_begins_a_new_file(open_log, clock, tmp_path):
    log, folder = open_log(), tmp_path / "audit"
    clock.now = datetime(2026, 1, 3, 0, 30, tzinfo=UTC).astimezone(tz=None)
    assert fill(log, 1) == ["a-000000000001"]  # an empty file is not closed
    clock.now += timedelta(days=1)
    assert fill(log, 2) == ["a-000000000003", "a-000000000004"]
    (old, new) = json.loads((folder / "manifest.json").read_text())["files"]
    raw = (folder / "2026-01-02.audit").read_bytes()
    assert (old["name"], old["events"], old["last_id"]) == ("2026-01-02.audit", 1, "a-000000000001")
    assert old["sha256"] == hashlib.sha256(raw).hexdigest()
    assert (new["name"], new["first_id"], new["closed"]) == ("2026-01-04.audit", "a-000000000002", None)
    event = {"type": "audit.rotated", "closed": old["name"], "events": 1, "sha256": old["sha256"]}
    assert [r["event"]["type"] for r in records(folder)] == [
        "request.accepted",
        "audit.rotated",
        *["request.accepted"] * 2,
    ]
    assert records(folder)[1]["event"] == event
    assert verify(folder).intact


def test_a_file_that_is_large_enough_is_closed_and_the_next_is_numbered(open_log, tmp_path):
    fill(open_log(max_bytes=1000), 9)
    names = [f["name"] for f in json.loads((tmp_path / "audit" / "manifest.json").read_text())["files"]]
    assert names[:3] == ["2026-01-02.audit", "2026-01-02.1.audit", "2026-01-02.2.audit"]
    for name in names[:-1]:
        assert 1000 <= (tmp_path / "audit" / name).stat().st_size < 1500
    assert verify(tmp_path / "audit").files == len(names)


def test_a_clock_that_is_set_back_does_not_take_time_back(open_log, clock, tmp_path):
    log = open_log()
    fill(log, 1)
    clock.now -= timedelta(hours=30)
    fill(log, 1)
    first, second = records(tmp_path / "audit")
    assert second["timestamp"] == first["timestamp"] == "2026-01-02T03:04:05.000006Z"
    assert verify(tmp_path / "audit").intact


def test_a_change_of_file_that_fails_half_way_is_done_again_also_after_a_crash(open_log, tmp_path):
    log, folder = open_log(max_bytes=900), tmp_path / "audit"
    fill(log, 3)
    (folder / "2026-01-02.1.audit").mkdir()  # no file can be made there
    with pytest.raises(AuditFullError, match="directory"):
        fill(log, 1)
    (folder / "2026-01-02.1.audit").rmdir()
    crashed = copy_of(folder)
    assert verify(crashed).intact
    assert "not begun yet" in verify(crashed).notes[0]
    for each in (log, open_log(crashed)):
        fill(each, 1)
        types = [record["event"]["type"] for record in records(each.folder)[3:]]
        assert types == ["audit.rotated", "request.accepted"]
        assert verify(each.folder).intact


# After a crash


def test_a_torn_line_is_moved_aside_and_told(open_log, tmp_path):
    log, folder = open_log(), tmp_path / "audit"
    fill(log, 3)
    crashed = copy_of(folder)
    with (crashed / "2026-01-02.audit").open("ab") as file:
        file.write(b'{"audit_id":"a-0000')
    assert verify(crashed).broken.kind == "torn line"
    open_log(crashed).close()
    (side,) = crashed.glob("*.torn")
    assert side.read_bytes() == b'{"audit_id":"a-0000'
    assert records(crashed)[3]["event"] == {
        **{"type": "audit.recovered", "adopted": 0, "torn_bytes": 19, "anchor_torn": False},
        **{"torn_file": side.name, "torn_sha256": hashlib.sha256(b'{"audit_id":"a-0000').hexdigest()},
    }
    assert verify(crashed).intact
    side.write_bytes(b'{"audit_id":"a-0001')
    assert verify(crashed).broken.kind == "file digest"
    side.unlink()
    assert verify(crashed).broken.kind == "missing file"


def test_a_hole_that_a_power_loss_left_behind_the_anchor_is_a_torn_line(open_log, tmp_path):
    fill(open_log(), 3)
    crashed = copy_of(tmp_path / "audit")
    with (crashed / "2026-01-02.audit").open("ab") as file:
        file.write(b'{"audit_id"' + bytes(40) + b'"}\n')
    open_log(crashed)
    assert records(crashed)[3]["event"]["torn_bytes"] == 54
    assert verify(crashed).intact


def test_a_whole_record_behind_the_anchor_is_adopted_and_told(open_log, tmp_path):
    log, folder = open_log(), tmp_path / "audit"
    fill(log, 3)
    anchor = (folder / "anchor").read_bytes()
    fill(log, 1)
    crashed = copy_of(folder)
    (crashed / "anchor").write_bytes(anchor)
    assert verify(crashed).intact
    assert "1 after the anchor" in verify(crashed).notes[0]
    fill(open_log(crashed), 1)
    assert records(crashed)[3] == records(folder)[3]
    told = {"type": "audit.recovered", "adopted": 1, "torn_bytes": 0, "anchor_torn": False}
    assert records(crashed)[4]["event"] == told
    assert json.loads((crashed / "manifest.json").read_text())["count"] == 5  # as it was at the start
    assert verify(crashed).records == 6


def test_a_recovery_that_was_cut_off_is_told_by_the_next_one(open_log, tmp_path):
    fill(open_log(), 3)
    crashed = copy_of(tmp_path / "audit")
    size = (crashed / "2026-01-02.audit").stat().st_size
    (crashed / f"2026-01-02.audit.{size}.torn").write_bytes(b"half")
    assert verify(crashed).intact
    open_log(crashed)
    assert records(crashed)[3]["event"]["torn_bytes"] == 4
    assert verify(crashed).intact


def test_what_a_crash_leaves_of_the_first_start_or_of_a_manifest_does_no_harm(open_log, tmp_path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "anchor").touch()
    with pytest.raises(UsageError, match="holds no audit log"):
        verify(tmp_path / "audit")
    (tmp_path / "audit" / "manifest.json.partial").write_text("{")
    fill(open_log(), 2)
    crashed = copy_of(tmp_path / "audit")
    (crashed / "manifest.json.partial").write_text('{"format"')
    assert verify(crashed).intact
    open_log(crashed)
    assert not (crashed / "manifest.json.partial").exists()


def test_a_torn_slot_of_the_anchor_is_mended_if_its_record_is_there(open_log, tmp_path):
    fill(open_log(), 3)  # the third is in slot 1
    for name, cut, slot in (("newer", 0, 1), ("cut", 1, 1), ("older", 0, 0)):
        crashed = copy_of(tmp_path / "audit", name)
        anchor = bytearray((crashed / "anchor").read_bytes())
        anchor[slot * 151 + 30] ^= 1
        (crashed / "anchor").write_bytes(anchor)
        lines = (crashed / "2026-01-02.audit").read_bytes().splitlines(True)
        (crashed / "2026-01-02.audit").write_bytes(b"".join(lines[: 3 - cut]))
        assert verify(crashed).broken.kind == "anchor"
        if name == "newer":
            open_log(crashed)
            assert records(crashed)[3]["event"]["anchor_torn"] is True
            assert verify(crashed).intact
        else:  # no crash leaves that
            with pytest.raises(UsageError, match="tail was cut"):
                AuditLog(crashed)


WRITER = """
import sys
from llorch_core.server.audit import AuditLog
log = AuditLog(sys.argv[1], fsync="never", max_bytes=3000)
while True:
    print(log.record("request.accepted", job_id="j" * 40), flush=True)
"""


@pytest.mark.untraced
def test_a_process_that_is_killed_loses_nothing_that_it_was_told_of(tmp_path):
    rng, folder, told = random.Random(7), tmp_path / "audit", set()
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            told |= {child.stdout.readline().strip() for _ in range(rng.randrange(1, 400))}
            child.kill()
            told |= {text.strip() for text in child.stdout if text.endswith("\n")}
        left = verify(folder)
        assert left.intact or left.broken.kind == "torn line", left.broken
        AuditLog(folder, fsync="never").close()
        assert verify(folder).intact
        assert told <= {record["audit_id"] for record in records(folder)}
    assert len(told) >= KILLS


# What somebody does to it


@pytest.fixture(scope="module")
def log_of_all(tmp_path_factory):
    """A closed log with several files, a recovery with a torn line, and a gap."""
    folder = tmp_path_factory.mktemp("all") / "audit"
    with AuditLog(folder, fsync="never", max_bytes=2500) as log:
        fill(log, 9)
    with last_file(folder).open("ab") as file:
        file.write(b'{"audit_id":"a-00')
    with AuditLog(folder, fsync="never", max_bytes=2500, on_full="continue") as log:
        with full_disk(last_file(folder).stat().st_size + 10):
            fill(log, 2)
        fill(log, 9)
    assert verify(folder).intact
    assert len(list(folder.iterdir())) >= 6
    return folder


@pytest.mark.untraced
def test_a_flip_of_any_byte_of_any_file_is_found(log_of_all, tmp_path):
    folder, rng = copy_of_all(log_of_all, tmp_path), random.Random(11)
    paths = sorted(folder.iterdir())
    assert {"anchor", "manifest.json"} < {path.name for path in paths}
    for n in range(FLIPS):
        path = paths[n % len(paths)]
        raw = path.read_bytes()
        place, other = rng.randrange(len(raw)), rng.randrange(1, 256)
        path.write_bytes(raw[:place] + bytes([raw[place] ^ other]) + raw[place + 1 :])
        assert not verify(folder).intact, f"{path.name}, byte {place} ^ {other}"
        path.write_bytes(raw)
    assert verify(folder).intact


@pytest.mark.untraced
def test_a_cut_tail_is_found_and_no_start_goes_on_from_there(log_of_all, tmp_path):
    rng, files = random.Random(13), json.loads((log_of_all / "manifest.json").read_text())["files"]
    for n in range(CUTS):
        folder = copy_of_all(log_of_all, tmp_path / str(n))
        at = rng.randrange(len(files)) if n % 2 else len(files) - 1
        for file in files[at + 1 :]:
            (folder / file["name"]).unlink()
        path = folder / files[at]["name"]
        lines = path.read_bytes().splitlines(True)
        if at + 1 < len(files) and n % 4 == 1:  # whole files only
            kinds = {"missing file"}
        else:
            kept = b"".join(lines[: rng.randrange(len(lines))])
            path.write_bytes(kept + lines[0][: rng.randrange(len(lines[0]))] * (n % 3 == 0))
            kinds = {"cut tail", "torn line", "file digest"} if at + 1 < len(files) else {"cut tail"}
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert verify(folder).broken.kind in kinds
        with pytest.raises(UsageError, match=r"is broken: its tail was cut"):
            AuditLog(folder)
        assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def copy_of_all(log_of_all, parent):
    return shutil.copytree(log_of_all, parent / "changed")


def changed_line(number, change):
    """Return what changes the record on a line of the first file: a function of JSON to a line."""

    def act(folder):
        path = folder / "2026-01-02.audit"
        lines = path.read_text().splitlines(True)
        lines[number - 1] = change(json.loads(lines[number - 1]))
        path.write_text("".join(lines))

    return act


def with_event(**fields):
    return lambda record: line({**record, "event": {**record["event"], **fields}})


def manifest_said(head=None, **fields):
    """Return what puts other words into the manifest, with a digest that fits; a head is one of no record."""

    def act(folder):
        data = json.loads((folder / "manifest.json").read_text())
        data["files"][0] |= fields
        data |= {"count": 0, "head": head} if head else {}
        del data["digest"]
        data["digest"] = hashlib.sha256(compact(data).encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(data, indent=1) + "\n")

    return act


BREAKS = {
    "hash": changed_line(2, with_event(tokens_in=99)),
    "hash ": changed_line(2, lambda record: line({**record, "hash": record["hash"][:-1] + "x"})),
    "link": changed_line(2, lambda record: line(sealed({**record, "prev_hash": "f" * 64}))),
    "link ": changed_line(1, lambda record: line(sealed({**record, "prev_hash": "f" * 64}))),
    "link  ": changed_line(2, lambda record: ""),
    "order": changed_line(2, lambda record: line(sealed({**record, "audit_id": "a-000000000003"}))),
    "order ": changed_line(
        2, lambda record: line(sealed({**record, "timestamp": "2026-01-02T03:04:05.000005Z"}))
    ),
    "form": changed_line(2, lambda record: json.dumps({"audit_id": record["audit_id"]}) + "\n"),
    "form ": changed_line(2, lambda record: line(sealed({**record, "timestamp": "yesterday"}))),
    "not JSON": changed_line(2, lambda record: line(record).replace(":1,", ":NaN,")),
    "not JSON  ": changed_line(2, lambda record: line(record).replace("llorch", "\\ud800")),
    "not JSON ": changed_line(2, lambda record: "[" * 10_000 + "\n"),
    "non-canonical": changed_line(2, lambda record: line(record).replace(",", ", ", 1)),
    "non-canonical ": changed_line(2, lambda record: line(record).replace("llorch", "\\u006clorch")),
    "unknown file": lambda folder: (folder / "2026-01-09.audit").touch(),
    "unknown file ": lambda folder: (folder / "2026-01-02.audit.7.torn").touch(),
    "missing file": lambda folder: (folder / "2026-01-02.audit").unlink(),
    "missing file ": lambda folder: (folder / "anchor").unlink(),
    "missing file  ": lambda folder: (folder / "manifest.json").unlink(),
    "file digest": manifest_said(sha256="f" * 64),
    "manifest": manifest_said(events=2),
    "manifest ": manifest_said(first_id="a-000000000002"),
    "manifest   ": manifest_said(head="f" * 64),
    "manifest  ": lambda folder: (folder / "manifest.json").write_text("[]"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_the_kind_of_a_break_is_named(open_log, tmp_path, kind):
    log = open_log(max_bytes=900)
    fill(log, 4)
    log.close()
    assert verify(log.folder).files == 2
    BREAKS[kind](log.folder)
    assert verify(log.folder).broken.kind == kind.strip()


def test_the_first_broken_record_is_named_with_what_was_wanted(open_log, tmp_path):
    log, folder = open_log(max_bytes=900), tmp_path / "audit"
    fill(log, 9)
    right = records(folder)[1]
    for number in (3, 2):
        changed_line(number, with_event(tokens_in=99))(folder)
    found = verify(folder).broken
    assert (found.file, found.line, found.audit_id) == ("2026-01-02.audit", 2, "a-000000000002")
    wanted = sealed({**right, "event": {**right["event"], "tokens_in": 99}})["hash"]
    assert (found.wanted, found.got) == (wanted, right["hash"])


@pytest.mark.parametrize("name", ["anchor", "manifest.json"])
def test_a_log_that_was_written_anew_is_not_the_one_that_was_anchored(open_log, tmp_path, name):
    for n, folder in enumerate((tmp_path / "audit", tmp_path / "other")):
        log = open_log(folder)
        fill(log, 3, n)
        log.close()
    shutil.copy(tmp_path / "other" / name, tmp_path / "audit" / name)
    assert verify(tmp_path / "audit").broken.kind == name.partition(".")[0]
    with pytest.raises(UsageError, match="not the one that was anchored"):
        AuditLog(tmp_path / "audit")


@pytest.mark.parametrize("name", ["anchor", "manifest.json"])
def test_no_start_goes_on_without_anchor_or_manifest(open_log, tmp_path, name):
    log = open_log()
    fill(log, 2)
    log.close()
    (log.folder / name).unlink()
    with pytest.raises(UsageError, match="is broken"):
        AuditLog(log.folder)
    assert verify(log.folder).broken.kind in ("missing file", "anchor")


@pytest.mark.parametrize("taken", [("manifest.json", "anchor"), ("manifest.json", "2026-01-02.audit")])
def test_no_start_begins_anew_where_there_was_a_log(open_log, taken):
    log = open_log()
    fill(log, 2)
    log.close()
    for name in taken:
        (log.folder / name).unlink()
    with pytest.raises(UsageError, match=r"manifest.json is missing, and there are"):
        AuditLog(log.folder)


def test_no_start_goes_on_where_more_than_the_last_line_is_torn(open_log, tmp_path):
    fill(open_log(), 3)
    crashed = copy_of(tmp_path / "audit")
    with (crashed / "2026-01-02.audit").open("ab") as file:
        file.write(b"{}}\n{}")
    with pytest.raises(UsageError, match="line 4: not JSON"):
        AuditLog(crashed)


def test_no_start_goes_on_from_a_record_that_was_changed(open_log, tmp_path):
    log = open_log()
    fill(log, 3)
    log.close()
    changed_line(2, with_event(tokens_in=99))(log.folder)
    with pytest.raises(UsageError, match=r"2026-01-02.audit, line 2: hash"):
        AuditLog(log.folder)


# A disk that takes no more


def test_on_a_full_disk_a_record_is_refused_and_nothing_of_it_stays(open_log, tmp_path):
    log, path = open_log(), tmp_path / "audit" / "2026-01-02.audit"
    fill(log, 2)
    before = path.read_bytes()
    with full_disk(len(before) + 100):
        for _ in range(2):
            with pytest.raises(AuditFullError, match="cannot be written: File too large"):
                fill(log, 1)
            assert path.read_bytes() == before
    assert verify(log.folder).intact
    assert fill(log, 1) == ["a-000000000003"]
    assert verify(log.folder).records == 3


def test_with_continue_what_is_lost_is_counted_and_told_before_the_next_record(open_log, clock, tmp_path):
    log, path = open_log(on_full="continue"), tmp_path / "audit" / "2026-01-02.audit"
    fill(log, 2)
    with full_disk(path.stat().st_size + 100):
        assert not log.full
        assert fill(log, 1) == [""]
        clock.now += timedelta(seconds=1)
        assert fill(log, 1) == [""]
        assert log.full
    assert fill(log, 1) == ["a-000000000004"]
    assert not log.full
    told = {"lost": 2, "first": "2026-01-02T03:04:05.000006Z", "last": "2026-01-02T03:04:06.000006Z"}
    assert records(log.folder)[2]["event"] == {"type": "audit.gap", **told, "error": "File too large"}
    assert verify(log.folder).records == 4


def test_what_is_lost_is_told_at_the_end_if_no_record_comes(open_log, tmp_path):
    log = open_log(on_full="continue")
    fill(log, 2)
    with full_disk((tmp_path / "audit" / "2026-01-02.audit").stat().st_size):
        fill(log, 3)
    log.close()
    assert records(log.folder)[-1]["event"]["lost"] == 3
    assert verify(log.folder).intact


def test_a_process_that_is_killed_on_a_full_disk_leaves_a_log_that_goes_on(open_log, tmp_path):
    log = open_log()
    fill(log, 2)
    with full_disk((tmp_path / "audit" / "2026-01-02.audit").stat().st_size + 50):
        with pytest.raises(AuditFullError):
            fill(log, 1)
        crashed = copy_of(tmp_path / "audit")
    fill(open_log(crashed), 1)
    assert verify(crashed).records == 3


@pytest.fixture
def log_on_a_disk_that_cannot_sync(tmp_path, clock):
    """log(**options) -> a log whose records go to /dev/null, which takes all and can sync none."""
    if sys.platform != "linux":
        pytest.skip("/dev/null of this system may sync")
    AuditLog(tmp_path / "audit", clock=clock).close()
    (tmp_path / "audit" / "2026-01-02.audit").unlink()
    (tmp_path / "audit" / "2026-01-02.audit").symlink_to("/dev/null")
    logs = []

    def make(**options):
        logs.append(AuditLog(tmp_path / "audit", clock=clock, **options))
        return logs[-1]

    yield make
    for log in logs:
        with pytest.raises(AuditFullError):  # at the end all policies sync
            log.close()


def test_always_returns_only_for_what_was_synced(log_on_a_disk_that_cannot_sync):
    with pytest.raises(AuditFullError, match="Invalid argument"):
        fill(log_on_a_disk_that_cannot_sync(fsync="always"), 1)


def test_never_returns_before(log_on_a_disk_that_cannot_sync):
    assert len(fill(log_on_a_disk_that_cannot_sync(fsync="never"), 2)) == 2


def test_interval_returns_before_and_the_next_record_tells_what_went_wrong(log_on_a_disk_that_cannot_sync):
    log = log_on_a_disk_that_cannot_sync(fsync="interval", interval=0.001)
    fill(log, 1)
    until = time.monotonic() + 10
    while not log.full and time.monotonic() < until:
        threading.Event().wait(0.001)
    with pytest.raises(AuditFullError, match="Invalid argument"):
        fill(log, 1)


class Faulty(Anchor):
    """An anchor on a disk with faults: it is written, and the disk says that it is not."""

    faults = 0

    def write(self, mark):
        super().write(mark)
        self.fail()

    def write_both(self, mark):
        self.fail()
        super().write_both(mark)

    def fail(self):
        if self.faults:
            self.faults -= 1
            raise OSError(5, "Input/output error")


class OnFaultyDisk(AuditLog):
    anchoring = Faulty


@pytest.mark.parametrize("faults", [1, 2, 3])
def test_what_cannot_be_anchored_is_taken_back_at_once_or_before_the_next_record(tmp_path, faults):
    with OnFaultyDisk(tmp_path / "audit", fsync="never") as log:
        fill(log, 2)
        log._anchor.faults = faults
        with pytest.raises(AuditFullError, match="Input/output error"):
            fill(log, 1)
        if faults == 1:
            left = verify(copy_of(log.folder))
            assert (left.intact, left.records) == (True, 2)
        for _ in range(2):
            if log._anchor.faults:
                with pytest.raises(AuditFullError, match="Input/output error"):
                    fill(log, 1)
        assert fill(log, 1) == ["a-000000000003"]
        assert verify(log.folder).intact


# The command


def llorch(*arguments):
    command = [sys.executable, "-m", "llorch_core", "audit", "verify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest.mark.untraced
def test_the_command_says_that_a_log_is_intact_or_what_is_broken(open_log, tmp_path):
    log = open_log()
    fill(log, 3)
    ran = llorch(log.folder)
    assert ran.returncode == 0, ran.stderr
    assert "3 records in 1 files are right" in ran.stdout
    assert log.head in ran.stdout
    assert "from   2026-01-02T03:04:05.000006Z" in ran.stdout
    changed_line(2, with_event(tokens_in=99))(log.folder)
    ran = llorch(log.folder, "--json")
    assert ran.returncode == 1, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["verdict"], found["records"]) == ("broken", 1)
    assert (found["broken"]["kind"], found["broken"]["line"]) == ("hash", 2)
    told = llorch(log.folder).stdout
    for part in (
        "is broken: hash",
        "2026-01-02.audit, line 2, record a-000000000002",
        "wanted",
        "it was changed",
    ):
        assert part in told


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_the_command_says_where_there_is_no_log(tmp_path, name):
    ran = llorch(tmp_path / name)
    assert ran.returncode == 2
    assert "error:" in ran.stderr
    assert "Traceback" not in ran.stderr
