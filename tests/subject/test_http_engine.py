"""An engine behind an address: real servers on this machine, right ones, wrong ones and broken ones."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llorch_core import Sampling, UsageError, load
from llorch_core.diagnosis.text import diagnose_text
from llorch_core.spec.oracle import read_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.subject.http_engine import AnswerError, address, ask, take_ids

PROMPT = [172, 258, 288, 7, 267]


@pytest.fixture
def serve():
    """serve(answer) -> the address of a server; answer(path, body) gives a status and text or an object."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, data = answer(self.path, body)
                raw = data.encode() if isinstance(data, str) else json.dumps(data).encode()
                try:
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:
                    pass  # the client went away, as it says it does

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def openai(ids, **more):
    return 200, {"choices": [{"text": "some text", "finish_reason": "length", "token_ids": ids, **more}]}


# Right and wrong engines


def test_our_own_engine_behind_an_address_conforms(serve, tiny_folder):
    folder = tiny_folder()
    model = load(folder)

    def answer(path, body):
        assert path == "/v1/completions" and body["temperature"] == 0 and body["echo"] is False
        done = model.generate(body["prompt"], Sampling(temperature=0), body["max_tokens"])
        return 200, {
            "choices": [{"text": "?", "finish_reason": "length", "logprobs": {
                "tokens": [f"token_id:{i}" for i in done.ids],
            }}],
            "usage": {"prompt_tokens": len(body["prompt"])},
        }  # fmt: skip

    got = ask(serve(answer), PROMPT, 8)
    found = diagnose_text(
        read_oracle(load_specs(), folder),
        PROMPT,
        got.ids,
        "float32",
        engine="http",
        model="tiny",
        read=got.read,
    )
    assert (found.verdict, len(found.tokens), got.finished, got.read) == ("conforms", 8, "length", 5)


@pytest.mark.untraced
def test_an_engine_with_a_mistake_behind_an_address_diverges_and_the_mistake_is_named(serve, tiny_folder):
    oracle = read_oracle(load_specs(), tiny_folder(n_layer=1))
    wrong = replace(oracle, mistake="embedding.position_restarts")

    def answer(path, body):
        ids = []
        for _ in range(body["max_tokens"]):
            steps = wrong.run([body["prompt"], *([i] for i in ids)])
            ids.append(int(steps[-1]["logits"][-1].argmax()))
        return openai(ids)

    got = ask(serve(answer), PROMPT, 6)
    found = diagnose_text(oracle, PROMPT, got.ids, "float32", engine="http", model="tiny")
    assert found.verdict == "diverges" and found.first.number > 1
    assert "embedding.position_restarts" in [cause.mistake for cause in found.causes]


# Forms of answers


def test_llama_cpp_is_asked_and_read_in_its_own_form(serve):
    def answer(path, body):
        assert path == "/completion" and body["return_tokens"] and body["n_predict"] == 2
        assert body["repeat_penalty"] == 1 and not body["cache_prompt"]
        return 200, {
            "content": " a b", "tokens": [7, 9], "tokens_evaluated": 5, "stop_type": "limit",
            "completion_probabilities": [{"id": 7, "logprob": -0.5}, {"id": 9, "logprob": -1.25}],
        }  # fmt: skip

    got = ask(serve(answer) + "/completion", PROMPT, 2)
    assert (got.ids, got.logprobs, got.read, got.finished) == ((7, 9), (-0.5, -1.25), 5, "length")


@pytest.mark.parametrize(
    "choice",
    [
        {"token_ids": [7, 9], "logprobs": {"tokens": [" a", " b"], "token_logprobs": [-0.5, -1.25]}},
        {"logprobs": {"tokens": ["token_id:7", "token_id:9"], "token_logprobs": [-0.5, -1.25]}},
        {"logprobs": {"content": [{"id": 7, "logprob": -0.5}, {"id": 9, "logprob": -1.25}]}},
    ],
)
def test_ids_and_log_probabilities_are_read_from_each_known_form(serve, choice):
    got = ask(serve(lambda path, body: (200, {"choices": [{"text": " a b", **choice}]})), PROMPT, 2)
    assert (got.ids, got.logprobs) == ((7, 9), (-0.5, -1.25))


def test_the_ids_that_the_engine_read_are_told(serve):
    got = ask(serve(lambda path, body: openai([1], prompt_token_ids=[0, *PROMPT])), PROMPT, 1)
    assert got.read == (0, *PROMPT)


def test_a_server_that_knows_no_extra_fields_is_asked_again_without_them(serve):
    def answer(path, body):
        return (400, "unknown field") if "return_token_ids" in body else openai([7])

    assert ask(serve(answer), PROMPT, 1).ids == (7,)


def test_a_server_that_takes_no_ids_is_asked_with_text_and_its_text_gives_the_ids(serve):
    def answer(path, body):
        if not isinstance(body["prompt"], str):
            return 422, "prompt must be text"
        return 200, {"choices": [{"text": "cd"}]}

    url = serve(answer)
    got = ask(url, [0, 1], 2, prompt_text="ab")
    assert (got.ids, got.text, got.asked_by) == (None, "cd", "text")
    taken = take_ids(got, [0, 1], "ab", lambda text: ["abcd".index(c) for c in text])
    assert (taken.ids, taken.from_text, taken.read) == ((2, 3), True, None)
    moved = take_ids(got, [0, 1], "ab", lambda text: [5, 2, 3])
    assert moved.read == (5, 2)
    with pytest.raises(AnswerError, match=r"422.*prompt must be text"):
        ask(url, [0, 1], 2)


def test_the_name_of_the_model_is_passed_on(serve):
    bodies = []
    url = serve(lambda path, body: (bodies.append(body), openai([1]))[1])
    ask(url, PROMPT, 1, model="gpt2")
    ask(url, PROMPT, 1)
    assert bodies[0]["model"] == "gpt2" and "model" not in bodies[1]


def test_no_text_is_no_token(serve):
    got = ask(
        serve(lambda path, body: (200, {"choices": [{"text": "", "finish_reason": "stop"}]})), PROMPT, 1
    )
    assert (got.ids, got.finished) == ((), "stop")


# Broken servers


@pytest.mark.parametrize(
    ("status", "data", "why"),
    [
        (500, "x" * 400, "HTTP status 500 (wanted 200): " + "x" * 300 + " …"),
        (404, "no such page", "HTTP status 404 (wanted 200): no such page"),
        (302, "", "HTTP status 302"),
        (200, '{"choices": [', "no JSON"),
        (200, "data: {}\n\ndata: [DONE]", "no JSON"),
        (200, [], "no completion"),
        (200, {"error": "no model"}, 'no completion (KeyError: \'choices\'): {"error": "no model"}'),
        (200, {"choices": [{}]}, "neither ids nor text"),
        (200, {"choices": [{"token_ids": ["a"]}]}, "no completion"),
    ],
)
def test_a_broken_answer_says_what_where_wanted_and_got(serve, status, data, why):
    url = serve(lambda path, body: (status, data))
    with pytest.raises(AnswerError) as caught:
        ask(url, PROMPT, 1)
    assert f"{url}/v1/completions" in str(caught.value) and why in str(caught.value)
    assert isinstance(caught.value, UsageError)  # the commands turn it into a message and exit code 2


def test_a_slow_server_is_given_up(serve):
    def answer(path, body):
        time.sleep(1)
        return openai([1])

    started = time.monotonic()
    with pytest.raises(AnswerError, match=r"did not answer within 0\.2 seconds"):
        ask(serve(answer), PROMPT, 1, timeout=0.2)
    assert time.monotonic() - started < 0.9


def test_nobody_there_is_said():
    with pytest.raises(AnswerError, match="cannot be reached"):
        ask("http://127.0.0.1:9", PROMPT, 1)


# Addresses


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://h:1", "http://h:1/v1/completions"),
        ("http://h:1/", "http://h:1/v1/completions"),
        ("https://h/v1", "https://h/v1/completions"),
        ("http://h/api/v1/completions", "http://h/api/v1/completions"),
        ("http://h:8080/completion", "http://h:8080/completion"),
        ("http://h/v1/completions?key=1", "http://h/v1/completions?key=1"),
    ],
)
def test_the_address_is_completed(url, called):
    assert address(url) == called


@pytest.mark.parametrize("url", ["localhost:8080", "file:///etc/passwd", "http://", "ftp://h"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="no address of an engine"):
        ask(url, PROMPT, 1)
