"""Tests in Go: TestX, FuzzX, ExampleX and BenchmarkX of files _test.go, and subtests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llorch_core.postmortem.tests.bodies import Body
from llorch_core.postmortem.tests.helpers import checking
from llorch_core.postmortem.tests.hollow import judge
from llorch_core.postmortem.tests.kinds import BENCHMARK, UNIT, Test
from llorch_core.postmortem.tests.places import place
from llorch_core.postmortem.tests.tokens import TEXT, WORD, Source

HEAD = re.compile(r"(Test|Fuzz|Benchmark|Example)(?![a-z])\w*")


def find(sources: Sequence[Source]) -> Iterator[Test]:
    """Give the tests of Go files."""
    sources = [s for s in sources if s.path.endswith("_test.go")]
    bodies = [(s, name, at, opening) for s in sources for name, at, opening in functions(s)]
    helpers = checking(
        Body(s, s.inside(opening), name) for s, name, _, opening in bodies if not HEAD.fullmatch(name)
    )
    for source, name, at, opening in bodies:
        if HEAD.fullmatch(name) and source.is_(at - 1, "func"):
            yield from of_function(source, name, at, opening, helpers)


def functions(source: Source) -> Iterator[tuple[str, int, int]]:
    """Give the functions of a file: name, place of the name, place of the bracket that opens the body."""
    for start in source.places("func"):
        at = start + 1
        if source.is_(at, "("):  # of a receiver
            at = source.partner.get(at, at) + 1
        if at + 1 >= len(source.code) or source.code[at].kind != WORD:
            continue
        opening = source.partner.get(at + 1, at) + 1
        while opening < len(source.code) and source.code[opening].text != "{":
            opening += 1
        while source.code[min(opening, len(source.code)) - 1].text in ("interface", "struct"):
            opening = source.partner.get(opening, len(source.code)) + 1
        if source.is_(opening, "{"):
            yield source.code[at].text, at, opening


def of_function(source: Source, name: str, at: int, opening: int, helpers: frozenset[str]) -> Iterator[Test]:
    """Give a test and its subtests."""
    body = given(source, opening, name, helpers)
    kind = BENCHMARK if name.startswith("Benchmark") else place(source.path) or UNIT
    line, last = source.code[at].line, source.code[source.partner.get(opening, opening)].line
    if name.startswith("Example"):
        outputs = [c for c in source.comments if line <= c.line <= last and re.search(r"(?i)output:", c.text)]
        yield Test(source.path, line, name, "go test", kind, last, not outputs)  # else compiled, and not run
        return
    if name == "TestMain":
        return
    test = Test(source.path, line, name, "go test", kind, last, is_ignored(body))
    nested = list(subtests(source, opening, name, kind, helpers))
    if kind == BENCHMARK or (nested and all(t.why for t in nested) and is_frame(body)):
        yield test
    else:
        yield test.blamed(*judge(body))
    yield from nested


def given(source: Source, opening: int, name: str, helpers: frozenset[str]) -> Body:
    """Return a body; one that hands its t to a function that is not known may be checked there."""
    body = Body(source, source.inside(opening), name, helpers)
    handed = [c for c in body.calls if hands_over(body, c.opening) and not c.name.endswith(".Run")]
    return Body(source, body.places, name, helpers | {c.name.rpartition(".")[2] for c in handed})


def hands_over(body: Body, opening: int) -> bool:
    """Return whether a call is given the t of the test."""
    return body.source.is_(opening + 1, "t") and opening + 2 in (
        *(i for i in (opening + 2,) if body.source.code[i].text in (",", ")")),
    )


def is_frame(body: Body) -> bool:
    """Return whether a test does nothing but run its subtests."""
    return body.source.is_(body.places.start + 1, ".", "Run")


def is_ignored(body: Body) -> bool:
    """Return whether the first statement of a test skips it."""
    return len(body.code) > 2 and body.code[1].text == "." and body.code[2].text.startswith("Skip")


def subtests(source: Source, opening: int, name: str, kind: str, helpers: frozenset[str]) -> Iterator[Test]:
    """Give the subtests in a body: calls of t.Run with a function; one in a loop counts once."""
    for at in source.inside(opening):
        if not source.is_(at, ".", "Run", "("):
            continue
        inside = source.inside(at + 2)
        start = next((i for i in inside if source.code[i].text == "func"), None)
        block = next(
            (i for i in inside if start is not None and i > start and source.code[i].text == "{"), None
        )
        if start is None or block is None:
            continue
        title = "".join(
            t.text.strip('"`') if t.kind == TEXT else t.text for t in source.code[at + 3 : start - 1]
        )
        body = given(source, block, f"{name}/{title}", helpers)
        last = source.code[source.partner.get(block, block)].line
        test = Test(source.path, source.code[at].line, body.name, "go test", kind, last, is_ignored(body))
        yield test if kind == BENCHMARK else test.blamed(*judge(body))
