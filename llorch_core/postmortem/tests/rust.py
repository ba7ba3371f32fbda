"""Tests in Rust: functions with an attribute of a test, in proptest!, and calls of macros that make tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llorch_core.postmortem.tests.bodies import Body, calls
from llorch_core.postmortem.tests.helpers import checking
from llorch_core.postmortem.tests.hollow import judge
from llorch_core.postmortem.tests.kinds import BENCHMARK, INTEGRATION, Test
from llorch_core.postmortem.tests.places import among_tests, place
from llorch_core.postmortem.tests.tokens import OPENING, WORD, Source

TEST = re.compile(r"(\w+::)*(test|rstest|quickcheck|wasm_bindgen_test|test_case|proptest|gtest)")
BENCH = re.compile(r"(\w+::)*bench")
MACRO = "macro_rules!"  # one token of the grammar
MODIFIERS = {"pub", "async", "unsafe", "const", "extern", "crate", "in", "super"}


@dataclass(frozen=True)
class Function:
    """A function: the place of its `fn`, its name, its attributes, and its body (None: it has none)."""

    at: int
    name: str
    attributes: Sequence[str]
    opening: int | None


def functions(source: Source) -> Iterator[Function]:
    """Give the functions of a file, also those in macros."""
    for at in source.places("fn"):
        if at + 1 < len(source.code) and source.code[at + 1].kind == WORD:
            opening = next(
                (i for i in range(at, len(source.code)) if source.code[i].text in ("{", ";")), None
            )
            body = opening if opening is not None and source.is_(opening, "{") else None
            yield Function(at, source.code[at + 1].text, attributes(source, at), body)


def attributes(source: Source, at: int) -> list[str]:
    """Return the attributes before a place, without spaces."""
    found = []
    at -= 1
    while at >= 0:
        token = source.code[at]
        if token.text == "]" and source.is_(source.partner.get(at, 0) - 1, "#"):
            opening = source.partner[at]
            found.append("".join(t.text for t in source.code[opening + 1 : at]))
            at = opening - 2
        elif token.text in MODIFIERS or token.kind == "text":
            at -= 1
        elif token.text == ")" and source.is_(source.partner.get(at, 0) - 1, "pub"):
            at = source.partner[at] - 1
        else:
            break
    return found


def macros(source: Source) -> dict[str, tuple[range, bool]]:
    """Return the macros that a file defines whose text makes a test: their places, and whether they check."""
    found = {}
    for at in source.places(MACRO):
        if at + 2 >= len(source.code):
            continue
        places = source.inside(at + 2)
        if any(is_test(source, i) for i in places if source.code[i].text == "fn"):
            checks = bool(Body(source, places, "").checks)
            found[source.code[at + 1].text] = (places, checks)
    return found


def is_test(source: Source, at: int) -> bool:
    """Return whether the function at a place is a test."""
    return any(TEST.fullmatch(a.split("(")[0]) for a in attributes(source, at))


def bodies(sources: Sequence[Source]) -> Iterator[Body]:
    """Give the functions and macros of files that are no tests."""
    for source in sources:
        for f in functions(source):
            if f.opening is not None and not is_test(source, f.at):
                yield Body(source, source.inside(f.opening), f.name)
        for at in source.places(MACRO):
            yield Body(source, source.inside(at + 2), source.code[at + 1].text)


def find(sources: Sequence[Source]) -> Iterator[Test]:
    """Give the tests of Rust files."""
    holding = [s for s in sources if among_tests(s.path) or any(is_test(s, f.at) for f in functions(s))]
    helpers = checking(bodies(holding))
    making = {name: checks for s in sources for name, (_, checks) in macros(s).items()}
    for source in sources:
        yield from of_file(source, helpers, making)


def of_file(source: Source, helpers: frozenset[str], making: dict[str, bool]) -> Iterator[Test]:
    """Give the tests of one file, in the order of its lines."""
    own = macros(source)
    spans = [places for places, _ in own.values()]
    properties = [source.inside(i + 2) for i in source.places("proptest") if source.is_(i + 1, "!")]
    inner = []
    for f in functions(source):
        if f.opening is None:
            continue
        inner.append(source.inside(f.opening))
        if f.name.startswith("$") or any(f.at in span for span in spans):
            continue
        names = [a.split("(")[0] for a in f.attributes]
        if any(BENCH.fullmatch(n) for n in names):
            yield test_of(source, f, helpers, "rust", BENCHMARK)
        elif any(TEST.fullmatch(n) for n in names):
            framework = "proptest" if any(f.at in span for span in properties) else "rust"
            yield test_of(source, f, helpers, framework, kind_of(source.path))
    yield from made(source, helpers, making | {n: c for n, (_, c) in own.items()}, [*spans, *inner])
    yield from criterion(source)


def kind_of(path: str) -> str:
    """Return the kind of a test by its place: those in a crate's folder tests are of integration."""
    found = place(path)
    outside = "tests" in path.split("/")[:-1] and "src" not in path.split("/")
    return found or (INTEGRATION if outside else "unit")


def test_of(source: Source, f: Function, helpers: frozenset[str], framework: str, kind: str) -> Test:
    """Return a test that is a function."""
    assert f.opening is not None
    demands = any(a.startswith("should_panic") for a in f.attributes)
    body = Body(source, source.inside(f.opening), f.name, helpers, demands)
    end = source.code[source.partner.get(f.opening, f.opening)].line
    test = Test(source.path, source.code[f.at].line, f.name, framework, kind, end)
    ignored = any(re.match(r"ignore\b|cfg_attr\(.*,ignore", a) for a in f.attributes)
    why, says = ("", "") if kind == BENCHMARK else judge(body)
    return Test(**{**vars(test), "ignored": ignored, "why": why, "says": says})


def made(
    source: Source, helpers: frozenset[str], making: dict[str, bool], spans: Sequence[range]
) -> Iterator[Test]:
    """Give the tests that calls of a macro make, one for each call; judged only where nothing checks."""
    code = source.code
    for at in sorted(at for name in making for at in source.places(name) if source.is_(at + 1, "!")):
        token = code[at]
        if at + 2 >= len(code) or code[at + 2].text not in OPENING or any(at in span for span in spans):
            continue
        inside = source.inside(at + 2)
        name = next((code[i].text for i in inside if code[i].kind == WORD), token.text)
        checks = making[token.text] or any(Body(source, inside, name, helpers).checks)
        closing = code[source.partner.get(at + 2, at + 2)].line
        why = "" if checks else "only runs"
        runs = ", ".join(dict.fromkeys(c.name for c in calls(source, inside))) if why else ""
        yield Test(
            source.path, token.line, name, "rust", kind_of(source.path), closing, False, why, runs[:60]
        )


def criterion(source: Source) -> Iterator[Test]:
    """Give the benchmarks that criterion_group! names."""
    for at in source.places("criterion_group"):
        words = [source.code[i] for i in source.inside(at + 2) if source.code[i].kind == WORD]
        named = [w for w in words[1:] if w.text not in ("name", "config", "targets", "Criterion", "default")]
        for word in named:
            line = next((source.code[f.at].line for f in functions(source) if f.name == word.text), None)
            if line:
                yield Test(source.path, line, word.text, "criterion", BENCHMARK, line)
