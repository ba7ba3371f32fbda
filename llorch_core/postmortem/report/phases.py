"""The five phases as Markdown: what was measured, then what people concluded from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llorch_core.postmortem.facts import Facts, Figure
from llorch_core.postmortem.judgement.judgement import (
    Assumption,
    Bug,
    Cause,
    Chain,
    Claim,
    Decision,
    Entry,
    Finding,
    Guardrail,
    Lesson,
    Process,
    Reference,
    RuledOut,
    Team,
)
from llorch_core.postmortem.report.fill import fill, names
from llorch_core.postmortem.report.markdown import code, escape, grid, measured, shown_table
from llorch_core.postmortem.report.report import Report, place, tally
from llorch_core.postmortem.report.sections import Section, sections
from llorch_core.postmortem.report.sentences import sentences
from llorch_core.postmortem.report.wording import count, moment

NOT_JUDGED = "*Not judged.*"
QUESTIONS = (
    ("what", "What happened"),
    ("why", "Why"),
    ("impact", "What it cost"),
    ("should_have", "What should have happened"),
    ("changes", "What changes"),
)
OF_A_BUG = (
    ("symptom", "Symptom"),
    ("how_found", "How it was found"),
    ("how_missed", "How it was missed"),
    *QUESTIONS,
)
OF_AN_ASSUMPTION = (("statement", "What was taken for granted"), *QUESTIONS[1:])
OF_A_DECISION = (
    ("what", "What was decided"),
    ("why", "The reason then"),
    ("impact", "What came of it"),
    ("should_have", "The alternative not taken"),
    ("changes", "What changes"),
)


@dataclass
class Text:
    """Fills figures into the texts of one document, and remembers which."""

    facts: Facts
    used: dict[str, Figure] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """Return a text as Markdown, with its figures."""
        self.used |= {name: self.facts.figures[name] for name in names(text) if name in self.facts.figures}
        return fill(text, self.facts, spaced, lambda _, value: escape(value))


def spaced(text: str) -> str:
    """Escape a part of a text, and keep the blanks at its ends."""
    return f"{' ' * text[:1].isspace()}{escape(text)}{' ' * (text[-1:].isspace() and text.strip() != '')}"


def document(report: Report, title: str, text: Text, lines: Iterable[str]) -> str:
    """Return a document: its head, what it says, and how each figure of it was measured."""
    body = [f"# {escape(title)}: {escape(report.title)}", "", escape(report.about)]
    body += ["", f"**{escape(report.stale)}**"] if report.stale else []
    body += lines
    if text.used:
        body += ["", "## How this was measured", "", *measured(sorted(text.used.items()))]
    return "\n".join(body) + "\n"


def archaeology(report: Report) -> str:
    """Return phase 1: every measured figure, and every table with its first rows."""
    lines: list[str] = []
    for section in sections(report.facts):
        lines += measured_section(section, report)
    return document(report, "Phase 1, archaeology", Text(report.facts), lines)


def measured_section(section: Section, report: Report) -> list[str]:
    """Return one section of the facts."""
    lines = ["", f"## {section.title}"]
    if not section.measured:
        return [*lines, "", f"Nothing of this was measured. It would be: {words(section.missing)}."]
    text = Text(report.facts)
    said = sentences(section.name, report.facts)
    lines += ["", *(f"- {text(one)}" for one in said)] if said else []
    for shown in section.tables:
        lines += shown_table(shown)
    if section.missing:
        lines += ["", f"Not measured: {words(section.missing)}."]
    lines += ["", f"### How this was measured: {section.title.lower()}", ""]
    return lines + measured(section.figures, section.tables)


def words(names: Sequence[str]) -> str:
    """Return names with commas between them."""
    return ", ".join(names)


def teams(report: Report) -> str:
    """Return phase 2: who took part, what they claimed and what they delivered."""
    text, found = Text(report.facts), report.judgement.of(Team)
    lines = listed(found, "team", "teams.yaml")
    for team in found:
        lines += [*heading(team), "", text(team.who), *commits_of(team, report.facts)]
        for title, said in (("Claimed", team.claimed), ("Delivered", team.delivered)):
            if said or not (team.claimed or team.delivered):
                lines += claims(title, said, text, report)
    return document(report, "Phase 2, teams", text, lines)


def commits_of(team: Team, facts: Facts) -> list[str]:
    """Return what the history says of the authors of a team."""
    table = facts.tables.get("history.authors")
    rows = {str(row["author"]): row for row in table.dicts()} if table else {}
    lines = []
    for author in team.authors:
        row = rows.get(author)
        said = f"{count(int(row['commits'] or 0), 'commit')}" if row else "no commit is measured"
        lines.append(f"- {escape(author)}: {said}")
    return ["", *lines] if lines else []


def claims(title: str, found: Sequence[Claim], text: Text, report: Report) -> list[str]:
    """Return what a team claimed or delivered, each with its outcome and evidence."""
    lines = ["", f"**{title}**", ""]
    if not found:
        return [*lines, f"- {NOT_JUDGED}"]
    for claim in found:
        when = f"{escape(moment(claim.when))}: " if claim.when else ""
        outcome = f" **{claim.outcome}.**" if claim.outcome else ""
        lines.append(f"- {when}{text(claim.says)}{outcome}")
        lines += ["  " + line for line in evidence(claim.evidence, text, report)]
    return lines


def bugs(report: Report) -> str:
    """Return phase 3: bugs and what was taken for one, and what was taken for granted."""
    text, found = Text(report.facts), report.judgement.of(Bug)
    lines = ["", "## Bugs", *listed(found, "bug", "bugs.yaml", (b.verdict for b in found))]
    if found:
        rows = [[escape(b.title), escape(b.severity), escape(b.component), escape(b.verdict)] for b in found]
        lines += ["", *grid(["bug", "severity", "component", "verdict"], [False] * 4, rows)]
    for bug in found:
        lines += heading(bug, f"{bug.verdict}, {bug.severity}, {bug.component}")
        lines += ["", *commits(bug), *finding(bug, text, report, asked_of(bug))[1:]]
    assumed = report.judgement.of(Assumption)
    lines += ["", "## Assumptions"]
    lines += listed(assumed, "assumption", "assumptions.yaml", (a.verdict for a in assumed))
    for assumption in assumed:
        asked = OF_AN_ASSUMPTION if assumption.verdict != "right" else OF_AN_ASSUMPTION[:1]
        lines += heading(assumption, assumption.verdict) + finding(assumption, text, report, asked)
    return document(report, "Phase 3, bugs and assumptions", text, lines)


def asked_of(bug: Bug) -> Sequence[tuple[str, str]]:
    """Return the questions to a bug: what was none was not missed, unless somebody says how."""
    missed = bug.how_missed or bug.verdict in ("confirmed", "never found")
    return [one for one in OF_A_BUG if missed or one[0] != "how_missed"]


def commits(bug: Bug) -> list[str]:
    """Return the commits that brought and ended a bug."""
    brought = code(bug.introduced[:12]) if bug.introduced else "not known"
    ended = code(bug.fixed[:12]) if bug.fixed else "none is named"
    return [f"- *Brought by* {brought}; *ended by* {ended}"]


def decisions(report: Report) -> str:
    """Return phase 4: decisions, and how the work was done."""
    text, found = Text(report.facts), report.judgement.of(Decision)
    lines = ["", "## Decisions", *listed(found, "decision", "decisions.yaml")]
    for decision in sorted(found, key=lambda d: d.date):
        lines += heading(decision, moment(decision.date)) + finding(decision, text, report, OF_A_DECISION)
    process = report.judgement.of(Process)
    lines += ["", "## Process", *listed(process, "finding about the process", "process.yaml")]
    for one in process:
        lines += heading(one) + finding(one, text, report)
    return document(report, "Phase 4, decisions and process", text, lines)


def postmortem(report: Report) -> str:
    """Return phase 5: how one thing led to another, root causes, lessons, guardrails, what was ruled out."""
    text, judgement = Text(report.facts), report.judgement
    lines = ["", "## Causal chains", *listed(judgement.of(Chain), "chain", "chains.yaml")]
    for chain in judgement.of(Chain):
        lines += [*heading(chain), ""]
        for n, step in enumerate(chain.steps, 1):
            lines.append(f"{n}. {text(step.says)} ({named(step.findings, report)})")
    lines += ["", "## Root causes, the weightiest first"]
    lines += listed(judgement.of(Cause), "root cause", "causes.yaml")
    for cause in judgement.of(Cause):
        lines += heading(cause, f"rank {cause.rank}") + finding(cause, text, report)
        lines.append(f"- *Explains* {named(cause.explains, report)}")
        lines.append(f"- *Guarded by* {guards(cause.guardrails, report)}")
    lines += ["", "## Lessons", *listed(judgement.of(Lesson), "lesson", "lessons.yaml")]
    for lesson in judgement.of(Lesson):
        lines += [*heading(lesson), "", text(lesson.lesson), ""]
        lines.append(f"- *Learned from* {named(lesson.findings, report)}")
        lines.append(f"- *Guarded by* {guards(lesson.guardrails, report)}")
    lines += ["", "## Guardrails", *listed(judgement.of(Guardrail), "guardrail", "guardrails.yaml")]
    lines += [line for one in judgement.of(Guardrail) for line in guardrail(one, text)]
    lines += ["", "## Ruled out", *listed(judgement.of(RuledOut), "entry", "ruled_out.yaml")]
    for out in judgement.of(RuledOut):
        lines += [*heading(out, again(out, report)), "", text(out.statement), ""]
        lines += [
            f"- By {text(out.by)}, {escape(moment(out.when))}; holds as long as these are as they were:"
        ]
        lines += [f"  - {code(on.path)} ({code(on.digest[:19])})" for on in out.on]
        lines += ["- Evidence:", *("  " + line for line in evidence(out.evidence, text, report))]
    return document(report, "Phase 5, post-mortem", text, lines)


def again(out: RuledOut, report: Report) -> str:
    """Return whether something that was ruled out still is."""
    if "open again" in {p.kind for p in report.checked.problems if p.entry == out.id}:
        return "open again"
    unopened = any((on.at.file, on.at.line) in report.unopened for on in out.on)
    return "not opened: nobody looked whether it still holds" if unopened else "holds"


def guardrail(one: Guardrail, text: Text) -> list[str]:
    """Return what turns red when it happens again."""
    lines = [*heading(one), ""]
    for name in ("rule", "gate", "stub"):
        if by := getattr(one, name):
            lines.append(f"- Enforced by the {'kind of stub' if name == 'stub' else name} {code(by)}.")
    if one.check:
        lines += ["- Enforced by a command, which exits with 0 as long as it holds:", "", *fenced(one.check)]
        lines += ["", f"  It fails when {text(one.fails_when)}"] if one.fails_when else []
    if not (one.rule or one.gate or one.stub or one.check):
        lines.append("- **Nothing enforces it.**")
    return lines


def fenced(command: str) -> list[str]:
    """Return a command within a list."""
    from llorch_core.postmortem.report.markdown import fence

    return ["  " + line for line in fence(command)]


def listed(found: Sequence[Entry], what: str, file: str, verdicts: Iterable[str] = ()) -> list[str]:
    """Return how many entries there are, and how many of each verdict."""
    if not found:
        return ["", f"{NOT_JUDGED} The case holds no {what} ({code(file)})."]
    told = tally(verdicts)
    many = {"entry": "entries", "finding about the process": "findings about the process"}.get(what, "")
    return ["", f"{count(len(found), what, many)}{f': {escape(told)}' if told else ''}."]


def heading(entry: Entry, about: str = "") -> list[str]:
    """Return the title of an entry, its id, and a word about it."""
    row = f", {escape(entry.row)} in its source" if entry.row else ""
    said = f": {escape(about)}" if about else ""
    return ["", f"### {escape(entry.title or entry.id)}", "", f"{code(entry.id)}{row}{said}"]


def finding(
    entry: Finding, text: Text, report: Report, questions: Sequence[tuple[str, str]] = QUESTIONS
) -> list[str]:
    """Return the answers of a finding, and its evidence."""
    shown = evidence(entry.references, text, report)
    return ["", *answers(entry, text, questions), "- *Evidence*", *("  " + line for line in shown)]


def answers(entry: Entry, text: Text, questions: Sequence[tuple[str, str]]) -> list[str]:
    """Return what an entry says to each question, and where it says nothing."""
    said = ((label, getattr(entry, name)) for name, label in questions)
    return [f"- *{label}.* {text(one) if one else NOT_JUDGED}" for label, one in said]


def evidence(references: Sequence[Reference], text: Text, report: Report) -> list[str]:
    """Return pieces of evidence, each with whether it was opened and shows what it should."""
    if not references:
        return ["- **No evidence is given.**"]
    lines = []
    for one in references:
        quoted = one.text or one.subject
        said = f" “{escape(quoted)}”" if quoted else ""
        shows = f" {text(one.shows)}" if one.shows else ""
        mark = report.mark(one)
        lines.append(f"- {code(place(one))}{said}{shows}{f' **({escape(mark)})**' if mark else ''}")
    return lines


def named(ids: Sequence[str], report: Report) -> str:
    """Return the titles of entries; the id where there is no such entry."""
    found = ((name, report.judgement.find(name)) for name in ids)
    return "; ".join(escape(entry.title) if entry else code(name) for name, entry in found) or "nothing named"


def guards(ids: Sequence[str], report: Report) -> str:
    """Return the guardrails of a root cause or a lesson, and that there is none."""
    return named(ids, report) if ids else "**nothing**"
