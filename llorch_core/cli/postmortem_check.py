"""llorch postmortem check, for people: the problems of a case by file, and what was not looked at."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.text import Text

from llorch_core.cli.console import console
from llorch_core.postmortem.case import Case
from llorch_core.postmortem.judgement.checked import Checked
from llorch_core.postmortem.report.wording import count

if TYPE_CHECKING:
    from llorch_core.postmortem.judgement.guardrails import Enforced

COLOURS = ("green", "red", "yellow")
SAYS = ("holds", "does not hold", "could not be judged")


def enforced() -> Enforced:
    """Return what llorch can enforce: its rules, the settings and reasons of its gate, its kinds of stub."""
    from llorch_core.gate.policy import schema
    from llorch_core.gate.reasons import KINDS
    from llorch_core.postmortem.judgement.guardrails import Enforced
    from llorch_core.spec.suite import load_specs

    return Enforced(load_specs().all_rules(), {*settings(schema()), *KINDS})


def settings(form: dict[str, Any], before: str = "") -> set[str]:
    """Return the settings that a schema has, those inside of others with a dot: coverage.engine."""
    found: set[str] = set()
    for name, one in form.get("properties", {}).items():
        found |= {before + name} | settings(one, f"{before}{name}.")
    return found


def print_checked(checked: Checked, case: Case, allow_unopened: bool) -> None:
    """Print the problems of a case by file, what was not looked at, and the verdict."""
    out = console()
    for file, problems in groupby(checked.problems, lambda p: p.file):
        out.print(Text(file, style="bold"))
        for p in problems:
            entry = f"{p.entry}: " if p.entry else ""
            out.print(
                Text.assemble(f"  {p.line}  ", (p.kind, "bold red"), f"  {entry}{p.says}"), soft_wrap=True
            )
            for name, text in (("wanted", p.wanted), ("got", p.got), ("next", p.next)):
                out.print(
                    Text(f"      {name:7}{text}", style="dim" if name == "next" else ""), soft_wrap=True
                )
    for one in checked.not_opened:
        says = f"not opened {one.at.file}:{one.at.line}: {one.what}: {one.why}"
        out.print(Text(says, style="yellow"), soft_wrap=True)
    code = checked.exit_code(allow_unopened)
    counts = [
        count(checked.entries, "entry", "entries"),
        count(checked.opened, "look at evidence", "looks at evidence"),
        f"{len(checked.not_opened):,} not opened",
        count(len(checked.problems), "problem", "problems"),
        f"exit code {code}",
    ]
    verdict = (f"{case.settings.title} {SAYS[code]}", f"bold {COLOURS[code]}")
    out.print(Text.assemble(verdict, f": {', '.join(counts)}"), soft_wrap=True)
