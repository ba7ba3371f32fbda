"""Which specifications and tests no longer change with their code."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import PurePosixPath as Path

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.history.churn import Named, named, pairs
from llorch_core.postmortem.history.commands import Commands
from llorch_core.postmortem.repository import Commit, Repository

CODE = {".py", ".rs", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cu", ".cuh", ".go", ".js", ".jsx"}
CODE |= {".ts", ".tsx", ".mjs", ".java", ".kt", ".swift", ".rb", ".cs", ".zig", ".php", ".scala"}
PROSE = {".md", ".rst", ".txt", ".adoc", ".yaml", ".yml", ".json", ".toml"}
TEST_NAME = re.compile(r"(^|[_.-])tests?([_.-]|$)|[_.]spec$|[a-z](Tests?|Spec)$")
AROUND_TEST = re.compile(r"^tests?[_.-]|[_.-](tests?|spec)$|(Tests?|Spec)$")
SPEC_FOLDERS = {"spec", "specs", ".spec", ".specs", "specification", "specifications", "requirements"}
TEST_FOLDERS = {"test", "tests", "__tests__"}
SAYS_NOTHING = {"mod", "lib", "main", "index", "__init__", "util", "utils", "common", "conftest", "helpers"}
COMMITS_SINCE = 3  # at least: one or two changes of the code may need none of the test
CHANGED_TOGETHER = 2  # commits at least, where names do not say which code is meant


def measure(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Find the specifications and tests whose code went on without them."""
    tracked = {file.path for file in repository.files}
    history = named(commits)
    dates = dates_of(history, tracked)
    rows = []
    for file, code in partners(history, tracked):
        since = len(dates[code]) - bisect_right(dates[code], dates[file][-1])
        if since >= COMMITS_SINCE:
            last, code_last = dates[file][-1].isoformat(), dates[code][-1].isoformat()
            rows.append((file, kind(file), code, last, code_last, since))
    facts.table(
        "history.left_behind",
        ("file", "kind", "code", "file_changed", "code_changed", "commits_since"),
        sorted(rows, key=itemgetter(5), reverse=True),
        "Tracked specifications and tests with the code that they are about: the file of the same name, else"
        f" the one that changed together with them most often ({CHANGED_TOGETHER} commits or more); those"
        f" whose code was changed by {COMMITS_SINCE} commits or more (commits_since) after their own last"
        " change, by the dates of the authors, merges left out, renames followed.",
        commands.every_change("--name-status"),
    )


def kind(file: str) -> str | None:
    """Return what a file is by its name and folder: spec, test, code, or nothing of these."""
    path = Path(file)
    folders = {part.lower() for part in path.parts[:-1]}
    if path.suffix == ".feature" or (path.suffix in PROSE and (folders & SPEC_FOLDERS or is_spec(path))):
        return "spec"
    if path.suffix not in CODE:
        return None
    return "test" if TEST_NAME.search(path.stem) or folders & TEST_FOLDERS else "code"


def is_spec(path: Path) -> bool:
    """Return whether a document says in its name that it specifies."""
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    return bool(words & {"spec", "specs", "specification", "requirements"}) and path.suffix != ".txt"


def dates_of(history: Named, tracked: set[str]) -> Mapping[str, list[datetime]]:
    """Return when each tracked file was changed, the earliest first."""
    found = defaultdict(list)
    for commit, changed in history:
        for name in {name for name, _ in changed} & tracked:
            found[name].append(commit.written)
    return {name: sorted(dates) for name, dates in found.items()}


def partners(history: Named, tracked: set[str]) -> Iterator[tuple[str, str]]:
    """Give each specification and test with the code that it is about, where that can be told."""
    known = {name for _, changed in history for name, _ in changed} & tracked
    by_stem = defaultdict(list)
    for name in sorted(known):
        if kind(name) == "code":
            by_stem[Path(name).stem.lower()].append(name)
    closest = changed_with(history, tracked)
    for file in sorted(known):
        if kind(file) in ("spec", "test"):
            code = of_same_name(file, by_stem) or closest.get(file)
            if code:
                yield file, code


def of_same_name(file: str, by_stem: Mapping[str, Sequence[str]]) -> str | None:
    """Return the code that a specification or test is named after, in the part that it belongs to."""
    stem = AROUND_TEST.sub("", Path(file).stem).lower()
    part = part_of(file)
    same = [name for name in by_stem.get(stem, ()) if name.startswith(part)]
    return max(same, key=lambda name: nearness(file, name)) if same and stem not in SAYS_NOTHING else None


def part_of(file: str) -> str:
    """Return the folder that holds the folder of tests or specifications that a file is in."""
    folders = Path(file).parts[:-1]
    for at, folder in enumerate(folders):
        if folder.lower() in TEST_FOLDERS | SPEC_FOLDERS:
            return "".join(f"{one}/" for one in folders[:at])
    return ""


def nearness(one: str, other: str) -> tuple[int, bool]:
    """Return how many folders two paths have in common, and whether their suffix is the same."""
    common = set(Path(one).parts[:-1]) & set(Path(other).parts[:-1])
    return len(common), Path(one).suffix == Path(other).suffix


def changed_with(history: Named, tracked: set[str]) -> Mapping[str, str]:
    """Return the code that each specification and test changed with most often."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for pair, both in pairs(history, tracked).items():
        for file, code in (pair, pair[::-1]):
            if both >= CHANGED_TOGETHER and kind(code) == "code" and kind(file) in ("spec", "test"):
                counted[file][code] = both
    return {file: min(codes, key=lambda code: (-codes[code], code)) for file, codes in counted.items()}
