"""Lost: what requirements name that code and tests once mentioned, and no longer do; and who took it out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from shlex import quote

from llorch_core.postmortem.patches import command, patches
from llorch_core.postmortem.places import AS_CODE, AS_TEST
from llorch_core.postmortem.requirements.trail import Trail

HOME = re.compile(f"(?:{AS_CODE}|{AS_TEST})".encode())
# words that are written as names of a program: snake_case, or in backticks
NAME = re.compile(rb"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b|(?<=`)[A-Za-z_][A-Za-z0-9_]{3,}(?=`)")
WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Loss:
    """The newest commit that removed a mention from a file of code or tests."""

    sha: str
    file: str


class Lost:
    """The ids and the names that left code and tests below the path."""

    def __init__(self, trail: Trail) -> None:
        """Read the history once."""
        self.trail = trail
        self.names = self.named()
        self.ids: dict[str, Loss] = {}
        self.words: dict[bytes, Loss] = {}
        now = {name for name, m in trail.mentions.items() if m.code or m.tests}
        left = self.names.keys() - self.in_use()
        homes: dict[bytes, bool] = {}
        for line in patches(trail.repository):
            if line.sign != b"-":
                continue
            if line.path not in homes:
                homes[line.path] = bool(HOME.fullmatch(line.path))
            if homes[line.path]:
                loss = Loss(line.sha, line.path.decode(errors="replace"))
                for name in trail.ids.findall(line.text):
                    if name.decode() not in now and trail.is_requirement(name.decode()):
                        self.ids.setdefault(name.decode(), loss)
                for word in left.intersection(WORD.findall(line.text)):
                    self.words.setdefault(word, loss)

    def named(self) -> dict[bytes, list[str]]:
        """Return the names of a program on the lines that define requirements, with the ids of those."""
        found: dict[bytes, list[str]] = {}
        for name, definition in self.trail.defined.items():
            for word in sorted(set(NAME.findall(definition.text))):
                found.setdefault(word, []).append(name)
        return found

    def in_use(self) -> set[bytes]:
        """Return those of the names that code or tests below the path mention now."""
        homes = (data for path, data in self.trail.here.items() if HOME.fullmatch(path.encode()))
        return set().union(*(self.names.keys() & set(WORD.findall(data)) for data in homes))

    @cached_property
    def elsewhere(self) -> set[str]:
        """The ids that code or tests outside of the path mention now: what has moved there is not lost."""
        everywhere = self.trail.everywhere.items()
        homes = (data for path, data in everywhere if HOME.fullmatch(path.encode()))
        return {name.decode() for data in homes for name in self.trail.ids.findall(data)}

    @property
    def list_ids(self) -> str:
        """The command that prints the ids that were lost, sorted."""
        t = self.trail
        from_home = quote(rf"^-\t\w+\t\d+\t\w+\t(?:{AS_CODE}|{AS_TEST})\t")
        removed = (
            f"{command(t.repository)} | LC_ALL=C grep -aP {from_home} | cut -f6-"
            f" | LC_ALL=C grep -aoP {quote(t.id)} | LC_ALL=C sort -u"
        )
        gone = f"LC_ALL=C comm -23 <({removed}) <({t.list_cited('code', 'tests')})"
        return t.of_families(gone)
