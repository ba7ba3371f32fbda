"""The kinds of test that prove nothing: what each is, and why. Page, command and figures read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

SURE, DOUBTFUL = "sure", "doubtful"
UNIT, INTEGRATION, END_TO_END, BDD, BENCHMARK = "unit", "integration", "end-to-end", "bdd", "benchmark"


@dataclass(frozen=True)
class Kind:
    """One kind. `why` says why it cannot fail, or what it lets pass."""

    what: str
    why: str
    level: str = SURE


KINDS: Mapping[str, Kind] = {
    "empty": Kind("A test without a statement, a scenario without a step.", "Nothing runs."),
    "stub": Kind(
        "A test without a check that only says that it is still to be written.",
        "It passes until somebody writes it.",
    ),
    "no check": Kind(
        "A test that prints or builds something of its own, and checks nothing.",
        "Nothing of the product runs, and nothing is compared.",
    ),
    "constant": Kind(
        "A test whose every check has its outcome in the source: true, 1 == 1, x == x, a length >= 0.",
        "It is true whatever the product does.",
    ),
    "own values": Kind(
        "A test whose every check is about values that it wrote down, or about its own mocks.",
        "No result of the product reaches it.",
    ),
    "swallowed": Kind(
        "A test whose checks, or whose only calls, stand in a try that catches everything and goes on.",
        "What fails is caught with everything else.",
    ),
    "unwritten": Kind(
        "A test that only says, by failing always, that it is still to be written.",
        "It fails, but tests nothing.",
        DOUBTFUL,
    ),
    "marked": Kind(
        "A test that checks something, and announces that it is a stub.",
        "What it checks is, by its own words, not the real thing.",
        DOUBTFUL,
    ),
    "only runs": Kind(
        "A test that runs something and checks nothing of what comes out.",
        "It fails only where something crashes; a wrong result passes.",
        DOUBTFUL,
    ),
    "dropped error": Kind(
        "A test without a check that takes the error of what it runs and does nothing with it.",
        "A failure that is reported is not noticed; only a crash is.",
        DOUBTFUL,
    ),
    "silent": Kind(
        "A test whose every check stands behind a condition without an else: a result that is right, a file"
        " that exists.",
        "Where the condition is false it passes without a check.",
        DOUBTFUL,
    ),
    "calls nothing": Kind(
        "A test with checks that calls nothing but functions of the language.",
        "It seems to check its own values.",
        DOUBTFUL,
    ),
}


@dataclass(frozen=True)
class Test:
    """One test. `why` is a kind of KINDS or "", `says` the detail; `gone` is what it imports in vain."""

    file: str
    line: int  # of its head
    name: str
    framework: str
    kind: str  # unit, integration, end-to-end, bdd, benchmark
    last: int  # its last line
    ignored: bool = False
    why: str = ""
    says: str = ""
    gone: str = ""

    @property
    def level(self) -> str:
        """ "sure": it cannot fail; "doubtful": it can, but not where it should; "" where it is right."""
        return KINDS[self.why].level if self.why else ""

    @property
    def cannot_fail(self) -> bool:
        """Whether nothing in its text can fail. One that is ignored is judged by its text, too."""
        return self.level == SURE

    def blamed(self, why: str, says: str = "") -> Test:
        """Return it with what is wrong with it."""
        return replace(self, why=why, says=says)
