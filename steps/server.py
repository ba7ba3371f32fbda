"""The server, asked over a socket: requests and answers, streams, the batch."""

import json

import numpy as np
from behave import given, then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.engine.sampling import Sampling
from llorch_core.subject.client import ask, open_stream, start, waited
from llorch_core.trace.session import NotHereError


def complete(context, **body):
    answer = ask(context, "/v1/completions", {"return_token_ids": True, **body})
    return answer.json() if answer.status == 200 else {"choices": [], "usage": {}, "refused": answer.text}


def tokenizer(context):
    with context.session.trial():
        own = context.session.behaviour("tokenizer").own
    if own is None:
        raise NotHereError("a tokenizer in the folder of the model")
    return own


def ids_of_bytes(context, text):
    """Return for each byte of a text the id of the token that is this byte alone."""
    own, count = tokenizer(context), context.session.subject.config["n_vocab"]
    single = {}
    with context.session.trial():
        for i in reversed(range(count)):
            if len(raw := own.token_bytes(i)) == 1:
                single[raw[0]] = i
    if missing := set(text.encode()) - single.keys():
        raise NotHereError(f"tokens of the single bytes {sorted(missing)}")
    return [single[byte] for byte in text.encode()]


@given("a server")
def a_server(context):
    start(context)


@given("a server with {settings}")
def a_server_with(context, settings):
    pairs = [setting.split(" = ") for setting in settings.split(", ")]
    context.settings = {name: int(value) for name, value in pairs}
    start(context, **context.settings)


@given("a server whose model writes {text}")
def a_scripted_server(context, text):
    context.written = json.loads(text)
    start(context, writes=ids_of_bytes(context, context.written))


# Requests and answers


def table_of(context):
    return {row["field"]: json.loads(row["value"]) for row in context.table}


@when("{count:d} ids are sent with faults in")
def faulty(context, count):
    context.session.facts(violations=len(context.table.rows))
    context.faults = table_of(context)
    context.answer = ask(context, "/v1/completions", {"prompt": context.session.ids(count), **context.faults})


@when("the text {text} is sent with faults in")
def faulty_text(context, text):
    context.prompt = json.loads(text)
    context.session.facts(violations=len(context.table.rows), prompt_letters=len(context.prompt))
    context.answer = ask(context, "/v1/completions", {"prompt": context.prompt, **table_of(context)})


@when("{count:d} ids are sent with the unknown field {name}")
def unknown_field(context, count, name):
    context.session.facts(unknown_fields=1)
    context.faults = {name: 1}
    body = {"prompt": context.session.ids(count), "max_tokens": 1, name: 1}
    context.answer = ask(context, "/v1/completions", body)


@when("a chat of {count:d} message is sent")
def a_chat(context, count):
    context.session.facts(messages=count)
    context.faults = {"messages": None}
    messages = [{"role": "user", "content": "Who is there?"}] * count
    context.answer = ask(context, "/v1/chat/completions", {"model": "gpt2", "messages": messages})


@then("the answer is {status:d} and names every fault")
def names_faults(context, status):
    got, answer = "", context.answer
    if answer.status == status:
        got = ", ".join(sorted(fault["field"] for fault in answer.json()["errors"]))
    context.session.note(
        [
            compare("status", [answer.status], [status]),
            compare_text("faults", got, ", ".join(sorted(context.faults))),
        ]
    )


@then("the answer is {status:d}, without the prompt")
def without_prompt(context, status):
    shown = "shown" if context.prompt in context.answer.text else "not shown"
    context.session.note(
        [compare("status", [context.answer.status], [status]), compare_text("prompt", shown, "not shown")]
    )


@when("{count:d} ids are continued by {added:d} tokens with seed {seed:d}, {n:d} times")
def continued(context, count, added, seed, n):
    prompt = context.session.ids(count)
    body = {"prompt": prompt, "max_tokens": added, "seed": seed, "n": n, "logprobs": 0, "echo": False}
    context.completion = complete(context, **body)
    with context.session.trial():
        engine = context.session.behaviour("generation")
        context.wanted = [
            engine.complete(prompt, sampling=Sampling(seed=seed + i), max_tokens=added).ids for i in range(n)
        ]
    flat = [i for ids in context.wanted for i in ids]
    context.prompt = prompt
    context.session.facts(
        prompt_ids=count,
        added=min(map(len, context.wanted)),
        different_ids=len(set(flat)),
        continuations=n,
    )


@then("it adds the ids that the engine adds alone")
def same_ids(context):
    got = [choice["token_ids"] for choice in context.completion["choices"]]
    context.session.note(
        [compare_text("token ids", json.dumps(got), json.dumps([list(ids) for ids in context.wanted]))]
    )


@then("each token has the probability that the equations give it")
def probabilities(context):
    ids, prompt = context.wanted[0], context.prompt
    read = [*prompt, *ids[:-1]]
    (step,) = context.session.oracle.run([read])
    rows = step["logits"][len(prompt) - 1 :]
    wanted = [row[i] - np.logaddexp.reduce(row) for row, i in zip(rows, ids, strict=True)]
    bound = 2 * context.session.rounding([read])[len(prompt) - 1 :].max()
    got = context.completion["choices"][0]["logprobs"]["token_logprobs"]
    context.session.note([compare("log-probabilities", got, wanted, bound)])


@then("its usage is what was read, what was added, and both")
def usage(context):
    told = context.completion["usage"]
    got = [told[f"{name}_tokens"] for name in ("prompt", "completion", "total")]
    read, made = len(context.prompt), sum(map(len, context.wanted))
    context.session.note([compare("usage", got, [read, made, read + made])])


@when("{count:d} ids are continued by {added:d} tokens with echo")
def with_echo(context, count, added):
    context.prompt = context.session.ids(count)
    own = tokenizer(context)
    with context.session.trial():
        context.prompt_text = own.decode(context.prompt)
    context.session.facts(prompt_ids=count)
    context.completion = complete(context, prompt=context.prompt, max_tokens=added, echo=True)


@then("the answer begins with the text of the prompt")
def begins_with_prompt(context):
    got = context.completion["choices"][0]["text"][: len(context.prompt_text)]
    context.session.note([compare_text("beginning", got, context.prompt_text)])


@when("{count:d} ids are continued by {added:d} tokens")
def continued_whatever(context, count, added):
    context.completion = complete(context, prompt=context.session.ids(count), max_tokens=added)
    context.session.facts(added=len(context.completion["choices"][0]["token_ids"]))


@then("its text ended by {reason}")
def finish_reason(context, reason):
    context.session.note(
        [compare_text("finish reason", context.completion["choices"][0]["finish_reason"], reason)]
    )


# Streams


def job_of(context, id, added, **settings):
    prompt = context.written if hasattr(context, "written") else "Who is there?"
    return {"job_id": id, "prompt": prompt, "max_tokens": added, **settings}


def needs_room(context, added):
    tokenizer(context)
    context.session.needs_positions(added + 20)


@when("a job of {added:d} tokens is cancelled at its first token")
def cancelled_at_first(context, added):
    needs_room(context, added)
    context.session.facts(asked_for=added)
    stream, context.events = open_stream(context, "/execute", job_of(context, "one", added)), []
    with context.session.trial():
        for name, data in stream:
            context.events.append((name, json.loads(data)))
            if name == "token" and len(context.events) == 2:
                ask(context, "/cancel", {"job_id": "one"})


@then("its stream ends with the error {code}")
def ends_with_error(context, code):
    name, data = context.events[-1]
    context.session.note([compare_text("last event", f"{name} {data.get('code')}", f"error {code}")])


@when("a job of {added:d} tokens runs to its end")
def job_runs(context, added):
    run_job(context, added)


@when("a job of {added:d} tokens runs to its end, which {stop} would stop")
def job_runs_with_stop(context, added, stop):
    stop = json.loads(stop)
    text, at = context.written, 0
    begun = sum(text.startswith(stop[0], i) and not text.startswith(stop, i) for i in range(len(text)))
    del at
    context.session.facts(stop_letters=len(stop), begun=begun)
    run_job(context, added, stop=[stop])


def run_job(context, added, **settings):
    stream, context.events = open_stream(context, "/execute", job_of(context, "one", added, **settings)), []
    with context.session.trial():
        for name, data in stream:
            context.events.append((name, json.loads(data)))
    texts = [data["t"] for name, data in context.events if name == "token"]
    context.pieces = texts
    tokens = [bytes([byte]) for byte in context.written.encode()]
    halves = sum("\ufffd" in token.decode(errors="replace") for token in tokens)
    context.session.facts(added=len(texts), half_characters=halves)


@then("its events are started, {count:d} tokens and one end")
def events_are(context, count):
    got = " ".join(name for name, _ in context.events)
    context.session.note([compare_text("events", got, " ".join(["started", *["token"] * count, "end"]))])


@then("its pieces are {pieces}")
def pieces_are(context, pieces):
    context.session.note([compare_text("pieces", json.dumps(context.pieces), json.dumps(json.loads(pieces)))])


@then("together its pieces are {text}")
def pieces_together(context, text):
    context.session.note([compare_text("text", "".join(context.pieces), json.loads(text))])


@when("a completion of {added:d} tokens is streamed to its end")
def completion_streamed(context, added):
    body = {"prompt": context.written, "max_tokens": added, "stream": True}
    stream = open_stream(context, "/v1/completions", body)
    with context.session.trial():
        context.data = [data for _, data in stream]
    context.session.facts(added=sum("token" not in data and "choices" in data for data in context.data))


@then("its last data, and no other, are [DONE]")
def done_once(context):
    places = [i for i, data in enumerate(context.data) if data == "[DONE]"]
    context.session.note([compare_text("places of [DONE]", str(places), str([len(context.data) - 1]))])


@when("the client of a job of {added:d} tokens goes away at its first token")
def goes_away(context, added):
    needs_room(context, added)
    context.session.facts(asked_for=added)
    stream = open_stream(context, "/execute", job_of(context, "one", added))
    with context.session.trial():
        for name, _ in stream:
            if name == "token":
                break
    stream.close()


@then("the audit log has the job as {how}")
def audited(context, how):
    def end():
        events = [event for event in context.server.audited() if event.get("job_id") == "one"]
        return events[-1]["type"] if len(events) > 1 else None

    waited(end)
    context.session.note([compare_text("end of the job", str(end()), f"request.{how}")])


@when("a job that is over is cancelled {count:d} times")
def cancelled_twice(context, count):
    context.session.facts(cancels=count)
    context.statuses = [ask(context, "/cancel", {"job_id": "one"}).status for _ in range(count)]


@then("each cancel is answered with {status:d}")
def answered_with(context, status):
    context.session.note([compare("statuses", context.statuses, [status] * len(context.statuses))])


# The batch


def bits(choice):
    """Return the ids of a continuation and the logarithms of their probabilities, to the last bit."""
    told = choice["logprobs"]["token_logprobs"]
    return [[i, logprob.hex()] for i, logprob in zip(choice["token_ids"], told, strict=True)]


@when("{count:d} ids are continued with seed {seed:d}, alone, among {others:d} others, and alone again")
def alone_and_among(context, count, seed, others):
    context.session.needs_positions(100)
    lengths = [count, *(3 + (11 * i) % 70 for i in range(others))]
    prompts = [context.session.ids(length, i) for i, length in enumerate(lengths)]
    context.runs = [
        [bits(choice) for choice in complete(context, prompt=asked, **settings)["choices"][:1]]
        for settings in [{"max_tokens": 8, "seed": seed, "logprobs": 1}]
        for asked in (prompts[:1], prompts, prompts[:1])
    ]
    context.session.facts(
        company=others,
        lengths=len(set(lengths)),
        different_ids=len({i for run in context.runs[0] for i, _ in run}),
    )


@then("its tokens and their probabilities are the same to the bit")
def same_bits(context):
    alone, *others = map(json.dumps, context.runs)
    context.session.note(
        [compare_text(f"tokens and bits {i}", run, alone) for i, run in enumerate(others, start=1)]
    )


@when(
    "two prompts of {count:d} ids that share the first {shared:d} are continued, and a third of that length"
)
def shared_beginning(context, count, shared):
    context.session.needs_positions(count + 8)
    first, third = context.session.ids(count), context.session.ids(count, 2)
    second = [*first[:shared], *context.session.ids(count - shared, 1)]
    context.prompts = [first, second, third]
    context.completions = [
        bits(complete(context, prompt=prompt, max_tokens=4, logprobs=0, seed=1)["choices"][0])
        for prompt in context.prompts
    ]
    found = ask(context, "/metrics", method="GET").text.splitlines()
    context.found = [float(line.split()[-1]) for line in found if line.startswith(FOUND)]
    context.session.facts(shared_ids=shared, prompts_of_the_length=len(context.prompts))


FOUND = "llorch_prefix_cache_hit_tokens_total"


@then("each gets the tokens and probabilities, to the bit, that it gets where nothing is kept")
def beginnings_apart(context):
    start(context, prefix_mib=0)
    wanted = [
        bits(complete(context, prompt=prompt, max_tokens=4, logprobs=0, seed=1)["choices"][0])
        for prompt in context.prompts
    ]
    context.session.note(
        [compare_text("tokens and bits", json.dumps(context.completions), json.dumps(wanted))]
    )


@then("{count:d} positions were found again")
def found_again(context, count):
    context.session.note([compare("positions found", context.found, [count])])


@when("prompts of {lengths} ids are continued as far as there is room")
def by_room(context, lengths):
    stream_of(context, lengths)


@when("prompts of {lengths} ids are continued by {count:d} tokens")
def by_count(context, lengths, count):
    stream_of(context, lengths, max_tokens=count)


def stream_of(context, lengths, **settings):
    """Continue several prompts in one stream, and keep whose turn it was; `-3` is all positions but 3."""
    context.session.needs_positions(200)
    room = context.session.subject.config["n_ctx"]
    sizes = [int(size) + (room if int(size) < 0 else 0) for size in lengths.split(", ")]
    context.session.facts(
        sequences=len(sizes),
        places=getattr(context, "settings", {}).get("max_batch", 16),
        blocks=max(sizes) // 64,
    )
    prompts = [context.session.ids(size, i) for i, size in enumerate(sizes)]
    body = {"prompt": prompts, "stream": True, "seed": 1, "return_token_ids": True, **settings}
    stream = open_stream(context, "/v1/completions", body)
    context.order = []
    with context.session.trial():
        for _, data in stream:
            if data != "[DONE]":
                (choice,) = json.loads(data)["choices"]
                context.order.append((choice["index"], choice["finish_reason"]))


@then("prompt {first:d} has its first token before prompt {second:d} has its last")
def overlaps(context, first, second):
    begun = next(i for i, (index, _) in enumerate(context.order) if index == first)
    ended = next(i for i, (index, reason) in enumerate(context.order) if index == second and reason)
    order = "before" if begun < ended else "after"
    context.session.note([compare_text("first token", order, "before")])


@then("prompt {first:d} has {count:d} tokens or more before prompt {second:d} has its first")
def goes_on(context, first, count, second):
    begun = next(i for i, (index, _) in enumerate(context.order) if index == second)
    made = sum(index == first for index, _ in context.order[:begun])
    enough = f"{count} or more" if made >= count else str(made)
    context.session.note([compare_text("tokens meanwhile", enough, f"{count} or more")])


@when("{count:d} jobs of {added:d} tokens are there, and one more is sent")
def one_too_many(context, count, added):
    needs_room(context, added)
    places = context.settings["max_batch"] + context.settings["queue"]
    context.session.facts(free_places=places - count)
    for i in range(count):
        stream = open_stream(context, "/execute", job_of(context, f"job-{i}", added))
        with context.session.trial():
            next(iter(stream))
    context.answer = ask(context, "/v1/completions", {"prompt": context.session.ids(3), "max_tokens": 1})


@then("the answer is {status:d}, and says when to try again")
def refused_for_now(context, status):
    told = context.answer.headers.get("retry-after", "")
    context.session.note(
        [
            compare("status", [context.answer.status], [status]),
            compare_text("Retry-After", "seconds" if told.isdigit() else "nothing", "seconds"),
        ]
    )
