"""Drafts say what the facts suggest: a bug's first commit, who touched the files, the tests there were."""

import shutil
from dataclasses import replace

import pytest

from llorch_core.postmortem.case import open_case
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.judgement.draft_files import write_drafts
from llorch_core.postmortem.judgement.drafts import drafts
from llorch_core.postmortem.judgement.evidence import Sources, miss
from llorch_core.postmortem.judgement.judgement import Bug, Judgement, Team, add, read_judgement
from llorch_core.postmortem.judgement.marked_yaml import read_marked
from llorch_core.postmortem.judgement.origins import mendings, origins
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import History, run
from tests.postmortem.example import make_case, make_facts

CLAIMS = ("when", "author", "where", "place", "line", "word", "text", "followed", "withdrawn", "commit")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The case of the till, its hashes, and its facts with fixes and claims."""
    folder, hashes = make_case(tmp_path_factory.mktemp("drafts"))
    facts = make_facts(hashes[4])
    fixes = [
        (hashes[2], "2024-03-04T11:00:00+00:00", "Fix the sum"),
        (hashes[4], "2024-03-04T13:00:00+00:00", "Round once, at the end"),
    ]
    facts.table("history.fixes", ("commit", "when", "subject"), fixes, "", "")
    when, victory = "2024-03-04T11:00:00+00:00", "# FIXED: the sum is right"
    gone = "the line went with 3a8bda80"
    claims = [
        (when, "Bob Roe", "document", "docs/VICTORY.md", 1, "FIXED", victory, 1, gone, hashes[2]),
        (when, "Bob Roe", "message", hashes[2], 0, "all tests pass", "all tests pass", 1, "", hashes[2]),
    ]
    facts.table("claims.made", CLAIMS, claims, "", "")
    return open_case(folder), hashes, facts


@pytest.fixture(scope="module")
def found(made):
    """What is drafted where nobody has judged anything."""
    case, _, facts = made
    return drafts(case.repository(), facts, Judgement(case.folder))


def test_a_fix_gives_a_bug_with_the_commit_that_brought_what_it_takes_away(made, found):
    """The newest fix first; then what was claimed and withdrawn."""
    _, hashes, _ = made
    bugs = [(e["id"], e.get("introduced"), e.get("fixed")) for e, _ in found["bugs"]]
    assert bugs == [
        ("round_once_at_the_end", hashes[2], hashes[4]),
        ("fix_the_sum", hashes[1], hashes[2]),
        ("fixed_the_sum_is_right", None, None),
    ]


def test_a_draft_says_who_had_touched_the_files_and_which_tests_there_were(found):
    """And whether they could fail."""
    entry, notes = found["bugs"][0]
    assert entry["component"] == "till"
    assert notes == [
        "Most of the lines that it takes away came with fc18473f3a06 of 2024-03-04 by Bob Roe: Fix the sum.",
        "Before, till/total.py was changed by Bob Roe (1 commit), Alice Doe (1 commit).",
        "Tests at fc18473f3a06: 1 file of tests, by name about these files: tests/test_total.py; could not"
        " fail, as the text that is left today shows: test_total in tests/test_total.py (Nothing runs.).",
        "To be written: severity, symptom, verdict, how_found, how_missed, what, why, impact, should_have,"
        " changes.",
    ]
    entry, notes = found["bugs"][2]
    assert entry["title"] == "FIXED: the sum is right"
    assert notes[2] == "Before, docs/VICTORY.md was changed by nobody."
    assert notes[0] == (
        "Claimed on 2024-03-04T11:00:00+00:00 by Bob Roe, and withdrawn: the line went with 3a8bda80."
    )


def test_a_test_that_came_later_is_not_held_against_that_day(made):
    """The stub of the day after could not have found it; where nothing was measured, that is said."""
    case, hashes, _ = made
    facts = make_facts(hashes[4])
    fixes = [(hashes[4], "2024-03-04T13:00:00+00:00", "Round once, at the end")]
    facts.table("history.fixes", ("commit", "when", "subject"), fixes, "", "")
    table = facts.tables["tests.cannot_fail"]
    facts.tables["tests.cannot_fail"] = replace(table, rows=((*table.rows[0][:-1], "2024-03-05"),))
    ((_, notes),) = drafts(case.repository(), facts, Judgement(case.folder))["bugs"]
    assert notes[2].endswith("tests/test_total.py; of what is left of them today, each can fail.")
    del facts.tables["tests.cannot_fail"]
    ((_, notes),) = drafts(case.repository(), facts, Judgement(case.folder))["bugs"]
    assert notes[2].endswith("tests/test_total.py; whether they could fail was not measured.")


def test_an_author_gives_a_team_with_what_was_claimed_and_delivered(found):
    """In the figures of history.authors."""
    (alice, _), (bob, notes) = found["teams"]
    assert (alice["id"], "claimed" in alice) == ("alice_doe", False)
    assert [claim["says"] for claim in bob["claimed"]] == [
        '"# FIXED: the sum is right" (document)',
        '"all tests pass" (message)',
    ]
    assert [claim.get("outcome") for claim in bob["claimed"]] == ["withdrawn", None]
    assert bob["delivered"][0]["says"] == "1 commit from 2024-03-04 to 2024-03-04: 2 added lines, 1 deleted."
    assert notes == ["To be written: who."]


def test_drafts_keep_to_the_form_and_their_evidence_opens(made, found, tmp_path):
    """What is left is what a person has to write."""
    case, _, facts = made
    case = open_case(shutil.copytree(case.folder, tmp_path / "case"))
    judgement = Judgement(case.folder)
    for file in write_drafts(case, found):
        add(judgement, file.stem, read_marked(file))
    assert {problem.kind for problem in judgement.problems} == {"incomplete"}
    sources = Sources(made[0].repository(), facts)
    references = [reference for entry in judgement for reference in entry.references]
    assert len(references) == 2 + 2 + 1 + 1 + 3
    assert [miss(reference, sources) for reference in references] == [None] * 9


def test_what_is_judged_already_is_not_drafted_again(made):
    """A fix that a bug names, a claim among the evidence, an author of a team; ids are new."""
    case, hashes, facts = made
    judgement = read_judgement(case.folder)
    judgement.ids["round_once_at_the_end"] = "bugs"
    found = drafts(case.repository(), facts, judgement)
    assert [entry["id"] for entry, _ in found["teams"]] == ["alice_doe"]
    assert [e["id"] for e, _ in found["bugs"]] == ["round_once_at_the_end_2", "fix_the_sum"]
    bug = Bug(judgement.of(Team)[0].at, "mended", fixed=hashes[4][:10])
    judgement.entries["bugs"] = (*judgement.entries["bugs"], bug)
    again = drafts(case.repository(), facts, judgement)["bugs"]
    assert [e["id"] for e, _ in again] == ["fix_the_sum"]


def test_facts_without_these_tables_give_no_drafts(made):
    """Nothing fails where a section was not measured."""
    case, hashes, _ = made
    facts = make_facts(hashes[4])
    facts.tables.clear()
    assert drafts(case.repository(), facts, Judgement(case.folder)) == {"bugs": [], "teams": []}


def test_drafts_are_never_written_over_what_a_person_changed(made, found, tmp_path):
    """Untouched drafts are written anew; with one that was changed, none is."""
    case = open_case(shutil.copytree(made[0].folder, tmp_path / "case"))
    before = (case.folder / "bugs.yaml").read_text()
    bugs, teams = write_drafts(case, found)
    assert write_drafts(case, {**found, "teams": []}) == [bugs, teams]
    assert teams.read_text().endswith("teams: []\n")
    bugs.write_text(bugs.read_text() + "# mine\n")
    with pytest.raises(PostmortemError, match=r"bugs\.yaml was changed since llorch wrote it"):
        write_drafts(case, found)
    assert teams.read_text().endswith("teams: []\n")
    assert (case.folder / "bugs.yaml").read_text() == before


def test_what_was_taken_away_is_traced_through_renames_past_comments_and_blanks(tmp_path):
    """As git blame does; of a commit that only adds, nothing."""
    history = History()
    history.commit("one", {"a.py": "first = 1\nsecond = 2\n", "notes.md": "a\nb\nc\nd\ne\nf\n"})
    history.commit("two", {"a.py": "# says\n# much\n# more\nfirst = 1\nsecond = 3\n"})
    history.commit("move", {}, renames=[("a.py", "b.py")])
    history.commit("fix", {"b.py": "first = 1\nsecond = 4\n", "notes.md": "\n"})
    history.commit("add", {"b.py": "first = 1\nsecond = 4\nthird = 5\n"})
    hashes = history.make(tmp_path)
    repository = Repository(tmp_path)
    found = mendings(repository, [hashes[4], hashes[5]])
    assert origins(repository, hashes[4], found[hashes[4]]) == {hashes[2]: 1}
    assert found[hashes[4]].paths == ["b.py", "notes.md"]
    assert found[hashes[5]].taken == []
    assert run(tmp_path, "log", "-1", "--format=%s", hashes[2]) == "two"
