"""The worked example of a case: a till whose repair cut the cents off, and a test that could not fail."""

import shutil
from datetime import datetime
from pathlib import Path

from llorch_core.postmortem.dig import write
from llorch_core.postmortem.facts import About, Facts
from tests.postmortem.build import ALICE, History

CASE = Path(__file__).parent / "case"
BOB = "Bob Roe <bob@example.org>"
SUM = "# adds up\ndef total(prices):\n    return sum(prices)\n"
CUT = SUM.replace("sum(prices)", "sum(int(price) for price in prices)")
ROUNDED = SUM.replace("sum(prices)", "round(sum(prices), 2)")
README = "# The till\n\n0.50 + 0.75 = 1.25\n"
DAY = "2024-03-04"
TEST = "def test_total():\n    pass\n"


def make_repository(folder):
    """Make the repository of the till, and return its hashes by number of the commit, from 1."""
    history = History()
    history.commit(
        "A till with its sum",
        {"till/total.py": SUM, "tests/test_total.py": TEST, "README.md": README},
        author=ALICE,
    )
    history.commit(
        "Fix the sum\n\nall tests pass",
        {"till/total.py": CUT, "docs/VICTORY.md": "# FIXED: the sum is right\n"},
        BOB,
    )
    history.commit("Withdraw: the sum is still wrong", {"docs/VICTORY.md": "# The sum is still wrong\n"})
    history.commit("Round once, at the end", {"till/total.py": ROUNDED})
    return history.make(folder)


def make_facts(commit):
    """Return facts of the till as a dig would, known by construction."""
    facts = Facts(About("repository", commit, "", "UTC", datetime(2024, 3, 6).isoformat()))
    facts.figure("history.commits", 4, "commits", "Commits, merges too.", f"git rev-list --count {commit}")
    facts.figure("history.authors", 2, "authors", "Authors.", "")
    facts.figure("history.lines_added", 1234, "lines", "Lines that were added.", "")
    facts.figure("tests.changed_with_a_fix", 0, "tests", "Tests that a fix changed.", "")
    facts.table(
        "tests.cannot_fail",
        ["file", "line", "test", "framework", "kind", "why", "commit", "when"],
        [["tests/test_total.py", 1, "test_total", "pytest", "empty", "Nothing runs.", commit, "2024-03-04"]],
        "Tests that cannot fail.",
        "",
    )
    facts.table(
        "history.authors",
        ["author", "commits", "added", "deleted", "first", "last"],
        [
            ["Alice Doe", 3, 10, 2, "2024-03-04", "2024-03-04"],
            ["Bob Roe", 1, 2, 1, "2024-03-04", "2024-03-04"],
        ],
        "Authors.",
        "",
    )
    return facts


def make_case(folder):
    """Make the case in `folder`/case, its repository beside it; return the case's folder and the hashes."""
    hashes = make_repository(folder / "repository")
    case = folder / "case"
    shutil.copytree(CASE, case)
    write(make_facts(hashes[max(hashes)]), case / "facts.json")
    return case, hashes
