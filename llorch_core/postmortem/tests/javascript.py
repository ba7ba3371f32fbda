"""Tests in JavaScript and TypeScript: it and test of jest, mocha, vitest, node:test and their like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from llorch_core.postmortem.tests.bodies import Body
from llorch_core.postmortem.tests.helpers import checking
from llorch_core.postmortem.tests.hollow import judge
from llorch_core.postmortem.tests.kinds import BENCHMARK, UNIT, Test
from llorch_core.postmortem.tests.places import place
from llorch_core.postmortem.tests.tokens import TEXT, WORD, Source

FILE = re.compile(r".*[._-](test|spec|e2e|cy)\.[cm]?[jt]sx?|(test|spec)s?\.[cm]?[jt]sx?")
FOLDERS = {"test", "tests", "__tests__", "spec", "specs", "e2e", "cypress"}
HEADS = ("it", "test", "specify", "xit", "xtest", "fit", "bench")
# by what a file imports; else by what a package.json of the repository names
IMPORTED = {
    "vitest": "vitest",
    "node:test": "node:test",
    "@jest/globals": "jest",
    "mocha": "mocha",
    "@playwright/test": "playwright",
    "ava": "ava",
    "tap": "tap",
    "tape": "tape",
    "bun:test": "bun",
    "cypress": "cypress",
}
NAMED = ("vitest", "jest", "mocha", "jasmine", "ava", "tape", "tap", "cypress")


def is_test_file(path: str) -> bool:
    """Return whether a file holds tests by its name or folder."""
    *folders, name = path.split("/")
    return bool(FILE.fullmatch(name)) or bool(FOLDERS & set(folders))


def find(sources: Sequence[Source], packages: Mapping[str, bytes]) -> Iterator[Test]:
    """Give the tests of JavaScript and TypeScript files; `packages` are the package.json, by path."""
    sources = [s for s in sources if is_test_file(s.path)]
    helpers = checking(body for source in sources for body in functions(source))
    named = next((n for n in NAMED if any(f'"{n}"'.encode() in data for data in packages.values())), "")
    for source in sources:
        imported = (t.text.strip("\"'`") for t in source.code if t.kind == TEXT)
        framework = next((IMPORTED[text] for text in imported if text in IMPORTED), named or "jest or mocha")
        yield from of_file(source, framework, helpers)


def functions(source: Source) -> Iterator[Body]:
    """Give the functions of a file that have a name."""
    for at in source.places("function"):
        opening = source.partner.get(at + 2, at) + 1
        if source.is_(at + 2, "(") and source.is_(opening, "{"):
            yield Body(source, source.inside(opening), source.code[at + 1].text)
    for at in source.places("=>"):
        opening = at + 1
        start = source.partner.get(at - 1, at - 1)
        start -= source.is_(start - 1, "async")
        if source.is_(opening, "{") and source.is_(start - 1, "=") and source.code[start - 2].kind == WORD:
            yield Body(source, source.inside(opening), source.code[start - 2].text)


def of_file(source: Source, framework: str, helpers: frozenset[str]) -> Iterator[Test]:
    """Give the tests of one file, in the order of its lines."""
    skipped = [
        source.inside(at + 3)
        for name in ("describe", "suite", "context")
        for at in source.places(name)
        if source.is_(at + 1, ".", "skip", "(")
    ]
    skipped += [source.inside(at + 1) for at in source.places("xdescribe") if source.is_(at + 1, "(")]
    for at in sorted(at for name in HEADS for at in source.places(name)):
        if source.code[at - 1].text in (".", "function") and at:
            continue
        opening, modes = modifiers(source, at)
        if opening is None or not source.is_(opening, "(") or opening + 1 >= len(source.code):
            continue
        title = source.code[opening + 1]
        if title.kind == TEXT:
            ignored = source.code[at].text.startswith("x") or "skip" in modes or "todo" in modes
            ignored = ignored or any(at in span for span in skipped)
            yield of_call(source, at, opening, framework, ignored, "todo" in modes, helpers)


def modifiers(source: Source, at: int) -> tuple[int | None, list[str]]:
    """Return the place of the bracket with the title, and the words between: skip, only, todo, each."""
    modes = []
    at += 1
    while source.is_(at, ".") and at + 1 < len(source.code):
        modes.append(source.code[at + 1].text)
        at += 2
        if modes[-1] in ("each", "for", "skipIf", "runIf"):
            if source.is_(at, "("):
                at = source.partner.get(at, at) + 1
            elif at < len(source.code) and source.code[at].kind == TEXT:
                at += 1
    return (at, modes) if at < len(source.code) else (None, modes)


def of_call(
    source: Source,
    at: int,
    opening: int,
    framework: str,
    ignored: bool,
    pending: bool,
    helpers: frozenset[str],
) -> Test:
    """Return the test that a call of it or test makes."""
    places = source.inside(opening)
    name = source.code[opening + 1].text.strip("\"'`")
    last = source.code[source.partner.get(opening, opening)].line
    kind = BENCHMARK if source.code[at].text == "bench" else place(source.path) or UNIT
    test = Test(source.path, source.code[at].line, name, framework, kind, last, ignored)
    block = body_of(source, places)
    if pending or block is None:
        return test.blamed("stub", "pending") if pending or len(places) < 3 else test
    return test if kind == BENCHMARK else test.blamed(*judge(Body(source, block, name, helpers)))


def body_of(source: Source, places: range) -> range | None:
    """Return the places of the body of the function that a test is given; None where it is given none."""
    depth_end = places.start
    for at in places:
        if at < depth_end:
            continue
        if source.is_(at, "=>"):
            if source.is_(at + 1, "{"):
                return source.inside(at + 1)
            return range(at + 1, places.stop)
        if source.is_(at, "function"):
            start = next((i for i in range(at, places.stop) if source.code[i].text == "("), None)
            opening = source.partner.get(start, at) + 1 if start is not None else at
            return source.inside(opening) if source.is_(opening, "{") else None
        if source.code[at].text in ("(", "{", "["):
            depth_end = source.partner.get(at, at) + 1
    return None
