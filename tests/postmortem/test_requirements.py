"""Requirements are found where specs define them, and missed where no code or test cites them any more."""

import pytest

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.requirements import requirements
from tests.postmortem.build import History, shell

SPEC = """\
# The worker

## REQ-W-100 One model

The worker MUST load one model.

- [REQ-W-101] SHOULD offer `rope_neox` and SHA-256, unlike REQ-W-900.
- REQ-W-102: it may stop.
The answer MUST name its model (REQ-W-103).
Compare REQ-W-104 of another plan.
"""
ELSEWHERE = "ids:\n  OUT-001: the door\n  OUT-002: the window\n"
UNRELATED = "- FAR-001: something else\n"
BEFORE = "// REQ-W-101 and REQ-W-103, REQ-W-777\nfn rope_neox() {}\n// SHA-256, OUT-001, JIRA-4711\n"
AFTER = "// REQ-W-100 REQ-W-104 REQ-W-105\n// REQ-W-100, OUT-001\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A worker of which two ids and a name vanish in the second commit; the third moves a file."""
    history = History()
    history.commit(
        "begin",
        {
            "worker/specs/one.md": SPEC,
            "specs/out.yaml": ELSEWHERE,
            "specs/far.md": UNRELATED,
            "specs/.drafts/old.md": "- REQ-W-555: gone\n",
            "worker/src/a.rs": BEFORE,
            "worker/tests/a.rs": "// REQ-W-102\n",
            "worker/README.md": "REQ-W-103 is planned.\n",
        },
    )
    loss = history.commit("rewrite", {"worker/src/a.rs": AFTER})
    history.commit("move", {}, renames=[("worker/src/a.rs", "worker/src/b.rs")])
    folder = tmp_path_factory.mktemp("repository")
    marks = history.make(folder)
    facts = nothing_yet(Repository(folder, path="worker"))
    requirements.measure(Repository(folder, path="worker"), Settings("w", "."), facts)
    return folder, facts, marks[loss]


@pytest.mark.parametrize(
    ("figure", "wanted"),
    [
        ("ids", 6),  # REQ-W-100 to 103, and OUT-001, 002, whose spec the code cites
        ("in_code", 2),  # REQ-W-100, OUT-001
        ("in_tests", 1),  # REQ-W-102
        ("in_documents", 1),  # REQ-W-103
        ("uncited", 3),  # REQ-W-101, 103, OUT-002
        ("nowhere", 2),  # REQ-W-101, OUT-002
        ("unknown", 2),  # REQ-W-104, which a spec only names, and 105; JIRA is no family of a spec
        ("lost", 3),  # REQ-W-101, 103, 777
        ("lost_still_required", 2),  # all but 777
    ],
)
def test_figures_are_those_of_the_history_and_of_their_commands(made, figure, wanted):
    """Known by construction; the command prints the same."""
    folder, facts, _ = made
    measured = facts.figures[f"requirements.{figure}"]
    assert measured.value == wanted
    assert shell(folder, measured.command) == str(wanted)


def test_an_id_has_its_place_its_level_and_its_mentions(made):
    """The word of duty stands on its line or below it; two lines of code mention the first."""
    rows = {row[0]: row[1:] for row in made[1].tables["requirements.ids"].rows}
    assert rows["REQ-W-100"] == ("worker/specs/one.md:3", 2, 0, 0, "must")
    assert rows["REQ-W-101"] == ("worker/specs/one.md:7", 0, 0, 0, "should")
    assert rows["REQ-W-102"] == ("worker/specs/one.md:8", 0, 1, 0, "may")
    assert rows["OUT-001"] == ("specs/out.yaml:2", 1, 0, 0, "")


def test_unknown_ids_have_a_place(made):
    """The first line that cites them."""
    rows = made[1].tables["requirements.unknown"].rows
    assert rows == (("REQ-W-104", "worker/src/b.rs", 1), ("REQ-W-105", "worker/src/b.rs", 1))


def test_the_commit_that_took_the_last_mention_out_is_named(made):
    """The rewrite, and not the move after it."""
    facts, loss = made[1:]
    lost = facts.tables["requirements.lost"].dicts()
    assert [(row["id"], row["still_required"]) for row in lost] == [
        ("REQ-W-101", True),
        ("REQ-W-103", True),
        ("REQ-W-777", False),
    ]
    assert {(row["commit"], row["file"]) for row in lost} == {(loss, "worker/src/a.rs")}


def test_a_name_that_a_requirement_carries_is_missed_too(made):
    """rope_neox: no id ever stood beside it."""
    (row,) = made[1].tables["requirements.lost_words"].dicts()
    assert (row["word"], row["ids"], row["commit"]) == ("rope_neox", "REQ-W-101", made[2])


def test_an_expression_that_is_none_is_refused(made):
    """With the file to correct."""
    settings = Settings("w", ".", requirement_ids=("(",))
    repository = Repository(made[0])
    with pytest.raises(PostmortemError, match=r"Correct case\.yaml"):
        requirements.measure(repository, settings, nothing_yet(repository))
