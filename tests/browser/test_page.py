"""The page at `/` in a real browser, against the running server: `make test-browser`.

Screenshots are left in build/page; LLORCH_SCREENSHOTS names another folder. LLORCH_PAGE_ADDRESS names a
server that runs already (of the embedded model, without tokens). What a server seldom says is said by one of
this file.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from llorch_core.server.page import page as the_page
from tests.browser.looks import CONTRAST, DESK, PHONE

ROOT = Path(__file__).parents[2]
SECRET = "a-token-of-the-browser-test"
REFUSED = "Failed to load resource"  # a browser tells its console of every status from 400 on


@contextmanager
def started(*words, **environment):
    """A server in a process of its own; gives its address."""
    command = [sys.executable, "-m", "llorch_core", "serve", "--port", "0", *words]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    try:
        for line in running.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                break
        else:
            pytest.fail(f"the server ended with {running.wait()} before it was ready")
    finally:
        running.terminate()
        running.communicate(timeout=60)


@pytest.fixture(scope="session")
def server():
    if address := os.environ.get("LLORCH_PAGE_ADDRESS"):
        yield address
        return
    with started() as address:
        yield address


@pytest.fixture
def visit(browser):
    """visit(address, **how): the page. At the end it asked nobody else, and nothing complained."""
    opened, asked, complaints, addresses = [], [], [], []

    def go(address, viewport=DESK, **how):
        context = browser.new_context(viewport=viewport, **how)
        context.set_default_timeout(20_000)
        opened.append(context)
        addresses.append(address)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        return page

    yield go
    for context in opened:
        context.close()
    assert [says for says in complaints if not says.startswith(REFUSED)] == []
    assert all(url.startswith((*addresses, "data:image/svg")) for url in asked)


def fill(page, **settings):
    for name, value in settings.items():
        page.locator(f"#{name}").fill(str(value))


def ended(page):
    """Wait until a text is at its end; returns why."""
    page.locator("body:not([aria-busy]) #why:not(:empty)").wait_for(state="attached")
    return page.locator("#ended").inner_text()


def tokens(page):
    """Return the texts of the tokens."""
    return page.eval_on_selector_all(".token", "all => all.map(e => e.textContent)")


def completion(address, **body):
    return httpx.post(f"{address}/v1/completions", json=body, timeout=60).raise_for_status().json()


# With the server.


def test_the_text_is_the_one_that_the_interface_gives_with_the_same_seed(visit, server):
    page = visit(server)
    fill(page, prompt="To be", max_tokens=40, temperature=0.9, top_k=50, top_p=0.95, seed=7)
    page.locator("#write").click()
    assert ended(page) == "length"
    asked = {"prompt": "To be", "max_tokens": 40, "temperature": 0.9, "top_k": 50, "top_p": 0.95, "seed": 7}
    answer = completion(server, **asked)
    assert "".join(tokens(page)) == answer["choices"][0]["text"]
    assert page.locator("#given").inner_text() == "To be"
    assert page.locator("#count").inner_text() == "40"
    assert page.locator("#usage").inner_text() == f"after {answer['usage']['prompt_tokens']}"
    assert page.locator("#used").inner_text() == "7"
    assert float(page.locator("#speed").inner_text()) > 0
    assert float(page.locator("#first").inner_text()) > 0


def test_each_token_shows_the_probabilities_that_the_interface_gives(visit, server):
    page = visit(server)
    fill(page, prompt="To be", max_tokens=6, temperature=0)
    page.locator("#write").click()
    ended(page)
    found = completion(server, prompt="To be", max_tokens=6, temperature=0, logprobs=8)["choices"][0][
        "logprobs"
    ]
    for at in (0, 3):
        page.locator(".token").nth(at).hover()
        wanted = sorted(map(math.exp, found["top_logprobs"][at].values()), reverse=True)
        shown = page.locator(".choice li:not(.others) .n").all_inner_texts()
        assert shown == ["100 %" if p >= 0.9995 else f"{100 * p:.1f} %" for p in wanted if p >= 0.0005]
        assert page.locator(".choice li.chosen").count() == 1


def test_a_seed_that_is_drawn_gives_the_same_text_again(visit, server):
    page = visit(server)
    fill(page, max_tokens=24, temperature=1)
    page.locator("#write").click()
    ended(page)
    first = tokens(page)
    page.locator("#keep").click()
    assert page.locator("#seed").input_value() == page.locator("#used").inner_text()
    page.locator("#write").click()
    page.locator("#keep").wait_for(state="hidden")
    ended(page)
    assert tokens(page) == first


def test_every_violation_is_told_and_its_field_marked(visit, server):
    page = visit(server)
    fill(page, max_tokens=-1, temperature=9)
    page.locator("#write").click()
    told = page.locator("#trouble")
    told.wait_for()
    assert told.locator("code").all_inner_texts() == ["max_tokens", "temperature"]
    marked = page.eval_on_selector_all("[aria-invalid=true]", "all => all.map(e => e.id)")
    assert marked == ["max_tokens", "temperature"]
    assert page.evaluate("document.activeElement.id") == "max_tokens"
    fill(page, max_tokens=4, temperature=1)
    page.locator("#write").click()
    ended(page)
    assert not told.is_visible()
    assert page.locator("[aria-invalid=true]").count() == 0


def test_all_is_done_with_the_keyboard(visit, server):
    page = visit(server)
    fill(page, max_tokens=12, temperature=0)
    page.locator("#prompt").focus()
    page.keyboard.press("Control+Enter")
    ended(page)
    page.locator("#curl").focus()
    for _ in range(9):  # on to the tokens, which are one stop
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className").startswith("token"):
            break
    at = "[...document.querySelectorAll('.token')].indexOf(document.activeElement)"
    for key, place in (("ArrowRight", 1), ("End", 11), ("ArrowLeft", 10), ("Home", 0), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert page.evaluate(at) == place, key
        assert page.locator(".token").nth(place).evaluate("e => e.classList.contains('shown')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    assert page.evaluate(at) == -1


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_what_is_copied_is_a_command_that_gives_the_same_text(visit, server):
    page = visit(server, permissions=["clipboard-read", "clipboard-write"])
    fill(page, prompt='It\'s "so"\n$HOME', max_tokens=12, temperature=1, stop="\\n\\n\\n\\n")
    page.locator("#write").click()
    ended(page)
    page.locator("#curl").click()
    page.locator("#curl", has_text="Copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    said = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    events = [line[6:] for line in said.splitlines() if line.startswith("data: {")]
    text = "".join(c["text"] for event in events for c in json.loads(event)["choices"])
    assert text == "".join(tokens(page))


@pytest.mark.skipif("LLORCH_PAGE_ADDRESS" in os.environ, reason="starts a server of its own")
def test_a_token_is_asked_for_and_kept_in_memory_alone(visit):
    with started(LLORCH_API_TOKEN=SECRET) as address:
        page = visit(address)
        page.locator("#write").click()
        page.locator("#trouble h2", has_text="wants an access token").wait_for()
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type(SECRET)
        fill(page, max_tokens=3)
        page.locator("#write").click()
        assert ended(page) == "length"
        page.locator("#curl").click()
        assert SECRET not in page.evaluate("document.documentElement.outerHTML")
        stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        assert page.evaluate(stored) == '[{},{},""]'
        page.reload()
        assert page.locator("#token").input_value() == ""


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_as_it_ought_to(visit, server, scheme, viewport):
    device = "phone" if viewport is PHONE else "desk"
    folder = Path(os.environ.get("LLORCH_SCREENSHOTS") or ROOT / "build" / "page")
    folder.mkdir(parents=True, exist_ok=True)
    page = visit(
        server, viewport=viewport, color_scheme=scheme, has_touch=device == "phone", reduced_motion="reduce"
    )
    page.screenshot(path=folder / f"before-{device}-{scheme}.png")
    fill(page, seed=11, max_tokens=64)
    page.locator("#write").click()
    ended(page)
    page.locator(".token").nth(8).click()
    page.screenshot(path=folder / f"after-{device}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate(CONTRAST) == []
    assert page.locator("#choices").evaluate("e => e.getBoundingClientRect().top") < viewport["height"]
    fill(page, max_tokens=0)
    page.locator("#write").click()
    page.locator("#trouble li").wait_for()
    page.screenshot(path=folder / f"refused-{device}-{scheme}.png")
    assert page.evaluate(CONTRAST) == []


# With what is written here.


class Scripted(BaseHTTPRequestHandler):
    """Serves the page, and answers a completion with what the test wrote."""

    answer = (200, {}, b"")
    going_on = None  # an event: the answer stays open until then

    def do_GET(self):
        body, headers = the_page() if self.path == "/" else (b'{"data": []}', {})
        self._send(200, headers, body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(*self.answer)
        if self.going_on:
            self.going_on.wait(20)

    def _send(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def says(visit):
    """says(status, body, **headers): the page of a server that answers so."""
    made = type("Made", (Scripted,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as running:
        Thread(target=running.serve_forever, daemon=True).start()

        def answering(status, body, going_on=None, **headers):
            made.answer = (status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())
            made.going_on = going_on
            return visit(f"http://127.0.0.1:{running.server_port}/")

        yield answering
        running.shutdown()


def event(text, tokens=(), finish=None, ends="\n"):
    """Return a message of a stream; tokens are (token, probability)."""
    logs = {
        "tokens": [token for token, _ in tokens],
        "token_logprobs": [math.log(p) for _, p in tokens],
        "top_logprobs": [{token: math.log(p)} for token, p in tokens],
        "text_offset": [0] * len(tokens),
    }
    choice = {"index": 0, "text": text, "logprobs": logs, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}{ends * 2}".encode()


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_may_be_cut_behind_every_byte(says, ends):
    stream = b": a comment" + ends.encode()
    for text in ("é", "語", " 🙂", "\n", "end"):
        stream += event(text, [(text, 0.5)], "stop" if text == "end" else None, ends)
    stream += DONE.replace(b"\n", ends.encode())
    two_lines, no_space = b', "finish_reason"', b"data:{"
    stream = stream.replace(two_lines, b"," + ends.encode() + b'data:  "finish_reason"')
    stream = stream.replace(b"data: {", no_space, 2)
    page = says(200, b"")
    page.evaluate(
        """bytes => { window.fetch = async () => new Response(new ReadableStream({
          start(to) { for (const byte of bytes) to.enqueue(new Uint8Array([byte])); to.close(); }
        })); }""",
        list(stream),
    )
    page.locator("#write").click()
    assert ended(page) == "stop"
    assert tokens(page) == ["é", "語", " 🙂", "\n", "end"]
    assert not page.locator("#trouble").is_visible()


def test_tokens_are_seen_before_the_stream_ends_and_stop_stops_it(says):
    going_on = Event()
    page = says(200, event("first", [("first", 0.25)]), going_on)
    page.locator("#write").click()
    page.locator(".token").wait_for()
    assert page.locator("#caret").is_visible()
    assert page.locator("#choices").inner_text().startswith("It took first: 25.0 %, the likeliest.")
    page.locator("#halt").click()
    assert ended(page) == "you"
    assert tokens(page) == ["first"]
    assert not page.locator("#caret").is_visible()
    assert not page.locator("#trouble").is_visible()
    going_on.set()


def test_shades_are_those_of_the_legend(says):
    given = {
        "a": 0.501,
        "b": 0.499,
        "c": 0.201,
        "d": 0.199,
        "e": 0.0501,
        "f": 0.0499,
        "g": 0.0101,
        "h": 0.0099,
    }
    stream = b"".join(event(token, [(token, p)]) for token, p in given.items())
    page = says(200, stream + event("", finish="length") + DONE)
    page.locator("#write").click()
    ended(page)
    assert page.eval_on_selector_all(".token", "all => all.map(e => e.dataset.p)") == [*"01122334"]


def test_tokens_that_are_a_character_only_together_are_shown_together(says):
    halves = [("bytes:\\xc3", 0.5), ("bytes:\\xa9", 0.25)]
    stream = (
        event("", halves[:1]) + event("é", halves[1:]) + event(" a b", [(" a", 0.5), (" b", 0.5)], "stop")
    )
    page = says(200, stream + DONE)
    page.locator("#write").click()
    ended(page)
    assert tokens(page) == ["é", " a", " b"]
    assert page.locator("#count").inner_text() == "4"
    page.locator(".token").first.hover()
    assert page.locator(".choice").count() == 2


def test_what_a_model_writes_is_text_and_never_markup(says):
    wild = "<img src=x onerror=alert(1)></script><b>"
    page = says(200, event(wild, [(wild, 0.5)], "stop") + DONE)
    page.locator("#prompt").fill(wild)
    page.locator("#write").click()
    ended(page)
    assert tokens(page) == [wild]
    assert page.locator("#given").inner_text() == wild
    assert page.locator("main img, main b:not(dd b)").count() == 0


@pytest.mark.parametrize(
    ("status", "title"),
    [(413, "too long"), (429, "busy"), (503, "takes no work"), (504, "not enough time"), (500, "failed")],
)
def test_a_refusal_is_told_in_words(says, status, title):
    body = {"error": {"message": "The reason.", "type": "t", "param": None, "code": status}}
    page = says(status, body, **{"Retry-After": "3"} if status == 429 else {})
    page.locator("#write").click()
    told = page.locator("#trouble")
    told.wait_for()
    assert title in told.locator("h2").inner_text()
    assert told.locator("p").first.inner_text() == "The reason."
    assert ("Try again in 3 s." in told.inner_text()) == (status == 429)
    assert page.locator("#ended").inner_text() == "error"


@pytest.mark.parametrize(
    ("rest", "told"),
    [(b"", "broke off"), (b'data: {"error": {"message": "Too late.", "code": 504}}\n\n', "not enough time")],
    ids=["cut", "error"],
)
def test_a_stream_that_ends_badly_keeps_what_came_and_is_told(says, rest, told):
    page = says(200, event("so far", [("so far", 0.5)]) + rest)
    page.locator("#write").click()
    page.locator("#trouble h2", has_text=told).wait_for()
    assert tokens(page) == ["so far"]
    assert page.locator("#ended").inner_text() == "error"
