"""What is odd is measured, too: files that only a merge brought, names in other letters, what is gone."""

import pytest

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.documents import documents
from llorch_core.postmortem.history import history
from llorch_core.postmortem.repository import Repository
from llorch_core.postmortem.requirements import requirements
from tests.postmortem.build import History, shell


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A merge that brings what neither side has, a spec that defines nothing, a folder that goes."""
    story = History()
    begin = {
        "README.md": "It is `pay.py`.\n",
        "größe.md": "REQ-W-001 is planned.\n",
        "specs/one.md": "- REQ-W-001: it MUST pay.\n",
        "specs/plan.md": "See REQ-P-001 elsewhere.\n",
        "pay.py": "# REQ-P-002\n",
        "gone/a.py": "x = 1\n",
    }
    fork = story.commit("begin", begin)
    side = story.commit("aside", {"side.txt": "1\n"}, branch="side", parent=fork)
    story.commit("mainline", {"gone/a.py": None})
    story.commit("join", {"side.txt": "1\n", "only.py": "y = 1\n", "only.md": "Of `pay.py`.\n"}, merge=side)
    story.commit("pay more", {"pay.py": "# REQ-P-002, twice\n"})
    folder = tmp_path_factory.mktemp("odd")
    story.make(folder)
    return folder


def measured(folder, section, path=""):
    """Return the value of each figure of a section, after its command has printed the same."""
    facts = nothing_yet(Repository(folder, path=path))
    section.measure(Repository(folder, path=path), Settings("odd", "."), facts)
    plain = {name: one for name, one in facts.figures.items() if "python3" not in one.command}
    assert {n: shell(folder, one.command) for n, one in plain.items()} == {
        n: str(one.value) for n, one in plain.items()
    }
    return {name: figure.value for name, figure in facts.figures.items()}


def test_a_document_that_only_a_merge_brought_is_not_old(made):
    """README, größe.md and side.txt are: pay.py changed after them. Nobody knows when only.py did."""
    assert measured(made, documents)["documents.stale"] == 3


def test_a_spec_that_defines_nothing_names_a_family_all_the_same(made):
    """REQ-P-002 is unknown; a document counts under any name."""
    value = measured(made, requirements)
    assert value["requirements.unknown"] == 1
    assert (value["requirements.in_documents"], value["requirements.in_code"]) == (1, 0)


def test_a_path_that_is_gone_has_a_history_and_no_lines(made):
    """One file came and went."""
    value = measured(made, history, "gone")
    assert (value["history.commits"], value["history.added"], value["history.deleted"]) == (2, 1, 1)
    assert value["history.files_now"] == value["history.lines_now"] == 0
