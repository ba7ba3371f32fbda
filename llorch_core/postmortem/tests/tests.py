"""Tests of a repository: how many of which kind, which prove nothing, and the commits that brought them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from shlex import join, quote

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import text
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.tests import cpp as cpp_tests
from llorch_core.postmortem.tests import gherkin as gherkin_tests
from llorch_core.postmortem.tests import go as go_tests
from llorch_core.postmortem.tests import javascript as javascript_tests
from llorch_core.postmortem.tests import python as python_tests
from llorch_core.postmortem.tests import rust as rust_tests
from llorch_core.postmortem.tests.gone import Crates, History, includes, modules, relatives
from llorch_core.postmortem.tests.kinds import DOUBTFUL, Test
from llorch_core.postmortem.tests.places import among_tests
from llorch_core.postmortem.tests.tokens import Source, read

SUFFIXES = {
    "Rust": (".rs",),
    "C++": (".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp"),
    "Go": (".go",),
    "JavaScript": (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"),
}
OTHERS = (
    ".py",
    ".feature",
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "pytest.ini",
    "tox.ini",
    "setup.cfg",
)
STEPS = gherkin_tests.NOT_READ
LONGEST = 2_000_000  # bytes; a longer file is data
HINTS = {"Rust": (b"test", b"bench", b"macro_rules", b"criterion"), "C++": (b"TEST", b"BENCHMARK")}
STUBS = ("stub", "unwritten", "marked")
# one line of each test or part of one, as grep sees it: name, pattern, endings of files, what counts
LINES = (
    (
        "rust_attributes",
        r"^[[:space:]]*#\[([a-z_]+::)*test[](]",
        SUFFIXES["Rust"],
        "#[test] and its like in Rust",
    ),
    ("rust_ignores", r"^[[:space:]]*#\[ignore", SUFFIXES["Rust"], "#[ignore] in Rust"),
    (
        "gtest_macros",
        r"^[[:space:]]*(TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\(",
        SUFFIXES["C++"],
        "TEST, TEST_F, TEST_P, TYPED_TEST or TYPED_TEST_P in C++",
    ),
    ("gtest_skips", r"GTEST_SKIP\(", SUFFIXES["C++"], "GTEST_SKIP( in C++"),
    (
        "constant_lines",
        r"assert!\(true[,)]|(EXPECT|ASSERT)_TRUE\(true\)|SUCCEED\(\)"
        r"|expect\(true\)\.toBe\(true\)|assert True$",
        (*SUFFIXES["Rust"], *SUFFIXES["C++"], *SUFFIXES["JavaScript"], ".py"),
        "a check of true: assert!(true), EXPECT_TRUE(true), SUCCEED(), expect(true).toBe(true), assert True",
    ),
    (
        "scenarios",
        r"^[[:space:]]*(Scenario|Scenario Outline):",
        (".feature",),
        "Scenario: or Scenario Outline:",
    ),
)
FIGURES = {
    "tests": "tests of Rust, C++ (gtest, Catch2, programs named for a test), Python, Go with subtests,"
    " JavaScript and Gherkin, benchmarks among them but for Python files in folders called bench; a"
    " macro that makes tests counts once a call",
    "files": "files with at least one test",
    "ignored": "tests that do not run by default: #[ignore], DISABLED_, a plain skip, .skip, .todo",
    "empty": "tests without a statement and scenarios without a step",
    "stubs": "tests that say they are stubs: without a check (stub), failing always (unwritten), or beside"
    " checks (marked)",
    "no_check": "tests that print or build something of their own and check nothing",
    "constant": "tests whose every check has its outcome in the source",
    "own_values": "tests in Python whose every check is about values or mocks that the test wrote down",
    "swallowed": "tests whose every check or call stands in a try that catches everything",
    "cannot_fail": "tests that cannot fail by their text, ignored or not: empty, stub, no check, constant,"
    " own values or swallowed; what is doubtful is not among them",
    "share_cannot_fail": "tests that cannot fail by their text, in per cent of all tests",
    "gone": "tests in files that import a module of the repository which is not there any more, and scenarios"
    " with a step that nothing defines",
    "share_gone": "tests of what is gone, in per cent of all tests",
    "no_evidence": "tests that cannot fail, are of what is gone, or are ignored",
    "share_no_evidence": "tests that cannot fail, are of what is gone, or are ignored, in per cent of all",
    "only_runs": "tests that run something and check nothing of it, or drop its error; doubtful",
    "silent": "tests whose every check stands behind a condition without an else; doubtful",
    "calls_nothing": "tests with checks that call nothing but functions of the language; doubtful",
}


def measure(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Count the tests, judge each, and find the commits that brought those that cannot fail."""
    tests = inventory(repository)
    numbers = counts(tests)
    command = join(["llorch", "postmortem", "tests", ".", "--commit", repository.commit])
    command += f" --path {quote(repository.path)}" if repository.path else ""
    for name, what in FIGURES.items():
        unit = "per cent" if name.startswith("share") else "files" if name == "files" else "tests"
        facts.figure(
            f"tests.{name}", numbers[name], unit, f"{what[0].upper()}{what[1:]}.", f"{command} --count {name}"
        )
    for name, pattern, endings, what in LINES:
        counted = lines(repository, pattern, endings)
        asked = grep(repository, pattern, endings)
        facts.figure(f"tests.{name}", counted, "lines", f"Lines of tracked files with {what}.", asked)
    tables(repository, tests, facts, f"{command} --json")


def tables(repository: Repository, tests: Sequence[Test], facts: Facts, command: str) -> None:
    """Add the tables."""
    blamed = [t for t in tests if t.cannot_fail]
    brought = commits(repository, blamed)
    columns = (
        "framework",
        "kind",
        "files",
        "tests",
        "ignored",
        "empty",
        "stub",
        "no_check",
        "gone",
        "cannot_fail",
    )
    facts.table(
        "tests.kinds",
        columns,
        kinds(tests),
        "Tests by framework and kind; the kind is told by place.",
        command,
    )
    rows = sorted(
        ((t.file, t.line, t.name, t.framework, t.kind, t.why, *brought[t.file, t.line][:2]) for t in blamed),
        key=lambda row: (row[-1], row[0], row[1]),
    )
    facts.table(
        "tests.cannot_fail",
        ("file", "line", "test", "framework", "kind", "why", "commit", "when"),
        rows,
        "Tests that cannot fail by their text, and the commit that git blame names for their first line.",
        command,
    )
    told = Counter(brought[t.file, t.line] for t in blamed)
    facts.table(
        "tests.brought",
        ("commit", "when", "subject", "tests"),
        [(*commit, n) for commit, n in sorted(told.items(), key=lambda one: (-one[1], one[0]))],
        "Commits by how many of today's tests that cannot fail they brought, by git blame.",
        command,
    )
    doubtful = [
        (t.file, t.line, t.name, t.framework, t.kind, t.why, t.says) for t in tests if t.level == DOUBTFUL
    ]
    facts.table(
        "tests.doubtful",
        ("file", "line", "test", "framework", "kind", "why", "says"),
        doubtful,
        "Tests that can fail, but perhaps not where they should.",
        command,
    )
    gone = Counter((t.file, t.gone) for t in tests if t.gone)
    facts.table(
        "tests.gone_modules",
        ("file", "imports", "tests"),
        [(*key, n) for key, n in sorted(gone.items(), key=lambda one: (-one[1], one[0]))],
        "Files whose tests import what is not there any more: the first such import, and how many tests.",
        command,
    )
    files = [(file, names, *n) for (file, names), n in by_file(tests).items()]
    files.sort(key=lambda row: (-row[3], -row[2], row[0]))
    what = "Files with tests: how many, and how many of them cannot fail."
    facts.table("tests.files", ("file", "framework", "tests", "cannot_fail"), files, what, command)


def kinds(tests: Sequence[Test]) -> Iterator[tuple[str | int, ...]]:
    """Give the counts of each framework and kind, the largest first."""
    groups = [(key, list(group)) for key, group in groupby(sorted(tests, key=of), of)]
    for (framework, kind), group in sorted(groups, key=lambda one: (-len(one[1]), one[0])):
        number = counts(group)
        stub = sum(t.why in STUBS for t in group)
        yield (
            *(
                framework,
                kind,
                int(number["files"]),
                len(group),
                int(number["ignored"]),
                int(number["empty"]),
                stub,
            ),
            *(int(number["no_check"]), int(number["gone"]), int(number["cannot_fail"])),
        )


def of(test: Test) -> tuple[str, str]:
    """Return the group that a test is counted in."""
    return test.framework, test.kind


def by_file(tests: Sequence[Test]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the tests and those that cannot fail, of each file and framework."""
    every = Counter((t.file, t.framework) for t in tests)
    lost = Counter((t.file, t.framework) for t in tests if t.cannot_fail)
    return {key: (n, lost[key]) for key, n in every.items()}


def counts(tests: Sequence[Test]) -> dict[str, int | float]:
    """Return the figures of FIGURES."""
    why = Counter(t.why for t in tests)
    no_evidence = sum(t.cannot_fail or bool(t.gone) or t.ignored for t in tests)
    found: dict[str, int | float] = {
        "tests": len(tests),
        "files": len({t.file for t in tests}),
        "ignored": sum(t.ignored for t in tests),
        "empty": why["empty"],
        "stubs": sum(why[name] for name in STUBS),
        "no_check": why["no check"],
        "constant": why["constant"],
        "own_values": why["own values"],
        "swallowed": why["swallowed"],
        "cannot_fail": sum(t.cannot_fail for t in tests),
        "gone": sum(bool(t.gone) for t in tests),
        "no_evidence": no_evidence,
        "only_runs": why["only runs"] + why["dropped error"],
        "silent": why["silent"],
        "calls_nothing": why["calls nothing"],
    }
    for name in ("cannot_fail", "gone", "no_evidence"):
        found[f"share_{name}"] = round(100 * found[name] / max(len(tests), 1), 1)
    return found


def inventory(repository: Repository) -> list[Test]:
    """Return every test of a repository, judged, by file and line."""
    endings = (*(ending for each in SUFFIXES.values() for ending in each), *OTHERS, *STEPS)
    wanted = [(f.path, f.blob) for f in repository.files if f.path.endswith(endings) and f.size <= LONGEST]
    contents = dict(repository.read(wanted))
    sources = {language: list(sources_of(language, contents)) for language in SUFFIXES}
    packages = {name: data for name, data in contents.items() if name.endswith("package.json")}
    found = [
        *rust_tests.find(sources["Rust"]),
        *cpp_tests.find(sources["C++"]),
        *go_tests.find(sources["Go"]),
        *javascript_tests.find(sources["JavaScript"], packages),
        *python_tests.find(contents, repository.path),
        *gherkin_tests.find(contents),
    ]
    told = without(repository, {t.file for t in found}, sources, contents)
    found = [replace(t, gone=told[t.file]) if told.get(t.file) else t for t in found]
    return sorted(found, key=lambda t: (t.file, t.line, t.name))


def sources_of(language: str, contents: dict[str, bytes]) -> Iterator[Source]:
    """Give the files of a language that may hold tests, or tell what tests need."""
    hints = HINTS.get(language)
    for path, data in contents.items():
        if not path.endswith(SUFFIXES[language]):
            continue
        if language == "JavaScript" and not javascript_tests.is_test_file(path):
            continue
        if language == "Go" and not path.endswith("_test.go"):
            continue
        if hints and not (
            among_tests(path) or path.endswith("lib.rs") or any(hint in data for hint in hints)
        ):
            continue
        yield read(path, language, data)


def without(
    repository: Repository, files: set[str], sources: dict[str, list[Source]], contents: dict[str, bytes]
) -> dict[str, str]:
    """Return what each file with tests imports in vain; "" where it finds everything."""
    crates, history = Crates(sources["Rust"], contents), History(repository)
    found = {s.path: crates.missing(s) for s in sources["Rust"] if s.path in files}
    for path in files:
        for endings, look in (
            (SUFFIXES["C++"], includes),
            (SUFFIXES["JavaScript"], relatives),
            ((".py",), modules),
        ):
            if path.endswith(endings):
                found[path] = look(path, contents[path], history)
    return found


def commits(repository: Repository, tests: Sequence[Test]) -> dict[tuple[str, int], tuple[str, str, str]]:
    """Return commit, date and subject that git blame names for the head of each test."""
    files = [(file, [t.line for t in group]) for file, group in groupby(tests, key=lambda t: t.file)]
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda one: list(blame(repository, *one)), files)
    return {key: commit for each in told for key, commit in each}


def blame(
    repository: Repository, file: str, wanted: Iterable[int]
) -> Iterator[tuple[tuple[str, int], tuple[str, str, str]]]:
    """Give the commit, date and subject of lines of a file."""
    ranges = [part for line in wanted for part in ("-L", f"{line},{line}")]
    out = text(repository.top, "blame", "--line-porcelain", *ranges, repository.commit, "--", file)
    sha, line, when = "", 0, ""
    for row in out.split("\n"):
        head = re.match(r"([0-9a-f]{40,}) \d+ (\d+)", row)
        if head:
            sha, line = head[1], int(head[2])
        elif row.startswith("author-time "):
            when = datetime.fromtimestamp(int(row.split()[1]), repository.zone).isoformat()
        elif row.startswith("summary "):
            yield (file, line), (sha, when, row.removeprefix("summary "))


def lines(repository: Repository, pattern: str, endings: Sequence[str]) -> int:
    """Count the lines of tracked text files that match, as grep does."""
    wanted = re.compile(
        pattern.replace("[[:space:]]", r"[ \t\r\f\v]").replace("[](]", r"[\](]").encode(), re.M
    )
    files = [(f.path, f.blob) for f in repository.files if f.path.endswith(tuple(endings))]
    texts = (data for _, data in repository.read(files) if b"\0" not in data[:8000])
    return sum(bool(wanted.search(line)) for data in texts for line in data.split(b"\n"))


def grep(repository: Repository, pattern: str, endings: Sequence[str]) -> str:
    """Return the command that counts the same lines."""
    path = repository.path
    scopes = [f"{path}/*{ending}" if path else f"*{ending}" for ending in endings]
    if path.endswith(tuple(endings)):
        scopes = [path]
    return join(["git", "grep", "-hIE", pattern, repository.commit, "--", *scopes]) + " | wc -l"
