"""Requirements: their ids in the specs, where code, tests and documents cite them, unknown and lost ones."""

from __future__ import annotations

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.facts import Facts, Value
from llorch_core.postmortem.places import SAYS
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.requirements.lost import Lost
from llorch_core.postmortem.requirements.trail import DEFINES, Mentions, Trail

CITED = "cited is what a tracked text file below the path mentions, specs left out"
LEFT = (
    "what was removed from code or tests below the path by any commit but a merge, and stands in none of them"
    " now; only families of ids that the specs name"
)


def measure(repository: Repository, settings: Settings, facts: Facts) -> None:
    """Measure the requirements of a repository."""
    trail = Trail(repository, settings)
    known(trail, facts)
    unknown(trail, facts)
    lost(trail, facts)


def known(trail: Trail, facts: Facts) -> None:
    """Measure the ids that are defined, and who cites them."""
    defined = trail.defined
    none = Mentions()
    cited = {name: trail.mentions.get(name, none) for name in defined}
    facts.figure(
        "requirements.ids",
        len(defined),
        "ids",
        f"Ids of requirements: {DEFINES}; {SAYS}; specs outside of the path count if code or tests below it"
        " cite an id that they define.",
        f"{trail.list_defined} | wc -l",
    )
    for kind, value in (
        ("code", sum(bool(m.code) for m in cited.values())),
        ("tests", sum(bool(m.tests) for m in cited.values())),
        ("documents", sum(bool(m.documents) for m in cited.values())),
    ):
        facts.figure(
            f"requirements.in_{kind}",
            value,
            "ids",
            f"Ids of requirements that {kind} cite: {CITED}.",
            f"LC_ALL=C comm -12 <({trail.list_defined}) <({trail.list_cited(kind)}) | wc -l",
        )
    uncited = {name: m for name, m in cited.items() if not m.code and not m.tests}
    for figure, value, where, kinds in (
        ("uncited", len(uncited), "neither code nor tests", ("code", "tests")),
        (
            "nowhere",
            sum(not m.documents for m in uncited.values()),
            "no code, test or document",
            ("code", "tests", "documents"),
        ),
    ):
        facts.figure(
            f"requirements.{figure}",
            value,
            "ids",
            f"Ids of requirements that {where} cite: {CITED}.",
            f"LC_ALL=C comm -23 <({trail.list_defined}) <({trail.list_cited(*kinds)}) | wc -l",
        )
    facts.table(
        "requirements.ids",
        ("id", "defined", "code", "tests", "documents", "level"),
        [
            (name, f"{d.file}:{d.line}", m.code, m.tests, m.documents, d.level)
            for name, d in sorted(defined.items())
            for m in (cited[name],)
        ],
        "Each id of a requirement: where it is defined, lines of code, tests and documents below the path"
        " that mention it, and the first word of duty of its definition.",
        trail.list_defined,
    )


def unknown(trail: Trail, facts: Facts) -> None:
    """Measure the ids that code or tests cite, and no spec defines."""
    rows = sorted(
        (name, *(mentions.first.get("code") or mentions.first["tests"]))
        for name, mentions in trail.mentions.items()
        if (mentions.code or mentions.tests) and name not in trail.defined and trail.is_requirement(name)
    )
    cited = f"LC_ALL=C comm -13 <({trail.list_defined}) <({trail.list_cited('code', 'tests')})"
    listing = trail.of_families(cited)
    says = (
        "Ids that code or tests below the path cite, that no spec defines, and whose family (the id without"
        " its number) the specs name."
    )
    facts.figure("requirements.unknown", len(rows), "ids", says, f"{listing} | wc -l")
    facts.table("requirements.unknown", ("id", "file", "line"), rows, says, listing)


def lost(trail: Trail, facts: Facts) -> None:
    """Measure the ids and names that left code and tests."""
    found = Lost(trail)
    when = {c.sha: c.committed.isoformat(timespec="seconds") for c in trail.repository.all_commits}
    required = found.ids.keys() & trail.defined.keys()
    facts.figure(
        "requirements.lost", len(found.ids), "ids", f"Lost ids: {LEFT}.", f"{found.list_ids} | wc -l"
    )
    facts.figure(
        "requirements.lost_still_required",
        len(required),
        "ids",
        f"Lost ids that a spec defines now: {LEFT}.",
        f"LC_ALL=C comm -12 <({trail.list_defined}) <({found.list_ids} | LC_ALL=C sort) | wc -l",
    )
    rows: list[tuple[Value, ...]] = [
        (name, loss.sha, when[loss.sha], loss.file, name in required, name in found.elsewhere)
        for name, loss in found.ids.items()
    ]
    facts.table(
        "requirements.lost",
        ("id", "commit", "when", "file", "still_required", "elsewhere"),
        sorted(rows, key=lambda row: (not row[4], str(row[0]))),
        f"Lost ids, with the newest commit that removed a mention: {LEFT}; elsewhere: code or"
        " tests outside of the path mention it now.",
        found.list_ids,
    )
    facts.table(
        "requirements.lost_words",
        ("word", "ids", "commit", "when", "file"),
        [
            (word.decode(), " ".join(found.names[word]), loss.sha, when[loss.sha], loss.file)
            for word, loss in sorted(found.words.items())
        ],
        "Names of a program (snake_case, or in backticks) on the lines that define requirements, that code"
        " or tests below the path mentioned and no longer do, with the newest commit that removed a mention.",
        f"{trail.in_specs(trail.defines)}",
    )
