"""llorch postmortem: what happened in a repository, from evidence."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch_core.engine.errors import UsageError

if TYPE_CHECKING:
    from llorch_core.postmortem.case import Case

DEFAULT = Path("postmortem")
READERS = (
    *("lizard", "pygount", "tree_sitter", "tree_sitter_rust", "tree_sitter_cpp"),
    *("tree_sitter_go", "tree_sitter_javascript"),
)
case_option = click.option(
    "--case",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the case; default: this folder where it holds one, else postmortem.",
)
repository_option = click.option(
    "--repository",
    "elsewhere",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the repository is, if not where case.yaml says.",
)


@click.group(epilog="Example: llorch postmortem init path/to/repository --path src/worker")
def command() -> None:
    """Say what happened in a repository: measured facts, judgement with evidence, guardrails."""


@command.command(epilog="Example: llorch postmortem init path/to/repository --path src/worker")
@click.argument("repository", metavar="REPO", type=click.Path(path_type=Path))
@click.option("--path", default="", metavar="PATH", help="Only this folder or file of it.")
@click.option("--commit", default="HEAD", metavar="REV", help="What is looked at; default: HEAD.")
@click.option("--zone", default="UTC", metavar="ZONE", help="Time zone of every date; default: UTC.")
@case_option
def init(repository: Path, path: str, commit: str, zone: str, folder: Path | None) -> int:
    """Make the folder of a case about REPO."""
    from llorch_core.postmortem.case import create

    made = create(folder or DEFAULT, repository, commit, path, zone)
    click.echo(f"{made.folder} is the case of {made.settings.title}. Next: llorch postmortem dig")
    return 0


@command.command(epilog="Example: llorch postmortem dig --case postmortem --json")
@case_option
@repository_option
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON object.")
def dig(folder: Path | None, elsewhere: Path | None, as_json: bool) -> int:
    """Measure what the repository of the case says about itself, and write it into facts.json.

    Reads what is tracked, and runs nothing of it. Each figure carries its definition, and a command that
    anyone can run to get it.
    """
    from llorch_core.cli.console import progress_of
    from llorch_core.cli.postmortem_dig import print_facts
    from llorch_core.postmortem.dig import JOINS, SECTIONS, dig, write

    need_readers()
    case = case_in(folder)
    repository = case.repository(elsewhere)
    with progress_of("digging", (*SECTIONS, *JOINS)) as done:
        facts = dig(repository, case.settings, done)
    write(facts, case.facts_file)
    if as_json:
        click.echo(json.dumps(facts.as_json(), indent=1, ensure_ascii=False))
    else:
        print_facts(facts, case.facts_file)
    return 0


@command.command(epilog="Example: llorch postmortem report --case postmortem -o report")
@case_option
@repository_option
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the reports; default: report, in that of the case.",
)
def report(folder: Path | None, elsewhere: Path | None, output: Path | None) -> int:
    """Write the reports of the case: five phases, a summary, and one page with pictures.

    Every figure in them is one of facts.json, with its definition and command. What was not measured, not
    judged, or has evidence that was not opened is said as such. The same input gives the same bytes.
    """
    from llorch_core.postmortem.case import REPORT_FOLDER
    from llorch_core.postmortem.report.report import report_on, write

    case = case_in(folder)
    made = report_on(case, elsewhere)
    for path in write(made, output or case.folder / REPORT_FOLDER):
        click.echo(path)
    return 0


@command.command(epilog="Example: llorch postmortem tests path/to/repository --path src/worker --json")
@click.argument("repository", metavar="REPO", type=click.Path(path_type=Path))
@click.option("--path", default="", metavar="PATH", help="Only this folder or file of it.")
@click.option("--commit", default="HEAD", metavar="REV", help="What is looked at; default: HEAD.")
@click.option("--all", "everything", is_flag=True, help="Show what is doubtful, too.")
@click.option("--count", "name", metavar="NAME", help="Print only this figure: tests, cannot_fail, gone …")
@click.option("--json", "as_json", is_flag=True, help="Print every test as one JSON object.")
def tests(repository: Path, path: str, commit: str, everything: bool, name: str | None, as_json: bool) -> int:
    """List the tests of REPO that cannot fail: Rust, C++, Go, JavaScript, Python and Gherkin.

    Reads what is tracked, and runs nothing of it. Each line names a test by file and line.
    """
    from llorch_core.postmortem.repository import Repository
    from llorch_core.postmortem.tests.tests import counts, inventory

    need_readers()
    found = inventory(Repository(repository, commit, path))
    numbers = counts(found)
    if name is not None and name not in numbers:
        raise UsageError(f"there is no figure {name!r}. There are: {', '.join(numbers)}.")
    if name is not None:
        click.echo(numbers[name])
    elif as_json:
        listed = [{**vars(test), "level": test.level} for test in found]
        click.echo(json.dumps({"counts": numbers, "tests": listed}, indent=1, ensure_ascii=False))
    else:
        for test in found:
            if test.cannot_fail or (everything and test.why):
                click.echo(f"{test.file}:{test.line}: {test.why}: {test.name} {test.says}".rstrip())
        says = f"{numbers['cannot_fail']} of {numbers['tests']} tests cannot fail"
        click.echo(f"{says}; {numbers['gone']} are of what is gone, {numbers['ignored']} are ignored.")
    return 0


@command.command(epilog="Example: llorch postmortem check --case postmortem")
@case_option
@repository_option
@click.option("--run", is_flag=True, help="Run the checks of the guardrails: commands that the case names.")
@click.option("--allow-unopened", is_flag=True, help="Exit with 0 though something was not looked at.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
def check(folder: Path | None, elsewhere: Path | None, run: bool, allow_unopened: bool, as_json: bool) -> int:
    """Open every evidence of a case, and refuse what nothing shows.

    Findings without evidence, root causes and lessons without a guardrail, ids that point nowhere, figures
    written by hand, stale facts, and what was ruled out on files that have changed. Exit code 0: the case
    holds; 1: it does not; 2: something could not be looked at.
    """
    from llorch_core.cli.postmortem_check import enforced, print_checked
    from llorch_core.postmortem.judgement.check import check
    from llorch_core.postmortem.judgement.evidence import sources_of

    case = case_in(folder)
    checked = check(case, sources_of(case, elsewhere), enforced(), run)
    if as_json:
        found = checked.as_json(case.settings.title, allow_unopened)
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print_checked(checked, case, allow_unopened)
    return checked.exit_code(allow_unopened)


@command.command(epilog="Example: llorch postmortem draft --case postmortem")
@case_option
@repository_option
@click.option(
    "--most",
    default=50,
    show_default=True,
    help="Most fixes, and most claims.",
)
def draft(folder: Path | None, elsewhere: Path | None, most: int) -> int:
    """Write what the measured facts suggest for bugs.yaml and teams.yaml into the folder drafts of a case.

    For each commit that says fix and each claim that was withdrawn: its first commit, who had touched the
    files, the tests that there were and whether they could fail. Nothing that a person wrote is written over.
    """
    from llorch_core.cli.console import progress
    from llorch_core.postmortem.facts import read_facts
    from llorch_core.postmortem.judgement.draft_files import write_drafts
    from llorch_core.postmortem.judgement.drafts import drafts
    from llorch_core.postmortem.judgement.judgement import read_judgement

    case = case_in(folder)
    facts, judgement = read_facts(case.facts_file), read_judgement(case.folder)
    with progress("drafting", most) as advance:
        found = drafts(case.repository(elsewhere), facts, judgement, most, lambda: advance(1))
    for file in write_drafts(case, found):
        count = len(found[file.stem])
        click.echo(f"{count:,} {'draft is' if count == 1 else 'drafts are'} in {file}.")
    return 0


def need_readers() -> None:
    """Refuse where a library that reads the source of others is not installed."""
    for name in READERS:
        if find_spec(name) is None:
            raise UsageError(
                f"the post-mortem reads source text with {name}, which is not installed.\n"
                "Install it: pip install 'llorch[postmortem]'."
            )


def case_in(folder: Path | None) -> Case:
    """Return the case in a folder; by default that of this folder, else that of the folder postmortem."""
    from llorch_core.postmortem.case import SETTINGS_FILE, open_case

    here = Path()
    return open_case(folder or (here if (here / SETTINGS_FILE).exists() else DEFAULT))
