"""A deadline is the earliest that is given, is read once, and passes whatever the wall clock does."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llorch_core.server.deadline import Deadline, DeadlineError, PrefillSpeed, read_deadline

NOON = 1_777_896_000.0  # date -u -d 2026-05-04T12:00:00Z +%s
BOOTED = 5_000.0  # what the monotonic clock shows at noon


def read(header=None, body=None, query=None, default=60_000, maximum=3_600_000) -> Deadline:
    clocks = {"now_wall": NOON, "now_monotonic": BOOTED}
    return read_deadline(header, body, query, default_ms=default, maximum_ms=maximum, **clocks)


def reasons(**given) -> tuple[tuple[str, str, str], ...]:
    with pytest.raises(DeadlineError) as caught:
        read(**given)
    return caught.value.reasons


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-05-04T12:00:10Z", 10.0),
        ("2026-05-04t12:00:10z", 10.0),
        ("2026-05-04T12:00:10+00:00", 10.0),
        ("2026-05-04T12:00:10-00:00", 10.0),  # RFC 3339, 4.3: in UTC, where it is local being unknown
        ("2026-05-04T14:00:10+02:00", 10.0),
        ("2026-05-04T06:30:10-05:30", 10.0),
        ("2026-05-05T11:59:10+23:59", 10.0),
        ("2026-05-03T12:01:10-23:59", 10.0),
        ("2026-05-04T12:00:10.5Z", 10.5),
        ("2026-05-04T12:00:10.25+00:00", 10.25),
        ("2026-05-04T12:00:00.000000000000000000000000000000Z", 0.0),
        ("2026-05-04T11:59:50Z", -10.0),
        ("2026-05-04T11:59:59.5Z", -0.5),
    ],
)
def test_an_instant_is_as_far_from_now_as_the_wall_clock_says(text, seconds):
    got = read(text)
    assert got.at == pytest.approx(BOOTED + seconds, abs=1e-6)
    assert got.source == "X-Deadline"


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("1990-12-31T23:59:60Z", 662_688_000),  # RFC 3339, 5.8: a leap second, with which 1990 ended
        ("1990-12-31T15:59:60-08:00", 662_688_000),  # the same one, in Los Angeles
        ("1937-01-01T12:00:27.87+00:20", -1_041_337_172.13),  # RFC 3339, 5.8, in the Netherlands
        ("2024-02-29T00:00:00Z", 1_709_164_800),
        ("0000-01-01T00:00:00Z", -62_167_219_200),
        ("0000-02-29T00:00:00Z", -62_162_121_600),
        ("0001-01-01T00:00:00+12:00", -62_135_640_000),
    ],
)
def test_an_instant_long_past_is_read_and_has_expired(text, unix):
    got = read(text)
    assert got.at == pytest.approx(BOOTED + unix - NOON, abs=1e-4)
    assert got.expired()


@pytest.mark.parametrize(
    "text",
    ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:60Z", "2026-05-04T13:00:01Z"],
)
def test_an_instant_far_away_is_cut_to_the_maximum(text):
    assert read(text) == Deadline(BOOTED + 3600, "maximum")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "1777896010000",  # epoch, in milliseconds
        "1777896010",
        "2026-05-04",
        "2026-05-04T12:00:10",  # where?
        "2026-05-04 12:00:10Z",
        "2026-05-04T12:00Z",
        "2026-05-04T24:00:00Z",
        "2026-05-04T12:60:00Z",
        "2026-05-04T12:00:61Z",
        "2026-05-04T12:00:60Z",  # no leap second at noon
        "2026-05-04T23:59:60Z",  # nor at the end of a 4th
        "1990-12-31T23:59:60+01:00",  # 22:59:60 UTC
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-05-00T00:00:00Z",
        "2026-05-04T12:00:10.Z",
        "2026-05-04T12:00:10,5Z",
        "2026-05-04T12:00:10+0200",
        "2026-05-04T12:00:10+24:00",
        "2026-05-04T12:00:10+02",
        "2026-05-04T12:00:10 Z",
        "2026-05-04T12:00:10Z\n",
        " 2026-05-04T12:00:10Z",
        "12026-05-04T12:00:10Z",
        "+2026-05-04T12:00:10Z",
        "２０２６-05-04T12:00:10Z",  # digits, but not of ASCII
        "Mon, 04 May 2026 12:00:10 GMT",
        "20260504T120010Z",
        "2026-W19-1T12:00:10Z",
    ],
)
def test_a_header_that_is_no_instant_is_malformed(text):
    ((field, constraint, message),) = reasons(header=text)
    assert (field, constraint) == ("X-Deadline", "rfc3339")
    assert message.startswith("is ") and "wanted" in message


@pytest.mark.untraced
@given(st.text(max_size=200))
@example("\u202e" * 60)
@example("x" * 70_000)
def test_a_malformed_header_is_told_in_60_characters_of_ascii(text):
    ((_, _, message),) = reasons(header=text)
    told = message.removeprefix("is ").rpartition(" (wanted")[0]
    assert len(told) <= 60 and told.isascii() and told.isprintable()


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),
    st.integers(-1439, 1439),
)
def test_every_instant_is_the_one_that_python_reads(moment, minutes):
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    at = read(aware.isoformat(), maximum=10**15).at
    assert at == pytest.approx(BOOTED + aware.timestamp() - NOON, abs=1e-3)


def test_milliseconds_of_body_and_query_are_from_now():
    assert read(body=1500) == Deadline(BOOTED + 1.5, "body")
    assert read(query="1500") == Deadline(BOOTED + 1.5, "query")
    assert read(body=1) == Deadline(BOOTED + 0.001, "body")


@pytest.mark.parametrize("value", [0, -1, 2**53, 10**400, -(10**400)])
def test_a_number_out_of_range_is_told(value):
    assert reasons(body=value)[0][:2] == ("deadline_ms", "range(1,9007199254740991)")
    assert len(reasons(body=value)[0][2]) < 80


@pytest.mark.parametrize("value", [True, False, 1.5, 1000.0, float("nan"), "1000", [], {}, [1000]])
def test_a_value_of_the_body_that_is_no_integer_is_told(value):
    assert reasons(body=value)[0][:2] == ("deadline_ms", "integer")


@pytest.mark.parametrize("value", ["", "soon", "1.5", "1e3", " 10", "10\n", "0x10", "1_000", "٣", "9" * 5000])
def test_a_value_of_the_query_that_is_no_integer_is_told(value):
    assert reasons(query=value)[0][:2] == ("deadline_ms", "integer")


@pytest.mark.parametrize("value", ["0", "-5", "9" * 20])
def test_a_value_of_the_query_out_of_range_is_told(value):
    assert reasons(query=value)[0][:2] == ("deadline_ms", "range(1,9007199254740991)")


def test_of_several_the_earliest_counts():
    instant = "2026-05-04T12:00:02Z"
    assert read(instant, 3000, "4000") == Deadline(BOOTED + 2, "X-Deadline")
    assert read(instant, 1000, "4000") == Deadline(BOOTED + 1, "body")
    assert read(instant, 3000, "500") == Deadline(BOOTED + 0.5, "query")
    assert read("2026-05-04T11:00:00Z", 3000).at == BOOTED - 3600


def test_one_that_is_there_twice_is_two():
    assert read(query=["5000", "500"]) == Deadline(BOOTED + 0.5, "query")
    assert read(["2026-05-04T12:00:02Z", "2026-05-04T12:00:01Z"]) == Deadline(BOOTED + 1, "X-Deadline")
    assert read([], None, []) == Deadline(BOOTED + 60, "default")
    assert [reason[0] for reason in reasons(query=["5000", "soon"])] == ["deadline_ms"]


def test_a_malformed_one_counts_beside_a_right_one_and_all_are_told():
    found = reasons(header="soon", body=1.5, query="-1")
    assert [reason[0] for reason in found] == ["X-Deadline", "deadline_ms", "deadline_ms"]
    assert [reason[0] for reason in reasons(header="soon", body=1000)] == ["X-Deadline"]


def test_without_one_the_default_counts_and_no_one_is_past_the_maximum():
    assert read() == Deadline(BOOTED + 60, "default")
    assert read(body=3_600_000) == Deadline(BOOTED + 3600, "body")
    assert read(body=3_600_001) == Deadline(BOOTED + 3600, "maximum")
    assert read(default=60_000, maximum=1000) == Deadline(BOOTED + 1, "maximum")


def test_a_deadline_is_on_the_monotonic_clock_and_cannot_be_moved():
    soon, past = Deadline(time.monotonic() + 100, "body"), Deadline(time.monotonic() - 1, "body")
    assert 99 < soon.remaining() <= 100 and not soon.expired()
    assert past.remaining() <= -1 and past.expired()
    with pytest.raises(FrozenInstanceError):
        soon.at = 0.0


def speed(seconds: list[float]) -> PrefillSpeed:
    """Return a speed whose clock shows the only number of the list."""
    return PrefillSpeed(lambda: seconds[0])


def test_before_anything_is_measured_a_prompt_takes_no_time():
    assert speed([0.0]).seconds_for(1000) == 0.0


def test_what_was_measured_is_expected_again():
    reading = speed([0.0])
    reading.measured(10_000, 100.0)
    assert reading.seconds_for(1) == pytest.approx(0.01, rel=0.01)
    assert reading.seconds_for(1000) == pytest.approx(10.0, rel=0.01)


def test_a_short_prompt_counts_as_little_as_it_is():
    reading = speed([0.0])
    reading.measured(10_000, 10.0)
    before = reading.seconds_for(1000)
    reading.measured(1, 0.1)  # 100 times as slow a token
    assert before < reading.seconds_for(1000) < 1.03 * before


def test_one_short_prompt_on_a_cold_machine_says_little():
    reading = speed([0.0])
    reading.measured(2, 0.1)
    assert reading.seconds_for(2) < 0.01
    reading.measured(1000, 1.0)
    assert reading.seconds_for(1000) == pytest.approx(1.0, rel=0.1)


def test_what_was_measured_4096_tokens_ago_counts_half():
    reading = speed([0.0])
    reading.measured(4096, 40.96)
    reading.measured(4096, 0.0)
    assert reading.seconds_for(300) == pytest.approx(1.0, rel=0.01)  # (10 ms / 2 + 0) / (1 / 2 + 1) a token


def test_an_estimate_that_nothing_confirms_fades():
    clock = [7.0]
    reading = speed(clock)
    reading.measured(100, 2.0)
    before = reading.seconds_for(100)
    clock[0] += 60.0
    assert reading.seconds_for(100) == pytest.approx(before / 2)
    clock[0] += 6000.0
    assert reading.seconds_for(100) < 1e-9


def test_a_deadline_is_enough_where_the_prompt_can_be_read_before_it():
    reading = PrefillSpeed()
    reading.measured(10_000, 10_000.0)
    now = time.monotonic()
    assert reading.enough(Deadline(now + 60, "body"), 50)
    assert not reading.enough(Deadline(now + 40, "body"), 50)
    assert not reading.enough(Deadline(now - 1, "body"), 0)
    assert not PrefillSpeed().enough(Deadline(now - 1, "body"), 0)
