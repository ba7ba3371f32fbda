"""Documents are held against the code that they name, and against each other."""

import pytest

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.documents import documents
from llorch_core.postmortem.documents.links import anchors, links
from llorch_core.postmortem.documents.similar import pairs
from llorch_core.postmortem.repository import Repository
from tests.postmortem.structured import FIXED, README, WORDS, ask, make

FIGURES = {
    "documents.files": 6,
    "documents.lines": 24,
    "documents.words": len(f"{FIXED} {README} more {WORDS} {WORDS} {WORDS} and more".split()) + 9,
    "documents.stale": 2,
    "documents.duplicates": 2,
    "documents.near_duplicates": 2,
    "documents.victories": 2,
    "documents.broken_links": 5,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The repository, and its hashes."""
    folder = tmp_path_factory.mktemp("repository")
    return folder, make(folder)


@pytest.fixture(scope="module")
def facts(built):
    """What is measured in all of it."""
    repository = Repository(built[0])
    found = nothing_yet(repository)
    documents.measure(repository, Settings("it", "."), found)
    return found


def test_every_figure_is_what_was_built(facts):
    """Each counted by hand in structured.py; a document that is not tracked is in none."""
    assert {name: figure.value for name, figure in facts.figures.items()} == FIGURES


@pytest.mark.parametrize("name", FIGURES)
def test_a_command_gives_its_figure(built, facts, name):
    """In a shell, with git, grep, sort and awk; for links, with the reading of Markdown alone."""
    assert ask(built[0], facts.figures[name].command) == str(FIGURES[name])


def test_a_document_is_old_when_its_code_changed_after_it(facts):
    """FIXED.md names core.py, which two commits changed since; the README names nothing and is about all."""
    assert facts.tables["documents.stale"].rows == (
        ("pkg/FIXED.md", "pkg/core.py", "2024-03-04T11:00:00+00:00", "2024-03-04T14:00:00+00:00", 2),
        ("README.md", "pkg/core.py", "2024-03-04T13:00:00+00:00", "2024-03-04T14:00:00+00:00", 1),
    )


def test_what_repeats_another_document_is_found(facts):
    """The copy, and the one with two words more: 56 of 58 runs of five words are in both."""
    assert facts.tables["documents.duplicates"].rows == (
        ("notes/eins zwei ä.txt", "notes/copy.md", 1.0),
        ("notes/copy.md", "notes/near.md", 0.97),
    )


def test_a_victory_is_held_against_what_followed(built, facts):
    """Two fixes of the code that was FIXED under another name; a heading in a block of code is none."""
    _, hashes = built
    followed = (
        "2 later commits changed its code; 2 of them a fix, a revert or a bug,"
        f" first {hashes[3][:10]}: fix: the core was wrong"
    )
    assert facts.tables["documents.victories"].rows == (
        ("pkg/FIXED.md", 0, "FIXED.md", "2024-03-04T10:00:00+00:00", followed),
        ("pkg/FIXED.md", 1, "Parser FIXED", "2024-03-04T10:00:00+00:00", followed),
    )


def test_broken_links_are_found_outside_of_code(facts):
    """Of text and images, to a heading, of HTML and by reference."""
    assert facts.tables["documents.broken_links"].rows == (
        ("pkg/FIXED.md", 3, "gone.py"),
        ("pkg/FIXED.md", 12, "../images/none.png"),
        ("pkg/FIXED.md", 12, "../README.md#no-title"),
        ("pkg/FIXED.md", 13, "lost.html"),
        ("pkg/FIXED.md", 15, "missing.md"),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](<b c.md>)", ["b c.md"]),
        ('[a](b.md "title")', ["b.md"]),
        ("[a](b_(c).md)", ["b_(c).md"]),
        ("[![badge](b.png)](c.md)", ["b.png", "c.md"]),
        ("text\n\n    [a](b.md)\n", []),
        ("- item\n\n    [a](b.md)\n", ["b.md"]),
        ("~~~\n```\n[a](b.md)\n~~~\n[c](d.md)", ["d.md"]),
        ("<!-- [a](b.md)\n[c](d.md) --> [e](f.md)", ["f.md"]),
        ("`` [a](b.md) ` `` [c](d.md)", ["d.md"]),
        ("[^1]: not a link", []),
    ],
)
def test_links_are_read_as_markdown_has_them(text, found):
    """Places of CommonMark in brackets, with titles and parentheses; code and comments are none."""
    assert [link for _, link in links(text)] == found


def test_anchors_are_those_of_hosts():
    """Lower case, hyphens, no signs, numbered where a heading comes again; headings with a line below."""
    text = "# One, two\n## One, two\nThree\n=====\n## `code` and [text](x.md)\n<a id='Here'></a>\n"
    assert anchors(text) == {"one-two", "one-two-1", "three", "code-and-text", "here"}


def test_no_pair_that_is_alike_is_missed():
    """Against every pair compared: sets that share from none to all of their runs, or just half of them."""
    assert list(pairs({"a": frozenset({1, 2, 3, 4}), "b": frozenset({3, 4})})) == [("a", "b", 0.5)]
    sets = {
        f"{begin}-{size}": frozenset(range(begin, begin + size))
        for begin in range(0, 40, 3)
        for size in (9, 20, 31)
    }
    wanted = {
        frozenset((a, b))
        for a in sets
        for b in sets
        if a != b and 2 * len(sets[a] & sets[b]) >= len(sets[a] | sets[b])
    }
    assert {frozenset((a, b)) for a, b, _ in pairs(sets)} == wanted
