"""The history of a repository: how many commits, by whom, when, what they changed, what is left of it."""

from __future__ import annotations

from collections.abc import Sequence

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import text
from llorch_core.postmortem.history import (
    authors,
    churn,
    events,
    left_behind,
    mending,
    rhythm,
    survival,
)
from llorch_core.postmortem.history.commands import COUNT, Commands
from llorch_core.postmortem.repository import Commit, Repository


def measure(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Measure the history below the path, merges left out, names before a rename followed."""
    commands = Commands(repository)
    commits = [commit for commit in repository.commits if not commit.merge]
    counts(repository, commits, commands, facts)
    if not commits:
        return
    authors.measure(commits, commands, facts)
    rhythm.measure(commits, commands, facts)
    mending.measure(repository, commits, commands, facts)
    churn.measure(repository, commits, commands, facts)
    left_behind.measure(repository, commits, commands, facts)
    survival.measure(repository, commits, commands, facts)
    events.measure(repository, commits, commands, facts)


def counts(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Count the commits, with and without merges."""
    scope = ["--", repository.path] if repository.path else []
    merges = int(text(repository.top, "rev-list", "--count", "--merges", repository.commit, *scope))
    count_all = f"{commands.commits('%H')} | {COUNT}"
    count_merges = f"git rev-list --count --merges {repository.commit}{commands.scope}"
    former = ", or a file that was later moved into it" if repository.path else ""
    what = f"Commits that change a file below {repository.path}{former}" if former else "Commits"
    facts.figure(
        "history.commits",
        len(commits),
        "commits",
        f"{what}, at or before the commit that is looked at; merges left out.",
        count_all,
    )
    facts.figure(
        "history.merges",
        merges,
        "merges",
        f"Merges at or before the commit that is looked at{only_those(repository)}.",
        count_merges,
    )
    facts.figure(
        "history.commits_with_merges",
        len(commits) + merges,
        "commits",
        "The commits of history.commits and the merges of history.merges.",
        f'echo "$(( $({count_all}) + $({count_merges}) ))"',
    )


def only_those(repository: Repository) -> str:
    """Say which merges count where the history is limited to a path."""
    return f" that differ from each of their parents below {repository.path}" if repository.path else ""
