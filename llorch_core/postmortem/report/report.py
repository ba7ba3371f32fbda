"""The reports of a case: five phases and a summary in Markdown, and one page with pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from llorch_core.postmortem.case import Case
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.facts import Facts, read_facts
from llorch_core.postmortem.judgement.check import check_evidence, check_facts, check_ruled_out
from llorch_core.postmortem.judgement.checked import Checked
from llorch_core.postmortem.judgement.evidence import Sources, sources_of
from llorch_core.postmortem.judgement.judgement import Entry, Judgement, Reference, read_judgement
from llorch_core.postmortem.judgement.problems import Problem
from llorch_core.postmortem.report.wording import count, date

NO_EVIDENCE = "no evidence"
NOT_SHOWN = frozenset({"not there", "unknown"})  # kinds of problems of a piece of evidence


@dataclass(frozen=True)
class Report:
    """What a report is made of. `checked`: what became of the evidence when it was opened."""

    title: str
    facts: Facts
    judgement: Judgement
    checked: Checked

    @property
    def about(self) -> str:
        """What was looked at, where, and when."""
        a = self.facts.about
        part = f"{a.path} in {a.repository}" if a.path else f"The repository {a.repository}"
        when = f"measured on {date(a.measured)}; every date is in the time zone {a.zone}"
        return f"{part} at commit {a.commit[:12]}, {when}."

    @property
    def stale(self) -> str:
        """What a reader must know of the facts as a whole, "" where they are about what the case is about."""
        found = next((p for p in self.checked.problems if p.kind == "stale"), None)
        return f"stale: {found.says} (wanted {found.wanted}, got {found.got})" if found else ""

    @cached_property
    def unopened(self) -> Mapping[tuple[str, int], str]:
        """Why something of the judgement was not opened, by its file and line."""
        return {(one.at.file, one.at.line): one.why for one in self.checked.not_opened}

    @cached_property
    def missed(self) -> Mapping[tuple[str, int], Problem]:
        """The problems of evidence, by its file and line."""
        return {(p.file, p.line): p for p in reversed(self.checked.problems) if p.kind in NOT_SHOWN}

    def mark(self, reference: Reference) -> str:
        """Return what a reader must know of a piece of evidence, "" where it was opened and shows it."""
        at = (reference.at.file, reference.at.line)
        if found := self.missed.get(at):
            return f"{found.kind}: {found.says}"
        return f"not opened: {self.unopened[at]}" if at in self.unopened else ""

    def doubts(self, entry: Entry) -> str:
        """Return what is wrong with the evidence of an entry as a whole, "" where nothing is."""
        if not entry.references:
            return NO_EVIDENCE
        marks = Counter(filter(None, (self.mark(one).partition(":")[0] for one in entry.references)))
        of = count(len(entry.references), "piece of evidence", "pieces of evidence")
        return ", ".join(f"{n} of {of} {mark}" for mark, n in marks.items())


def report_on(case: Case, elsewhere: Path | None = None) -> Report:
    """Return the report of a case. Raises PostmortemError where nothing is measured, or YAML is broken.

    elsewhere  where its repository is, if not where case.yaml says; without it no evidence is opened
    """
    facts = read_facts(case.facts_file)
    judgement = read_judgement(case.folder)
    sources = sources_of(case, elsewhere)
    checked = examined(judgement, sources)
    check_facts(checked, case.settings, sources)
    return Report(case.settings.title, facts, judgement, checked)


def examined(judgement: Judgement, sources: Sources) -> Checked:
    """Open all evidence, and look whether what was ruled out still is; runs no command of the case."""
    checked = Checked(sum(1 for _ in judgement), problems=list(judgement.problems))
    check_evidence(checked, judgement, sources)
    check_ruled_out(checked, judgement, sources)
    return checked.in_order()


def place(reference: Reference) -> str:
    """Return where a piece of evidence is to be looked up."""
    at = f" at {reference.commit[:12]}" if reference.commit and reference.path else ""
    if reference.absent:
        below = f" below {reference.path}" if reference.path else ""
        return f"no line{below}{at} matches {reference.absent}"
    if reference.path:
        first, last = reference.first, reference.last
        return f"{reference.path}:{first}{f'–{last}' if last != first else ''}{at}"
    if reference.subject:
        return f"commit {reference.commit[:12]}"
    if reference.figure:
        return f"figure {reference.figure}"
    if reference.table:
        where = ", ".join(f"{column} is {value}" for column, value in reference.where.items())
        return f"table {reference.table}{f', where {where}' if where else ''}"
    return "nothing"


def tally(words: Iterable[str]) -> str:
    """Return how often each word is there, the most frequent first: 12 confirmed, 3 claimed."""
    return ", ".join(f"{n} {word}" for word, n in Counter(words).most_common())


def documents(report: Report) -> dict[str, str]:
    """Return every document of a report by the name of its file. The same report gives the same bytes."""
    from llorch_core.postmortem.report import phases
    from llorch_core.postmortem.report.page import page
    from llorch_core.postmortem.report.summary import summary

    return {
        "EXECUTIVE_SUMMARY.md": summary(report),
        "PHASE_1_ARCHAEOLOGY.md": phases.archaeology(report),
        "PHASE_2_TEAMS.md": phases.teams(report),
        "PHASE_3_BUGS.md": phases.bugs(report),
        "PHASE_4_DECISIONS.md": phases.decisions(report),
        "PHASE_5_POSTMORTEM.md": phases.postmortem(report),
        "report.html": page(report),
    }


def write(report: Report, folder: Path) -> list[Path]:
    """Write every document into a folder, and return their paths. Raises PostmortemError where it cannot."""
    made = documents(report)  # all of them before the first is written
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            new = folder / f"{name}.new"
            new.write_text(text, encoding="utf-8", newline="\n")
            new.replace(folder / name)
    except OSError as error:
        raise PostmortemError(
            f"{folder} cannot be written: {error.strerror} (wanted a folder for the reports).\n"
            "Name another with -o."
        ) from error
    return [folder / name for name in made]
