"""Check: every claim of a case has evidence that shows it, every root cause a guardrail that exists."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from llorch_core.postmortem.case import Case, Settings
from llorch_core.postmortem.judgement import figures_by_hand, guardrails, ruled_out
from llorch_core.postmortem.judgement.checked import Checked
from llorch_core.postmortem.judgement.evidence import Miss, NotOpenedError, Sources, miss, no_commit, rows
from llorch_core.postmortem.judgement.forms import sentences
from llorch_core.postmortem.judgement.guardrails import Enforced
from llorch_core.postmortem.judgement.judgement import (
    Bug,
    Digest,
    Entry,
    Guardrail,
    Judgement,
    Place,
    Reference,
    RuledOut,
    read_judgement,
)
from llorch_core.postmortem.judgement.pointers import check_ids


def check(case: Case, sources: Sources, enforced: Enforced, run: bool = False) -> Checked:
    """Check a case; `run` runs the checks of its guardrails. Raises PostmortemError for broken YAML."""
    judgement = read_judgement(case.folder)
    checked = Checked(sum(1 for _ in judgement), problems=list(judgement.problems))
    check_facts(checked, case.settings, sources)
    check_ids(checked, judgement)
    check_evidence(checked, judgement, sources)
    check_guardrails(checked, judgement, enforced)
    check_commands(checked, case, judgement, sources, run)
    check_ruled_out(checked, judgement, sources)
    check_figures(checked, judgement, sources)
    return checked.in_order()


def check_facts(checked: Checked, settings: Settings, sources: Sources) -> None:
    """Add the problem of facts that were measured of something else than the case is about now."""
    at = Place("facts.json", 1)

    def stale() -> Miss | None:
        about, repository = sources.measured().about, sources.opened()
        ids = None if about.requirement_ids is None else settings.requirement_ids
        now = (repository.commit, repository.path, settings.zone, ids)
        then = (about.commit, about.path, about.zone, about.requirement_ids)
        if then == now:
            return None
        says = "the facts were measured at another commit, or with other settings"
        return Miss(says, said(*now), said(*then), "Run `llorch postmortem dig` again.")

    checked.look("stale", at, "whether the facts are about this commit", stale)


def said(commit: str, path: str, zone: str, ids: tuple[str, ...] | None) -> str:
    """Return what facts are about in words."""
    return f"{commit[:12]}, path {path or '(all)'}, zone {zone}" + (f", ids {' '.join(ids)}" if ids else "")


def check_evidence(checked: Checked, judgement: Judgement, sources: Sources) -> None:
    """Open every reference, and look for every commit that a bug names."""
    for entry in judgement:
        for reference in entry.references:
            checked.look("not there", reference.at, shown(reference), partial(miss, reference, sources))
    for bug in judgement.of(Bug):
        for what in filter(None, (bug.introduced, bug.fixed)):
            checked.look("not there", bug.at, f"commit {what}", partial(no_commit, what, sources))


def shown(reference: Reference) -> str:
    """Return what a reference is about in a few words."""
    if reference.figure or reference.table:
        return f"{reference.figure or reference.table} of facts.json"
    at = reference.commit[:12] or "the commit of the case"
    if reference.text:
        return f"{reference.path}:{reference.first} at {at}"
    return f"the message of {at}" if reference.subject else f"the absence of {reference.absent!r} at {at}"


def check_guardrails(checked: Checked, judgement: Judgement, enforced: Enforced) -> None:
    """Add the problems of guardrails that name nothing of llorch."""
    for guardrail in judgement.of(Guardrail):
        found = guardrails.missing(guardrail, enforced)
        if found:
            checked.problem("no such guardrail", guardrail.at, found)


def check_commands(checked: Checked, case: Case, judgement: Judgement, sources: Sources, run: bool) -> None:
    """Run the checks of the guardrails, or say that they were not run."""
    for guardrail in judgement.of(Guardrail):

        def failure(guardrail: Guardrail = guardrail) -> Miss | None:
            if not run:
                raise NotOpenedError("commands of a case are run with --run only")
            top = guardrails.home(case.folder)
            return guardrails.failure(guardrail, top or sources.opened().top)

        if guardrail.check:
            checked.look("guardrail fails", guardrail.at, f"check: {guardrail.check}", failure)


def check_ruled_out(checked: Checked, judgement: Judgement, sources: Sources) -> None:
    """Add what was ruled out on files that have changed since."""
    for entry in judgement.of(RuledOut):
        for on in entry.on:
            found = partial(changed, entry, on, sources)
            checked.look("open again", on.at, f"whether {on.path} is as it was", found)


def changed(entry: RuledOut, on: Digest, sources: Sources) -> Miss | None:
    """Return how a file is not as it was when something was ruled out on it, or None."""
    return ruled_out.changed(entry, on, sources.opened())


def check_figures(checked: Checked, judgement: Judgement, sources: Sources) -> None:
    """Add the figures that were written by hand and not measured, and the names that nothing measured has."""
    if sources.facts is None:
        return
    measured = figures_by_hand.by_unit(sources.facts)
    entries = {(entry.at.file, entry.id): entry for entry in judgement}
    for file in judgement.files.values():
        for key, value in file.parts():
            if key[-1] not in sentences() or not isinstance(value, str):
                continue
            place = Place(*file.place(key))
            entry = entries.get((place.file, place.entry))
            for found in figures_by_hand.unknown_names(value, sources.facts):
                checked.problem("unknown", place, found)
            own = figures_by_hand.joined(measured, shown_by(entry, sources))
            for found in figures_by_hand.by_hand(value, own, quotes(entry)):
                checked.problem("by hand", place, found)


def quotes(entry: Entry | None) -> list[str]:
    """Return the texts that the evidence of an entry quotes."""
    return [r.text or r.subject for r in entry.references] if entry else []


def shown_by(entry: Entry | None, sources: Sources) -> Iterator[tuple[str, str, float]]:
    """Give unit, name and value of the figures in rows that an entry has for evidence; columns are units."""
    for reference in entry.references if entry else ():
        if reference.table:
            found = rows(reference, sources.facts)
            yield figures_by_hand.ROWS, reference.table, len(found)
            for row in found:
                for column, value in row.items():
                    if figures_by_hand.number(value) is not None:
                        yield column, f"{reference.table} {column}", float(value or 0)
