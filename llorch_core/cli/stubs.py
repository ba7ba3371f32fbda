"""llorch stubs: list the tests of a repository that cannot fail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from llorch_core.cli.console import console, progress
from llorch_core.engine.errors import UsageError
from llorch_core.stubs.kinds import KINDS, SURE, Finding
from llorch_core.stubs.report import Report, find
from llorch_core.stubs.tree import home, python_files


@click.command(epilog="Example: llorch stubs path/to/repository --sarif stubs.sarif")
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--product", multiple=True, help="Package under test; default: those that the repository ships."
)
@click.option("--all", "everything", is_flag=True, help="Show what is doubtful, too.")
@click.option("--only", multiple=True, metavar="KIND", help="Only this kind; may be given more than once.")
@click.option("--kinds", is_flag=True, help="Say what the kinds are, and why they cannot fail.")
@click.option(
    "--sarif", type=click.Path(dir_okay=False, path_type=Path), help="Write the findings as SARIF 2.1.0."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def command(
    path: Path,
    product: Sequence[str],
    everything: bool,
    only: Sequence[str],
    kinds: bool,
    sarif: Path | None,
    as_json: bool,
) -> int:
    """List the tests of a repository that cannot fail.

    Reads the Python files under PATH (default: here) as text, and runs none of them: tests of pytest and
    unittest, steps of behave, and the product for switches. A comment allows one finding:
    # llorch: allow KIND because REASON. Exit code 0: none was found; 1: some were; 2: could not tell,
    because there is no test, or a file was not read.
    """
    if kinds:
        print_kinds(console())
        return 0
    if not path.exists():
        raise UsageError(f"{path} is not there (wanted a folder with tests, or a file).")
    for kind in only:
        if kind not in KINDS:
            raise UsageError(f"there is no kind {kind!r}. There are: {', '.join(KINDS)}.")
    files = python_files(path)
    with progress("reading", len(files)) as advance:
        report = find(path, product, files, advance)
    if only:
        report = replace(report, findings=[f for f in report.findings if f.kind in only])
    shown = [f for f in report.findings if everything or only or f.level == SURE]
    if sarif:
        write(sarif, path, shown)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, allow_nan=False))
    else:
        print_report(console(), report, shown)
    return report.exit_code


def write(file: Path, path: Path, findings: Sequence[Finding]) -> None:
    """Write findings as SARIF, with paths from the top of the project. Raises UsageError where it cannot."""
    from llorch_core.gate.sarif import sarif

    base = (path if path.is_dir() else path.parent).resolve()
    prefix = base.relative_to(home(base))
    problems = [
        {
            **f.problem(),
            "file": (prefix / f.file).as_posix(),
            "level": "error" if f.level == SURE else "warning",
        }
        for f in findings
    ]
    table = {name: f"{kind.what} {kind.why}" for name, kind in KINDS.items()}
    try:
        file.write_text(json.dumps(sarif("llorch stubs", table, problems), indent=1), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--sarif {file} cannot be written: {error.strerror} (wanted a file).\nName another one."
        ) from error


def print_report(out: Console, report: Report, shown: Sequence[Finding]) -> None:
    """Print the findings by file, what to do about each kind, what was allowed or not read, and totals."""
    for file, found in groupby(shown, lambda f: f.file):
        out.print(Text(file, style="bold"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(justify="right", style="dim", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for f in found:
            colour = "bold red" if f.level == SURE else "yellow"
            table.add_row(f"  {f.line}", Text(f.kind, style=colour), Text(f.test), Text(f.says))
        out.print(table)
    used = [name for name in KINDS if any(f.kind == name for f in shown)]
    if used:
        print_kinds(out, used)
    for excused in report.excused:
        f = excused.finding
        out.print(Text(f"\nallowed {f.file}:{f.line}: {f.kind}, because {excused.reason}", style="dim"))
    for lost in report.not_read:
        out.print(Text(f"\nnot read {lost.file}:{lost.line}: it {lost.says}", style="yellow"))
    print_totals(out, report)


def print_kinds(out: Console, names: Sequence[str] = tuple(KINDS)) -> None:
    """Print what kinds are, why they cannot fail, and what to do."""
    for name in names:
        kind = KINDS[name]
        colour = "bold red" if kind.level == SURE else "yellow"
        out.print(f"\n[{colour}]{name}[/] ({kind.level}): {escape(kind.what)} {escape(kind.why)}")
        out.print(Text(f"  {kind.next}"))


def print_totals(out: Console, report: Report) -> None:
    """Print what was read, and the verdict."""
    levels = Counter(f.level == SURE for f in report.findings)
    word, colour = (
        ("has no test that cannot fail", "green"),
        ("has tests that cannot fail", "red"),
        ("could not be judged", "yellow"),
    )[report.exit_code]
    names = {"pytest": "tests of pytest", "unittest": "tests of unittest", "behave": "steps of behave"}
    read = [f"{n:,} {names[style]}" for style, n in report.tests.items() if n]
    counts = [
        *read,
        f"{report.files:,} files",
        f"{levels[True]:,} sure",
        f"{levels[False]:,} doubtful (--all)",
    ]
    counts += [f"{len(report.excused):,} allowed", f"exit code {report.exit_code}"]
    path = "this folder" if report.root == "." else report.root
    says = f" ({report.reason})" if report.reason else ""
    out.print(
        f"\n[bold {colour}]{escape(path)} {word}[/]{escape(says)}: {', '.join(counts)}",
        soft_wrap=True,
    )
