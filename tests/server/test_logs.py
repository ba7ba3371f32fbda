"""A log tells what happened, and no secret, no prompt, and nothing that could pass for another line."""

from __future__ import annotations

import io
import json
import logging
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llorch_core.engine.errors import UsageError
from llorch_core.server.logs import Forward, configure, correlation_id, following
from llorch_core.server.redact import redact, redact_all, visible

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJlLW9mLWl0"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nplanted\n-----END RSA PRIVATE KEY-----"
PLANTED = [  # a text, what of it is secret
    ("Authorization: Bearer planted-secret-1", "planted-secret-1"),
    ("authorization=Basic cGxhbnRlZA==", "cGxhbnRlZA=="),
    ("{'authorization': 'Bearer planted-secret-2'}", "planted-secret-2"),
    ('{"Proxy-Authorization": "Digest planted=3"}', "planted=3"),
    ("sent BEARER   planted!secret/4+=", "planted!secret/4+="),
    ("Cookie: session=planted5; theme=dark", "planted5"),
    ("key sk-proj-planted66666666666 was used", "sk-proj-planted66666666666"),
    ("hf_plantedPlantedPlanted", "hf_plantedPlantedPlanted"),
    ("ghp_plantedPlantedPlanted123", "ghp_plantedPlantedPlanted123"),
    ("AKIAPLANTEDPLANTED77", "AKIAPLANTEDPLANTED77"),
    (f"got {JWT}", "eyJzdWIiOiJtZSJ9"),
    (f"got {JWT.rpartition('.')[0]}", "eyJzdWIiOiJtZSJ9"),
    (KEY, "MIIEowIBAAKCAQEA"),
    (KEY[:50], "MIIEowIBAAKCAQEA"),
    ("postgres://me:planted8@host/db", "planted8"),
    ("https://me:plan@ted9@host:8080/?a=b", "ted9"),
    ("redis://:planted10@host", "planted10"),
    ("GET /?api_key=planted11&x=1", "planted11"),
    ("GET /?access_token=planted12", "planted12"),
    ('{"password": "planted13"}', "planted13"),
    ("x-api-key: planted14", "planted14"),
    ("LLORCH_API_TOKEN=planted15", "planted15"),
    ("token: planted16", "planted16"),
    ("token=abcdef0123456789", "abcdef0123456789"),
    ("Bea\u200brer planted-secret-17", "planted-secret-17"),
    ("Bearer\r\n planted-secret-18", "planted-secret-18"),
    ("s\u2066k-planted\u202e66666666666", "planted66666666666"),
]


def lines(tell, **settings) -> list[dict]:
    stream = io.StringIO()
    tell(configure(stream, **settings))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_event_has_its_time_level_name_and_request():
    before = datetime.now(UTC)
    (got,) = lines(lambda log: log.info("request.accepted", correlation_id="c-1", tokens_in=7))
    assert list(got)[:4] == ["timestamp", "level", "event", "correlation_id"]
    assert got["timestamp"].endswith("Z")
    assert before <= datetime.fromisoformat(got.pop("timestamp")) <= datetime.now(UTC)
    assert got == {"level": "info", "event": "request.accepted", "correlation_id": "c-1", "tokens_in": 7}


def test_an_event_without_a_request_says_so():
    (got,) = lines(lambda log: log.error("start"))
    assert (got["correlation_id"], got["level"]) == ("-", "error")


def test_a_bound_correlation_id_is_told_with_every_event():
    def tell(log):
        log.bind(correlation_id="bound").info("a")
        with following("of the task"):
            log.info("b")
        log.info("c")

    assert [line["correlation_id"] for line in lines(tell)] == ["bound", "of the task", "-"]


def test_what_is_below_the_level_is_not_written():
    def tell(log):
        log.debug("a"), log.info("b"), log.warning("c"), log.error("d")

    assert [line["event"] for line in lines(tell, level="warning")] == ["c", "d"]
    assert [line["event"] for line in lines(tell, level="debug")] == ["a", "b", "c", "d"]


def test_an_unknown_level_is_refused():
    with pytest.raises(UsageError, match="'loud' \\(wanted debug, info"):
        configure(io.StringIO(), "loud")


def test_two_logs_of_one_process_are_two():
    one, other = io.StringIO(), io.StringIO()
    a, b = configure(one, "info"), configure(other, "error")
    a.info("here"), b.info("nowhere")
    assert "here" in one.getvalue() and not other.getvalue()


def test_a_log_for_people_has_no_json():
    stream = io.StringIO()
    configure(stream, as_json=False).info("request.accepted", prompt="To be", tokens_in=7)
    told = stream.getvalue()
    assert "request.accepted" in told and "tokens_in=7" in told and "prompt_length=5" in told
    assert "{" not in told and "To be" not in told and "\x1b" not in told


@pytest.mark.parametrize(("text", "secret"), PLANTED)
def test_a_secret_is_redacted_wherever_it_is(text, secret):
    def tell(log):
        log.info(text)
        log.info("a", note=text, deep={"list": [1, {"pair": (text, 2)}], text: 1}, error=ValueError(text))

    told = json.dumps(lines(tell))
    assert secret not in told and told.count("[redacted]") == 5


def test_a_secret_of_an_exception_is_redacted():
    def tell(log):
        try:
            raise ValueError("Bearer planted-secret-19")
        except ValueError:
            log.exception("failed")

    (got,) = lines(tell)
    assert "ValueError: Bearer [redacted]" in got["exception"]
    assert "planted" not in json.dumps(got)


@pytest.mark.parametrize("name", ["password", "Authorization", "x-api-key", "API_KEY", "Set-Cookie"])
def test_the_value_of_a_secret_name_is_redacted(name):
    (got,) = lines(lambda log: log.info("a", headers={name: "planted"}, **{name: ["planted"]}))
    assert got[name] == "[redacted]" and got["headers"] == {name: "[redacted]"}


@pytest.mark.parametrize(
    "text",
    [
        *("token:a1b2c3", "token: a1b2c3 was refused", "max_tokens=16", "tokens: 12", "the bearer"),
        *("http://127.0.0.1:8080/v1/completions", "the key of the door", "ask-me-anything-you-like"),
        *("request.accepted", "3f2a9c4e5d6b7a8091a2b3c4d5e6f708", "naïve — 日本語 😀"),
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


def test_a_fingerprint_can_be_read():
    (got,) = lines(lambda log: log.info("a", token="token:a1b2c3"))
    assert got["token"] == "token:a1b2c3"


@pytest.mark.parametrize("name", ["prompt", "text", "body", "Prompt"])
@pytest.mark.parametrize("value", ["To be", [1, 2, 3, 4, 5], b"To be"])
def test_a_prompt_becomes_its_length(name, value):
    (got,) = lines(lambda log: log.info("a", asked={name: value}, **{name: value}))
    assert got[f"{name}_length"] == 5 and got["asked"] == {f"{name}_length": 5}
    assert "To be" not in json.dumps(got) and name not in got


def test_bytes_are_told_by_their_number():
    assert redact_all({"raw": b"Bearer planted"}) == {"raw": "(14 bytes)"}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\r\nb", "a  b"),
        ("a\x00\x07\x1b[31mb\x9b", "a[31mb"),
        ("a\u200b\u200c\u200d\ufeff\u00ad\u2060b", "ab"),
        ("a\u202e\u2066\u2069\u200f\u061cb", "ab"),
        ("a\u2028\u2029\u0085b", "a   b"),
        ("a\ud800b", "a\ufffdb"),
    ],
)
def test_characters_that_hide_or_forge_are_taken_out(text, seen):
    assert visible(text) == seen
    (got,) = lines(lambda log: log.info(text, **{f"k{text}": [text]}))
    assert (got["event"], got[f"k{seen}"]) == (seen, [seen])


@given(st.text(st.characters(codec=None), max_size=60))
@example('\n{"event": "forged"}')
def test_an_event_is_one_line_of_visible_characters(text):
    (got,) = lines(lambda log: log.info("a", note=text))
    assert got["note"] == "" or got["note"].isprintable()


def test_what_json_cannot_hold_is_told_in_words():
    loop: list = []
    loop.append(loop)
    (got,) = lines(lambda log: log.info("a", nan=float("nan"), endless=-1e999, set={1}, loop=loop, none=None))
    assert (got["nan"], got["endless"], got["set"], got["none"]) == ("nan", "-inf", [1], None)
    assert str(got["loop"]).strip("[]") == "'(1 items)'"
    assert str(got["loop"]).count("[") == 7  # each one deeper, and then no further


def test_a_mapping_that_holds_itself_has_an_end():
    loop: dict = {}
    loop["loop"] = loop
    assert str(redact_all(loop)).count("{") == 8 and "(1 items)" in str(redact_all(loop))


def test_a_value_without_end_is_cut_after_it_is_redacted():
    got = redact("x" * 8180 + " Bearer " + "planted" * 1000)
    assert "planted" not in got and len(got) < 8300
    assert redact("x" * 9000).endswith("... (9000 characters)")
    assert len(redact_all(list(range(1000)))) == 100


@pytest.mark.parametrize(
    "part", ["-----BEGIN ", "a://", "bearer ", "eyJ", "token=", "a", "authorization: ", "sk-", ".", "://:"]
)
def test_a_long_value_is_redacted_in_time_that_grows_with_its_length(part):
    started = time.process_time()
    redact(part * (200_000 // len(part)))
    assert time.process_time() - started < 2  # a quadratic pattern would take minutes


def test_a_correlation_id_that_is_sane_is_taken_over():
    assert correlation_id("a.B-3_x") == "a.B-3_x"
    assert correlation_id("x" * 128) == "x" * 128
    assert correlation_id(None, "second") == "second"
    assert correlation_id("not sane", "second") == "second"


@pytest.mark.parametrize("header", [None, "", "x" * 129, "a b", "a\n", "a\r\nX: y", "é", "a/b", "\u0663"])
def test_any_other_correlation_id_is_replaced_by_a_fresh_one(header):
    one, other = correlation_id(header), correlation_id(header)
    assert one != other and header not in (one, other)
    assert correlation_id(one) == one


def test_what_a_library_tells_is_told_and_redacted():
    def tell(log):
        library = logging.Logger("uvicorn.error")
        library.addHandler(Forward(log))
        library.log(5, "too fine to be told")
        library.log(25, "between info and warning")
        library.critical("%s asked with Bearer %s", "he", "planted-secret-20")

    between, got = lines(tell)
    assert (between["event"], between["level"]) == ("between info and warning", "info")
    assert (got["event"], got["level"]) == ("he asked with Bearer [redacted]", "error")
    assert got["logger"] == "uvicorn.error"


def test_a_mistake_of_the_server_is_one_line_with_the_request_that_it_is_of(serve):
    server = serve()

    def decode(ids):
        raise RuntimeError("password=planted13")

    server.worker.model.decode = decode
    answer = server.client.post("/detokenize", json={"ids": [1]}, headers={"X-Correlation-Id": "c-1"})
    assert answer.status_code == 500
    assert answer.headers["x-correlation-id"] == "c-1"
    end = time.monotonic() + 10
    while '"broken"' not in server.logged.getvalue() and time.monotonic() < end:
        time.sleep(0.002)  # the answer leaves before the line is written
    got = [json.loads(line) for line in server.logged.getvalue().splitlines()]
    (broken,) = (line for line in got if line["event"] == "broken")
    assert (broken["level"], broken["correlation_id"]) == ("error", "c-1")
    assert "RuntimeError: password=[redacted]" in broken["exception"]
    counted = server.client.get("/metrics").text
    assert 'llorch_requests_total{outcome="failed"} 1.0' in counted
