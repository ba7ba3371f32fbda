"""How the server begins, and how it ends."""

import hashlib
import json

import numpy as np
from behave import given, then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.server.self_check import Known
from llorch_core.subject import client
from llorch_core.subject.client import ask, open_stream, scripted_ids, start, waited

STREAMED = {"stream": True, "return_token_ids": True}
WELL = "livez 200, readyz 200, health 200 healthy, work 200"


def state_of(context):
    """Return how the server is, once that is known: ready, its exit code, or what made it end."""
    waited(lambda: context.server.server.state)
    return context.server.server.state


def how_it_is(context):
    """Ask the server how it is, and for some work; return the answers by their names."""
    found = {}
    for name in ("livez", "readyz", "health"):
        answer = ask(context, f"/{name}", method="GET")
        said = f" {answer.json()['status']}" if name == "health" else ""
        found[name] = f"{name} {answer.status}{said}"
    body = {"prompt": context.session.ids(3), "max_tokens": 2, **STREAMED}
    stream = open_stream(context, "/v1/completions", body)
    stream.close()
    return {**found, "work": f"work {stream.status}"}


# The beginning


@when("it is asked how it is, let go, and asked again")
def asked_twice(context):
    context.before = how_it_is(context)
    context.server.gate.open()
    state_of(context)
    context.after = how_it_is(context)


@then("it was {before} at first, and then ready")
def ready_after(context, before):
    got = [", ".join(found.values()) for found in (context.before, context.after)]
    context.session.note(
        [
            compare_text("before the self-check", got[0], json.loads(before)),
            compare_text("after it", got[1], WELL),
        ]
    )


def knowing(context, count, factor, held=None):
    """Start a server that knows logits, and whose model computes them, times a factor."""
    ids = context.session.ids(count)
    (step,) = context.session.oracle.run([ids])
    logits = step["logits"]
    largest = float(np.abs(logits).max())
    share = 2 * float(context.session.rounding([ids]).max()) / largest
    context.session.facts(shares_away=abs(1 - factor) / share)
    known = Known(ids, logits, share, "the specs")
    start(context, times=factor, held=held, options={"known": known}, wait=False)


@given("a server that knows what the equations compute for {count:d} ids, and is held at its self-check")
def held_at_self_check(context, count):
    knowing(context, count, 1.0, held=0)
    waited(lambda: context.server.gate.held)
    context.session.facts(held=context.server.gate.held)


@when("a server starts that knows the logits of {count:d} ids, and computes {factor:g} times those")
def knows_better(context, count, factor):
    knowing(context, count, factor)


@then("it has ended by {name}, and was never ready")
def has_ended_by(context, name):
    context.session.note([compare_text("the server", state_of(context), name)])


@when("/health is asked for")
def health(context):
    context.answer = ask(context, "/health", method="GET")


@then("it tells the SHA-256 of the weight files")
def tells_digest(context):
    folder = context.session.subject.folder
    paths = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    context.session.facts(weight_bytes=sum(path.stat().st_size for path in paths))
    context.session.note(
        [compare_text("digest", context.answer.json()["weights_sha256"], digest.hexdigest())]
    )


@given("a callback that is answered with {first:d}, and then with {second:d}")
def a_callback(context, first, second):
    context.statuses = [first, second]
    context.listener = client.Listener(context.statuses)
    context.add_cleanup(context.listener.close)


@when("a server is started that has to call it")
def started_with_callback(context):
    start(context, options={"callback": context.listener.address}, wait=False)
    state_of(context)
    called = context.statuses[: len(context.listener.calls)]
    context.session.facts(refusals=sum(status >= 300 for status in called))


@then("the server calls {count:d} times, and was ready each time")
def called(context, count):
    ready = [status for _, status in context.listener.calls]
    context.session.note(
        [
            compare("calls", len(ready), count),
            compare("answers of /readyz meanwhile", ready, [200] * len(ready)),
            compare_text("the server", state_of(context), "ready"),
        ]
    )


# The end


@given("a server of a model that writes {count:d} ids again and again, with a limit of {limit:d} seconds")
def with_limit(context, count, limit):
    start(context, writes=scripted_ids(context, count), drain_seconds=limit)


@when("it is told to stop while a stream of {count:d} tokens is held at its second")
def told_to_stop(context, count):
    context.session.needs_positions(count + 5)
    live, body = context.server, {"prompt": context.session.ids(5), "max_tokens": count, **STREAMED}
    live.gate.close(after=1)
    stream = open_stream(context, "/v1/completions", body)
    events = iter(stream)
    with context.session.trial():
        context.data = [next(events)[1]]
    waited(lambda: live.gate.held)
    context.session.facts(held=live.gate.held, left=count - 2)
    live.server.stop()
    waited(lambda: any((line or {}).get("event") == "draining" for line in live.log()))
    context.meanwhile = how_it_is(context)
    live.gate.open()
    with context.session.trial():
        context.data += [data for _, data in events]
    waited(lambda: live.server.state != "ready")


@then("meanwhile it was {wanted}")
def meanwhile(context, wanted):
    wanted = json.loads(wanted)
    got = ", ".join(context.meanwhile[part.split()[0]] for part in wanted.split(", "))
    context.session.note([compare_text("meanwhile", got, wanted)])


def chunks(context):
    return [json.loads(data) for data in context.data if data != "[DONE]"]


@then("the stream has {count:d} tokens and ends well")
def ends_well(context, count):
    reasons = [choice["finish_reason"] for chunk in chunks(context) for choice in chunk.get("choices", [])]
    wanted = [*[None] * (count - 1), "length"]
    context.session.note([compare_text("finish reasons", json.dumps(reasons), json.dumps(wanted))])


@then("the stream has {count:d} tokens or fewer, and ends with one error, {code}")
def ends_with_one_error(context, count, code):
    found = chunks(context)
    made = sum("choices" in chunk for chunk in found)
    enough = f"{count} or fewer" if made <= count else str(made)
    errors = [chunk["error"]["code"] for chunk in found if "error" in chunk]
    context.session.note(
        [
            compare_text("tokens", enough, f"{count} or fewer"),
            compare_text("errors", json.dumps(errors), json.dumps([code])),
        ]
    )


@then("the server has ended with {code:d}")
def has_ended_with(context, code):
    context.session.note([compare_text("exit code", context.server.server.state, str(code))])
