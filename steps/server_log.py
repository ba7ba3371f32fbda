"""What the server tells of itself: its log, and its metrics."""

import json
import re
import threading

from behave import given, then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.subject.client import ask, open_stream, scripted_ids, start, waited

MOMENT = 3  # seconds: much longer than a scrape takes, and what a server loses that lets it wait
STRANGE = re.compile(r"[^A-Za-z0-9._-]")
LINES = "request.accepted, request.over, http"


def logged(context):
    """Return the text of the log, once all requests that were answered are in it."""
    answers = getattr(context, "answers", 1)
    waited(lambda: sum((line or {}).get("event") == "http" for line in context.server.log()) >= answers)
    return context.server.logged.getvalue()


@given("a server of a model that writes {count:d} ids again and again")
def model_of_ids(context, count):
    start(context, writes=scripted_ids(context, count))


@given("a server whose model fails with {text}")
def model_that_fails(context, text):
    context.error = json.loads(text)
    start(context, breaks=context.error)


# Under which name a request is followed


@when("{count:d} ids are sent under {header} {id}")
def sent_under(context, count, header, id):
    id = json.loads(id)
    context.id = "x" * 129 if id == "129 letters" else id
    context.prompt = context.session.ids(count)
    context.session.facts(
        id_letters=len(context.id), strange_letters=len(STRANGE.findall(context.id)), prompt_length=count
    )
    body = {"prompt": context.prompt, "max_tokens": 2, "seed": 1}
    context.answer = ask(context, "/v1/completions", body, **{header: context.id})


def lines_of(context, id):
    """Return the events of the log that have an id."""
    logged(context)
    return ", ".join(line["event"] for line in context.server.log() if line and line["correlation_id"] == id)


@then("its answer and every line of it have that id")
def has_id(context):
    context.session.note(
        [
            compare_text("id in the answer", context.answer.headers["x-correlation-id"], context.id),
            compare_text("lines with the id", lines_of(context, context.id), LINES),
        ]
    )


@then("its answer and every line of it have another id, of letters, digits and . _ -")
def has_another_id(context):
    told = context.answer.headers["x-correlation-id"]
    strange = "strange" if STRANGE.search(told) or len(told) > 128 else "sane"
    context.session.note(
        [
            compare_text("id in the answer", f"{told == context.id}, {strange}", "False, sane"),
            compare_text("lines with the id", lines_of(context, told), LINES),
        ]
    )


# What is not in the log


@when("the address {path} is asked for")
def address(context, path):
    path = json.loads(path)
    context.session.facts(secrets="planted" in path)
    ask(context, path, method="GET")


@when("the model fails {count:d} times")
def model_fails(context, count):
    context.answers = count
    body = {"prompt": context.session.ids(3), "max_tokens": 2}
    failed = sum(ask(context, "/v1/completions", body).status == 500 for _ in range(count))
    hidden = sum(not c.isprintable() for c in context.error)
    context.session.facts(secrets=failed * ("planted" in context.error), invisible=failed * hidden)


@when("the server itself fails {count:d} times")
def server_fails(context, count):
    context.answers = count
    failed = [ask(context, "/detokenize", {"ids": [1]}).status == 500 for _ in range(count)]
    context.session.facts(errors=sum(failed))


@when("the text {text} is sent for {count:d} tokens")
def text_sent(context, text, count):
    context.prompt = json.loads(text)
    context.session.facts(prompt_length=len(context.prompt))
    ask(context, "/v1/completions", {"prompt": context.prompt, "max_tokens": count})


@then("{text} is nowhere in the log")
def nowhere(context, text):
    text = json.loads(text)
    lines = [text in line for line in logged(context).splitlines()]
    context.session.note([compare("lines that have it", lines, [False] * len(lines))])


@then("nothing of the prompt is in the log")
def no_prompt(context):
    log, prompt = logged(context), context.prompt
    if isinstance(prompt, str):
        parts = [prompt[i : i + 8] for i in range(len(prompt) - 7)]
    else:
        log = f" {' '.join(re.findall('[0-9]+', log))} "
        parts = [f" {' '.join(map(str, prompt[i : i + 3]))} " for i in range(len(prompt) - 2)]
    got = [part for part in parts if part in log]
    context.session.note([compare_text("parts of the prompt in the log", str(got), "[]")])


@then("the log has {count:d} errors, and each line is an object with {names}")
def lines_are_objects(context, count, names):
    names = names.replace(" and ", ", ").split(", ")
    logged(context)
    lines = context.server.log()
    objects = [line is not None and set(names) <= line.keys() for line in lines]
    context.session.note(
        [
            compare("lines that are objects", objects, [True] * len(lines)),
            compare("errors", sum((line or {}).get("event") == "broken" for line in lines), count),
        ]
    )


# Metrics


def metrics(context):
    """Return each sample of the metrics by its name and labels."""
    text = ask(context, "/metrics", method="GET").text
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@when(
    "{count:d} prompts of {length:d} ids are continued by {made:d} tokens, and {more:d} requests are refused"
)
def served_and_refused(context, count, length, made, more):
    asked = [{"prompt": context.session.ids(length, i), "max_tokens": made} for i in range(count)]
    wrong = [{"prompt": context.session.ids(length), "max_tokens": -1 - i} for i in range(more)]
    statuses = [ask(context, "/v1/completions", body).status for body in [*asked, *wrong]]
    context.session.facts(served=statuses.count(200), turned_away=statuses.count(400), made=made)


@then("the metrics are")
def metrics_are(context):
    found = metrics(context)
    context.session.note(
        compare(row["metric"], found.get(row["metric"], -1), float(row["value"])) for row in context.table
    )


@when("the metrics are asked for while a stream is held at its second token, and after its end")
def metrics_while_held(context):
    gate, found = context.server.gate, []
    gate.close(after=1)
    body = {"prompt": context.session.ids(5), "max_tokens": 4, "stream": True, "return_token_ids": True}
    stream = iter(open_stream(context, "/v1/completions", body))
    with context.session.trial():
        next(stream)
    waited(lambda: gate.held)
    context.session.facts(held=gate.held)
    scrape = threading.Thread(target=lambda: found.append(metrics(context)))
    scrape.start()
    scrape.join(MOMENT)
    context.came = "before" if found else "after"
    gate.open()
    with context.session.trial():
        list(stream)
    scrape.join()
    context.running = found[0][RUNNING]


RUNNING = "llorch_requests_running"


@then("{before:d} request runs before the end, and {after:d} after it")
def running(context, before, after):
    waited(lambda: metrics(context)[RUNNING] == after, MOMENT)
    got = [context.running, metrics(context)[RUNNING]]
    context.session.note([compare("requests that run", got, [before, after])])


@then("the first answer came before the second token")
def came_before(context):
    context.session.note([compare_text("the answer came", context.came, "before")])


@when("{count:d} addresses are asked for that are not there")
def strangers(context, count):
    context.series = sorted(metrics(context))
    statuses = [ask(context, f"/nowhere-{i}", method="GET").status for i in range(count)]
    context.session.facts(addresses=statuses.count(404))


@then("the metrics have the series that they had before")
def same_series(context):
    more = sorted(set(metrics(context)) - set(context.series))
    context.session.note([compare_text("series that came", str(more), "[]")])
