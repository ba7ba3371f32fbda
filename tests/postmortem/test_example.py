"""The worked case of the failed worker holds: it reads, is complete, and opens where its repository is."""

import os
from collections import Counter
from pathlib import Path

import pytest
import yaml

from llorch_core.cli.postmortem_check import enforced
from llorch_core.postmortem.case import open_case
from llorch_core.postmortem.facts import read_facts
from llorch_core.postmortem.judgement.check import check
from llorch_core.postmortem.judgement.evidence import Sources, sources_of
from llorch_core.postmortem.report.report import documents, report_on

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "worker-orcd"
LESSONS = ROOT / "specs" / "lessons"
CLONE = os.environ.get("LLORCH_WORKER_ORCD", "")
KINDS = [
    "teams",
    "bugs",
    "assumptions",
    "decisions",
    "process",
    "chains",
    "causes",
    "lessons",
    "guardrails",
    "ruled_out",
]


def entries(kind):
    """Return the entries of one file as they are written: `on` is a word here, and no truth value."""
    return yaml.load((FOLDER / f"{kind}.yaml").read_text(encoding="utf-8"), yaml.BaseLoader)[kind]


def lessons(kind):
    """Return the lessons of specs/lessons about the worker, by their number there."""
    file = LESSONS / f"worker-{kind}.yaml"
    return {one["id"]: one for one in yaml.safe_load(file.read_text(encoding="utf-8"))[kind]}


def references(entry):
    """Return every piece of evidence of an entry, also that of its claims."""
    claims = [*entry.get("claimed", ()), *entry.get("delivered", ())]
    return [one for part in (entry, *claims) for one in part.get("evidence", ())]


def rows(kind):
    return Counter(entry["row"] for entry in entries(kind) if "row" in entry)


@pytest.fixture(scope="module")
def case():
    return open_case(FOLDER)


@pytest.fixture(scope="module")
def rules():
    return enforced()


@pytest.mark.untraced
def test_without_the_repository_nothing_is_wrong_and_what_was_not_opened_is_counted(case, rules):
    checked = check(case, Sources(None, read_facts(case.facts_file)), rules)
    assert checked.problems == []
    every = [entry for kind in KINDS for entry in entries(kind)]
    quoted = sum("figure" not in one and "table" not in one for entry in every for one in references(entry))
    commits = sum(name in bug for bug in entries("bugs") for name in ("introduced", "fixed"))
    files = sum(len(entry["on"]) for entry in entries("ruled_out"))
    commands = sum("check" in entry for entry in entries("guardrails"))
    about_facts = 1
    assert quoted > 300
    assert len(checked.not_opened) == quoted + commits + files + commands + about_facts
    assert checked.entries == len(every)
    assert (checked.exit_code(), checked.exit_code(allow_unopened=True)) == (2, 0)


@pytest.mark.skipif(not CLONE, reason="LLORCH_WORKER_ORCD names no clone of veighnsche/llama-orch")
def test_with_the_repository_every_evidence_opens_and_shows_what_it_says(case, rules):
    checked = check(case, sources_of(case, Path(CLONE)), rules)
    assert checked.problems == []
    commands = [entry["check"] for entry in entries("guardrails") if "check" in entry]
    assert [one.what for one in checked.not_opened] == [f"check: {command}" for command in commands]


def test_it_names_no_place_of_a_machine_and_measures_the_commit_that_it_is_about(case):
    assert case.settings.repository == "../../../llama-orch"
    about = read_facts(case.facts_file).about
    assert (about.commit, about.path, about.zone) == (case.settings.commit, "bin/worker-orcd", "UTC")
    assert about.repository == "llama-orch"


def test_every_assumption_and_cause_of_the_lessons_is_judged_and_judged_alike():
    wanted = {number: one["verdict"] for number, one in lessons("assumptions").items()}
    assert {one["row"]: one["verdict"] for one in entries("assumptions")} == wanted
    assert [one["row"] for one in entries("causes")] == list(lessons("causes"))


def test_every_guardrail_of_the_lessons_has_an_entry_that_names_what_the_lessons_name():
    known = lessons("guardrails")
    assert set(rows("guardrails")) == set(known)
    for one in entries("guardrails"):
        links = [link for link in known[one["row"]].get("enforced_by", ()) if "check" not in one]
        named = {(kind, name) for link in links for kind, name in link.items()}
        by = [(kind, one[kind]) for kind in ("rule", "gate", "stub") if kind in one]
        assert set(by) <= named, one["id"]


def test_the_catalogue_is_covered():
    found = rows("bugs") + rows("process")
    assert {f"A{n}" for n in range(1, 5)} <= set(found)
    assert {f"B{n}" for n in range(1, 26)} <= set(found)
    assert {f"D{n}" for n in range(1, 31)} <= set(found)
    for family, least in (("C", 12), ("E", 8)):
        assert sum(row.startswith(family) for row in found) >= least
    assert len(entries("decisions")) == 10


def test_its_report_leaves_no_question_open_and_asks_none_that_has_no_answer(case):
    made = documents(report_on(case))
    open_questions = [name for name, text in made.items() if "not judged" in text.lower()]
    assert open_questions == []
    missed = made["PHASE_3_BUGS.md"].count("*How it was missed.*")
    assert missed == sum("how_missed" in bug for bug in entries("bugs")) < len(entries("bugs"))
