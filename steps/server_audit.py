"""The audit log: written, changed by hand, and verified; what is wanted is sealed here, by hashlib alone."""

import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from behave import then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.trace.session import CrashError, NotHereError

NAMES = ["audit_id", "timestamp", "service_id", "event", "prev_hash", "hash"]
ZERO = "0" * 64
START = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


class Clock:
    """Stands until it is moved."""

    now = START

    def __call__(self):
        return self.now


def new_folder(context):
    folder = tempfile.TemporaryDirectory()
    context.add_cleanup(folder.cleanup)
    return Path(folder.name)


def open_log(context, folder, **options):
    """Open a log with the behaviour on trial; it is closed when the scenario ends."""
    options = {"fsync": "never", "clock": context.clock, **options}
    log = context.session.behaviour("server_audit").open(folder, **options)
    context.add_cleanup(log.close)
    return log


def begin(context, count, **options):
    """Record so many events in a new folder, and keep the log open, as of a server that runs."""
    context.clock = Clock()
    context.folder = new_folder(context) / "audit"
    with context.session.trial():
        context.log = open_log(context, context.folder, **options)
        record(context.log, count)


def record(log, count):
    """Record requests that are accepted and finished by turns; return their ids."""
    return [
        log.record("request.finished", job_id=f"j{n}", finish_reason="stop")
        if n % 2
        else log.record("request.accepted", job_id=f"j{n}", tokens_in=n)
        for n in range(count)
    ]


def crash(context):
    """Go on with a copy of the folder, as a process that is killed now leaves it."""
    left = new_folder(context) / "audit"
    context.folder = Path(shutil.copytree(context.folder, left))


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def files_of(folder):
    return [folder / entry["name"] for entry in manifest_of(folder)["files"]]


def records_of(folder):
    return [json.loads(x) for path in files_of(folder) for x in path.read_text("utf-8").splitlines()]


def measure_log(context):
    """Say what the log is like, for the conditions of the rules."""
    found = records_of(context.folder)
    context.session.facts(
        records=len(found),
        files=len(files_of(context.folder)),
        types=len({record["event"]["type"] for record in found}),
        lengths=len({len(str(value)) for record in found for value in record.values()}),
    )


def compact(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def seal(record):
    """Return the hash that the page says a record has."""
    fields = [*(record[name] for name in NAMES[:3]), compact(record["event"]), record["prev_hash"]]
    raws = [field.encode() for field in fields]
    return hashlib.sha256(b"".join(len(raw).to_bytes(8, "big") + raw for raw in raws)).hexdigest()


def line_of(record, names=NAMES):
    return "{" + ",".join(f'"{name}":{compact(record[name])}' for name in names) + "}"


def sealed(record, **changed):
    changed = {**record, **changed}
    return line_of({**changed, "hash": seal(changed)})


def change_line(context, number, change):
    """Put another line in the place of one of the only file; `change` makes it of the records."""
    (path,) = files_of(context.folder)
    lines = path.read_text("utf-8").splitlines()
    before = lines[number - 1]
    lines[number - 1] = change([json.loads(x) for x in lines])
    path.write_text("\n".join(lines) + "\n", "utf-8")
    a, b = before.encode(), lines[number - 1].encode()
    same = sum(x == y for x, y in zip(a, b, strict=False))
    context.session.facts(changed_bytes=max(len(a), len(b)) - same)
    return json.loads(before)["hash"], json.loads(lines[number - 1]).get("hash", "")


def digits_alike(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


# What is recorded


def written_and_killed(context, count):
    """Record events in a log of its own, and end its writer as kill -9 does."""
    begin(context, count)
    measure_log(context)
    crash(context)


@when("{count:d} events are recorded")
def events(context, count):
    begin(context, count)
    measure_log(context)


@when("{count:d} events are recorded, in files of {size:d} bytes")
def events_in_files(context, count, size):
    begin(context, count, max_bytes=size)
    measure_log(context)


@then("each hash is the SHA-256 of id, time, service, event and link, each behind its length")
def hashes(context):
    found = records_of(context.folder)
    context.session.note(compare_text(record["audit_id"], record["hash"], seal(record)) for record in found)


@then("each link is the hash before, and the first is 64 zeros")
def links(context):
    found = records_of(context.folder)
    wanted = [ZERO, *(record["hash"] for record in found)]
    context.session.note(
        compare_text(f"link of {record['audit_id']}", record["prev_hash"], before)
        for record, before in zip(found, wanted, strict=False)
    )


@when(
    "{count:d} events are recorded, the clock is set back by {seconds:d} seconds, "
    "and {more:d} more are recorded"
)
def set_back(context, count, seconds, more):
    begin(context, count)
    context.clock.now -= timedelta(seconds=seconds)
    context.session.facts(seconds_back=(START - context.clock.now).total_seconds())
    with context.session.trial():
        record(context.log, more)
    measure_log(context)


@then("the times of all {count:d} are {time}")
def times(context, count, time):
    got = [record["timestamp"] for record in records_of(context.folder)]
    context.session.note([compare_text("times", " ".join(got), " ".join([time] * count))])


@when("events are recorded {hours:d} hours ahead of UTC at these times of UTC")
def at_times(context, hours):
    zone = timezone(timedelta(hours=hours))
    moments = [datetime.fromisoformat(f"{row['time']}+00:00") for row in context.table]
    context.clock, context.folder = Clock(), new_folder(context) / "audit"
    context.clock.now = moments[0].astimezone(zone)
    context.session.facts(days=len({moment.date() for moment in moments}), hours_ahead=hours)
    with context.session.trial():
        context.log = open_log(context, context.folder)
        for moment in moments:
            context.clock.now = moment.astimezone(zone)
            record(context.log, 1)


@then("the files are")
def files(context):
    got = [f"{path.name} {len(path.read_bytes().splitlines())}" for path in files_of(context.folder)]
    wanted = [f"{row['file']} {row['records']}" for row in context.table]
    context.session.note([compare_text("files and their records", ", ".join(got), ", ".join(wanted))])


# What is changed

CHANGES = {
    "there is a space more": lambda record: line_of(record).replace(",", ", ", 1),
    r"a letter is written as \u006c": lambda record: line_of(record).replace("llorch", r"\u006clorch"),
    "two fields change places": lambda record: line_of(record, [NAMES[1], NAMES[0], *NAMES[2:]]),
}


@when("{count:d} events are recorded, and the last digit of the hash of line {number:d} is another")
def last_digit(context, count, number):
    def change(found):
        record = found[number - 1]
        return line_of({**record, "hash": record["hash"][:-1] + ("0" if record["hash"][-1] != "0" else "1")})

    written_and_killed(context, count)
    context.session.facts(digits_alike=digits_alike(*change_line(context, number, change)))


@when("{count:d} events are recorded, and each byte of line {number:d} is changed in its turn")
def each_byte(context, count, number):
    written_and_killed(context, count)
    (path,) = files_of(context.folder)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    first = sum(map(len, lines[: number - 1]))
    context.found = []
    for place in range(first, first + len(lines[number - 1])):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with context.session.trial():
            context.found.append(not context.session.behaviour("server_audit").verify(context.folder).intact)
    hash = json.loads(lines[number - 1])["hash"]
    last = hash[:-1] + chr(ord(hash[-1]) ^ 1)
    context.session.facts(changed_bytes=len(context.found), digits_alike=digits_alike(hash, last))


@then("the verifier finds every change")
def every_change(context):
    context.session.note([compare("changes that were found", context.found, [True] * len(context.found))])


@when("{count:d} events are recorded, and the link of line {number:d} is another, with a hash that fits")
def other_link(context, count, number):
    written_and_killed(context, count)
    change_line(context, number, lambda found: sealed(found[number - 1], prev_hash="f" * 64))


@when("{count:d} events are recorded, and with a hash that fits, in line {number:d} {change}")
def out_of_order(context, count, number, change):
    def other(found):
        if change.startswith("the id"):
            return sealed(found[number - 1], audit_id=found[number]["audit_id"])
        return sealed(found[number - 1], timestamp="2026-01-02T03:04:04.000006Z")

    written_and_killed(context, count)
    change_line(context, number, other)


@when("{count:d} events are recorded, and in line {number:d} {change}")
def other_spelling(context, count, number, change):
    written_and_killed(context, count)
    change_line(context, number, lambda found: CHANGES[change](found[number - 1]))


@when("{count:d} events are recorded, in files of {size:d} bytes, and {change}")
def other_files(context, count, size, change):
    begin(context, count, max_bytes=size)
    measure_log(context)
    crash(context)
    if change == "the first file is taken away":
        files_of(context.folder)[0].unlink()
    elif change == "a file is put beside them":
        (context.folder / "2026-01-09.audit").touch()
    else:
        data = manifest_of(context.folder)
        data["files"][0]["sha256"] = "f" * 64
        del data["digest"]
        data["digest"] = hashlib.sha256(compact(data).encode()).hexdigest()
        (context.folder / "manifest.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def cut(context, count, last):
    written_and_killed(context, count)
    (path,) = files_of(context.folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) - last]))
    context.session.facts(records_cut=last)


@when("{count:d} events are recorded, and the last {last:d} are cut")
def tail_cut(context, count, last):
    cut(context, count, last)


@when("{count:d} events are recorded, the last {last:d} are cut, and the server starts again")
def started_on_cut(context, count, last):
    cut(context, count, last)
    refusal_of(context, lambda: open_log(context, context.folder))


# What the verifier and the callers are told


@then("the verifier names {kind}, in line {number:d}")
def names_break(context, kind, number):
    with context.session.trial():
        broken = context.session.behaviour("server_audit").verify(context.folder).broken
    got = f"{broken.kind}, line {broken.line}" if broken else "nothing"
    context.session.note([compare_text("the first break", got, f"{kind}, line {number}")])


@then("the verifier finds nothing")
def finds_nothing(context):
    with context.session.trial():
        report = context.session.behaviour("server_audit").verify(context.folder)
    got = f"{report.broken.kind}, line {report.broken.line}" if report.broken else "nothing"
    context.session.note(
        [
            compare_text("the first break", got, "nothing"),
            compare("records", report.records, len(records_of(context.folder))),
        ]
    )


def refusal_of(context, call):
    """Call the log where it refuses; keep the type of its error, which says whose fault it is."""
    context.refusal = context.session.refusal(call)


@when('{count:d} events are recorded, and one with the prompt "{prompt}"')
def with_prompt(context, count, prompt):
    begin(context, count)
    measure_log(context)
    refusal_of(context, lambda: context.log.record("request.accepted", job_id="j", prompt=prompt))


@then('no file of the log has "{text}"')
def not_in_files(context, text):
    raws = [path.read_bytes() for path in sorted(context.folder.iterdir())]
    context.session.note(
        [compare("files that have it", [text.encode() in raw for raw in raws], [0] * len(raws))]
    )


@when("a reason with U+{code} in it is recorded")
def with_character(context, code):
    begin(context, 1)
    context.character = chr(int(code, 16))
    context.session.facts(hidden=sum(not c.isprintable() for c in context.character))
    refusal_of(context, lambda: context.log.record("server.stopped", reason=f"a{context.character}b"))


@then("no file of the log has it")
def character_not_in_files(context):
    got = [record["event"].get("reason", "") for record in records_of(context.folder)]
    context.session.note([compare("records with a reason", sum(map(bool, got)), 0)])


@when("the log is asked what it keeps of two prompts that differ behind {count:d} characters")
def asked_for_digests(context, count):
    context.prompts = ["é" * count + end for end in ("a", "bc")]
    context.session.facts(characters_alike=count)
    with context.session.trial():
        digest_of = context.session.behaviour("server_audit").digest_of
        context.kept = [digest_of(prompt) for prompt in context.prompts]


@then("it keeps the SHA-256 and the length of each")
def keeps_digests(context):
    for prompt, kept in zip(context.prompts, context.kept, strict=True):
        wanted = hashlib.sha256(prompt.encode()).hexdigest()
        context.session.note(
            [compare_text("sha256", kept["sha256"], wanted), compare("chars", kept["chars"], len(prompt))]
        )


@when("a second server opens the log of one that writes")
def second_server(context):
    begin(context, 2)
    context.session.facts(writers=1)
    refusal_of(context, lambda: open_log(context, context.folder))


# Crashes and full disks


@when("the server is killed behind {count:d} events and {torn:d} bytes of a line, and starts again")
def killed_in_line(context, count, torn):
    written_and_killed(context, count)
    (path,) = files_of(context.folder)
    raw = path.read_bytes()
    context.torn = raw[:torn]
    path.write_bytes(raw + context.torn)
    context.session.facts(torn_bytes=path.stat().st_size - len(raw))
    start_again(context, count)


@when("the server is killed behind {count:d} events and one that is not anchored, and starts again")
def killed_before_anchor(context, count):
    begin(context, count)
    anchor = (context.folder / "anchor").read_bytes()
    with context.session.trial():
        record(context.log, 1)
    measure_log(context)
    crash(context)
    (context.folder / "anchor").write_bytes(anchor)
    context.session.facts(behind_anchor=len(records_of(context.folder)) - count)
    start_again(context, count + 1)


def start_again(context, count):
    """Open the log that a crash left, and record one event more; `count` records were there."""
    context.before = records_of_whole_lines(context.folder)[:count]
    with context.session.trial():
        log = open_log(context, context.folder)
        record(log, 1)


def records_of_whole_lines(folder):
    (path,) = files_of(folder)
    return [raw.decode() for raw in path.read_bytes().splitlines(keepends=True) if raw.endswith(b"\n")]


@then("the log goes on with what it mended: {adopted:d} records adopted, {torn:d} bytes torn")
def mended(context, adopted, torn):
    (path,) = files_of(context.folder)
    lines = path.read_bytes().decode().splitlines(keepends=True)
    before = len(context.before)
    context.session.note(
        [
            compare_text("records before", "".join(lines[:before]), "".join(context.before)),
            compare("records behind", len(lines) - before, 2),
        ]
    )
    told = json.loads(lines[before])["event"]
    got = [told.get("type"), told.get("adopted"), told.get("torn_bytes")]
    context.session.note([compare_text("what is told", str(got), str(["audit.recovered", adopted, torn]))])


@then("the torn bytes are in a file of their own")
def torn_aside(context):
    got = b"".join(path.read_bytes() for path in sorted(context.folder.glob("*.torn")))
    context.session.note([compare_text("torn bytes", got.decode(), context.torn.decode())])


@contextmanager
def room_for(size):
    """Let no file grow beyond `size` bytes: a part is written, then comes an error, as on a full disk."""
    try:
        import resource
    except ImportError:
        raise NotHereError("a system that can limit the size of files") from None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@when(
    "the disk has room for {count:d} events and {room:d} bytes, {more:d} more are recorded with "
    "on_full={policy}, and 1 with room again"
)
def full_disk(context, count, room, more, policy):
    begin(context, count, on_full=policy)
    measure_log(context)
    (path,) = files_of(context.folder)
    context.whole, context.ends = path.read_bytes(), []
    with room_for(len(context.whole) + room):
        for _ in range(more):
            context.ends.append(end_of(context))
        context.when_full = path.read_bytes()
    context.session.facts(room=room, not_written=more)
    context.ends.append(end_of(context))


def end_of(context):
    """Record one event; return its id, or how it was not written."""
    try:
        with context.session.trial():
            return record(context.log, 1)[0] or "lost"
    except CrashError as error:
        if type(error.__cause__).__name__ != "AuditFullError":
            raise
        return "full"


@then("the calls end with: {ends}")
def calls_end(context, ends):
    context.session.note([compare_text("how the calls end", ", ".join(context.ends), ends)])


@then("on the full disk the file was as before")
def as_before(context):
    context.session.note([compare_text("the file", context.when_full.decode(), context.whole.decode())])


@then("record {number:d} tells that {lost:d} are lost")
def tells_loss(context, number, lost):
    event = records_of(context.folder)[number - 1]["event"]
    got = f"{event['type']} {event.get('lost')}"
    context.session.note([compare_text(f"record {number}", got, f"audit.gap {lost}")])
