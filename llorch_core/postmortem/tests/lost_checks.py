"""Checks that are not reached, and errors that nobody looks at: swallowed, dropped, behind a condition."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llorch_core.postmortem.tests.bodies import Body, Call
from llorch_core.postmortem.tests.tokens import Source

UNCONDITIONAL = re.compile(
    r"panic|unreachable|FAIL|ADD_FAILURE|(\w+\.)?fail|exit|abort|bail|(\w+\.)?fail_\w+"
)
STARTS = {";", "{", "}"}


def swallows(body: Body) -> str:
    """Return the catch that swallows every check of a test, or everything that it runs; else ""."""
    for tried, caught, head in tries(body):
        handler = [c for c in body.checks if c.at in caught]
        if handler or any(body.source.code[i].text in ("throw", "return") for i in caught):
            continue
        if any(
            c.name.rpartition(".")[2] in ("GTEST_SKIP", "SKIP", "skip") for c in body.calls if c.at in caught
        ):
            continue
        if body.source.language == "C++" and body.real:
            continue  # a check of gtest does not throw
        if any(c.name in ("expect.assertions", "expect.hasAssertions", "t.plan") for c in body.calls):
            continue
        lost = [*body.real, *body.runs]
        if lost and all(c.at in tried for c in lost):
            return head
    return ""


def tries(body: Body) -> Iterator[tuple[range, range, str]]:
    """Give each try with a catch of everything: the places of both blocks, and the head of the catch."""
    source = body.source
    for at in body.places:
        end = source.partner.get(at + 1)
        if not source.is_(at, "try", "{") or end is None or not source.is_(end + 1, "catch"):
            continue
        opening, head = end + 2, "catch"
        if source.is_(opening, "("):
            closing = source.partner.get(opening, opening)
            head = f"catch ({' '.join(t.text for t in source.code[opening + 1 : closing])})"
            opening = closing + 1
        if source.is_(opening, "{") and (source.language != "C++" or "..." in head or "exception" in head):
            yield source.inside(at + 1), source.inside(opening), head


def drops(body: Body) -> str:
    """Return how a test without a check takes an error and does nothing with it; else ""."""
    source = body.source
    for at in body.places:
        if source.language == "Rust":
            if source.is_(at, "let", "_", "=") and any(c.at > at for c in body.runs):
                return "let _ ="
            if source.is_(at, ".", "ok", "(", ")", ";"):
                return ".ok();"
            if source.is_(at, "Err", "(") and is_pattern(source, at):
                return f"Err({source.code[at + 2].text})"
        elif source.language == "Go":
            if source.is_(at, "_", "=") or source.is_(at, "_", ":="):
                return "_ ="
            if source.is_(at, "err", "!=", "nil", "{"):
                return "if err != nil"
        elif source.is_(at, ".", "catch", "("):
            return ".catch()"
    return ""


def is_pattern(source: Source, at: int) -> bool:
    """Return whether Err(…) at a place is matched, not made."""
    end = source.partner.get(at + 1, at)
    return source.is_(end + 1, "=>") or source.is_(at - 1, "let")


def is_silent(body: Body) -> str:
    """Return the condition behind which every check of a test stands, or a return before them; else ""."""
    first = min((c.at for c in body.real), default=0)
    for at in body.places:
        if at >= first:
            break
        block = returning(body, at)
        if block:
            return block
    if body.source.language == "Go" or not body.real:
        return ""  # in Go every check stands in an if
    if any(UNCONDITIONAL.fullmatch(c.name) for c in body.real):
        return ""  # if wrong { panic!() } is the check itself
    heads = [conditional(body, call) for call in body.real]
    return heads[0] if all(heads) else ""


def returning(body: Body, at: int) -> str:
    """Return the head of an if at a place whose block ends in a return, and checks nothing."""
    source = body.source
    if source.code[at].text != "if" or source.is_(at - 1, "else"):
        return ""
    opening = next((i for i in range(at, body.places.stop) if source.code[i].text == "{"), None)
    if opening is None:
        return ""
    inside = source.inside(opening)
    texts = [source.code[i].text for i in inside]
    while texts[-1:] == [";"]:
        texts.pop()
    empty = (
        texts[-1:] == ["return"]
        or texts[-5:] == ["return", "Ok", "(", "(", ")"]
        or texts[-6:-1]
        == [
            *("return", "Ok", "(", "("),
            ")",
        ]
    )
    if not empty or any(c.at in inside for c in body.checks) or depth(body, at):
        return ""
    return head(source, at, opening)


def depth(body: Body, at: int) -> bool:
    """Return whether a place stands in a block within the body: a loop, a closure."""
    source = body.source
    return any(source.code[i].text == "{" and at in source.inside(i) for i in range(body.places.start, at))


def conditional(body: Body, call: Call) -> str:
    """Return the head of the if without an else that a check stands in; "" where there is none."""
    source = body.source
    for opening in range(call.at, body.places.start - 1, -1):
        if source.code[opening].text != "{" or call.at not in source.inside(opening):
            continue
        start = opening - 1
        while start >= body.places.start and source.code[start].text not in STARTS:
            start -= 1
        start += 1
        before = source.is_(start - 1, "else") or source.is_(start, "else")
        if source.code[start].text == "if" and not before and not has_else(source, opening):
            return head(source, start, opening)
    return ""


def has_else(source: Source, opening: int) -> bool:
    """Return whether an else follows the block."""
    return source.is_(source.partner.get(opening, opening) + 1, "else")


def head(source: Source, start: int, opening: int) -> str:
    """Return the head of a block as it is written, in short."""
    line = " ".join(t.text for t in source.code[start:opening])
    return line if len(line) <= 60 else f"{line[:60]} …"
