"""What was measured, as Markdown for docs/server.md: medians of the rounds, with least and most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llorch_core.bench.page import table
from llorch_core.bench.ratios import paired, spread
from llorch_core.bench.words import ABSENT, seconds, within

Found = Mapping[str, Any]
PREFIX = {"apart": "no shared prefix", "shared": "shared prefix"}


def over_rounds(rows: Iterable[Found], value: Callable[[Found], float | None]) -> dict[str, float] | None:
    """Return median, least and most of a value over rounds; None where no round has it."""
    values = [x for row in rows if (x := value(row)) is not None]
    return spread(values) if values else None


def about(report: Found) -> str:
    """Return machine, versions and command."""
    machine, asked = report["machine"], report["asked"]
    versions = ", ".join(f"{name} {found}" for name, found in report["versions"].items())
    lines = [
        f"- Machine: {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads used, "
        f"{machine['system']}; {' '.join(machine['flags'])}",
        f"- Versions: Python {machine['python']}, {versions}",
    ]
    if "side_by_side" in report:
        lines += [
            f"- Asked: {asked['tokens']} tokens after a prompt of {asked['prompt']} ids, temperature 0, "
            f"streamed; {asked['rounds']} rounds, the servers in turn; medians, with least and most",
            "- Prompts that share a prefix are the same but for the last 16 ids; no prompt comes twice",
            "- A client asks again as soon as it has its answer. Each answer was checked for its number of "
            "tokens. The clients share the cores with the server that they ask",
        ]
    return "\n".join((f"`{report['command']}`", "", *lines))


def rates(rows: Sequence[Found], sides: Sequence[str]) -> str:
    """Return tokens a second of all clients together, side by side, and the ratio round by round."""
    lines = []
    for prefix, clients in _loads(rows):
        here = [[r for r in _at(rows, prefix, clients) if r["side"] == side] for side in sides]
        cells = [within(over_rounds(some, lambda r: r["tokens_per_s"])) for some in here]
        by = [{r["round"]: r["tokens_per_s"] for r in some} for some in here]
        ratio = within(paired(by[0], by[1])) if len(by) > 1 else ABSENT
        lines.append([PREFIX[prefix], str(clients), *cells, ratio])
    return table(["prompts", "clients", *sides, "ratio"], lines)


def delays(rows: Sequence[Found], sides: Sequence[str]) -> str:
    """Return percentiles of the time to the first token and of the time between tokens."""
    lines = []
    for prefix, clients in _loads(rows):
        for side in sides:
            some = [r for r in _at(rows, prefix, clients) if r["side"] == side]
            lines.append(
                [PREFIX[prefix], str(clients), side, _three(some, "first_s"), _three(some, "between_s")]
            )
    head = ["prompts", "clients", "server", "first token, p50 / p95 / p99", "between tokens, p50 / p95 / p99"]
    return table(head, lines)


def costs(rows: Sequence[Found]) -> str:
    """Return what auth, audit and metrics cost, against a server without them, round by round."""
    names = list(dict.fromkeys(r["side"] for r in sorted(rows, key=lambda r: r["round"])))
    plain = {r["round"]: r["tokens_per_s"] for r in rows if r["side"] == "none"}
    lines = []
    for name in names:
        some = [r for r in rows if r["side"] == name]
        ratio = paired({r["round"]: r["tokens_per_s"] for r in some}, plain)
        rate = within(over_rounds(some, lambda r: r["tokens_per_s"]))
        lines.append([name, rate, within(ratio), _three(some, "first_s")])
    return table(["with", "tokens/s", "of none", "first token, p50 / p95 / p99"], lines)


def page(report: Found) -> str:
    """Return the section of docs/server.md."""
    parts = [about(report)]
    if rows := report.get("side_by_side"):
        sides = list(dict.fromkeys(row["side"] for row in rows))
        sides.sort(key=lambda side: side != "llorch")
        same = report.get("agreement")
        told = (
            f"\n\n{same['the_same']} of {same['answers']} answers are the same ids on both sides."
            if same
            else ""
        )
        parts += ["### Tokens a second, all clients together", rates(rows, sides) + told]
        parts += ["### Delays", delays(rows, sides)]
    if report.get("peer_missing"):
        parts.append(f"The peer was not run: {report['peer_missing']}")
    if rows := report.get("cost"):
        parts += [f"### What auth, audit and metrics cost, at {rows[0]['clients']} clients", costs(rows)]
    for name in ("soak", "fuzz", "kills"):
        if found := report.get(name):
            parts += [f"### {name.capitalize()}", "\n".join(f"- {line}" for line in found["says"])]
    return "\n\n".join(parts)


def _loads(rows: Sequence[Found]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((p, c) for p in PREFIX for c in sorted({r["clients"] for r in rows})))


def _at(rows: Sequence[Found], prefix: str, clients: int) -> list[Found]:
    return [r for r in rows if (r["prefix"], r["clients"]) == (prefix, clients)]


def _three(rows: Sequence[Found], name: str) -> str:
    def middle(percent: str) -> str:
        found = over_rounds(rows, lambda r: r[name][percent] if r[name] else None)
        return seconds(found["median"]) if found else ABSENT

    return " / ".join(map(middle, ("p50", "p95", "p99")))
