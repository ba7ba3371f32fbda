"""llorch audit: verify the audit log of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llorch_core.server.audit_verify import Report


@click.group(epilog="Example: llorch audit verify audit/")
def command() -> None:
    """Verify the audit log of a server: who asked what, when."""


@command.command(epilog="Example: llorch audit verify audit/ --json")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def verify(folder: Path, as_json: bool) -> int:
    """Read the audit log in DIR whole, and name the first record that is not right.

    Every byte of every file in DIR counts: records, manifest, anchor. Exit code 0: intact; 1: broken;
    2: there is no log, or it cannot be read.
    """
    from llorch_core.cli.console import progress
    from llorch_core.server.audit_verify import size_of, verify

    with progress("verifying", size_of(folder) if folder.is_dir() else 0) as advance:
        report = verify(folder, advance)
    if as_json:
        click.echo(json.dumps(as_object(report), indent=2))
    else:
        print_report(report)
    return 0 if report.intact else 1


def as_object(report: Report) -> dict[str, object]:
    """Return a report as JSON can hold it."""
    broken = report.broken
    return {
        "verdict": "intact" if report.intact else "broken",
        "folder": str(report.folder),
        "files": report.files,
        "records": report.records,
        "first": report.first or None,
        "last": report.last or None,
        "head": report.head,
        "anchored": report.anchored,
        "notes": report.notes,
        "broken": None if broken is None else {**vars(broken), "next": broken.next},
    }


def print_report(report: Report) -> None:
    """Print how far a log is right, and the first break."""
    from llorch_core.server.audit_verify import KINDS

    broken = report.broken
    so_far = "" if broken is None else " before the break"
    click.echo(f"{report.records:,} records in {report.files:,} files are right{so_far}")
    if report.records:
        click.echo(f"from   {report.first}\nto     {report.last}")
    click.echo(f"head   {report.head}")
    for note in report.notes:
        click.echo(f"note   {note}")
    if broken is None:
        click.echo(f"{report.folder} is intact")
        return
    place = f"{broken.file}, line {broken.line}" if broken.line else broken.file
    click.secho(f"\n{report.folder} is broken: {broken.kind}", fg="red", bold=True)
    click.echo(f"where  {place}{f', record {broken.audit_id}' if broken.audit_id else ''}")
    click.echo(f"wanted {broken.wanted}\ngot    {broken.got}\nmeans  {KINDS[broken.kind]}\n{broken.next}")
