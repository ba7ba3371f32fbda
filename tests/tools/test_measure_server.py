"""The tool that measures the server: its sums are right, and no error passes for an answer."""

import asyncio
import json
import random
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from server_load import bench, fuzz, ledger, peer, tables
from server_load.figures import Timed, figures, flatness, percentile, percentiles
from server_load.ledger import Followed, Ledger, Log, read_log
from server_load.wire import BadAnswerError, Events, ask, read_head, request_bytes

# Sums.


def test_a_percentile_is_the_least_value_that_so_many_percent_do_not_exceed():
    values = random.Random(0).sample(range(1, 201), 200)
    assert percentiles(values) == {"p50": 100, "p95": 190, "p99": 198}
    assert percentile([5.0, 1.0, 3.0], 50) == 3.0
    assert percentile([5.0, 1.0, 3.0], 34) == 3.0
    assert percentile([5.0, 1.0, 3.0], 33) == 1.0
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 50)


def test_a_rate_counts_all_tokens_from_the_first_question_to_the_last_token():
    found = figures([Timed(10.0, (10.5, 11.0, 12.0)), Timed(11.0, (13.0, 13.25, 14.0))])
    assert found["tokens_per_s"] == 6 / 4
    assert found["first_s"] == {"p50": 0.5, "p95": 2.0, "p99": 2.0}
    assert found["between_s"] == {"p50": 0.5, "p95": 1.0, "p99": 1.0}
    assert figures([Timed(0.0, (2.0,))])["between_s"] is None


MB = 1e6


@pytest.mark.parametrize(
    ("samples", "flat"),
    [
        ([10 * MB, 200 * MB, 200 * MB, 200 * MB, 200 * MB, 201 * MB, 200 * MB, 201 * MB], True),  # warms up
        ([200 * MB] * 6 + [217 * MB] * 2, True),  # 5 % and 8 MB
        ([200 * MB] * 6 + [219 * MB] * 2, False),
        ([(100 + 10 * i) * MB for i in range(40)], False),
        ([300 * MB] * 6 + [200 * MB] * 2, True),
        ([200 * MB] * 3, False),  # too few to tell
    ],
)
def test_memory_is_flat_where_the_end_is_no_more_than_what_came_behind_the_start(samples, flat):
    assert flatness(samples)["flat"] is flat


# The wire.


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_the_same_wherever_their_bytes_are_cut(end):
    lines = (
        ": a comment",
        "event: token",
        "data: é語",
        "data:  two",
        "",
        "",
        "data",
        "",
        "id: 7",
        "data:🙂",
        "",
        "",
    )
    raw = end.join(lines).encode()
    wanted = [("token", "é語\n two"), ("message", ""), ("message", "🙂")]
    assert Events().feed(raw + b"\n") == wanted
    for size in range(1, 8):
        parser = Events()
        found = [one for at in range(0, len(raw), size) for one in parser.feed(raw[at : at + size])]
        assert found + parser.feed(b"\n") == wanted
        assert not parser.unfinished


def test_a_message_without_its_end_is_none_and_is_known():
    parser = Events()
    assert parser.feed(b"data: 1\n\ndata: 2\n") == [("message", "1")]
    assert parser.unfinished
    with pytest.raises(UnicodeDecodeError):
        Events().feed(b"data: \xff\n\n")


def read(raw):
    """Return the status and the body of an answer."""

    async def go():
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        answer = await read_head(reader)
        return answer.status, await answer.whole()

    return asyncio.run(go())


def test_a_body_ends_where_its_answer_says():
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef") == (200, b"abc")
    assert read(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nall of it") == (404, b"all of it")
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
    )
    assert read(chunked) == (200, b"abc0123456789")


def test_a_body_is_whole_in_pieces_of_any_size():
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"

    async def go():
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        answer = await read_head(reader)
        return [piece async for piece in answer.pieces(4)]

    assert asyncio.run(go()) == [b"abc", b"0123", b"4567", b"89"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_an_answer_that_is_cut_is_no_answer(raw):
    with pytest.raises(BadAnswerError):
        read(raw)


# What became of a stream.


def followed(*messages, native=False, wanted=1):
    made = Followed(native, wanted)
    for one in messages:
        made.take(*one) if native else made.take("message", one if isinstance(one, str) else json.dumps(one))
    return made


def piece(text="x", finish=None, index=0):
    return {"id": "cmpl-7", "choices": [{"index": index, "text": text, "finish_reason": finish}]}


DONE, USAGE = "[DONE]", {"id": "cmpl-7", "choices": [], "usage": {"completion_tokens": 2}}
ERROR = {"error": {"message": "late", "code": "deadline"}}


@pytest.mark.parametrize(
    ("messages", "outcome"),
    [
        ([piece(), piece("", "length"), USAGE, DONE], "finished"),
        ([piece(finish="stop"), DONE], "finished"),
        ([piece(), ERROR], "failed"),
        ([piece(), ERROR, DONE], "failed"),
        ([piece(), {"error": {"code": "cancelled"}}], "cancelled"),
        ([piece()], "broken"),
        ([piece(), DONE], "broken"),
        ([piece(finish="stop")], "broken"),
        ([], "broken"),
        ([piece(finish="stop"), piece(finish="stop"), DONE], "doubled"),
        ([piece(finish="stop"), DONE, DONE], "doubled"),
        ([piece(finish="stop"), ERROR, DONE], "doubled"),
        ([ERROR, ERROR], "doubled"),
        ([piece(finish="stop"), DONE, USAGE], "disordered"),
        ([piece(finish="stop"), piece(), DONE], "disordered"),
    ],
)
def test_a_stream_of_completions_ends_once(messages, outcome):
    assert followed(*messages).outcome == outcome


def test_each_of_several_choices_ends_once():
    both = [piece(index=0, finish="stop"), piece(index=1), piece(index=1, finish="length"), DONE]
    assert followed(*both, wanted=2).outcome == "finished"
    assert followed(both[0], both[1], DONE, wanted=2).outcome == "broken"


STARTED, TOKEN, END = ("started", '{"job_id": "j"}'), ("token", '{"t": "a", "i": 0}'), ("end", "{}")
CANCELLED = ("error", '{"code": "CANCELLED"}')


@pytest.mark.parametrize(
    ("messages", "outcome"),
    [
        ([STARTED, TOKEN, TOKEN, END], "finished"),
        ([STARTED, CANCELLED], "cancelled"),
        ([STARTED, TOKEN, ("error", '{"code": "TIMEOUT"}')], "failed"),
        ([STARTED, TOKEN], "broken"),
        ([STARTED, END, CANCELLED], "doubled"),
        ([STARTED, END, TOKEN], "disordered"),
        ([TOKEN, STARTED, END], "disordered"),
        ([STARTED, STARTED, END], "disordered"),
    ],
)
def test_a_stream_of_the_worker_starts_first_and_ends_once(messages, outcome):
    assert followed(*messages, native=True).outcome == outcome


def test_ids_are_those_of_the_audit_log_and_tokens_are_counted():
    made = followed(
        {**piece("ab"), "choices": [{"text": "ab", "token_ids": [1, 2]}]}, piece(), piece("", "stop")
    )
    assert (made.id, made.tokens) == ("7", 3)


def test_a_ledger_keeps_examples_of_what_went_wrong_and_the_ids_that_were_seen():
    kept = Ledger()
    kept.add("finished", id="a")
    kept.add("left", id="b")
    kept.add("refused")
    for _ in range(50):
        kept.add("broken", "why")
    assert (kept.bad, kept.accepted, len(kept.wrong), kept.wrong[0]) == (
        50,
        {"a", "b"},
        ledger.SHOWN,
        "broken: why",
    )


def log_of(*events):
    log = Log()
    for kind, *id in events:
        log.take({"type": f"request.{kind}", **({"job_id": id[0]} if id else {})})
    return log


def test_the_log_adds_up_where_each_that_was_accepted_ended_once():
    log = log_of(("accepted", "a"), ("refused",), ("accepted", "b"), ("finished", "b"), ("cancelled", "a"))
    assert log.problems() == []
    assert (log.accepted.total(), dict(log.ends), log.refused) == (2, {"finished": 1, "cancelled": 1}, 1)
    assert log.missing(["a", "b"]) == []
    assert log.missing(["c", "a"]) == ["c"]


@pytest.mark.parametrize(
    ("events", "says", "killed"),
    [
        ([("accepted", "a")], "a was accepted and never ended", False),
        ([("accepted", "a"), ("accepted", "a"), ("finished", "a")], "a was accepted 2 times", True),
        ([("accepted", "a"), ("finished", "a"), ("failed", "a")], "a ended 2 times", True),
        ([("finished", "a")], "a ended and was never accepted", True),
    ],
)
def test_what_is_lost_or_doubled_in_the_log_is_named(events, says, killed):
    assert log_of(*events).problems() == [says]
    assert log_of(*events).problems(killed=True) == ([says] if killed else [])


def test_what_clients_saw_more_often_than_the_log_is_named():
    log = log_of(("accepted", "a"), ("finished", "a"), ("refused",))
    assert log.fewer({"finished": 1, "refused": 1, "left": 9}) == []
    assert log.fewer({"finished": 2, "refused": 1}) == ["clients saw 2 finished, the log has 1"]


def test_a_log_is_read_in_the_order_of_its_files_but_for_a_torn_line(tmp_path):
    line = '{{"event": {{"type": "request.{0}", "job_id": "{1}"}}}}\n'
    (tmp_path / "2026-01-02.audit").write_text(line.format("finished", "a") + '{"event": {"ty')
    (tmp_path / "2026-01-01.audit").write_text(line.format("accepted", "a"))
    (tmp_path / "manifest.json").write_text("{}")
    assert read_log(tmp_path).problems() == []


# What is asked.


def test_text_and_ids_of_the_peer_say_the_same():
    ids = [*range(1024), 50256]
    assert peer.ids_of(peer.text_of(ids)) == ids
    assert peer.text_of([116, 111, 32, 98, 101, 300, 0]) == "to be<300><0>"
    with pytest.raises(ValueError, match="no token"):
        peer.ids_of("to BE")


def test_the_vocabulary_of_the_peer_has_each_text_once():
    written = {}
    writer = SimpleNamespace(**{name: lambda *_: None for name in dir_of_writer()})
    writer.add_token_list = lambda tokens: written.update(tokens=tokens)
    peer.vocabulary(writer, 1024)
    assert len(set(written["tokens"])) == 1024
    assert [written["tokens"][ord(c)] for c in "a z"] == ["a", "Ġ", "z"]


def dir_of_writer():
    names = (
        "tokenizer_model",
        "tokenizer_pre",
        "token_types",
        "token_merges",
        "bos_token_id",
        "eos_token_id",
    )
    return [f"add_{name}" for name in (*names, "add_bos_token")]


def test_prompts_are_new_for_each_seed_and_shared_where_they_ought_to_be():
    apart, again, other, shared = (
        bench.Load(16, prefix, 8, 64, seed).prompts()
        for prefix, seed in (("apart", 1), ("apart", 1), ("apart", 2), ("shared", 1))
    )
    assert apart == again != other
    assert len(apart) == 16
    assert {len(prompt) for prompt in apart + shared} == {64}
    assert len({tuple(prompt) for prompt in apart + other + shared}) == 48
    assert len({tuple(prompt[:48]) for prompt in shared}) == 1
    assert len({tuple(prompt[:4]) for prompt in apart}) > 8
    assert {id for prompt in apart for id in prompt} <= peer.LETTERS


def test_sides_take_turns_and_none_is_always_first():
    assert list(bench.turns("ab", 3)) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


@asynccontextmanager
async def saying(raw):
    """A server that says the same to everybody; gives its port."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def streamed(*messages):
    body = "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in messages)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body.encode()


def asked(raw, tokens=3):
    async def go():
        async with saying(raw) as port:
            return await bench.one(SimpleNamespace(port=port, headers={}), bench.OURS, [1, 2], tokens)

    return asyncio.run(go())


def tokens_of(*ids):
    return {"choices": [{"text": "", "token_ids": list(ids)}]}


def test_an_answer_is_timed_token_by_token():
    timed, ids = asked(streamed(tokens_of(5), tokens_of(6, 7), DONE))
    assert ids == [5, 6, 7]
    assert len(timed.came) == 3
    assert timed.asked < timed.came[0] <= timed.came[1] == timed.came[2]


@pytest.mark.parametrize(
    "raw",
    [
        streamed(tokens_of(5), tokens_of(6), DONE),
        streamed(tokens_of(5, 6, 7, 8), DONE),
        streamed(tokens_of(5, 6, 7)),
        streamed({"error": {"message": "no"}}, DONE),
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        streamed(tokens_of(5, 6, 7), DONE).replace(b"200 OK", b"503 Gone"),
    ],
    ids=["short", "long", "cut", "error", "refused", "status"],
)
def test_an_answer_that_is_not_what_was_asked_for_is_never_timed(raw):
    with pytest.raises(bench.WrongAnswerError):
        asked(raw)


def test_a_request_is_sent_byte_for_byte():
    raw = request_bytes("POST", "/x", b"{", {"A": "b"}, 8080)
    wanted = b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\nA: b\r\n"
    assert raw == wanted + b"Content-Type: application/json\r\nContent-Length: 1\r\n\r\n{"


def test_who_is_refused_with_a_large_body_still_reads_the_answer():
    async def go():
        async with (
            saying(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno") as port,
            ask(port, "POST", "/", b"x" * 1000) as answer,
        ):
            return answer.status, await answer.whole()

    assert asyncio.run(go()) == (413, b"no")


# Nonsense.


def test_the_same_seed_makes_the_same_nonsense():
    one, other, another = ([fuzz.Maker(seed).make() for _ in range(3)] for seed in (4, 4, 5))
    assert one == other != another
    made = fuzz.Maker(0)
    assert len({made.make()[0] for _ in range(200)}) == 7


@pytest.mark.parametrize(
    ("found", "fine"),
    [
        ("200", True),
        ("400", True),
        ("503", True),
        ("closed", True),
        ("500", False),
        ("502", False),
        ("hung", False),
    ],
)
def test_what_may_become_of_nonsense(found, fine):
    assert fuzz.acceptable(found) is fine


@pytest.mark.parametrize(
    ("raw", "sent", "found"),
    [
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno", b"POST", "400"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"HEAD", "200"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", b"POST", "413"),
        (b"", b"POST", "closed"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            b"POST",
            "bad answer: the body ended before its end",
        ),
    ],
)
def test_what_is_answered_to_nonsense_is_known(raw, sent, found):
    async def go():
        async with saying(raw) as port:
            return await fuzz.throw(port, sent + b" / HTTP/1.1\r\n\r\n")

    assert asyncio.run(go()) == found


# The page.


def row(side, round_, rate, clients=4, prefix="apart"):
    delays = {"p50": 0.01, "p95": 0.2, "p99": 3.0}
    about = {"side": side, "round": round_, "clients": clients, "prefix": prefix, "tokens_per_s": rate}
    return {**about, "first_s": delays, "between_s": None}


def test_a_table_shows_medians_and_the_ratio_round_by_round():
    rates = ((0, 30.0, 10.0), (1, 40.0, 10.0), (2, 50.0, 25.0))
    rows = [row(side, r, rate) for r, *both in rates for side, rate in zip("ab", both, strict=True)]
    line = tables.rates(rows, ["a", "b"]).splitlines()[2]
    wanted = "40.0 (30.0 to 50.0) | 10.0 (10.0 to 25.0) | 3.00 (2.00 to 4.00) |"
    assert line == f"| no shared prefix | 4 | {wanted}"
    assert tables.delays(rows, ["a"]).splitlines()[2].endswith("| a | 10 ms / 0.2 s / 3.00 s | – / – / – |")


def test_costs_are_told_against_the_server_without_any():
    rows = [row(name, r, rate) for r in (0, 1) for name, rate in (("none", 100.0), ("audit", 80.0))]
    assert tables.costs(rows).splitlines()[3].startswith("| audit | 80.0 | 0.8 |")
