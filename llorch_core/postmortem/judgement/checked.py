"""What a check of a case found: problems, and what was not looked at here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from llorch_core.postmortem.judgement.evidence import Miss, NotOpenedError
from llorch_core.postmortem.judgement.judgement import KINDS as FILES
from llorch_core.postmortem.judgement.judgement import Place
from llorch_core.postmortem.judgement.problems import KINDS, Problem

VERDICTS = ("holds", "problems", "undecided")


@dataclass(frozen=True)
class NotOpened:
    """What was not looked at here, and why; nothing is claimed about it."""

    at: Place
    what: str
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self.at), "what": self.what, "why": self.why}


@dataclass
class Checked:
    """What a check found. `opened` counts evidence, files of what was ruled out, checks."""

    entries: int = 0
    opened: int = 0
    problems: list[Problem] = field(default_factory=list)
    not_opened: list[NotOpened] = field(default_factory=list)

    def exit_code(self, allow_unopened: bool = False) -> int:
        """Return 1 where there is a problem, else 2 where something was not looked at, else 0.

        A case without an entry says nothing: 2, too.
        """
        if self.problems:
            return 1
        return 2 if (self.not_opened and not allow_unopened) or not self.entries else 0

    def problem(self, kind: str, at: Place, found: Miss) -> None:
        """Add a problem."""
        place = (at.file, at.line, at.entry)
        self.problems.append(Problem(kind, *place, found.says, found.wanted, found.got, found.next))

    def look(self, kind: str, at: Place, what: str, opener: Callable[[], Miss | None]) -> None:
        """Look at one thing: add the problem that it shows, or that it was not opened."""
        try:
            found = opener()
        except NotOpenedError as error:
            self.not_opened.append(NotOpened(at, what, str(error)))
            return
        self.opened += 1
        if found:
            self.problem(kind, at, found)

    def in_order(self) -> Checked:
        """Return it with the problems in the order of the files and lines."""
        order = [f"{kind}.yaml" for kind in FILES]

        def where(problem: Problem) -> tuple[int, int]:
            return (order.index(problem.file) if problem.file in order else -1), problem.line

        self.problems.sort(key=where)
        return self

    def as_json(self, title: str, allow_unopened: bool) -> dict[str, Any]:
        """Return what was found as one JSON object (specs/schema/postmortem-check.schema.json)."""
        return {
            "verdict": VERDICTS[self.exit_code(allow_unopened)],
            "case": title,
            "entries": self.entries,
            "opened": self.opened,
            "problems": [problem.as_json() for problem in self.problems],
            "not_opened": [one.as_json() for one in self.not_opened],
            "kinds": dict(KINDS),
        }
