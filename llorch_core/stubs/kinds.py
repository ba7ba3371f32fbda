"""The kinds of stub: what each is, and why it cannot fail. Page, JSON and SARIF all read this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SURE, DOUBTFUL = "sure", "doubtful"


@dataclass(frozen=True)
class Kind:
    """One kind of stub. `why` says why it cannot fail, `next` what its author can do."""

    what: str
    why: str
    next: str
    level: str = SURE


KINDS: Mapping[str, Kind] = {
    "empty": Kind(
        "A test or a then-step without a statement.",
        "Nothing runs.",
        "Write the check, or remove the test.",
    ),
    "todo": Kind(
        "A test or a then-step without a check, which says that it is still to be written.",
        "It passes until somebody writes it.",
        "Write the check, or remove the test until there is one.",
    ),
    "no check": Kind(
        "A test or a then-step that builds or prints something, and checks nothing.",
        "Nothing in it can raise.",
        "Compare what the product gave with what it should give.",
    ),
    "constant check": Kind(
        "An assertion whose outcome stands in the source: of a constant, a tuple, a generator, len(x) >= 0.",
        "It is true whatever the product does.",
        "Assert something about what the product gave.",
    ),
    "checks itself": Kind(
        "A comparison of a thing with itself, or with another name of the same object.",
        "Both sides change together.",
        "Compare with a value that was made independently.",
    ),
    "checks its fixture": Kind(
        "A test whose every assertion is about values that the test itself wrote down.",
        "No result of the product reaches it.",
        "Let the product compute one of the two sides.",
    ),
    "checks its mock": Kind(
        "A test whose every assertion is about what a mock or a replaced function was told to return.",
        "The product is not called.",
        "Call the product; replace only what is outside of it.",
    ),
    "never called": Kind(
        "An assertion that is named and not called, or a method of a mock that does not exist.",
        "Naming a function does not run it; a mock accepts every name.",
        "Call it: add the parentheses, or the assert_ that is missing.",
    ),
    "dropped": Kind(
        "A comparison whose result nobody looks at.",
        "It is computed and thrown away.",
        "Put assert in front of it.",
    ),
    "never reached": Kind(
        "A check behind a return, in an if that is never true, or in a loop over nothing.",
        "It does not run.",
        "Remove what stands before it, or the check.",
    ),
    "skipped": Kind(
        "A test that is skipped whatever the machine.",
        "It does not run.",
        "Repair and run it, remove it, or skip it only under a condition that can be false.",
    ),
    "expected to fail": Kind(
        "A test that is expected to fail, and not strictly.",
        "It passes when it fails, and when it does not.",
        "Repair it, or say strict=True, so that its passing is noticed.",
    ),
    "swallowed exception": Kind(
        "A check, or the only call of a test, inside a try that catches everything and goes on.",
        "An assertion that fails is an exception, and is swallowed with the others.",
        "Catch only the exception that is expected, or use pytest.raises.",
    ),
    "pushed and checked": Kind(
        "A then-step that checks what a step wrote into the context, without the product in between.",
        "The steps agree with one another, whatever the product does.",
        "Let the step call the product, and check what came back.",
    ),
    "test switch in product code": Kind(
        "Product code that asks whether it is being tested.",
        "The tests run other code than the users do.",
        "Take the switch out; pass what differs as an argument.",
    ),
    "bad excuse": Kind(
        "A comment that allows a finding without a reason, or one of no kind.",
        "It excuses nothing.",
        "Write: # llorch: allow KIND because REASON",
    ),
    "idle excuse": Kind(
        "A comment that allows a finding where there is none.",
        "What it excused is gone, and the next stub in this place would be excused.",
        "Remove the comment.",
    ),
    "only runs": Kind(
        "A test or a then-step that runs code and checks nothing of what comes out.",
        "It fails only where something raises; a wrong result passes.",
        "Check the result, or say in the test's name that running is all it promises.",
        DOUBTFUL,
    ),
    "does nothing": Kind(
        "A given- or when-step without a statement.",
        "What the sentence says is not done.",
        "Do what the sentence says, or remove it from the scenarios.",
        DOUBTFUL,
    ),
    "known failure": Kind(
        "A test that is expected to fail, strictly.",
        "What it states is not true today; it is noticed when that changes.",
        "Repair what it shows.",
        DOUBTFUL,
    ),
    "silent return": Kind(
        "A test that returns before its first check where something is missing on the machine.",
        "It counts as passed where it did not run.",
        "Skip it with a reason instead of returning.",
        DOUBTFUL,
    ),
    "product mocked": Kind(
        "A test that replaces a function or class of the product itself.",
        "What was replaced is not tested, and the rest is tested against an imitation.",
        "Replace only what is outside of the product: clock, network, processes.",
        DOUBTFUL,
    ),
    "sampled": Kind(
        "A comparison of one element, or the first few, of an array whose rest the test never compares.",
        "Everything else in the array may be wrong.",
        "Compare all of it.",
        DOUBTFUL,
    ),
}


@dataclass(frozen=True, order=True)
class Finding:
    """One stub. `file` is relative to the folder that was read; `test` is the qualified name."""

    file: str
    line: int
    kind: str
    test: str
    says: str

    @property
    def level(self) -> str:
        """ "sure": it cannot fail; "doubtful": it can, but not where it should."""
        return KINDS[self.kind].level

    @property
    def next(self) -> str:
        """What to do."""
        return KINDS[self.kind].next

    def problem(self) -> dict[str, Any]:
        """Return it as every part of llorch passes problems on."""
        return {
            "kind": self.kind,
            "what": self.test,
            "file": self.file,
            "line": self.line,
            "says": self.says,
            "next": self.next,
        }
