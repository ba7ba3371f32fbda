"""Facts made by hand, with every figure and table that a report may meet, and names that must stay text."""

from llorch_core.postmortem.facts import About, Facts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>`|``` *a* [b](c) #"
SQUARE = "Counts what a test of the report counts."

TABLES = {
    "history.days": (
        "day commits added deleted",
        [["2024-03-04", 5, 100, 20], ["2024-03-05", 1, 10, 0], ["2024-03-08", 12, 900, 300]],
    ),
    "history.events": (
        "when kind subject commit",
        [
            ["2024-03-04T09:00:00+00:00", "first", "Begin", COMMIT],
            ["2024-03-08T17:30:00+00:00", "tag", "v1", COMMIT],
        ],
    ),
    "history.authors": (
        "author commits added deleted first last",
        [
            ["Alice Doe", 12, 900, 100, "2024-03-04", "2024-03-08"],
            ["Bob Roe", 6, 110, 220, "2024-03-04", "2024-03-05"],
        ],
    ),
    "history.churn": ("file commits added deleted churn", [["till/total.py", 9, 80, 40, 120]]),
    "history.hot_spots": (
        "file commits churn complexity score",
        [
            ["till/total.py", 9, 120, 40, 4800],
            ["till/print.py", 4, 60, 9, 540],
            ["a/b.py", 1, 5, 1, 5],
            ["README.md", 2, 8, 0, 0],
        ],
    ),
    "history.together": ("file other together of share", [["till/total.py", "till/print.py", 3, 4, 0.75]]),
    "history.reverts": (
        "commit when subject reverts what",
        [[COMMIT, "2024-03-05T10:00:00+00:00", "Revert it", COMMIT, "the sum"]],
    ),
    "history.fixes": ("commit when subject", []),
    "structure.languages": (
        "language files lines code comment blank",
        [["Python", 3, 1234, 1000, 134, 100], ["Markdown", 9, 4000, 0, 3500, 500]],
    ),
    "documents.victories": (
        "file line title written what_followed",
        [["docs/DONE.md", 1, "DONE", "2024-03-04", "a revert"]],
    ),
    "tests.kinds": (
        "framework kind files tests ignored empty stub no_check gone cannot_fail",
        [["pytest", "unit", 2, 30, 2, 3, 4, 1, 0, 9], ["gtest", "", 1, 8, 0, 0, 0, 0, 0, 0]],
    ),
    "tests.cannot_fail": (
        "file line test framework kind why commit when",
        [
            [
                "tests/test_total.py",
                1234,
                "test_total",
                "pytest",
                "empty",
                "Nothing runs.",
                COMMIT,
                "2024-03-04",
            ]
        ],
    ),
    "claims.words": ("word made withdrawn corrected_later", [["FIXED", 10, 4, 6], ["COMPLETE", 3, 0, 0]]),
    "claims.made": (
        "when author where place line word text followed withdrawn",
        [
            *(
                [
                    "2024-03-08T12:00:00+00:00",
                    "Bob",
                    "document",
                    "D.md",
                    3,
                    "FIXED",
                    f"FIXED {n}",
                    "",
                    n < 4,
                ]
                for n in range(40)
            )
        ],
    ),
}
FIGURES = {
    "history.commits": (18, "commits"),
    "history.authors": (2, "authors"),
    "history.first": ("2024-03-04T09:00:00+00:00", "time"),
    "tests.share": (23.684, "percent"),
}


def measured(**more):
    """Return facts with every table that a picture needs; `more` are other figures by section and name."""
    facts = Facts(About("till", COMMIT, "till", "UTC", "2024-03-09T08:00:00+00:00"))
    for name, (value, unit) in (FIGURES | more).items():
        facts.figure(name, value, unit, f"{SQUARE} It is {name}.", f"echo '{value}' | cat")
    for name, (columns, rows) in TABLES.items():
        facts.table(name, columns.split(), rows, f"{SQUARE} It is {name}.", f"git log {COMMIT} | cat")
    return facts


def hostile():
    """Return facts in which every text tries to be something else."""
    facts = Facts(About(HOSTILE, COMMIT, HOSTILE, "UTC", HOSTILE))
    for name in FIGURES:
        facts.figure(name, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    for name, (columns, rows) in TABLES.items():
        names = columns.split()
        bad = [[HOSTILE if isinstance(v, str) and v[:2] != "20" else v for v in row] for row in rows]
        facts.table(name, names, bad, HOSTILE, HOSTILE)
    return facts


def nothing():
    """Return facts of which nothing was measured."""
    return Facts(About("till", COMMIT, "", "UTC", "2024-03-09"))


def figures(**values):
    """Return facts with figures alone: history_commits is history.commits."""
    facts = Facts(About("till", COMMIT, "", "UTC", "2024-03-09"))
    for name, (value, unit) in values.items():
        facts.figure(name.replace("_", ".", 1), value, unit, "", "")
    return facts
