"""Hot spots: files that are changed much and hard to understand."""

from __future__ import annotations

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.repository import Repository

MOST = 100


def join(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Multiply the churn of each file by its complexity, from the history and the structure."""
    if "structure.files" not in facts.tables:
        return  # the structure was not measured
    complexity = {row["file"]: row["complexity"] for row in facts.tables["structure.files"].dicts()}
    churned = facts.tables["history.churn"]
    rows = []
    for row in churned.dicts():
        churn, complex_by = row["churn"], complexity.get(row["file"])
        if isinstance(churn, int) and isinstance(complex_by, int) and churn * complex_by:
            rows.append((row["file"], row["commits"], churn, complex_by, churn * complex_by))
    facts.table(
        "history.hot_spots",
        ("file", "commits", "churn", "complexity", "score"),
        sorted(rows, key=lambda row: (-row[4], str(row[0])))[:MOST],
        "Tracked files by churn (lines added and deleted, of history.churn) times complexity (cyclomatic,"
        f" summed over the functions of the file, of structure.files); without those where one is 0, the"
        f" first {MOST}.",
        churned.command,
    )
