"""Events go through a stream whole, whatever is in them; what is no event does no harm."""

import json

from hypothesis import given
from hypothesis import strategies as st

from llorch_core.server.completions import data
from llorch_core.server.execute import event
from llorch_core.subject.client import events

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["\n\n", "\r", "\r\n\r\n", "data: x\n\n", "event: end\n", "\u2028", "\u0085", "\ufeff", "\x00", ": "]
)


def read(raw):
    """Split a stream as browsers do: lines end with CR, LF or both (WHATWG HTML, 9.2.6)."""
    text = raw.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = [line.partition(": ") for line in block.split("\n")]
        named = [value for field, _, value in fields if field == "event"]
        found.append(("".join(named), "\n".join(value for field, _, value in fields if field == "data")))
    return found


@given(st.lists(TEXTS, min_size=1))
def test_any_text_of_a_token_comes_out_of_the_stream_as_it_went_in(texts):
    raw = b"".join(event("token", {"t": text, "i": i}) for i, text in enumerate(texts))
    told = read(raw)
    assert [(name, json.loads(body)["t"]) for name, body in told] == [("token", text) for text in texts]
    assert list(events(lines(raw))) == told


def lines(raw):
    return [line + b"\n" for line in raw.split(b"\n")]


@given(TEXTS)
def test_a_part_of_a_completion_is_one_event(text):
    ((name, body),) = read(data({"choices": [{"text": text}]}))
    assert (name, json.loads(body)["choices"][0]["text"]) == ("", text)


@given(st.lists(st.binary(max_size=20)))
def test_what_is_no_event_is_passed_over(junk):
    noise = [line.replace(b"\n", b"") + b"\n" for line in junk]
    found = list(events([*noise, b"\n", b"event: end\n", b"data: 1\n", b"\n", b"data: cut"]))
    assert found[-1] == ("end", "1")
