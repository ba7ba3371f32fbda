"""Judgement: what people concluded about a repository, as data, each part with its evidence.

A case holds one YAML file for each kind of entry (teams.yaml, bugs.yaml …), each with one list of the same
name. The form is specs/schema/judgement.schema.json. An entry that does not keep to it is left out and
reported as a problem; one that only leaves something out is kept, so that a report can be written early.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from llorch_core.postmortem.judgement.forms import problems_of_form
from llorch_core.postmortem.judgement.marked_yaml import Key, Marked, read_marked
from llorch_core.postmortem.judgement.problems import Problem

ANSWERS = ("what", "why", "impact", "should_have", "changes")


@dataclass(frozen=True)
class Place:
    """Where a part of the judgement stands: file from the folder of the case, line, and the entry's id."""

    file: str
    line: int
    entry: str = ""


@dataclass(frozen=True)
class Reference:
    """Evidence: a quote, a commit's message, a measured figure or table, or a text that is absent."""

    at: Place
    commit: str = ""  # "" is the commit of the case
    path: str = ""
    line: int | None = None
    lines: tuple[int, ...] = ()
    text: str = ""
    subject: str = ""
    figure: str = ""
    value: Any = None
    table: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None
    absent: str = ""
    shows: str = ""

    @property
    def first(self) -> int:
        """The first line of a quote."""
        return self.line or (self.lines[0] if self.lines else 0)

    @property
    def last(self) -> int:
        """The last line of a quote."""
        return self.line or (self.lines[1] if self.lines else 0)


@dataclass(frozen=True)
class Claim:
    """What a team said, or delivered. `outcome`: held, withdrawn, disproved, never checked, or ""."""

    at: Place
    says: str = ""
    when: str = ""
    outcome: str = ""
    evidence: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of a causal chain."""

    at: Place
    says: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Digest:
    """A file and the digest that it had."""

    at: Place
    path: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Entry:
    """What every entry has."""

    at: Place
    id: str
    title: str = ""
    row: str = ""  # what a source calls it

    @property
    def references(self) -> tuple[Reference, ...]:
        """Its evidence, also that of its claims."""
        return tuple(getattr(self, "evidence", ()))


@dataclass(frozen=True)
class Finding(Entry):
    """An entry that answers five questions; "" where it does not."""

    evidence: tuple[Reference, ...] = ()
    what: str = ""
    why: str = ""
    impact: str = ""
    should_have: str = ""
    changes: str = ""


@dataclass(frozen=True)
class Team(Entry):
    """Who took part, what they claimed, and what they delivered."""

    who: str = ""
    authors: tuple[str, ...] = ()
    claimed: tuple[Claim, ...] = ()
    delivered: tuple[Claim, ...] = ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """The evidence of its claims."""
        return tuple(r for claim in (*self.claimed, *self.delivered) for r in claim.evidence)


@dataclass(frozen=True)
class Bug(Finding):
    """A bug, or what was taken for one."""

    severity: str = ""
    component: str = ""
    symptom: str = ""
    verdict: str = ""
    how_found: str = ""
    how_missed: str = ""
    introduced: str = ""
    fixed: str = ""
    teams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assumption(Finding):
    """What was taken for granted: right or wrong. `what` is the statement."""

    statement: str = ""
    verdict: str = ""
    guardrails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision(Finding):
    """A decision. `why` is its reason, `impact` its outcome, `should_have` the alternative not taken."""

    date: str = ""
    teams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process(Finding):
    """A finding about how the work was done."""

    teams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain(Entry):
    """How one thing led to another."""

    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Cause(Finding):
    """A root cause; `rank` counts from 1, the weightiest first."""

    guardrails: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    rank: int = 0


@dataclass(frozen=True)
class Lesson(Entry):
    """What was learned from findings, and what enforces it."""

    lesson: str = ""
    findings: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guardrail(Entry):
    """What turns red when it happens again: one of rule, gate, stub and check."""

    rule: str = ""
    gate: str = ""
    stub: str = ""
    check: str = ""
    fails_when: str = ""
    broken_by: str = ""


@dataclass(frozen=True)
class RuledOut(Entry):
    """Negative knowledge: it holds as long as the files are as they were."""

    statement: str = ""
    when: str = ""
    by: str = ""
    on: tuple[Digest, ...] = ()
    evidence: tuple[Reference, ...] = ()


KINDS: Mapping[str, type[Entry]] = {
    "teams": Team,
    "bugs": Bug,
    "assumptions": Assumption,
    "decisions": Decision,
    "process": Process,
    "chains": Chain,
    "causes": Cause,
    "lessons": Lesson,
    "guardrails": Guardrail,
    "ruled_out": RuledOut,
}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "assumptions": {"what": "statement"},
    "decisions": {"why": "reason", "impact": "outcome", "should_have": "alternative"},
}
PARTS: Mapping[str, type[Any]] = {
    "evidence": Reference,
    "claimed": Claim,
    "delivered": Claim,
    "steps": Step,
    "on": Digest,
}
E = TypeVar("E", bound=Entry)


@dataclass
class Judgement:
    """All that a case concludes. `problems` are about form; `ids` are those of all entries, kept or not."""

    folder: Path
    files: dict[str, Marked] = field(default_factory=dict)
    entries: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)  # id: kind
    problems: list[Problem] = field(default_factory=list)

    def of(self, kind: type[E]) -> tuple[E, ...]:
        """Return the entries of one kind: judgement.of(Bug)."""
        return tuple(e for entries in self.entries.values() for e in entries if type(e) is kind)

    def __iter__(self) -> Iterator[Entry]:
        """Give every entry, in the order of the files."""
        for entries in self.entries.values():
            yield from entries

    def find(self, name: str) -> Entry | None:
        """Return the entry with an id, or None."""
        return next((entry for entry in self if entry.id == name), None)


def read_judgement(folder: Path) -> Judgement:
    """Read every file of a case; a missing one holds nothing. Raises PostmortemError for broken YAML."""
    judgement = Judgement(folder)
    for kind in KINDS:
        path = folder / f"{kind}.yaml"
        if path.exists():
            add(judgement, kind, read_marked(path))
    return judgement


def add(judgement: Judgement, kind: str, file: Marked) -> None:
    """Add the entries of one file, and the problems of their form."""
    judgement.files[kind] = file
    if file.data in (None, {kind: None}):
        return
    problems, wrong = problems_of_form(kind, file)
    judgement.problems += problems
    if None in wrong:
        return
    listed = file.data[kind]
    for entry in listed:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            judgement.ids.setdefault(entry["id"], kind)
    judgement.entries[kind] = tuple(
        entry_of(kind, n, entry, file) for n, entry in enumerate(listed) if n not in wrong
    )


def entry_of(kind: str, n: int, data: Mapping[str, Any], file: Marked) -> Entry:
    """Return the entry number n of a file, which has its form."""
    at: Key = (kind, n)
    values = {k: part(k, v, (*at, k), file) for k, v in data.items()}
    for ours, theirs in RENAMED.get(kind, {}).items():
        if theirs in values:
            values.setdefault(ours, values[theirs])
    if kind == "causes":
        values["rank"] = n + 1
    known = {f.name for f in fields(KINDS[kind])}
    return KINDS[kind](**{"at": Place(*file.place(at)), **{k: v for k, v in values.items() if k in known}})


def part(key: str, value: Any, at: Key, file: Marked) -> Any:
    """Return one value of an entry: a text, a tuple of texts, or a tuple of its parts."""
    if not isinstance(value, list):
        return value
    if key not in PARTS:
        return tuple(value)
    made = []
    for n, data in enumerate(value):
        values = {k: part(k, v, (*at, n, k), file) for k, v in data.items()}
        made.append(PARTS[key](at=Place(*file.place((*at, n))), **values))
    return tuple(made)
