"""Text is shown as early as it is certain, and never a part of a stop string."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch_core.engine.errors import UsageError
from llorch_core.engine.stream import TextStream


def shown(tokens: list[bytes], stop: list[str]) -> tuple[list[str], TextStream]:
    """Push each token; return the pieces, the last one from `finish`, and the stream."""
    stream = TextStream(tokens.__getitem__, stop)
    return [stream.push(i) for i in range(len(tokens))] + [stream.finish()], stream


def cut(text: str, stop: list[str]) -> tuple[str, str | None]:
    """The naive oracle: with the whole text at hand, cut it at the first place where a stop string is."""
    for place in range(len(text)):
        for s in sorted(stop, key=len):
            if text.startswith(s, place):
                return text[:place], s
    return text, None


def test_text_is_shown_token_by_token():
    pieces, stream = shown([b"The", b" cat", b" sat"], [])
    assert pieces == ["The", " cat", " sat", ""]
    assert not stream.stopped and stream.stop_string is None


def test_a_character_is_shown_when_its_last_byte_has_come():
    pieces, _ = shown([b"a\xf0\x9f", b"\x98", b"\x80b"], [])  # U+1F600 is F0 9F 98 80
    assert pieces == ["a", "", "\U0001f600b", ""]


def test_an_incomplete_character_at_the_end_becomes_one_replacement_character():
    pieces, _ = shown([b"a\xe2\x82"], [])
    assert pieces == ["a", "\ufffd"]


def test_a_wrong_byte_becomes_a_replacement_character_and_the_next_character_survives():
    pieces, _ = shown([b"\xe2", b"A\xff", b"B"], [])
    assert pieces == ["", "\ufffdA\ufffd", "B", ""]


def test_the_stop_string_and_what_follows_are_never_shown():
    pieces, stream = shown([b"one\nUser: two", b" three"], ["\nUser:"])
    assert pieces == ["one", "", ""]
    assert stream.stopped and stream.stop_string == "\nUser:"


def test_what_may_become_a_stop_string_waits_until_it_cannot():
    pieces, stream = shown([b"xa", b"b", b"d", b"ab", b"c"], ["abc"])
    assert pieces == ["x", "", "abd", "", "", ""]
    assert stream.stop_string == "abc"


def test_the_longest_possible_beginning_of_a_stop_string_is_held_back():
    pieces, _ = shown([b"aab", b"aac"], ["aabaab"])  # `aab` waits, not only `b` or nothing
    assert pieces == ["", "aabaac", ""]
    pieces, stream = shown([b"aaab", b"aab"], ["aabaab"])
    assert pieces == ["a", "", ""] and stream.stopped


def test_what_was_held_back_is_shown_at_the_end():
    pieces, stream = shown([b"ab"], ["abc"])
    assert pieces == ["", "ab"] and not stream.stopped


def test_the_stop_string_that_begins_first_wins_though_another_is_complete_before_it():
    pieces, stream = shown([b"xabc", b"d"], ["bc", "abcd"])
    assert pieces == ["x", "", ""] and stream.stop_string == "abcd"
    pieces, stream = shown([b"xabc", b"e"], ["bc", "abcd"])
    assert pieces == ["x", "a", ""] and stream.stop_string == "bc"
    pieces, stream = shown([b"xabc"], ["bc", "abcd"])
    assert pieces == ["x", "a"] and stream.stop_string == "bc"


def test_of_two_stop_strings_that_begin_together_the_shorter_ends_the_text():
    for stop in (["ab", "abc"], ["abc", "ab"]):
        pieces, stream = shown([b"xabc"], stop)
        assert pieces == ["x", ""] and stream.stop_string == "ab"
        stream = TextStream([b"xab", b"c"].__getitem__, stop)
        assert stream.push(0) == "x" and stream.stop_string == "ab"  # at once
        assert stream.push(1) == stream.finish() == "" and stream.stop_string == "ab"


def test_a_stop_string_of_several_bytes_is_found_across_tokens():
    pieces, stream = shown([b"x\xe2", b"\x82", b"\xacy"], ["€"])
    assert pieces == ["x", "", "", ""] and stream.stop_string == "€"


@pytest.mark.parametrize("stop", [[""], ["a", ""], "stop", [b"a"]])
def test_a_stop_that_is_no_list_of_strings_or_holds_an_empty_one_is_refused(stop):
    with pytest.raises(UsageError, match=r"stop is .*none of them empty"):
        TextStream(lambda i: b"", stop)


letters = st.text(alphabet="ab€", max_size=12).map(str.encode)
torn = st.lists(st.sampled_from([b"a", b"b", b"\xe2", b"\x82", b"\xac", b"\xff"]), max_size=10).map(b"".join)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(
    data=st.one_of(letters, torn),
    places=st.lists(st.integers(0, 36), max_size=8),
    stop=st.lists(st.text(alphabet="ab€\ufffd", min_size=1, max_size=4), max_size=3),
)
def test_the_pieces_are_the_whole_text_cut_at_the_first_stop_string_wherever_tokens_end(data, places, stop):
    ends = sorted({min(p, len(data)) for p in places} | {0, len(data)})
    tokens = [data[begin:end] for begin, end in pairwise(ends)]
    pieces, stream = shown(tokens, stop)
    assert ("".join(pieces), stream.stop_string) == cut(data.decode(errors="replace"), stop)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab", max_size=12), stop=st.text(alphabet="ab", min_size=1, max_size=4))
def test_nothing_is_held_back_without_need(text, stop):
    """After each character the stream has shown all but the longest end that could begin the stop string."""
    stream, seen = TextStream(lambda i: text[i].encode(), [stop]), ""
    for i in range(len(text)):
        seen += stream.push(i)
        so_far = text[: i + 1]
        if stop in so_far:
            assert stream.stopped and seen == so_far[: so_far.index(stop)]
            return
        waiting = next(n for n in range(len(stop), -1, -1) if n <= i + 1 and stop[:n] == so_far[i + 1 - n :])
        assert seen == so_far[: i + 1 - waiting]
