"""The whole model: what it records, held against the equations and against what others recorded."""

import re

import numpy as np
from behave import given, then, when

from llorch_core.check.compare import compare
from llorch_core.trace.session import NotHereError


def pattern(names):
    """Return what matches 'h.N.ln_1, h.N.ln_2 and ln_f', for every block N."""
    return re.compile(
        "|".join(re.escape(n).replace(r"h\.N\.", r"h\.\d+\.") for n in re.split(r", | and ", names))
    )


@when("the model reads a prompt, a chunk and single tokens")
def reads(context):
    context.session.require_past()
    context.reading = context.session
    context.record = context.session.record


@then("{names} follow the equations")
@then("{names} follows the equations")
def follows(context, names):
    context.session.note(context.reading.local_of(pattern(names)))


@then("every checkpoint agrees with the oracle")
def agrees(context):
    context.session.note(context.reading.everywhere)


@given("tensors of this model that others recorded")
def recorded_by_others(context):
    context.golden = context.session.recorded_by_others


@when("the oracle reads the same ids")
def oracle_reads(context):
    context.record = context.session.oracle.run([step["ids"] for step in context.golden])


@when("the model reads the same ids")
def model_reads(context):
    with context.session.trial():
        context.record = context.session.subject.record([step["ids"].tolist() for step in context.golden])


@then("every element of every tensor is equal to {share} of its largest number")
def equal_to_share(context, share):
    context.session.note(context.session.hold_recorded(context.record, float(share)))


@then("the logits are equal to {share} of the largest, or, in 16 bits, to their tolerance")
def logits_equal(context, share):
    session = context.session
    if session.subject.precision in ("float16", "bfloat16"):
        rows = np.cumsum([len(step["ids"]) for step in context.golden])[:-1]
        bounds = np.split(session.rounding([step["ids"].tolist() for step in context.golden]) / 2, rows)
        session.note(
            compare("logits", context.record[k]["logits"], step["logits"], bounds[k], k)
            for k, step in enumerate(context.golden)
        )
    else:
        comparisons = session.hold_recorded(context.record, float(share))
        session.note(c for c in comparisons if c.what == "logits")


@given("a sequence of {count:d} tokens")
def sequence(context, count):
    context.ids = context.session.ids(min(count, context.session.subject.config["n_ctx"]))


@when("each token in turn is exchanged for another")
def exchanged(context):
    n_vocab, session = context.session.subject.config["n_vocab"], context.session
    with session.trial():
        context.before = session.subject.record([context.ids])[0]
        context.after = []
        for j in range(len(context.ids)):
            other = [*context.ids[:j], (context.ids[j] + 1) % n_vocab, *context.ids[j + 1 :]]
            context.after.append(session.subject.record([other])[0])


@then("no earlier row of any checkpoint changes a bit")
def rows_kept(context):
    names = [
        n for n in context.before if n.endswith((".ln_1", ".ln_2", ".out", ".mid", "ln_f", "embed", "logits"))
    ]
    context.session.note(
        compare(name, after[name][:j], context.before[name][:j])
        for j, after in enumerate(context.after)
        if j  # before the first token there is no row
        for name in names
    )


@when("it is read at once, in chunks, and token by token")
def read_in_ways(context):
    ids, session = context.ids, context.session
    third = -(-len(ids) // 3)
    with session.trial():
        context.at_once = session.subject.logits([ids])[0]
        context.in_chunks = session.subject.logits([ids[i : i + third] for i in range(0, len(ids), third)])
        context.by_token = session.subject.logits([[i] for i in ids])


@then("every row of logits is the same to rounding")
def rows_same(context):
    session = context.session
    bound = session.rounding([context.ids])
    for way in (context.in_chunks, context.by_token):
        start = 0
        for call, logits in enumerate(way):
            rows = slice(start, start + len(logits))
            session.note([compare("logits", logits, context.at_once[rows], bound[rows], call)])
            start += len(logits)


@when("prompts of {lengths} tokens are read as one batch")
def read_batch(context, lengths):
    session = context.session
    most = session.subject.config["n_ctx"]
    context.prompts = [
        session.ids(min(int(n), most), seed) for seed, n in enumerate(re.split(r", | and ", lengths))
    ]
    with session.trial():
        context.batch = session.subject.batch(context.prompts)


@then("each prompt gets the logits that it gets alone, to rounding")
def same_as_alone(context):
    session = context.session
    for row, prompt in enumerate(context.prompts):
        with session.trial():
            alone = session.subject.logits([prompt])[0][-1]
        session.note([compare("logits", context.batch[row], alone, session.rounding([prompt])[-1], row)])


@when("it is read twice")
def read_twice(context):
    session = context.session
    with session.trial():
        context.before, context.after = (session.subject.record([context.ids])[0] for _ in range(2))


@then("every bit of every checkpoint is the same")
def bits_same(context):
    context.session.note(compare(name, context.after[name], x) for name, x in context.before.items())


@when("it is read with and without an observer")
def read_with_observer(context):
    session, half = context.session, len(context.ids) // 2
    if not getattr(session.subject, "aside", True):
        raise NotHereError(f"a run without an observer, which {session.subject.name} does not have")
    context.chunks = [context.ids[:half], context.ids[half:]]
    with session.trial():
        context.observed = session.subject.record(context.chunks)
        context.unobserved = session.subject.logits(context.chunks)


@then("every bit of the logits of each call is the same")
def logits_bits_same(context):
    context.session.note(
        compare("logits", step["logits"], logits, 0, call)
        for call, (step, logits) in enumerate(zip(context.observed, context.unobserved, strict=True))
    )
