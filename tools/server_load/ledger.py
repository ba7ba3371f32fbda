"""What became of each request, counted; and the same again as the audit log tells it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GOOD = frozenset({"finished", "failed", "cancelled", "refused", "left", "cut"})
ENDS = {"request.finished": "finished", "request.failed": "failed", "request.cancelled": "cancelled"}
SHOWN = 20  # examples of what went wrong


def job_of(message: Mapping[str, Any]) -> str:
    """Return the id of a completion as the audit log writes it."""
    return str(message.get("id", "")).removeprefix("cmpl-")


@dataclass
class Followed:
    """The messages of one stream, from its first to its last.

    native  of /execute, which says started, token, and end or error; else of completions
    wanted  how many choices must end
    """

    native: bool = False
    wanted: int = 1
    id: str = ""
    tokens: int = 0
    ends: int = 0
    errors: list[str] = field(default_factory=list)
    closed: int = 0
    behind: int = 0  # messages behind the one that had to be the last
    odd: list[str] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)  # choices

    def take(self, event: str, data: str) -> None:
        """Count one message."""
        self.behind += bool(self.closed if not self.native else self.ends or self.errors)
        if self.native:
            self._native(event, json.loads(data))
        elif data == "[DONE]":
            self.closed += 1
        else:
            self._completion(json.loads(data))

    def _completion(self, message: Mapping[str, Any]) -> None:
        self.id = self.id or job_of(message)
        if error := message.get("error"):
            self.errors.append(str(error.get("code") or error.get("type") or "error"))
        for choice in message.get("choices", ()):
            if choice.get("index", 0) in self.ended and choice.get("text"):
                self.behind += 1
            self.tokens += len(choice.get("token_ids") or ()) or bool(choice.get("text"))
            if choice.get("finish_reason") is not None:
                self.ends += 1
                self.ended.add(choice.get("index", 0))

    def _native(self, event: str, message: Mapping[str, Any]) -> None:
        if (event == "started") == bool(self.id):
            self.odd.append(f"{event} {'twice' if self.id else 'before started'}")
        if event == "started":
            self.id = message["job_id"]
        elif event == "token":
            self.tokens += 1
        elif event == "end":
            self.ends += 1
        elif event == "error":
            self.errors.append(str(message.get("code", "error")))

    @property
    def outcome(self) -> str:
        """finished, failed or cancelled; or what is wrong: broken, doubled, disordered."""
        if not self.errors and (self.ends < self.wanted or not (self.native or self.closed)):
            return "broken"
        if len(self.errors) > 1 or self.closed > 1 or self.ends + len(self.errors) > self.wanted:
            return "doubled"
        if self.behind or self.odd:
            return "disordered"
        if self.errors:
            return "cancelled" if "cancel" in self.errors[0].lower() else "failed"
        return "finished"


@dataclass
class Ledger:
    """How many requests came to which end, and what went wrong, with examples."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)  # ids that the server has shown to a client

    def add(self, outcome: str, about: str = "", id: str = "") -> None:
        """Count one request. about: what to show where it came to no good end."""
        self.counts[outcome] += 1
        if id:
            self.accepted.add(id)
        if outcome not in GOOD:
            self.tell(f"{outcome}: {about}")

    def tell(self, says: str) -> None:
        """Keep what is wrong; the first ones are enough."""
        if len(self.wrong) < SHOWN:
            self.wrong.append(says)

    @property
    def bad(self) -> int:
        """How many came to no good end."""
        return sum(n for outcome, n in self.counts.items() if outcome not in GOOD)


@dataclass
class Log:
    """The requests of an audit log: which were accepted, how each ended, how many were refused."""

    accepted: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    types: Counter[str] = field(default_factory=Counter)

    def take(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        kind = event["type"]
        self.types[kind] += 1
        if kind == "request.accepted":
            self.accepted[event["job_id"]] += 1
        elif kind == "request.refused":
            self.refused += 1
        elif kind in ENDS:
            self.ended[event["job_id"]] += 1
            self.ends[ENDS[kind]] += 1

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that were shown to a client and are not in the log."""
        return sorted(id for id in ids if not self.accepted[id])

    def fewer(self, counts: Mapping[str, int]) -> list[str]:
        """Return what clients saw more often than the log has it."""
        has = {**self.ends, "refused": self.refused}
        saw = {name: counts.get(name, 0) for name in ("finished", "failed", "cancelled", "refused")}
        return [
            f"clients saw {n} {name}, the log has {has.get(name, 0)}"
            for name, n in saw.items()
            if n > has.get(name, 0)
        ]

    def problems(self, killed: bool = False) -> list[str]:
        """Return what does not add up. killed: the process was, so that an end may be missing."""
        found = [f"{id} was accepted {n} times" for id, n in self.accepted.items() if n > 1]
        found += [f"{id} ended {n} times" for id, n in self.ended.items() if n > 1]
        found += [f"{id} ended and was never accepted" for id in self.ended if not self.accepted[id]]
        if not killed:
            found += [f"{id} was accepted and never ended" for id in self.accepted if not self.ended[id]]
        return found


def events_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of an audit log in their order."""
    for path in sorted(folder.glob("*.audit")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):  # a torn line is the verifier's
                    yield json.loads(line)["event"]


def read_log(folder: Path) -> Log:
    """Return the requests of an audit log."""
    log = Log()
    for event in events_of(folder):
        log.take(event)
    return log
