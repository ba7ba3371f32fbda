"""llorch trace: every rule, and what stands behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llorch_core.cli.console import console, progress
from llorch_core.cli.verify import COLOURS, as_share
from llorch_core.engine.errors import UsageError
from llorch_core.spec.suite import load_specs
from llorch_core.trace import words
from llorch_core.trace.proof import read
from llorch_core.trace.trace import Trace, make_trace

STATUSES = ("proved", "passed", "failed", "error", "stub", "untested", "stale", "orphaned", "not run")
LEVELS = {
    "not run": "note",
    "line without rule": "note",
    "unproved": "warning",
}  # in SARIF; all others: error
MOST = 12  # problems of one kind that the terminal shows


def to_file(name: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(f"--{name}", type=click.Path(dir_okay=False, path_type=Path), help=what)


@click.command(epilog="Example: llorch trace --status passed --html report.html")
@click.argument("rule", required=False)
@click.option(
    "--proof", type=click.Path(path_type=Path), default=Path("proof"), show_default=True,
    help="The proof bundle that `llorch verify -o` left.",
)  # fmt: skip
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only rules of this status.")
@click.option("--json", "as_json", is_flag=True, help="Print the trace as one JSON object.")
@click.option("--markdown", is_flag=True, help="Print the trace as Markdown.")
@to_file("html", "Write the report, one page, into this file.")
@to_file("junit", "Write every scenario as JUnit XML into this file.")
@to_file("sarif", "Write every problem as SARIF 2.1.0 into this file.")
@click.option(
    "--lobster", type=click.Path(file_okay=False, path_type=Path),
    help="Write rules, scenarios and code as LOBSTER's JSON into this folder.",
)  # fmt: skip
@to_file("reqif", "Write rules and scenarios as ReqIF into this file.")
def command(
    rule: str | None,
    proof: Path,
    status: tuple[str, ...],
    as_json: bool,
    markdown: bool,
    html: Path | None,
    junit: Path | None,
    sarif: Path | None,
    lobster: Path | None,
    reqif: Path | None,
) -> None:
    """Show every rule and what stands behind it, from a proof bundle.

    A rule is proved when its scenarios passed, ran the engine's code, compared every element, and its
    mistakes were caught. RULE, such as layer_norm.centred, shows one of them with its scenarios, its
    mistakes and its lines; a line of the engine, such as layers.py:34, shows the rules that ran it; a lesson,
    such as G-06, what enforces it.

    The trace judges nothing: exit code 0; 2 where the bundle cannot be read. `llorch gate` judges.
    """
    if as_json and markdown:
        raise UsageError("--json and --markdown are two outputs (wanted one of them).\nLeave one out.")
    with progress("reading the proof", 1):
        trace = make_trace(read(proof), load_specs())
    written = write_files(
        trace, {"html": html, "junit": junit, "sarif": sarif, "lobster": lobster, "reqif": reqif}
    )
    if as_json:
        click.echo(json.dumps(trace, indent=1, allow_nan=False))
    elif markdown:
        from llorch_core.trace.markdown import markdown as rendered

        click.echo(rendered(trace), nl=False)
    elif rule:
        show(console(), trace, rule)
    elif not written:
        print_trace(console(), trace, status)
    for path in written:
        click.echo(f"wrote {path}", err=True)


def write_files(trace: Trace, files: dict[str, Path | None]) -> list[Path]:
    """Write the forms of a trace that were asked for; return where."""
    written = []
    for form, path in files.items():
        if path is None:
            continue
        for name, text in rendered(trace, form, path).items():
            try:
                name.parent.mkdir(parents=True, exist_ok=True)
                name.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"{name} cannot be written: {error.strerror}.\nName another file."
                ) from error
            written.append(name)
    return written


def rendered(trace: Trace, form: str, path: Path) -> dict[Path, str]:
    """Return a form of a trace as the text of each of its files; each is imported where it is used."""
    if form == "html":
        from llorch_core.trace.report import report

        return {path: report(trace)}
    if form == "junit":
        from llorch_core.trace.junit import junit

        return {path: junit(trace)}
    if form == "sarif":
        from llorch_core.gate.sarif import sarif
        from llorch_core.trace.problems import KINDS

        problems = [{**p, "level": LEVELS.get(p["kind"], "error")} for p in trace["problems"]]
        return {path: json.dumps(sarif("llorch trace", KINDS, problems), indent=1)}
    if form == "lobster":
        from llorch_core.trace.lobster import NAMES, lobster

        documents = zip(NAMES, lobster(trace), strict=True)
        return {path / name: json.dumps(document, indent=1) for name, document in documents}
    from llorch_core.trace.reqif import reqif

    return {path: reqif(trace)}


def print_trace(out: Console, trace: Trace, only: tuple[str, ...]) -> None:
    """Print a line for each rule, then what is wrong, then the totals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rule", "what it says"):
        table.add_column(column, overflow="fold")
    for column in ("scenarios", "elements", "worst/tolerance", "mistakes caught", "lines"):
        table.add_column(column, justify="right")
    table.add_column("status", no_wrap=True)
    for rule in trace["rules"]:
        if only and rule["status"] not in only:
            continue
        caught = sum(m["status"] == "caught" for m in rule["mistakes"])
        colour = COLOURS.get(rule["status"], "bold red")
        table.add_row(
            rule["rule"],
            escape(rule["says"] or "a tag without a rule"),
            str(len(rule["scenarios"])),
            f"{rule['elements']:,}",
            as_share(rule["worst"]["share"] if rule["worst"] else None),
            f"{caught} of {len(rule['mistakes'])}",
            str(sum(len(lines) for lines in rule["lines"].values())) if trace["code"] else "–",
            f"[{colour}]{rule['status']}[/]",
        )
    out.print(table)
    for kind in dict.fromkeys(p["kind"] for p in trace["problems"]):
        found = [p for p in trace["problems"] if p["kind"] == kind]
        out.print(f"\n[bold]{kind}[/] ({len(found)})")
        for p in found[:MOST]:
            place = f"  [dim]{escape(p['file'])}:{p['line']}[/]" if p["file"] else ""
            out.print(f"  {escape(p['what'])}: {escape(p['says'])}{place}", soft_wrap=True)
        if len(found) > MOST:
            out.print(f"  and {len(found) - MOST} more; --json lists them all", style="dim")
        out.print(f"  next: {escape(found[0]['next'])}", style="dim", soft_wrap=True)
    if words.lessons(trace):
        print_lessons(out, trace)
    t = trace["totals"]
    statuses = ", ".join(f"{n} {status}" for status, n in t["statuses"].items())
    lines = f", {t['lines_run']:,} of {t['lines']:,} lines of the engine run" if t["lines"] else ""
    out.print(
        f"\n[bold]{escape(trace['engine'])} with {escape(trace['model'])}[/]: "
        f"{t['rules']} rules ({statuses}), "
        f"{t['scenarios']} scenarios, {t['elements']:,} of {t['of']:,} elements compared, "
        f"{t['caught']} of {t['mistakes']} mistakes caught{lines}"
    )


def print_lessons(out: Console, trace: Trace) -> None:
    """Print how many lessons are enforced, and each one that nothing enforces, or only what does not hold."""
    tally, _, rest = words.lessons_tally(trace).partition(":")
    out.print(f"\n[bold]{tally}[/]:{rest}", soft_wrap=True)
    for lesson in words.lessons(trace, "not enforced"):
        out.print(f"  {lesson['lesson']}  nothing enforces it: {escape(lesson['says'])}", soft_wrap=True)
    left = [lesson for lesson in words.lessons(trace) if words.weak(lesson)]
    for lesson in left[:MOST]:
        names = ", ".join(f"{link['name']} {link['status']}" for link in words.weak(lesson))
        out.print(f"  {lesson['lesson']}  {lesson['status']}, with {escape(names)}", soft_wrap=True)
    if len(left) > MOST:
        out.print(
            f"  and {len(left) - MOST} more with rules that do not hold here; --json lists them all",
            style="dim",
        )
    out.print(f"  next: llorch trace {words.lessons(trace)[0]['lesson']} shows one of them", style="dim")


def show_lesson(out: Console, lesson: dict[str, Any]) -> None:
    """Print one lesson: what it says, what taught it, and what enforces it."""
    colour = "green" if lesson["status"] in ("proved", "enforced") else "yellow"
    out.print(
        f"[bold]{lesson['lesson']}[/]  [{colour}]{lesson['status']}[/]  {words.LESSONS[lesson['status']]}"
    )
    out.print(f"  {escape(lesson['says'])}", soft_wrap=True)
    assumed = f"assumed, and {lesson['verdict']}: " if lesson["verdict"] else ""
    evidence = f" (bugs {', '.join(lesson['evidence'])})" if lesson["evidence"] else ""
    out.print(f"  {assumed}{escape(lesson['happened'] + evidence)}", soft_wrap=True)
    out.print(f"  {lesson['file']}:{lesson['line']}", style="dim", soft_wrap=True)
    out.print("\n[bold]what enforces it[/]")
    for link in lesson["enforced_by"]:
        by = f", run by {link['test']}" if link["test"] else ""
        out.print(f"  {link['kind']}  {escape(link['name'] + by)}  {link['status'] or ''}", soft_wrap=True)
    if lesson["apart_from"]:
        out.print(f"  not enforced: {escape(lesson['apart_from'])}", soft_wrap=True)
    if lesson["not_enforced"]:
        out.print(f"  nothing: {escape(lesson['not_enforced'])}", soft_wrap=True)


def show(out: Console, trace: Trace, what: str) -> None:
    """Print one rule and what stands behind it, one lesson, or the rules behind one line of the engine."""
    rules = {rule["rule"]: rule for rule in trace["rules"]}
    file, _, line = what.partition(":")
    if line.isdigit() and file.endswith(".py"):
        show_line(out, trace, file, int(line))
        return
    for lesson in words.lessons(trace):
        if lesson["lesson"] == what:
            show_lesson(out, dict(lesson))
            return
    if what not in rules:
        near = [name for name in rules if what.rpartition(".")[2] in name or what.partition(".")[0] in name]
        raise UsageError(
            f"there is no rule {what} (wanted COMPONENT.RULE, FILE:LINE of the engine, or a lesson).\n"
            f"Is it one of {', '.join(near[:6]) or ', '.join(list(rules)[:6])}? `llorch trace` lists them."
        )
    rule = rules[what]
    out.print(
        f"[bold]{what}[/]  [{COLOURS.get(rule['status'], 'bold red')}]{rule['status']}[/] "
        f"{escape(rule['why'])}"
    )
    if rule["says"]:
        out.print(f"  {rule['level']}: {escape(rule['says'])}", soft_wrap=True)
        out.print(
            f"  source: {escape(rule['source'])}   {rule['file']}:{rule['line']}", style="dim", soft_wrap=True
        )
    scenarios = {scenario["id"]: scenario for scenario in trace["scenarios"]}
    out.print("\n[bold]scenarios[/]")
    for scenario in (scenarios[id] for id in rule["scenarios"]):
        out.print(f"  {scenario['status']}  {escape(scenario['id'])}  {scenario['elements']:,} elements")
        out.print(escape("\n".join(f"    {text}" for text in scenario["text"].splitlines())), soft_wrap=True)
    out.print("\n[bold]mistakes[/]")
    for m in rule["mistakes"]:
        where = (
            f" at {m['checkpoint']}, {as_share(m['tolerances'])} tolerances away" if m["checkpoint"] else ""
        )
        out.print(f"  {m['status']}  {m['mistake']}{escape(where)}", soft_wrap=True)
    if rule["lines"]:
        out.print("\n[bold]lines of the engine[/]")
        for name, numbers in rule["lines"].items():
            out.print(f"  {name}: {', '.join(map(str, numbers))}", soft_wrap=True)


def show_line(out: Console, trace: Trace, file: str, line: int) -> None:
    """Print which rules' scenarios ran a line of the engine."""
    files = [entry for entry in trace["code"] if entry["file"].endswith(file)]
    if not files or not 0 < line <= len(files[0]["text"]):
        names = (
            ", ".join(entry["file"].rpartition("/")[2] for entry in trace["code"])
            or "none: it is not llorch's"
        )
        raise UsageError(f"the engine has no line {file}:{line} (wanted a line of {names}).\nCorrect it.")
    entry = files[0]
    out.print(f"[bold]{entry['file']}:{line}[/]  {escape(entry['text'][line - 1].strip())}")
    rules = [trace["rules"][i] for i in entry["run"].get(str(line), [])]
    for rule in rules:
        out.print(f"  {rule['status']}  {rule['rule']}: {escape(rule['says'] or '')}", soft_wrap=True)
    if not rules:
        kind = "it runs when the module is imported" if line in entry["excused"] else "it is no statement"
        out.print("  [bold red]no rule's scenario runs it[/]" if line in entry["missed"] else f"  {kind}")
