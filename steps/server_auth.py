"""Who may ask the server: tokens that are right, wrong, and in between, sent over a socket."""

import json
import tempfile
from pathlib import Path

from behave import given, then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.engine.errors import UsageError
from llorch_core.subject.client import ask, open_stream, start, waited
from llorch_core.trace.session import NotHereError

TOKENS = {
    "first": "correct-horse-battery",
    "second": "staple-staple-staple",
    "third": "0123456789abcdef",
}
PAUSE = 0.02  # seconds for each token of a slow server: 200 of them are 4 s


def environment(count):
    return {"LLORCH_API_TOKENS": ",".join(f"{name}:{TOKENS[name]}" for name in list(TOKENS)[:count])}


def file_of_tokens(context, count, mode=0o600):
    folder = tempfile.TemporaryDirectory()
    context.add_cleanup(folder.cleanup)
    file = Path(folder.name) / "tokens"
    file.write_text("".join(f"{name}: {TOKENS[name]}\n" for name in list(TOKENS)[:count]))
    file.chmod(mode)
    return file


def alike(token, own):
    """Return how many characters two tokens have in common at their beginning, whatever their case."""
    pairs = zip(token.casefold(), own.casefold(), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(token), len(own)))


def knock(context, header):
    """Ask with a header, or with none, and say what it is like."""
    words = (header or "").split()
    token = words[-1] if len(words) > 1 else ""
    context.session.facts(
        words=len(words),
        characters=len(header or ""),
        capitals=sum(letter.isupper() for letter in words[0]) if words else 0,
        sent=len(words) > 1,
        right=any(word.strip(",") in TOKENS.values() for word in words),
        alike=max(alike(token, own) for own in TOKENS.values()),
    )
    headers = {} if header is None else {"Authorization": header}
    context.answer = ask(context, "/v1/models", method="GET", **headers)


def bearer(name):
    return {"Authorization": f"Bearer {TOKENS[name]}"}


@given("a server that has {count:d} tokens")
def server_with_tokens(context, count):
    context.session.facts(tokens=count)
    start(context, environment=environment(count))


@given("a server that has {count:d} tokens, whose checks are watched")
def watched_server(context, count):
    from llorch_core.subject.behaviours.server_auth import watch_checks

    server_with_tokens(context, count)
    context.checks = watch_checks(context.server)


@given("a server that has a file of {count:d} tokens")
def server_with_file(context, count):
    context.file = file_of_tokens(context, count)
    context.session.facts(tokens=count)
    start(context, tokens=context.file)


@given("a slow server that has {count:d} tokens, each with {most:d} place")
@given("a slow server that has {count:d} tokens, each with {most:d} places")
def slow_server(context, count, most):
    from llorch_core.subject.behaviours.slowed import Pace

    context.session.needs_positions(210)
    context.session.facts(tokens=count, most=most)
    start(context, environment=environment(count), pace=Pace(PAUSE), streams_per_token=most)


@when("somebody asks with {how}")
def asks(context, how):
    knock(context, {"no header": None, "an empty header": ""}.get(how, how.strip('"')))


@when("a right token is sent behind {count:d} spaces")
def spaces(context, count):
    knock(context, "Bearer" + " " * count + TOKENS["first"])


@then("it gets {status:d}")
def answered(context, status):
    context.session.note([compare("status", [context.answer.status], [status])])


@then("it gets {status:d}, and hears the scheme {scheme}")
def challenged(context, status, scheme):
    told = context.answer.headers.get("www-authenticate", "").partition(" ")[0]
    context.session.note(
        [compare("status", [context.answer.status], [status]), compare_text("challenge", told, scheme)]
    )


@then("it gets {status:d}, and the log has {fingerprint} for it")
def logged(context, status, fingerprint):
    waited(lambda: lines(context))
    told = str(lines(context)[-1].get("token"))
    context.session.note(
        [compare("status", [context.answer.status], [status]), compare_text("token", told, fingerprint)]
    )


def lines(context):
    """Return what the log says of each request."""
    found = [json.loads(line) for line in context.server.logged.getvalue().splitlines()]
    return [line for line in found if line["event"] == "http"]


@when('it checks "{token}", and then the first token')
def checks(context, token):
    knock(context, f"Bearer {token}")
    context.session.facts(place_of_the_right_one=list(TOKENS.values()).index(TOKENS["first"]))
    knock(context, f"Bearer {TOKENS['first']}")


@then("both checks called the same functions in the same order, and compared {count:d} digests")
def one_path(context, count):
    other, right = context.checks
    compared = [calls.count("compare_digest") for calls in (right, other)]
    context.session.note(
        [
            compare("digests compared", compared, [count, count]),
            compare_text("calls", " ".join(other), " ".join(right)),
        ]
    )


@when("each address is asked without a token")
def doors(context):
    asked = [(row["method"], row["address"]) for row in context.table]
    context.session.facts(sent=0, addresses=len(asked))
    context.doors = [
        (path, ask(context, path, {} if method == "POST" else None, method)) for method, path in asked
    ]


@then("each address answers {status:d}")
def closed(context, status):
    got = ", ".join(f"{path} {answer.status}" for path, answer in context.doors)
    wanted = ", ".join(f"{path} {status}" for path, _ in context.doors)
    context.session.note([compare_text("addresses", got, wanted)])


# At the start


def attempt(context, **settings):
    """Start a server that may refuse, and keep what it says."""
    with context.session.trial():
        try:
            server = context.session.behaviour("server_auth").start(**settings)
        except UsageError as error:
            context.said = str(error)
        else:
            context.said = ""
            context.add_cleanup(server.stop)


@when("a server is started with a token of {count:d} characters")
def short_token(context, count):
    context.session.facts(characters=count)
    attempt(context, environment={"LLORCH_API_TOKEN": "x" * count})


@when("a server is started on {host} without a token")
def open_server(context, host):
    context.session.facts(tokens=0, loopback=host in ("127.0.0.1", "::1", "localhost"))
    attempt(context, host=host)


@when("a server is started with a file of {count:d} tokens and permissions {mode}")
def with_file(context, count, mode):
    file = file_of_tokens(context, count, int(mode, 8))
    if file.stat().st_mode & 0o777 != int(mode, 8):
        raise NotHereError("permissions of files")
    context.session.facts(permissions_of_others=int(mode, 8) & 0o077)
    attempt(context, tokens=file)


@then("it does not start: {why}")
def refused(context, why):
    got = why if why in context.said else context.said or "it started"
    context.session.note([compare_text("start", got, why)])


@when('the file becomes "{text}", and the server reads it again')
def read_again(context, text):
    context.file.write_text(f"{text}\n")

    def told():
        return context.server.logged.getvalue().count('"tokens.')

    with context.session.trial():
        context.server.server.reload()
        waited(told)
    context.session.facts(reloads=told())


@then("first gets {first}, second {second}, third {third}, and nobody {nobody}")
def each_gets(context, first, second, third, nobody):
    wanted = {"first": first, "second": second, "third": third, "nobody": nobody}
    got = {
        name: str(ask(context, "/v1/models", method="GET", **(bearer(name) if name in TOKENS else {})).status)
        for name in wanted
    }
    context.session.note([compare_text("statuses", str(got), str(wanted))])


# What is told, and how much each may ask for


@when('the tokens "{one}" and "{other}" are sent')
def two_ask(context, one, other):
    context.sent = (one, other)
    for token in context.sent:
        ask(context, "/v1/models", method="GET", Authorization=f"Bearer {token}")
    waited(lambda: len(lines(context)) == len(context.sent))
    context.session.facts(sent=len(lines(context)))


@then("no log has six characters of either of them")
def never_told(context):
    logs = {
        "log": context.server.logged.getvalue(),
        "audit log": json.dumps(context.server.audited()),
    }
    context.session.note(
        [
            compare_text(
                f"parts of a token in the {name}",
                ", ".join(
                    token[i : i + 6]
                    for token in context.sent
                    for i in range(len(token) - 5)
                    if token[i : i + 6] in text
                )
                or "none",
                "none",
            )
            for name, text in logs.items()
        ]
    )


def stream_of(context, added):
    body = {"prompt": context.session.ids(3), "max_tokens": added, "stream": True}
    return open_stream(context, "/v1/completions", body, **bearer("first"))


def asks_once(context, name):
    body = {"prompt": context.session.ids(3), "max_tokens": 1}
    return ask(context, "/v1/completions", body, **bearer(name))


@when("the first token has a stream of {added:d} tokens, and then the first and the second ask once")
def all_taken(context, added):
    stream = stream_of(context, added)
    with context.session.trial():
        next(iter(stream))
    context.session.facts(running=1, names=2)
    context.statuses = [asks_once(context, name).status for name in ("first", "second")]


@then("they are answered with {first:d} and {second:d}")
def both_answered(context, first, second):
    context.session.note([compare("statuses", context.statuses, [first, second])])


@when(
    "the client of the first token goes away from {count:d} streams of {added:d} tokens, and asks once more"
)
def goes_away(context, count, added):
    context.session.facts(gone=count)
    for i in range(count):
        stream = stream_of(context, added)
        with context.session.trial():
            next(iter(stream), None)
        stream.close()

        def noticed(gone=i + 1):
            ends = [event["type"] for event in context.server.audited()]
            return ends.count("request.cancelled") == gone or "request.refused" in ends

        waited(noticed)
    context.answer = asks_once(context, "first")
