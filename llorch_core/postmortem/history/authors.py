"""Who wrote the history: names folded by .mailmap and by case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.history.commands import COUNT, Commands
from llorch_core.postmortem.repository import Commit


def folded(name: str) -> str:
    """Return a name in lower case, as `tr A-Z a-z` does."""
    return name.encode(errors="surrogateescape").lower().decode(errors="surrogateescape")


def measure(commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Count the authors, and what each did."""
    by_author: dict[str, list[Commit]] = defaultdict(list)
    for commit in commits:
        by_author[folded(commit.author)].append(commit)
    names = "Names of authors after .mailmap of the commit that is looked at; names that differ only in case"
    names += " are one, and one person under two names counts twice."
    list_names = commands.commits("%aN")
    facts.figure(
        "history.authors",
        len(by_author),
        "authors",
        names,
        f"{list_names} | LC_ALL=C tr A-Z a-z | LC_ALL=C sort -u | {COUNT}",
    )
    rows = sorted(map(of_author, by_author.values()), key=lambda row: (-row[1], row[0]))
    facts.table(
        "history.authors",
        ("author", "commits", "added", "deleted", "first", "last"),
        rows,
        f"{names} With their commits, the lines that these added and deleted, and their first and last date.",
        f"{list_names} | LC_ALL=C tr A-Z a-z | LC_ALL=C sort | uniq -c | sort -rn",
    )


def of_author(own: Sequence[Commit]) -> tuple[str, int, int, int, str, str]:
    """Return the row of an author, under the spelling that is used most."""
    spelling = sorted(Counter(commit.author for commit in own).items(), key=lambda one: (-one[1], one[0]))[0]
    dates = sorted(commit.written for commit in own)
    return (
        spelling[0],
        len(own),
        sum(commit.added for commit in own),
        sum(commit.deleted for commit in own),
        dates[0].isoformat(),
        dates[-1].isoformat(),
    )
