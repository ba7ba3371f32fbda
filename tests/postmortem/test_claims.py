"""Claims are found where and when they were first made, also those that are gone, and what followed."""

import pytest

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.claims import claims
from llorch_core.postmortem.claims.words import claims as is_claim
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import History, run, shell

BOB = "Bob Roe <bob@example.org>"
NOTES = "# Notes\n\n**ROOT CAUSE FOUND**: the lamp\n- ✅ Docs complete\nStatus: FIXED\nAll tests pass.\n"
STRUCK = "# Notes\n\n**ROOT CAUSE FOUND**: the lamp\n- ✅ Docs complete\n~~Status: FIXED~~\n"
REWORDED = STRUCK.replace("Docs complete", "All docs complete") + "\nThe lamp was a false lead.\n"
AGAIN = REWORDED + "**ROOT CAUSE**: the switch\nAll tests pass.\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Claims of every kind: removed, struck out, reworded, retracted, reverted, gone with their file."""
    history = History()
    marks = {}
    marks["notes"] = history.commit("notes", {"notes.md": NOTES, "lamp.rs": "fn lamp() {}\n"})
    code = 'fn lamp() {} // VERIFIED: bright\nlet s = "PRODUCTION READY";\n/* not FIXED */\n'
    marks["code"] = history.commit("the lamp", {"lamp.rs": code}, author=BOB)
    history.commit("strike", {"notes.md": STRUCK})
    history.commit("reword", {"notes.md": REWORDED})
    history.commit("once more", {"notes.md": AGAIN})
    marks["message"] = history.commit("Lamp is FIXED\n\nAll 12 tests pass", {"other.py": "# plain\n"})
    fix = history.commit("fix: the lamp was dark", {"lamp.rs": code + "// more\n"})
    old = {"gone.md": "VICTORY over the lamp\n", "gone/notes.md": "Done.\n"}
    history.commit("hail", old)
    history.commit("move", {"gone/notes.md": None}, renames=[("gone.md", "kept/gone.md")])
    history.commit("drop", {"kept/gone.md": None})
    folder = tmp_path_factory.mktemp("repository")
    hashes = history.make(folder)
    marks = {name: hashes[mark] for name, mark in marks.items()} | {"fix": hashes[fix]}
    run(
        folder, "-c", "user.name=A", "-c", "user.email=a@example.org", "revert", "--no-edit", marks["message"]
    )
    facts = nothing_yet(Repository(folder))
    claims.measure(Repository(folder), Settings("lamp", "."), facts)
    return folder, facts, marks


@pytest.mark.parametrize(
    ("figure", "wanted"),
    [
        ("made", 10),
        ("in_documents", 7),  # four of the notes, the reworded one, the second cause, the victory
        ("in_comments", 1),
        ("in_messages", 2),  # the revert only quotes one
        ("withdrawn", 4),
        ("root_causes", 2),
        ("root_causes_withdrawn", 1),
        ("all_tests_pass", 2),
        (
            "followed_by_fixes",
            7,
        ),  # of the first two commits, as lamp.rs was fixed; of the one that was reverted
    ],
)
def test_figures_are_those_of_the_history_and_of_their_commands(made, figure, wanted):
    """Known by construction; the command prints the same."""
    folder, facts, _ = made
    measured = facts.figures[f"claims.{figure}"]
    assert shell(folder, measured.command) == str(measured.value)
    assert measured.value == wanted


def test_a_claim_says_what_became_of_it(made):
    """What was reworded, made again, made after the retraction or deleted with its file still stands."""
    rows = {row["text"]: row["withdrawn"] for row in made[1].tables["claims.made"].dicts()}
    assert rows == {
        "**ROOT CAUSE FOUND**: the lamp": "said wrong",
        "- ✅ Docs complete": "",
        "- ✅ All docs complete": "",
        "Status: FIXED": "struck out",
        "All tests pass.": "",
        "**ROOT CAUSE**: the switch": "",
        "fn lamp() {} // VERIFIED: bright": "",
        "# Lamp is FIXED": "reverted",
        "All 12 tests pass": "reverted",
        "VICTORY over the lamp": "",
    }


def test_a_claim_has_its_author_its_commit_and_its_place(made):
    """As it was first written; the fix that followed is named."""
    _, facts, marks = made
    rows = {row["text"]: row for row in facts.tables["claims.made"].dicts()}
    comment = rows["fn lamp() {} // VERIFIED: bright"]
    assert (comment["author"], comment["commit"]) == ("Bob Roe", marks["code"])
    assert (comment["where"], comment["place"], comment["line"]) == ("comment", "lamp.rs", 1)
    assert (comment["followed"], comment["next_fix"][:12]) == (1, marks["fix"][:12])
    assert rows["All tests pass."]["commit"] == marks["notes"]
    assert rows["Status: FIXED"]["line"] == 5
    assert rows["VICTORY over the lamp"]["place"] == "gone.md"


def test_words_are_counted(made):
    """By the first of their words."""
    rows = {row[0]: row[1:] for row in made[1].tables["claims.words"].rows}
    assert rows["ALL TESTS PASS"] == (2, 1, 2)
    assert rows["COMPLETE"] == (2, 0, 1)
    assert rows["ELIMINATED"] == (0, 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        "NOT FIXED",
        "this must be VERIFIED",
        "TODO: VERIFIED by whom",
        "when COMPLETE, tell me",
        "- [ ] All tests passing",
        "Verify all tests pass",
        "85% COMPLETE",
        "Is it FIXED?",
        "ROOT CAUSE: unknown",
        "find the root cause: step one",
        "a buffer of fixed size",
        "This is not the root cause.",
        "~~FIXED~~",
        "### Fixed",
    ],
)
def test_what_denies_asks_or_plans_is_no_claim(line):
    """Nor is an adjective."""
    assert not is_claim(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "~~The lamp is dark~~ ✅ FIXED",
        "- [x] All unit tests passing (12/12)",
        "**Status**: Complete",
        "The root cause has been found",
        "It is production-ready.",
        "H2 ELIMINATED",
        "| lamp | ✅ verified | none |",
    ],
)
def test_what_says_that_it_is_done_is_a_claim(line):
    """In capitals, behind a mark, or as a phrase."""
    assert is_claim(line.encode())
