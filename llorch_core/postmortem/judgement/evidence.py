"""Evidence is opened: a quote stands in its lines, a commit says it, a figure is measured, a text absent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llorch_core.postmortem.case import Case
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.facts import Facts, Value, read_facts
from llorch_core.postmortem.git import attempt, git
from llorch_core.postmortem.judgement.judgement import Reference
from llorch_core.postmortem.repository import Repository

ELSEWHERE = "Correct the reference, or take back what rests on it."


class NotOpenedError(Exception):
    """Evidence that cannot be looked at here; says why."""


@dataclass(frozen=True)
class Miss:
    """Evidence that does not show what it should."""

    says: str
    wanted: str
    got: str
    next: str = ELSEWHERE


@dataclass
class Sources:
    """What evidence is opened in: a repository and the facts of the case; None where it is not here."""

    repository: Repository | None
    facts: Facts | None
    commits: dict[str, str | None] = field(default_factory=dict)
    texts: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def opened(self) -> Repository:
        """Return the repository. Raises NotOpenedError where it is not here."""
        if self.repository is None:
            raise NotOpenedError("the repository is not on this machine")
        return self.repository

    def measured(self) -> Facts:
        """Return the facts. Raises NotOpenedError where there are none."""
        if self.facts is None:
            raise NotOpenedError("nothing was measured yet: run `llorch postmortem dig`")
        return self.facts

    def commit(self, revision: str) -> str | None:
        """Return the hash of a commit, that of the case for "", or None where there is none."""
        repository = self.opened()
        if revision not in self.commits:
            try:
                self.commits[revision] = repository.resolve(revision) if revision else repository.commit
            except PostmortemError:
                self.commits[revision] = None
        return self.commits[revision]

    def text(self, commit: str, path: str) -> str | None:
        """Return the text of a file at a commit, or None where it is not there then."""
        if (commit, path) not in self.texts:
            data = self.opened().at(commit, path)
            self.texts[commit, path] = None if data is None else data.decode(errors="replace")
        return self.texts[commit, path]


def sources_of(case: Case, elsewhere: Path | None = None) -> Sources:
    """Open the repository and the facts of a case, as far as they are here. Raises PostmortemError."""
    here = elsewhere or (case.folder / case.settings.repository).is_dir()
    facts = read_facts(case.facts_file) if case.facts_file.exists() else None
    return Sources(case.repository(elsewhere) if here else None, facts)


def miss(reference: Reference, sources: Sources) -> Miss | None:
    """Open a reference, and return how it misses what it should show, or None where it shows it.

    Raises NotOpenedError where it cannot be looked at here.
    """
    if reference.figure:
        return figure(reference, sources.measured())
    if reference.table:
        return table(reference, sources.measured())
    commit = sources.commit(reference.commit)
    if commit is None:
        return no_commit(reference.commit, sources)
    kind = quote if reference.text else subject if reference.subject else absent
    return kind(reference, commit, sources)


def no_commit(revision: str, sources: Sources) -> Miss | None:
    """Return how a repository lacks a commit, or None. Raises NotOpenedError where it is not here."""
    if sources.commit(revision):
        return None
    got = f"none in {sources.opened().top.name}"
    return Miss(f"there is no commit {revision!r}", "a hash, branch or tag", got)


def words(text: str) -> str:
    """Return a text with one blank for every run of blanks and line ends."""
    return " ".join(text.split())


def short(text: str) -> str:
    """Return the beginning of a text, in one line."""
    text = words(text)
    return text if len(text) <= 100 else f"{text[:97]}..."


def quote(reference: Reference, commit: str, sources: Sources) -> Miss | None:
    """Return how the quoted text misses its lines."""
    whole = sources.text(commit, reference.path)
    at = f"at {commit[:12]}"
    if whole is None:
        return Miss(
            f"{reference.path} is not there {at}", f"a file with {short(reference.text)!r}", "no file"
        )
    there = words("\n".join(whole.split("\n")[reference.first - 1 : reference.last]))
    if words(reference.text) in there:
        return None
    lines_are = (
        f"line {reference.first}" if reference.line else f"lines {reference.first} to {reference.last}"
    )
    found = line_of(reference.text, whole)
    where = f"Line {found} has it: correct the line." if found else f"The file has it nowhere {at}: {LEFT}"
    says = f"{reference.path} {at} does not have the quoted text in {lines_are}"
    return Miss(says, repr(short(reference.text)), repr(short(there)) if there else "no such line", where)


LEFT = "name the commit at which it stood, or take the quote back."


def line_of(text: str, whole: str) -> int | None:
    """Return the first line in which a text begins, or None; blanks and line ends are all one."""
    found = re.search(r"\s+".join(map(re.escape, text.split())), whole)
    return whole.count("\n", 0, found.start()) + 1 if found else None


def subject(reference: Reference, commit: str, sources: Sources) -> Miss | None:
    """Return how the message of a commit misses a text."""
    message = git(sources.opened().top, "log", "-1", "--format=%B", commit).decode(errors="replace")
    if words(reference.subject) in words(message):
        return None
    says = f"the message of {commit[:12]} does not say it"
    return Miss(says, repr(short(reference.subject)), repr(short(message)))


def absent(reference: Reference, commit: str, sources: Sources) -> Miss | None:
    """Return where a text stands that should be absent."""
    repository = sources.opened()
    path = reference.path or repository.path
    if path and attempt(repository.top, "cat-file", "-e", f"{commit}:{path}").returncode:
        return Miss(f"{path} is not there at {commit[:12]}", "a folder or file to search", "nothing")
    scope = ["--", f":(top,literal){path}"] if path else []
    done = attempt(repository.top, "grep", "-I", "-n", "-E", "-e", reference.absent, commit, *scope)
    if done.returncode > 1:
        got = short(done.stderr.decode(errors="replace"))
        return Miss(f"{reference.absent!r} is no regular expression", "one of POSIX, extended", got)
    if done.returncode == 1:
        return None
    hits = done.stdout.decode(errors="replace").splitlines()
    got = f"{len(hits)} times, first {short(hits[0].removeprefix(f'{commit}:'))}"
    return Miss(f"{reference.absent!r} is there at {commit[:12]}", "no line that matches", got)


def figure(reference: Reference, facts: Facts) -> Miss | None:
    """Return how a figure misses: it was not measured, or is another one."""
    if reference.figure not in facts.figures:
        return unknown("figure", reference.figure, facts.figures)
    value = facts.figures[reference.figure].value
    if reference.value is None or same(value, reference.value):
        return None
    return Miss(f"{reference.figure} was measured otherwise", f"{reference.value}", f"{value}")


def table(reference: Reference, facts: Facts) -> Miss | None:
    """Return how a table misses: it was not measured, or has not these rows."""
    if reference.table not in facts.tables:
        return unknown("table", reference.table, facts.tables)
    columns = facts.tables[reference.table].columns
    for column in reference.where:
        if column not in columns:
            return Miss(f"{reference.table} has no column {column}", f"one of {', '.join(columns)}", column)
    count = len(rows(reference, facts))
    if count == reference.rows or (reference.rows is None and count):
        return None
    where = ", ".join(f"{k} {v}" for k, v in reference.where.items()) or "anything"
    wanted = "at least one row" if reference.rows is None else f"{reference.rows} rows"
    return Miss(f"{reference.table} where {where}", wanted, f"{count} rows")


def rows(reference: Reference, facts: Facts | None) -> Sequence[Mapping[str, Value]]:
    """Return the rows of a measured table that a reference names; none where it is not measured."""
    measured = facts.tables.get(reference.table) if facts else None
    if measured is None:
        return ()
    return [row for row in measured.dicts() if all(same(row.get(k), v) for k, v in reference.where.items())]


def same(measured: Value, wanted: Any) -> bool:
    """Return whether a measured value is the one that a person wrote down."""
    return measured == wanted or str(measured) == str(wanted)


def unknown(what: str, name: str, names: Mapping[str, object]) -> Miss:
    """Return the miss of a name that nothing has."""
    near = get_close_matches(name, names, 3, 0.5)
    wanted = f"a measured {what}" + (f", such as {', '.join(near)}" if near else "")
    return Miss(f"no {what} {name} was measured", wanted, name, NAMES)


NAMES = "facts.json has the names. Is the case measured by this llorch? Run `llorch postmortem dig` again."
