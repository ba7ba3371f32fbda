"""The trail of requirements: where ids are defined, and every line of the repository that mentions one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from shlex import join, quote

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.places import AS_CODE, AS_DOCUMENT, AS_TEST, SPEC
from llorch_core.postmortem.repository import Repository

# names of standards and machines that look like an id of a requirement
OTHERS = r"(?!(?:SHA\d?|AES|RSA|MD|RFC|ISO|IEC|IEEE|ANSI|ECMA|UTF|UTC|CVE|CWE|HTTP|TLS|CP|WINDOWS)-)"
FAMILY = re.compile(rb"[0-9]+[^0-9]*$")  # what is cut off an id to get its family
MODAL = re.compile(rb"\b(?:MUST|SHALL|REQUIRED|SHOULD|RECOMMENDED|MAY|OPTIONAL)\b")
MODAL_SMALL = re.compile(rb"\b(?:must|shall|should|may)\b")
LEVELS = {b"SHALL": "must", b"REQUIRED": "must", b"RECOMMENDED": "should", b"OPTIONAL": "may"}
KINDS = {"code": AS_CODE, "tests": AS_TEST, "documents": AS_DOCUMENT}
DEFINES = (
    "an id is defined on a line of a spec that begins with it (after marks, a number or `id:`), that is a"
    " heading, or that says MUST, SHALL, SHOULD or MAY: the first id of the line"
)


@dataclass(frozen=True)
class Definition:
    """The line of a spec that defines an id; `level` is must, should, may, or empty where it says none."""

    file: str
    line: int
    text: bytes
    level: str


@dataclass
class Mentions:
    """How many lines mention an id, by kind of place, and the first of them."""

    code: int = 0
    tests: int = 0
    documents: int = 0
    first: dict[str, tuple[str, int]] = field(default_factory=dict)


class Trail:
    """Every id of a requirement that the files of a commit define or mention."""

    def __init__(self, repository: Repository, settings: Settings) -> None:
        """Prepare the patterns. Raises PostmortemError where one of the settings is no regular expression."""
        self.repository = repository
        self.path = repository.path
        either = "|".join(f"(?:{pattern})" for pattern in settings.requirement_ids) or "(?!)"
        self.id = rf"{OTHERS}(?:{either})"
        self.defines = (
            rf"^(?:\W*(?:\d[\d.]*\s+|id:\W*)?{self.id}|#+\s.*{self.id}"
            rf"|(?=.*\b(?:MUST|SHALL|SHOULD|MAY)\b).*{self.id})"
        )
        try:
            self.ids, self.definers = re.compile(self.id.encode()), re.compile(self.defines.encode())
        except re.error as error:
            raise PostmortemError(
                f"requirement_ids of the case hold no regular expression: {error}.\nCorrect case.yaml."
            ) from error

    @cached_property
    def everywhere(self) -> dict[str, bytes]:
        """The text files of the whole repository: a spec may stand outside of the path."""
        whole = Repository(self.repository.top, self.repository.commit) if self.path else self.repository
        return {path: data for path, data in whole.contents.items() if b"\0" not in data[:8000]}

    @cached_property
    def here(self) -> dict[str, bytes]:
        """The text files below the path that are no specs."""
        inside = self.repository.inside
        return {p: d for p, d in self.everywhere.items() if inside(p) and not re.fullmatch(SPEC, p)}

    @cached_property
    def all_specs(self) -> dict[str, dict[str, Definition]]:
        """The ids that each spec of the repository defines, by its name."""
        specs = (p for p in self.everywhere if re.fullmatch(SPEC, p))
        return {spec: dict(self.of(spec)) for spec in specs}

    @cached_property
    def specs(self) -> Sequence[str]:
        """The specs that count: those below the path, and those that define what its code or tests cite."""
        cited = {i for i, m in self.mentions.items() if m.code or m.tests}
        inside = self.repository.inside
        return [s for s, ids in self.all_specs.items() if inside(s) or not cited.isdisjoint(ids)]

    def of(self, spec: str) -> Iterator[tuple[str, Definition]]:
        """Give the ids that a spec defines, the last line first, so that the first one stays."""
        lines = self.everywhere[spec].split(b"\n")
        for number in range(len(lines), 0, -1):
            line = lines[number - 1]
            if self.definers.search(line) and (found := self.ids.search(line)):
                after = self.until_next(lines[number : number + 12])
                yield found[0].decode(), Definition(spec, number, line, level([line, *after]))

    def until_next(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Return the lines of a definition: those before the next one or the next heading."""
        ends = (n for n, at in enumerate(lines) if at.startswith(b"#") or self.definers.search(at))
        return lines[: next(ends, len(lines))]

    @cached_property
    def defined(self) -> dict[str, Definition]:
        """The ids of the requirements, each with its first definition."""
        found: dict[str, Definition] = {}
        for spec in self.specs:
            for name, definition in reversed(self.all_specs[spec].items()):
                found.setdefault(name, definition)
        return found

    @cached_property
    def mentions(self) -> dict[str, Mentions]:
        """Where the files below the path mention ids, specs left out."""
        found: dict[str, Mentions] = {}
        for path, data in self.here.items():
            kind = kind_of(path)
            numbers = enumerate(data.split(b"\n"), 1) if self.ids.search(data) else ()
            for number, line in numbers:
                for name in {m.decode() for m in self.ids.findall(line)}:
                    count = found.setdefault(name, Mentions())
                    setattr(count, kind, getattr(count, kind) + 1)
                    count.first.setdefault(kind, (path, number))
        return found

    @cached_property
    def families(self) -> set[bytes]:
        """The families of ids that the specs name, also where they do not define them."""
        texts = (self.everywhere[spec] for spec in self.specs)
        return {FAMILY.sub(b"", name) for text in texts for name in self.ids.findall(text)}

    def is_requirement(self, name: str) -> bool:
        """Return whether the specs name the family of an id."""
        return FAMILY.sub(b"", name.encode()) in self.families

    # the same for a person, as commands of a shell

    def in_specs(self, pattern: str) -> str:
        """Return the command that prints what a pattern matches on the lines of the specs."""
        scope = [s for s in self.specs if not self.repository.inside(s)] + [self.path]
        return (
            f"LC_ALL=C git -C . -c core.quotePath=false grep -IP -e {quote(pattern)} {self.repository.commit}"
            f"{' -- ' + join(scope) if self.path else ''} | LC_ALL=C grep -aP {quote(f'^[^:]*:{SPEC}:')}"
        )

    @property
    def list_defined(self) -> str:
        """The command that prints the ids that are defined, sorted."""
        first = quote(rf"^[^:]*:[^:]*:.*?\K{self.id}")
        return f"{self.in_specs(self.defines)} | LC_ALL=C grep -aoP {first} | LC_ALL=C sort -u"

    @property
    def list_families(self) -> str:
        """The command that prints the families that the specs name."""
        every = f"LC_ALL=C sed 's/^[^:]*:[^:]*://' | LC_ALL=C grep -aoP {quote(self.id)}"
        return f"{self.in_specs(self.id)} | {every} | LC_ALL=C sed -E 's/[0-9]+[^0-9]*$//' | LC_ALL=C sort -u"

    def list_cited(self, *kinds: str) -> str:
        """Return the command that prints the ids that are mentioned in kinds of places, sorted."""
        scope = f"{self.repository.commit} -- {quote(self.path)}" if self.path else self.repository.commit
        either = quote(f"^[^:]*:(?:{'|'.join(KINDS[kind] for kind in kinds)}):")
        return (
            f"LC_ALL=C git -C . -c core.quotePath=false grep -IoP -e {quote(self.id)} {scope}"
            f" | LC_ALL=C grep -aP {either} | LC_ALL=C sed 's/^[^:]*:[^:]*://' | LC_ALL=C sort -u"
        )

    def of_families(self, listing: str) -> str:
        """Return the command that prints those ids of a listing whose family the specs name."""
        cut = 'NR==FNR{f[$0];next}{k=$0;sub(/[0-9]+[^0-9]*$/,"",k)}k in f'
        return f"LC_ALL=C awk '{cut}' <({self.list_families}; echo) <({listing})"


def kind_of(path: str) -> str:
    """Return the kind of a file that is no spec."""
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, path)), "code")


def level(lines: Sequence[bytes]) -> str:
    """Return the first word of duty: in capitals on any of the lines, else in small letters on the first."""
    found = next((m for line in lines if (m := MODAL.search(line))), None) or MODAL_SMALL.search(lines[0])
    word = found[0].upper() if found else b""
    return LEVELS.get(word, word.decode().lower())
