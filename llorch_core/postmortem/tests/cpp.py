"""Tests in C, C++ and CUDA: macros of gtest and Catch2, and programs named for a test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from llorch_core.postmortem.tests.bodies import Body
from llorch_core.postmortem.tests.helpers import checking
from llorch_core.postmortem.tests.hollow import judge
from llorch_core.postmortem.tests.kinds import BENCHMARK, UNIT, Test
from llorch_core.postmortem.tests.places import among_tests, place
from llorch_core.postmortem.tests.tokens import TEXT, WORD, Source
from llorch_core.postmortem.tests.words import KEYWORDS

GTEST = ("TEST", "TEST_F", "TEST_P", "TYPED_TEST", "TYPED_TEST_P", "GTEST_TEST")
CATCH = ("TEST_CASE", "SCENARIO", "TEST_CASE_METHOD")
SKIPS = ("GTEST_SKIP", "SKIP")
PROGRAM = re.compile(r"(test_.*|.*_test|test)\.(c|cc|cpp|cxx|cu)")


def find(sources: Sequence[Source]) -> Iterator[Test]:
    """Give the tests of C, C++ and CUDA files."""
    helpers = checking(body for s in sources if among_tests(s.path) for body in functions(s))
    for source in sources:
        found = list(of_file(source, helpers))
        yield from found or programs(source)


def functions(source: Source) -> Iterator[Body]:
    """Give the functions of a file that are no tests."""
    for at, token in enumerate(source.code):
        if token.kind != WORD or token.text in KEYWORDS or not source.is_(at + 1, "("):
            continue
        end = source.partner.get(at + 1)
        while (
            end is not None
            and end + 1 < len(source.code)
            and source.code[end + 1].text in (*("const", "noexcept", "override", "final"),)
        ):
            end += 1
        if end is not None and source.is_(end + 1, "{") and token.text not in (*GTEST, *CATCH):
            yield Body(source, source.inside(end + 1), token.text)


def of_file(source: Source, helpers: frozenset[str]) -> Iterator[Test]:
    """Give the tests of one file, in the order of its lines."""
    torn_down = any(
        body.name in ("TearDown", "TearDownTestSuite") and body.real for body in functions(source)
    )
    heads = sorted((at, name) for name in (*GTEST, *CATCH) for at in source.places(name))
    for at, macro in heads:
        end = source.partner.get(at + 1)
        if not source.is_(at + 1, "(") or end is None or not source.is_(end + 1, "{"):
            continue
        inside = source.code[at + 2 : end]
        name = "".join(t.text.strip('"') if t.kind == TEXT else t.text for t in inside).replace(",", ".")
        body = Body(source, source.inside(end + 1), name, helpers, torn_down and macro == "TEST_F")
        last = source.code[source.partner.get(end + 1, end + 1)].line
        framework = "gtest" if macro in GTEST else "catch2"
        kind = place(source.path) or UNIT
        test = Test(source.path, source.code[at].line, name, framework, kind, last, is_ignored(body))
        yield test if kind == BENCHMARK else test.blamed(*judge(body))
    for at in source.places("BENCHMARK"):
        if source.is_(at + 1, "(") and source.is_(at + 3, ")"):
            name, line = source.code[at + 2].text, source.code[at].line
            yield Test(source.path, line, name, "google benchmark", BENCHMARK, line)


def is_ignored(body: Body) -> bool:
    """Return whether a test is disabled by its name, or skipped by its first statement."""
    first = body.code[0].text if body.code else ""
    return "DISABLED_" in body.name or first in SKIPS or "[.]" in body.name or "[!hide]" in body.name


def programs(source: Source) -> Iterator[Test]:
    """Give the program that is a test by the name of its file; it is counted, and not judged."""
    name = source.path.rpartition("/")[2]
    if PROGRAM.fullmatch(name):
        for body in functions(source):
            if body.name == "main" and body.places.start:
                at = body.places.start
                line = source.code[at - 1].line
                last = source.code[min(body.places.stop, len(source.code) - 1)].line
                test = Test(source.path, line, name, "program", place(source.path) or UNIT, last)
                yield replace(test, why="empty") if not body.code else test
                return
