"""Victories: titles that declare the work done, and what the commits show after them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llorch_core.postmortem.commands import below, documents_of, tracked
from llorch_core.postmortem.documents.age import ABOUT, History, iso
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.repository import Commit

WORDS = (
    "COMPLETED?|FIXED|VICTORY|SUCCESS|SUCCESSFUL|DONE|FINAL|SOLVED|RESOLVED|VERIFIED"
    "|ROOT[ _-]CAUSE[ _-](FOUND|IDENTIFIED)|(ALL[ _-])?TESTS[ _-]PASS(ED|ING)?"
)
TITLE = f"(^|[^A-Za-z])({WORDS})([^A-Za-z]|$)"
HEADING = f"^#{{1,6}} (.*[^A-Za-z])?({WORDS})([^A-Za-z]|$)"
FENCE = "^ *(```|~~~)"
NO_TITLE = "(^|[^A-Za-z])(NOT|CRITERIA)([^A-Za-z]|$)"
WITHDRAWS = re.compile(r"\b(fix(e[sd])?|revert(s|ed)?|bug(s|fix)?|wrong|broken|hotfix|regression)\b", re.I)
WHAT = (
    "File names of documents, and their headings (one to six # and a space, outside of ``` and ~~~), with a"
    " word of victory in capitals (COMPLETE, FIXED, VICTORY, SUCCESS, DONE, FINAL, SOLVED, RESOLVED,"
    " VERIFIED, ROOT CAUSE FOUND, TESTS PASS, and their forms) and without NOT or CRITERIA in capitals"
)


def measure(history: History, documents: Sequence[str], facts: Facts) -> None:
    """Add the titles that declare a victory, and what followed."""
    found = [(path, *one) for path in documents for one in titles(path, history.repository.contents[path])]
    edited = {path: last_edit(history, path) for path in {path for path, _, _ in found}}
    followed = {path: what_followed(history, path, commit) for path, commit in edited.items()}
    written = {path: iso(commit.committed) if commit else None for path, commit in edited.items()}
    facts.figure("documents.victories", len(found), "titles", f"{WHAT}.", counting(history))
    facts.table(
        "documents.victories",
        ("file", "line", "title", "written", "what_followed"),
        ((path, line, title, written[path], followed[path]) for path, line, title in found),
        f"{WHAT}; line 0 is the file name. Written is when the text of the file changed last, renames"
        f" followed; what followed are the later commits that changed its code ({ABOUT}; where its folder has"
        " none, that of the nearest folder above), merges out, and those of them that speak of a fix, a"
        " revert or a bug.",
        counting(history).replace("awk 'END {print NR}'", "cat"),
    )


def titles(path: str, content: bytes) -> Iterator[tuple[int, str]]:
    """Give the line and the text of each title that declares a victory; line 0 is the file name."""
    name = path.rsplit("/", 1)[-1]
    if re.search(TITLE, name) and not re.search(NO_TITLE, name):
        yield 0, name
    if b"\0" in content[:8000]:
        return
    code = False
    for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
        if re.match(FENCE, line):
            code = not code
        elif not code and re.search(HEADING, line) and not re.search(NO_TITLE, line):
            yield number, line.lstrip("#").strip()


def last_edit(history: History, path: str) -> Commit | None:
    """Return the commit that changed the text of a file last; a rename alone changes none."""
    name = path
    for commit in history.repository.all_commits:
        for change in () if commit.merge else commit.changes:
            if change.path == name:
                if change.status != "R" or change.added or change.deleted:
                    return commit
                name = change.old
    return None


def what_followed(history: History, path: str, written: Commit | None) -> str:
    """Say in a sentence what the commits after a title did to the code that it is about."""
    if written is None:
        return "not known: no commit but a merge has it"
    when = written.committed
    later = {c.sha: c for code in nearest(history, path) for c in history.since(code, when)}
    if not later:
        return "no later commit changed its code"
    ordered = sorted(later.values(), key=lambda commit: commit.committed)
    fixes = [commit for commit in ordered if WITHDRAWS.search(commit.subject)]
    said = f"{len(later)} later {'commit' if len(later) == 1 else 'commits'} changed its code"
    if not fixes:
        return f"{said}; none speaks of a fix, a revert or a bug"
    first = fixes[0]
    return f"{said}; {len(fixes)} of them a fix, a revert or a bug, first {first.sha[:10]}: {first.subject}"


def nearest(history: History, path: str) -> Sequence[str]:
    """Return the code that a document is about, or that of the nearest folder above that has some."""
    found = history.about(path)
    folder = path.rpartition("/")[0]
    while not found and folder:
        folder = folder.rpartition("/")[0]
        found = [code for code in history.code if not folder or code.startswith(f"{folder}/")]
    return found


def counting(history: History) -> str:
    """Return the command that counts titles: file names, then headings."""
    repository = history.repository
    names = f"{documents_of(tracked(repository))} | sed 's#.*/##'"
    text = f"git -c core.quotePath=false grep -I -n '' {repository.commit}{below(repository)}"
    prose = (
        '{line = $0; sub(/^[^:]*:[^:]*:/, "", line); if (line ~ /^1:/) code = 0; sub(/^[0-9]+:/, "", line)}'
        f" line ~ /{FENCE}/ {{code = !code; next}} !code {{print line}}"
    )
    headings = f"{documents_of(text, ':[0-9]+:')} | awk '{prose}' | grep -aE '{HEADING}'"
    return (
        f"(export LC_ALL=C; {{ {names} | grep -aE '{TITLE}'; {headings}; }} | grep -avE '{NO_TITLE}'"
        " | awk 'END {print NR}')"
    )
