"""Evidence is opened: text in its lines, words of a commit, measured figures, and what is absent."""

import pytest

from llorch_core.postmortem.judgement import ruled_out
from llorch_core.postmortem.judgement.evidence import NotOpenedError, Sources, miss
from llorch_core.postmortem.judgement.judgement import Digest, Place, Reference, RuledOut
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import run, shell
from tests.postmortem.example import make_facts, make_repository

HERE = Place("bugs.yaml", 1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The repository of the till and its facts."""
    top = tmp_path_factory.mktemp("till")
    hashes = make_repository(top)
    return Sources(Repository(top), make_facts(hashes[4]))


def look(sources, **reference):
    """Return how a reference misses."""
    return miss(Reference(HERE, **reference), sources)


@pytest.mark.parametrize(
    "reference",
    [
        {"path": "till/total.py", "line": 3, "text": "return round(sum(prices), 2)"},
        {"path": "till/total.py", "lines": (1, 3), "text": "adds up\ndef   total(prices):\n  return"},
        {"commit": "HEAD~2", "path": "till/total.py", "line": 3, "text": "int(price)"},
        {"commit": "HEAD~2", "subject": "Fix the sum all tests"},
        {"figure": "history.commits"},
        {"figure": "history.commits", "value": 4},
        {"table": "tests.cannot_fail"},
        {"table": "history.authors", "where": {"author": "Bob Roe", "commits": 1}},
        {"table": "history.authors", "where": {"author": "Carol"}, "rows": 0},
        {"absent": "int\\(price\\)"},
        {"absent": "round", "commit": "HEAD~1", "path": "till"},
        {"absent": "prin?ter"},
    ],
)
def test_what_is_there_is_found(sources, reference):
    """At the commit of the case where none is named; blanks and line ends are one."""
    assert look(sources, **reference) is None


@pytest.mark.parametrize(
    ("reference", "says", "got", "then"),
    [
        (
            {"path": "till/total.py", "line": 1, "text": "round(sum"},
            "till/total.py at ec8384db06c7 does not have the quoted text in line 1",
            "'# adds up'",
            "Line 3 has it",
        ),
        (
            {"path": "till/total.py", "line": 3, "text": "int(price)"},
            "does not have the quoted text",
            "'return round(sum(prices), 2)'",
            "nowhere at ec8384db06c7",
        ),
        ({"path": "till/total.py", "lines": (1, 2), "text": "return"}, "lines 1 to 2", "def total", "Line 3"),
        ({"path": "till/total.py", "line": 30, "text": "return"}, "in line 30", "no such line", "Line 3"),
        ({"path": "till/sum.py", "line": 3, "text": "return"}, "till/sum.py is not there", "no file", ""),
        (
            {"commit": "HEAD~9", "path": "README.md", "line": 1, "text": "The"},
            "no commit 'HEAD~9'",
            "none",
            "",
        ),
        ({"commit": "HEAD", "subject": "Fix the sum"}, "does not say it", "'Round once, at the end'", ""),
        ({"figure": "history.comits"}, "no figure history.comits was measured", "history.comits", "dig"),
        ({"figure": "history.commits", "value": 5}, "was measured otherwise", "4", ""),
        ({"table": "history.author"}, "no table history.author", "history.author", "dig"),
        ({"table": "history.authors", "where": {"name": "Bob"}}, "has no column name", "name", ""),
        ({"table": "history.authors", "where": {"author": "Bob"}}, "where author Bob", "0 rows", ""),
        ({"table": "history.authors", "rows": 3}, "where anything", "2 rows", ""),
        ({"absent": "round", "path": "till"}, "'round' is there", "1 times, first till/total.py:3:", ""),
        ({"absent": "round", "path": "tills"}, "tills is not there", "nothing", ""),
        ({"absent": "round("}, "is no regular expression", "", ""),
    ],
)
def test_what_is_not_there_is_told(sources, reference, says, got, then):
    """With what was found instead, and what to do."""
    found = look(sources, **reference)
    assert says in found.says
    assert got in found.got
    assert then in found.next


def test_an_absence_is_looked_for_below_the_path_of_the_case(sources):
    """The word stands in the README, outside of it."""
    assert look(sources, absent="The till") is not None
    below = Sources(Repository(sources.repository.top, path="till"), None)
    assert look(below, absent="The till") is None


def test_nothing_is_claimed_about_what_is_not_here(sources):
    """Neither right nor wrong."""
    with pytest.raises(NotOpenedError, match="not on this machine"):
        look(Sources(None, sources.facts), path="README.md", line=1, text="till")
    with pytest.raises(NotOpenedError, match="dig"):
        look(Sources(sources.repository, None), figure="history.commits")
    assert look(Sources(None, sources.facts), figure="history.commits") is None


def test_what_was_ruled_out_is_open_again_when_a_file_changes(sources):
    """By the id of its blob or the digest of its bytes, at the commit of the case."""
    top = sources.repository.top
    blob = run(top, "rev-parse", "HEAD:README.md")
    total = f"sha256:{'0' * 64}"
    entry = RuledOut(HERE, "it", by="Alice", when="2024-03-05", on=(Digest(HERE, "README.md", blob),))
    assert ruled_out.holds(entry, sources.repository) is True
    assert ruled_out.holds(entry, None) is None
    changed = ruled_out.changed(entry, Digest(HERE, "till/total.py", total), sources.repository)
    assert changed.says == "it was ruled out by Alice on 2024-03-05, and till/total.py has changed since"
    before = Repository(top, "HEAD~2")
    victory = run(top, "rev-parse", "HEAD~2:docs/VICTORY.md")
    on = Digest(HERE, "docs/VICTORY.md", victory)
    assert ruled_out.changed(entry, on, before) is None
    assert ruled_out.changed(entry, on, sources.repository).got == run(
        top, "rev-parse", "HEAD:docs/VICTORY.md"
    )
    gone = ruled_out.changed(entry, Digest(HERE, "docs/GONE.md", victory), sources.repository)
    assert gone.got == "the file is gone"


def test_bytes_are_told_by_their_digest(sources):
    """As sha256sum prints it."""
    wanted = f"sha256:{shell(sources.repository.top, 'sha256sum < README.md').split()[0]}"
    entry = RuledOut(HERE, "it", on=(Digest(HERE, "README.md", wanted),))
    assert ruled_out.holds(entry, sources.repository) is True
