"""Deadlines of the server: what time a request had left, and what was done when it had none."""

import json
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from math import nan

from behave import given, then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.subject import client
from llorch_core.subject.client import ask, open_stream, start, waited

MAXIMUM = 3_600_000  # ms, where nothing else is set


def slow(context, pause, **settings):
    from llorch_core.subject.behaviours.slowed import Pace

    context.session.needs_positions(210)
    context.pace = Pace(pause / 1000)
    start(context, pace=context.pace, **settings)


def send(context, query=None, header=None, added=1, prompt=3, **body):
    """Ask for a completion, and measure how long that takes.

    header  X-Deadline, or what makes it from seconds since 1970: now
    """
    path = "/v1/completions" + ("" if query is None else f"?deadline_ms={query}")
    asked = {"prompt": context.session.ids(prompt), "max_tokens": added, **body}
    before = time.monotonic()  # also what is lost here is time that the request was on its way
    text = header(time.time()) if callable(header) else header
    headers = {} if text is None else {"X-Deadline": text}
    context.answer = ask(context, path, asked, **headers)
    context.took = 1000 * (time.monotonic() - before)


def accepted(context):
    """Return what the audit log has of each request that was accepted."""
    return [event for event in context.server.audited() if event["type"] == "request.accepted"]


def shown(instant, offset="+00:00"):
    """Return an instant in RFC 3339, as a clock at some offset shows it."""
    hours, minutes = map(int, offset[1:].split(":"))
    zone = timezone((1 if offset[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
    return datetime.fromtimestamp(instant, zone).isoformat("T", "microseconds")


@given("a server that is quick")
def quick_server(context):
    context.session.facts(maximum_ms=MAXIMUM)
    start(context)


@given("a server that takes {pause:d} ms for a token")
def slow_server(context, pause):
    slow(context, pause)


@given("a server that has one place, and takes {pause:d} ms for a token")
def one_place(context, pause):
    slow(context, pause, max_batch=1)


@given("a server that has a default of {default:d} ms and a maximum of {maximum:d} ms")
def with_limits(context, default, maximum):
    context.session.facts(default_ms=default, maximum_ms=maximum)
    start(context, default_deadline_ms=default, max_deadline_ms=maximum)


@when("an instant {seconds:g} s after a full second is sent, as a clock at {offset} shows it")
def instant(context, seconds, offset):
    def header(now):
        context.wanted = 1000 * (int(now) + seconds - now)
        text = shown(int(now) + seconds, offset)
        read = datetime.fromisoformat(text)
        minutes = read.utcoffset().total_seconds() / 60
        context.session.facts(offset_minutes=minutes, fraction_ms=read.microsecond / 1000)
        return text

    send(context, header=header)


@when('X-Deadline is no instant but "{text}"')
def no_instant(context, text):
    offset = re.search(r"T.*([Zz]|[+-]\d\d:\d\d)$", text)
    context.session.facts(instants=offset is not None)
    send(context, header=text)


@when('X-Deadline is long past, "{text}"')
def past(context, text):
    read = datetime.fromisoformat(text.upper().replace(":60", ":59"))
    context.session.facts(seconds_left=(read - datetime.now(UTC)).total_seconds())
    send(context, header=text)


@when("{asked:d} ms are asked for in the {place}")
def in_place(context, asked, place):
    context.wanted = asked
    context.session.facts(asked_ms=asked)
    send(context, **({"query": asked} if place == "query" else {"deadline_ms": asked}))


@when("no deadline is asked for")
def no_deadline(context):
    context.session.facts(deadlines=0)
    send(context)


@when("{header:d} s are asked for in the header, {body:d} s in the body, and {query:d} s in the query")
def all_three(context, header, body, query):
    context.session.facts(deadlines=3, different=len({header, body, query}))
    send(context, query=1000 * query, header=lambda now: shown(now + header), deadline_ms=1000 * body)


@when("{asked:d} ms are asked for, and the last byte of the request comes after {passed:d} ms")
def late(context, asked, passed):
    context.session.facts(asked_ms=asked, passed_ms=passed)
    body = {"prompt": context.session.ids(3), "max_tokens": 1, "deadline_ms": asked}
    with context.session.trial():
        context.answer = client.call_slowly(context.server.address, "/v1/completions", body, passed / 1000)


@when("there is a stream of {added:d} tokens, and {one:d} token is asked for with {asked:d} ms")
def waits(context, added, one, asked):
    context.session.facts(asked_ms=asked, passed_ms=1000 * context.pace.seconds * (added - 1))
    body = {"prompt": context.session.ids(3), "max_tokens": added, "stream": True}
    with context.session.trial():
        next(iter(open_stream(context, "/v1/completions", body)))
    send(context, added=one, deadline_ms=asked)


@when("{read:d} ids have been read, and {count:d} are sent with {asked:d} ms")
def prompt_too_long(context, read, count, asked):
    context.session.facts(read_before=read, asked_ms=asked, needed_ms=1000 * context.pace.seconds * count)
    send(context, prompt=read)
    send(context, prompt=count, deadline_ms=asked)


@when("a stream of {added:d} tokens has {asked:d} ms")
def has_time(context, added, asked):
    context.asked, context.done_before = asked, context.pace.tokens
    context.session.facts(asked_ms=asked, needed_ms=1000 * context.pace.seconds * added)
    body = {"prompt": context.session.ids(3), "max_tokens": added, "stream": True, "deadline_ms": asked}
    with context.session.trial():
        context.data = [data for _, data in open_stream(context, "/v1/completions", body)]


@when(
    "a stream of {added:d} tokens has {asked:d} s, and behind its first token the clock is set forward by "
    "{jump:d} s"
)
def set_forward(context, added, asked, jump):
    from llorch_core.subject.behaviours.server_deadline import clock_set_forward

    context.session.facts(asked_ms=1000 * asked, jump_ms=1000 * jump)
    body = {"prompt": context.session.ids(3), "max_tokens": added, "stream": True}
    with context.session.trial():
        events = iter(open_stream(context, "/v1/completions", {**body, "deadline_ms": 1000 * asked}))
        context.data = [next(events)[1]]
        with clock_set_forward(jump):
            context.data += [data for _, data in events]


def hold(context, wanted):
    """Hold what time a request had left to what it should have, less the time that it was on its way."""
    found = [event["deadline_ms"] for event in accepted(context)]
    half = context.took / 2
    context.session.note(
        [
            compare("status", [context.answer.status], [200]),
            compare("time left, ms", found[-1:] or [nan], [wanted - half], half + 1),
        ]
    )


@then("the request had that time left")
def had_asked(context):
    hold(context, context.wanted)


@then("the request had {seconds:d} s left")
def had(context, seconds):
    hold(context, 1000 * seconds)


@then("it gets {status:d}, for X-Deadline")
def refused_for(context, status):
    answer = context.answer
    named = answer.json()["errors"][0]["field"] if answer.status == status else "nothing"
    context.session.note(
        [compare("status", [answer.status], [status]), compare_text("field", named, "X-Deadline")]
    )


def refused_after(context, status, count):
    context.session.note(
        [
            compare("status", [context.answer.status], [status]),
            compare("requests accepted", [len(accepted(context))], [count]),
        ]
    )


@then("it gets {status:d}, and no request was accepted")
def refused_at_once(context, status):
    refused_after(context, status, 0)


@then("it gets {status:d}, and one request was accepted")
def refused_second(context, status):
    refused_after(context, status, 1)


@then("the second request has no token, and failed with {code}")
def failed(context, code):
    ends = [event for event in context.server.audited() if event["type"] == "request.failed"]
    got = [(event["code"], event["tokens_out"]) for event in ends]
    context.session.note(
        [
            compare("status", [context.answer.status], [504]),
            compare_text("end", str(got), str([(code, 0)])),
        ]
    )


@then("the server did no more than there was time for")
def did_no_more(context):
    def idle():
        said = ask(context, "/health", method="GET").json()
        return said["running"] + said["waiting"] == 0

    waited(idle)
    most = context.asked / 1000 / context.pace.seconds + 1  # the last one was begun in time
    done = context.pace.tokens - context.done_before
    context.session.note(
        [compare_text("tokens", "in time" if done <= most else f"{done} (wanted {most})", "in time")]
    )


def end_of(context):
    """Return how a stream ended: the code of an error, or why it was over."""
    *_, last, _ = ["{}", *context.data]
    said = json.loads(last)
    choices = said.get("choices") or [{}]
    return said["error"]["code"] if "error" in said else str(choices[0].get("finish_reason"))


@then("the stream ends with the error {code}")
def ends_with(context, code):
    context.session.note([compare_text("end", end_of(context), code)])


@then("its stream comes to its own end")
def own_end(context):
    context.session.note([compare_text("end", end_of(context), "length")])
