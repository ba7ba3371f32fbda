"""Lessons: what a failure taught, each with what enforces it now; and the mistakes of the field."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llorch_core.spec.component import check_form
from llorch_core.spec.yaml_file import YamlFile, read_yaml

KINDS = {"assumptions": "assumption", "causes": "cause", "guardrails": "guardrail"}
OF_THE_FIELD = ("lessons", "not_applicable")  # which mistakes of the specs are those of the field


@dataclass(frozen=True)
class Link:
    """What enforces a lesson: a rule, mistake, kind of stub, demand of the gate, test, or command.

    test  the test that runs a command; None for all else
    """

    kind: str
    name: str
    test: str | None = None


@dataclass(frozen=True)
class Lesson:
    """One thing that a failure taught.

    kind          assumption, cause or guardrail
    says          the lesson, in a sentence
    happened      what taught it; `evidence` names entries of the catalogue of that failure's bugs
    verdict       of an assumption: right or wrong
    links         what enforces it
    apart_from    the part that they do not enforce
    not_enforced  why nothing enforces it; None where something does
    """

    id: str
    kind: str
    says: str
    happened: str
    evidence: tuple[str, ...]
    verdict: str | None
    links: tuple[Link, ...]
    apart_from: str | None
    not_enforced: str | None
    file: Path
    line: int


def read_lessons(folder: Path, schemas: Path | None) -> tuple[Lesson, ...]:
    """Return the lessons of failures in a folder, in the order of its files; none where there is none.

    schemas  the folder of the forms; None where the form of these very bytes is known to hold

    Raises SpecError where a lesson is not well-formed, is there twice, or says neither what enforces it nor
    why nothing does.
    """
    found: dict[str, Lesson] = {}
    for path in sorted(folder.glob("*.yaml")):
        file = read_yaml(path)
        if _is_of_the_field(file):
            continue
        check_form(file, schemas, "failure")
        for lesson, at in _entries(file):
            if lesson.id in found:
                before = found[lesson.id]
                raise file.error(
                    f"{lesson.id} is there twice: also in {before.file.name}:{before.line}. Keep one.", *at
                )
            found[lesson.id] = lesson
    return tuple(found.values())


def check_lessons(folder: Path, schemas: Path, rules: Collection[str], mistakes: Collection[str]) -> None:
    """Raise SpecError where a lesson is false: it names a rule or a mistake that the specs do not have."""
    names = {"rule": rules, "mistake": mistakes}
    read_lessons(folder, schemas)
    for path in sorted(folder.glob("*.yaml")):
        file = read_yaml(path)
        if _is_of_the_field(file):
            check_form(file, schemas, "lessons")
        for kind, name, at in _named(file):
            if name not in names[kind]:
                raise file.error(
                    f"{name} is no {kind} of the specs. Correct it: `llorch spec list` and "
                    "`llorch spec show` name them all.",
                    *at,
                )


def _is_of_the_field(file: YamlFile) -> bool:
    return isinstance(file.data, Mapping) and file.data.keys() <= {*OF_THE_FIELD}


def _entries(file: YamlFile) -> Iterator[tuple[Lesson, tuple[str | int, ...]]]:
    """Yield the lessons of a file, each with its place in it."""
    for key, entries in file.data.items():
        for i, entry in enumerate(entries):
            at = (key, i)
            if ("enforced_by" in entry) == ("not_enforced" in entry):
                both = "both" if "enforced_by" in entry else "neither"
                raise file.error(
                    f"{entry['id']} has {both} of enforced_by and not_enforced. Name the rule, mistake, kind "
                    "of stub, demand of the gate or test that enforces it, or say why nothing does.",
                    *at,
                )
            yield _lesson(KINDS[key], entry, file, at), at


def _lesson(kind: str, entry: Mapping[str, Any], file: YamlFile, at: tuple[str | int, ...]) -> Lesson:
    return Lesson(
        id=entry["id"],
        kind=kind,
        says=entry["lesson"],
        happened=entry["happened"],
        evidence=tuple(entry.get("evidence", ())),
        verdict=entry.get("verdict"),
        links=tuple(_link(link) for link in entry.get("enforced_by", ())),
        apart_from=entry.get("apart_from"),
        not_enforced=entry.get("not_enforced"),
        file=file.path,
        line=file.lines[at],
    )


def _link(link: Mapping[str, str]) -> Link:
    if "command" in link:
        return Link("command", link["command"], link["test"])
    ((kind, name),) = link.items()
    return Link(kind, name)


def _named(file: YamlFile) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Yield each rule and each mistake that a file names: its kind, its name, and where it stands."""
    for key, entries in file.data.items():
        for i, entry in enumerate(entries):
            for j, name in enumerate(entry.get("mistakes", ())):
                yield "mistake", name, (key, i, "mistakes", j)
            for j, link in enumerate(entry.get("enforced_by", ())):
                for kind in link.keys() & {"rule", "mistake"}:
                    yield kind, link[kind], (key, i, "enforced_by", j, kind)
