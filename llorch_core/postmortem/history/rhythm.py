"""When the commits were written: first and last, days, hours, bursts and pauses. Dates are the authors'."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from llorch_core.postmortem.facts import Facts
from llorch_core.postmortem.history.commands import COUNT, Commands
from llorch_core.postmortem.repository import Commit

DAY, HOUR = 86400, 3600
BURST_GAP, BURST_COMMITS = HOUR, 10  # seconds from one commit to the next at most; commits at least


def measure(commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Measure when the commits were written."""
    span(commits, commands, facts)
    days(commits, commands, facts)
    hours(commits, commands, facts)
    bursts(commits, commands, facts)


def in_order(commits: Sequence[Commit]) -> list[Commit]:
    """Return the commits by the date of their authors, the earliest first."""
    return sorted(commits, key=lambda commit: commit.written)


def seconds(commits: Sequence[Commit]) -> list[int]:
    """Return the dates of the commits in seconds since 1970, the earliest first."""
    return [int(commit.written.timestamp()) for commit in in_order(commits)]


def span(commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Measure the first and the last commit, the days between them, and the longest pause."""
    ordered, at = in_order(commits), seconds(commits)
    zoned = commands.commits("%at %ad", "%Y-%m-%dT%H:%M:%S%z") + " | sort -n | sed -n "
    for name, commit, line in (("first", ordered[0], "1"), ("last", ordered[-1], "$")):
        facts.figure(
            f"history.{name}",
            commit.written.isoformat(),
            f"date and time in {commands.zone}",
            f"The {'earliest' if name == 'first' else 'latest'} date of an author, merges left out.",
            f"{zoned}'{line}{{s/^[^ ]* //; s/..$/:&/; p;}}'",
        )
    sort = f"{commands.commits('%at')} | sort -n"
    between = "NR == 1 {first = $1} {last = $1}"
    facts.figure(
        "history.days",
        float(f"{(at[-1] - at[0]) / DAY:.1f}"),
        "days",
        "From history.first to history.last, in days of 24 hours.",
        f"{sort} | awk '{between} END {{printf \"%.1f\\n\", (last - first) / {DAY}}}'",
    )
    longest = max((later - earlier for earlier, later in pairwise(at)), default=0)
    facts.figure(
        "history.longest_pause_days",
        float(f"{longest / DAY:.1f}"),
        "days",
        "The longest time without a commit between history.first and history.last, in days of 24 hours.",
        f"{sort} | awk 'NR > 1 && $1 - last > most {{most = $1 - last}} {{last = $1}}"
        f' END {{printf "%.1f\\n", most / {DAY}}}\'',
    )


def days(commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Count the commits, and the lines that they changed, by day."""
    by_day: dict[str, list[Commit]] = defaultdict(list)
    for commit in in_order(commits):
        by_day[commit.written.date().isoformat()].append(commit)
    busiest = min(by_day, key=lambda day: (-len(by_day[day]), day))
    every_day = f"{commands.commits('%ad', '%Y-%m-%d')} | sort"
    first = f"{every_day} | uniq -c | sort -k 1,1nr -k 2 | awk 'NR == 1"
    facts.figure(
        "history.active_days",
        len(by_day),
        "days",
        f"Days in {commands.zone} with a commit, merges left out.",
        f"{every_day} -u | {COUNT}",
    )
    facts.figure(
        "history.busiest_day",
        busiest,
        f"date in {commands.zone}",
        "The day with the most commits, merges left out; the earliest of several.",
        f"{first} {{print $2}}'",
    )
    facts.figure(
        "history.busiest_day_commits",
        len(by_day[busiest]),
        "commits",
        "The commits of history.busiest_day, merges left out.",
        f"{first} {{print $1}}'",
    )
    facts.table(
        "history.days",
        ("day", "commits", "added", "deleted"),
        [
            (
                day,
                len(own),
                sum(commit.added for commit in own),
                sum(commit.deleted for commit in own),
            )
            for day, own in by_day.items()
        ],
        f"Days in {commands.zone} with a commit, merges left out, and the lines that were added and deleted.",
        f"{every_day} | uniq -c",
    )


def hours(commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Count the commits by hour of the day."""
    counted = Counter(commit.written.hour for commit in commits)
    facts.table(
        "history.hours",
        ("hour", "commits"),
        [(hour, counted[hour]) for hour in range(24)],
        f"Commits by the hour in {commands.zone} of their author's date, merges left out.",
        f"{commands.commits('%ad', '%H')} | sort | uniq -c",
    )


def runs(commits: Sequence[Commit]) -> list[list[Commit]]:
    """Return the commits in runs: in each, one follows the other within the gap."""
    found: list[list[Commit]] = []
    for commit in in_order(commits):
        if not found or (commit.written - found[-1][-1].written).total_seconds() > BURST_GAP:
            found.append([])
        found[-1].append(commit)
    return found


def bursts(commits: Sequence[Commit], commands: Commands, facts: Facts) -> None:
    """Find the bursts: many commits, each soon after the one before."""
    found = [run for run in runs(commits) if len(run) >= BURST_COMMITS]
    definition = f"Runs of {BURST_COMMITS} commits or more, merges left out, each within {BURST_GAP} seconds"
    definition += " of the one before by the dates of their authors."
    sort = f"{commands.commits('%at')} | sort -n"
    facts.figure(
        "history.bursts",
        len(found),
        "bursts",
        definition,
        f"{sort} | awk '{{if (NR > 1 && $1 - last > {BURST_GAP}) {{bursts += n >= {BURST_COMMITS}; n = 0}}"
        f" n++; last = $1}} END {{print bursts + (n >= {BURST_COMMITS})}}'",
    )
    facts.table(
        "history.bursts",
        ("first", "last", "commits", "hours"),
        [
            (
                run[0].written.isoformat(),
                run[-1].written.isoformat(),
                len(run),
                round((run[-1].written - run[0].written).total_seconds() / HOUR, 1),
            )
            for run in sorted(found, key=len, reverse=True)
        ],
        definition,
        commands.commits("%at %ad %h %s", "%Y-%m-%d %H:%M:%S") + " | sort -n",
    )
