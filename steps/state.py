"""The cache from call to call, and what is recorded of the calls: on the model on trial, by ids alone."""

import re

import numpy as np
from behave import then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.trace.session import NotHereError

CALLS = re.compile(r"(\d+)(?:, | and )?")


def counts(text):
    """Return the numbers of '4, 3 and 1'."""
    return [int(number) for number in CALLS.findall(text)]


def chunks_of(context, text):
    """Return consecutive chunks of the standard ids, of these lengths."""
    lengths = counts(text)
    ends = np.cumsum(lengths)
    context.session.needs_positions(int(ends[-1]))
    ids = context.session.ids(int(ends[-1]))
    return [ids[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def measure_calls(context):
    """Say what the calls and the model are like, for the conditions of the rules."""
    session, lengths = context.session, [len(chunk) for chunk in context.chunks]
    session.facts(
        calls=len(lengths),
        lengths=len(set(lengths)),
        n_past=sum(lengths[:-1]),
        widest_later_call=max(lengths[1:], default=0),
        narrowest_later_call=min(lengths[1:], default=0),
    )
    weights = session.oracle.weights
    squares = (weights[name] for name in weights if name.endswith("attn.c_proj.weight"))
    session.facts_of_model(
        n_layer=session.subject.config["n_layer"],
        n_head=session.subject.config["n_head"],
        n_embd=session.subject.config["n_embd"],
        different_ids=max(len(set(chunk)) for chunk in context.chunks),  # of its vocabulary
        asymmetry=min(np.abs(x - x.T).max() for x in squares),
    )


def try_to_read(protocol, cache, ids):
    """Read ids, and return the checkpoints and the kind of a refusal: 'none', or its name."""
    try:
        return protocol.read(cache, ids), "none"
    except ValueError as error:
        if type(error).__name__ != "UsageError":
            raise
        return {}, "UsageError"


@when("a cache is read into by {count:d} tokens, and then by {text}")
def reads_chunks(context, count, text):
    session = context.session
    context.chunks = chunks_of(context, f"{count}, {text}")
    measure_calls(context)
    context.steps, context.past, context.refusals = [], [], []
    with session.trial():
        protocol = session.behaviour("kv_cache")
        cache = protocol.new(sum(map(len, context.chunks)))
        for chunk in context.chunks:
            step, refusal = try_to_read(protocol, cache, chunk)
            context.steps.append(step)
            context.refusals.append(refusal)
            context.past.append(cache.n_past)


@then("the cache has counted {text} positions after each call")
def counted(context, text):
    context.session.note([compare("positions after each call", context.past, counts(text))])


@then("each call is given the keys and values of {text} positions")
def given_rows(context, text):
    config = context.session.subject.config
    for call, (step, seen) in enumerate(zip(context.steps, counts(text), strict=True)):
        wanted = [config["n_head"], seen, config["head_dim"]]
        rows = {name: x for name, x in step.items() if name.endswith((".keys", ".values"))}
        context.session.note(
            compare(f"shape of {name}", x.shape, wanted, 0, call) for name, x in rows.items()
        )


@then("every bit of the rows that a call was given is there in the next call")
def rows_stay(context):
    for call, (before, after) in enumerate(zip(context.steps, context.steps[1:], strict=False), 1):
        rows = {name: x for name, x in before.items() if name.endswith((".keys", ".values"))}
        context.session.note(
            compare(name, after[name][:, : x.shape[1]], x, 0, call) for name, x in rows.items()
        )


@then("the keys and values of every block are its own k and v of all calls, end to end")
def own_rows(context):
    last = len(context.steps) - 1
    for n in range(context.session.subject.config["n_layer"]):
        for new, kept in (("k", "keys"), ("v", "values")):
            wanted = np.concatenate([step[f"h.{n}.attn.{new}"] for step in context.steps], axis=1)
            name = f"h.{n}.attn.{kept}"
            context.session.note([compare(name, context.steps[last][name], wanted, 0, last)])


@then("each row of logits is, to rounding, what one call with all the ids gives")
def as_in_one_call(context):
    session, ids = context.session, [i for chunk in context.chunks for i in chunk]
    with session.trial():
        wanted = session.subject.logits([ids])[0]
    got = np.concatenate([step["logits"] for step in context.steps])
    session.note([compare("logits", got, wanted, session.rounding([ids]))])


@when("a cache with room for {room:d} positions is asked for {text} positions")
def asked_for_more(context, room, text):
    session = context.session
    context.chunks = chunks_of(context, text)
    measure_calls(context)
    session.facts(over=sum(map(len, context.chunks)) - room)
    context.refusals, context.past = [], []
    with session.trial():
        context.protocol = session.behaviour("kv_cache")
        context.cache = context.protocol.new(room)
        for chunk in context.chunks:
            context.refusals.append(try_to_read(context.protocol, context.cache, chunk)[1])
            context.past.append(context.cache.n_past)


@then("the cache refuses the last call, and still counts {count:d} positions")
def last_call_refused(context, count):
    context.session.note(
        [
            compare_text("refusals", " ".join(context.refusals), "none UsageError"),
            compare("positions after the last call", context.past[-1], count),
        ]
    )


@then("{count:d} tokens more get the bits that they get in a cache that never refused")
def same_bits_after_refusal(context, count):
    session, more = context.session, context.session.ids(count, seed=1)
    session.needs_positions(len(context.chunks[0]) + count)
    with session.trial():
        got, refusal = try_to_read(context.protocol, context.cache, more)
        wanted = session.subject.logits([context.chunks[0], more])[1]
    session.note([compare_text("refusal", refusal, "none")])
    session.note([compare("logits", got["logits"], wanted)])


@when("a sequence of {first:d} tokens is read, and then another of {second:d} in a new cache")
def two_sequences(context, first, second):
    session = context.session
    session.needs_positions(max(first, second))
    before, context.second = session.ids(first), session.ids(second, seed=1)
    session.facts_of_model(different_ids=sum(a != b for a, b in zip(before, context.second, strict=False)))
    with session.trial():
        protocol = session.behaviour("kv_cache")
        protocol.read(protocol.new(), before)
        cache = protocol.new()
        context.past = [cache.n_past]
        context.steps = [protocol.read(cache, context.second)]


@then("every bit of every checkpoint of the second is what it is when nothing was read before")
def alone(context):
    session = context.session
    with session.trial():
        wanted = session.subject.record([context.second])[0]
    session.note([compare("positions in a new cache", context.past, [0])])
    session.note(compare(name, context.steps[0][name], x) for name, x in wanted.items())


@when("a cache without a stated capacity is read into by {text} tokens")
def without_capacity(context, text):
    session, chunks = context.session, chunks_of(context, text)
    session.facts_of_model(positions_left=session.subject.config["n_ctx"] - sum(map(len, chunks)))
    with session.trial():
        protocol = session.behaviour("kv_cache")
        context.cache = protocol.new()
        context.refusals = [try_to_read(protocol, context.cache, chunk)[1] for chunk in chunks]


@then("the cache has room for every position of the model")
def room_for_all(context):
    calls = " ".join("none" for _ in context.refusals)
    context.session.note(
        [
            compare("capacity", context.cache.capacity, context.session.subject.config["n_ctx"]),
            compare_text("refusals", " ".join(context.refusals), calls),
        ]
    )


# What is recorded


@when("calls of {text} tokens are recorded")
def record_calls(context, text, overwrite=False):
    session = context.session
    context.chunks = chunks_of(context, text)
    measure_calls(context)
    context.steps, context.at_once = [], []
    with session.trial():
        for step in session.behaviour("recording").record(context.chunks):
            context.steps.append(step)
            context.at_once.append({name: np.array(x) for name, x in step.items()})
            for x in step.values() if overwrite else ():
                x[...] = 1


@when("calls of {text} tokens are recorded, and each tensor is overwritten at once")
def overwrite_calls(context, text):
    record_calls(context, text, overwrite=True)


def shape_of(context, text, call):
    """Return the shape that a text such as [n_head, T, S] has in a call."""
    config, lengths = context.session.subject.config, [len(chunk) for chunk in context.chunks]
    sizes = {**config, "T": lengths[call], "S": sum(lengths[: call + 1])}
    return [sizes[size] for size in re.findall(r"\w+", text)]


def contract(context):
    """Return the shape of every checkpoint of the table, by name, for every block."""
    blocks = range(context.session.subject.config["n_layer"])
    return {
        row["checkpoint"].replace("h.N.", f"h.{n}."): row.get("shape", "")
        for row in context.table
        for n in (blocks if "h.N." in row["checkpoint"] else (0,))
    }


@then("each call shows these checkpoints, and no others")
def shows_checkpoints(context):
    wanted = contract(context).keys()
    for call, step in enumerate(context.steps):
        wrong = {"missing": wanted - step.keys(), "unknown": step.keys() - wanted}
        context.session.note(
            compare_text(f"{what} checkpoints of call {call}", " ".join(sorted(names)) or "none", "none")
            for what, names in wrong.items()
        )
        names = compare_text(f"checkpoints of call {call}", " ".join(sorted(step)), " ".join(sorted(wanted)))
        context.session.note([names])


@then("the checkpoints of each call have these shapes")
def have_shapes(context):
    for call, step in enumerate(context.steps):
        context.session.note(
            compare(f"shape of {name}", step[name].shape, shape_of(context, text, call), 0, call)
            for name, text in contract(context).items()
        )


@then("at the end every bit of every call is what it was right after that call")
def still_the_same(context):
    for call, (kept, step) in enumerate(zip(context.at_once, context.steps, strict=True)):
        context.session.note(compare(name, step[name], x, 0, call) for name, x in kept.items())


@then("every bit of the logits is that of calls that nobody recorded")
def not_reached(context):
    session = context.session
    with session.trial():
        wanted = session.subject.logits(context.chunks)
    calls = zip(context.at_once, wanted, strict=True)
    session.note(compare("logits", step["logits"], x, 0, call) for call, (step, x) in enumerate(calls))


@then("the record holds every call, with its ids in their order")
def every_call(context):
    context.session.note([compare("recorded calls", len(context.steps), len(context.chunks))])
    context.session.note(
        compare("ids", step["ids"], chunk, 0, call)
        for call, (step, chunk) in enumerate(zip(context.steps, context.chunks, strict=True))
    )


@then("row by row, ids and embed are those of calls of one token each")
def row_by_row(context):
    session = context.session
    ids = [i for chunk in context.chunks for i in chunk]
    with session.trial():
        single = session.subject.record([[i] for i in ids])
    for name in ("ids", "embed"):
        got = np.concatenate([step[name] for step in context.steps])
        session.note([compare(name, got, np.concatenate([step[name] for step in single]))])


@then("row by row, the keys and values of a call are the k and v of the calls so far")
def keys_in_order(context):
    for call, step in enumerate(context.steps):
        for n in range(context.session.subject.config["n_layer"]):
            for new, kept in (("k", "keys"), ("v", "values")):
                rows = [before[f"h.{n}.attn.{new}"] for before in context.steps[: call + 1]]
                name = f"h.{n}.attn.{kept}"
                context.session.note([compare(name, step[name], np.concatenate(rows, axis=1), 0, call)])


@when("the last positions of prompts of {lengths} tokens are recorded in one batch")
def record_last_positions(context, lengths):
    session = context.session
    model = getattr(session.subject, "model", None)
    if model is None:
        raise NotHereError(f"a batch with an observer, which {session.subject.name} does not have")
    context.prompts = [session.ids(int(n), seed) for seed, n in enumerate(CALLS.findall(lengths))]
    session.needs_positions(max(map(len, context.prompts)))
    session.facts(lengths=len({len(prompt) for prompt in context.prompts}))
    session.facts_of_model(n_embd=session.subject.config["n_embd"])
    context.last = [{} for _ in context.prompts]
    chunks = [np.array(prompt) for prompt in context.prompts]
    caches = [model.new_cache() for _ in chunks]
    with session.trial():
        model.forward(
            chunks, caches, "last", lambda sequence, name, x: context.last[sequence].update({name: x})
        )


@then("ln_f and logits are shown of each prompt, one row, as it has them alone")
def last_rows_shown(context):
    session = context.session
    for row, (prompt, step) in enumerate(zip(context.prompts, context.last, strict=True)):
        with session.trial():
            alone = session.subject.logits([prompt])[0][-1:]
        session.note([compare("rows of ln_f", len(step["ln_f"]), 1, 0, row)])
        session.note([compare("logits", step["logits"], alone, session.rounding([prompt])[-1:], row)])
