"""How much of what was written is still there: the lines of each period that no later commit changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.history.blame import blame
from llorch_core.postmortem.history.commands import Commands
from llorch_core.postmortem.repository import Commit, Repository

LONG, SHORT = timedelta(days=180), timedelta(days=28)


def measure(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Measure how many of the lines that each period added are still there."""
    blamed = blame(repository)
    lines = sum(blamed.values())
    added = sum(commit.added for commit in commits)
    count_lines = f"git grep -Ic '' {repository.commit}{commands.scope} |"
    count_lines += " awk -F : '{n += $NF} END {print n + 0}'"
    facts.figure(
        "history.lines_now",
        lines,
        "lines",
        f"Lines of the tracked text files{commands.scope_of}; what git takes for binary has none.",
        count_lines,
    )
    if added:
        facts.figure(
            "history.lines_now_percent",
            float(f"{100 * lines / added:.1f}"),
            "percent",
            "history.lines_now for a hundred lines of history.added.",
            f'awk "BEGIN {{printf \\"%.1f\\\\n\\", 100 * $({count_lines}) / $({commands.lines(1)})}}"',
        )
    unit, period = periods(commits)
    facts.table(
        "history.survival",
        ("period", "added", "alive", "share"),
        rows(repository, commits, blamed, period),
        f"Lines that the commits of each {unit} (in {commands.zone}, by the dates of the authors) added,"
        " merges left out, and how many lines of the tracked text files were last changed in it, as git blame"
        " finds them; where that and git log -M tell of two former names of a file, the latter's counts.",
        f"git grep -zIl '' {repository.commit}{commands.scope} | cut -z -d : -f 2- |"
        f" TZ={commands.zone} xargs -0 -n 1 git blame --date=format-local:%Y-%m-%d {repository.commit} --",
    )


def periods(commits: Sequence[Commit]) -> tuple[str, Callable[[datetime], str]]:
    """Return what a period is, and how to name that of a date: month, week or day, by how long it took."""
    dates = [commit.written for commit in commits]
    span = max(dates) - min(dates)
    if span > LONG:
        return "month", lambda when: f"{when:%Y-%m}"
    if span > SHORT:
        return "week, named by its Monday,", lambda when: monday(when.date()).isoformat()
    return "day", lambda when: when.date().isoformat()


def monday(day: date) -> date:
    """Return the Monday of the week of a day."""
    return day - timedelta(days=day.weekday())


def rows(
    repository: Repository,
    commits: Sequence[Commit],
    blamed: Mapping[str, int],
    period: Callable[[datetime], str],
) -> list[tuple[str, int, int, float | None]]:
    """Return the lines added, and those alive, by period."""
    added: Counter[str] = Counter()
    still: Counter[str] = Counter()
    for commit in commits:
        added[period(commit.written)] += commit.added
    for commit in repository.all_commits:
        if commit.sha in blamed:
            still[period(commit.written)] += blamed[commit.sha]
    return [
        (name, added[name], still[name], round(still[name] / added[name], 3) if added[name] else None)
        for name in sorted(added | still)
    ]
