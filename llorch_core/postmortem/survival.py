"""How much of what was written is still there: the lines of each file by the commit that git blames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.git import git
from llorch_core.postmortem.history_commands import Commands
from llorch_core.postmortem.repository import Commit, Repository

GROUP = re.compile(rb"^([0-9a-f]{40,64}) \d+ \d+ (\d+)$", re.MULTILINE)
LONG, SHORT = timedelta(days=180), timedelta(days=28)
AT_ONCE = 2  # processes of git


def measure(repository: Repository, commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Measure how many of the lines that each period added are still there."""
    blamed = alive(repository)
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
    facts.figure(
        "history.lines_now_percent",
        float(f"{100 * lines / added:.1f}") if added else None,
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
        " merges left out, and the lines of the tracked text files that git blame says were last changed in"
        " it.",
        f"git grep -Il '' {repository.commit}{commands.scope} | cut -d : -f 2- | tr '\\n' '\\0' |"
        f" TZ={commands.zone} xargs -0 -n 1 git blame --date=format-local:%Y-%m-%d {repository.commit} --",
    )


def alive(repository: Repository) -> Mapping[str, int]:
    """Return how many lines of the tracked text files each commit is blamed for, by its hash."""
    scope = ["--", f":(literal){repository.path}"] if repository.path else []
    listed = git(repository.top, "grep", "-zIl", "", repository.commit, *scope)
    names = [name.split(":", 1)[1] for name in listed.decode(errors="surrogateescape").split("\0")[:-1]]
    counted: Counter[str] = Counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(lambda name: blame(repository, name), names):
            counted.update(found)
    return counted


def blame(repository: Repository, name: str) -> Counter[str]:
    """Return how many lines of a file each commit is blamed for."""
    out = git(repository.top, "blame", "--incremental", repository.commit, "--", name)
    counted: Counter[str] = Counter()
    for sha, lines in GROUP.findall(out):
        counted[sha.decode()] += int(lines)
    return counted


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
