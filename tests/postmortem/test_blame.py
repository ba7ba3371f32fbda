"""Each line is blamed on the commit that git blame names, through merges and renames."""

from collections import Counter

import pytest

from llorch_core.postmortem.history.blame import blame, split
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import History, run

LINES = [f"line {n}\n" for n in range(1, 31)]
ODD = 'a "b" é.txt'


def changed(*edits):
    """Return the lines as one text, some of them replaced: (number, text)."""
    lines = list(LINES)
    for number, text in edits:
        lines[number - 1] = text
    return "".join(lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two branches that change one file, which one of them renames.

    The merge adds a line of its own, and keeps one that the main branch took away. A later one takes the
    file of its side whole, though both sides wrote one line of it alike.
    """
    history = History()
    fork = history.commit("begin", {"a.py": changed(), "same.md": "1\n2\n", ODD: "odd\n", "b.bin": b"\0"})
    side = history.commit(
        "aside", {"a.py": changed((3, "aside\n"), (4, "")), "new.md": "x"}, branch="side", parent=fork
    )
    history.commit("main", {"a.py": changed((20, "main\nmain\n"), (25, "")), "same.md": "1\n"}, parent=fork)
    history.commit("move", {}, renames=[("a.py", "src.py")])
    both = changed((3, "aside\n"), (4, ""), (20, "main\nmain\n"), (30, "of the merge\n"))
    history.commit("join", {"src.py": both, "new.md": "x", "a.py": None}, merge=side)
    history.commit("end", {"src.py": "top\n" + both, ODD: "odd\nand even", "other.py": changed((9, "9\n"))})
    history.commit("away", {"other.py": None, "b.bin": "text\n", "link": "to be\none\n", "z.md": "1\n"})
    fork = history.commit("retype", {"z.md": "1\n2\n"})
    history.stream.append(b"M 120000 inline link\ndata 4\nz.md\n")  # and link is one
    new = changed((5, "both\n"), (12, "aside\n"))
    side = history.commit("aside", {"src.py": new}, branch="side", parent=fork)
    history.commit("main", {"src.py": None, "moved.py": changed((5, "both\n"), (20, "main\n"))}, parent=fork)
    history.commit("take theirs", {"src.py": None, "moved.py": new}, merge=side)
    folder = tmp_path_factory.mktemp("repository")
    history.make(folder)
    return folder


@pytest.mark.parametrize("revision", ["HEAD", "HEAD~2", "HEAD~4", "HEAD~5", "HEAD~5^2"])
def test_lines_are_blamed_as_git_blames_them(made, revision):
    """Every file by git, one after the other."""
    wanted = Counter()
    for name in run(made, "grep", "-zIl", "", revision).rstrip("\0").split("\0"):
        porcelain = run(made, "blame", "--line-porcelain", revision, "--", name.split(":", 1)[1])
        wanted.update(line.split()[1] for line in porcelain.split("\n") if line.startswith("author-time "))
    repository = Repository(made, revision)
    times = {c.sha: str(int(c.written.timestamp())) for c in repository.all_commits}
    assert {times[sha]: lines for sha, lines in blame(repository).items()} == wanted


def test_below_a_path_only_its_lines_are_blamed(made):
    """Two lines of one file: one from the begin, one from near the end."""
    assert sorted(blame(Repository(made, path=ODD)).values()) == [1, 1]


@pytest.mark.parametrize(
    ("ranges", "hunks", "new", "old"),
    [
        ([(1, 11)], [], [], [(1, 11)]),
        ([(1, 11)], [(1, 1, 1, 3)], [(1, 3)], [(1, 9)]),  # two lines put before the first
        ([(1, 11)], [(3, 5, 3, 3)], [], [(1, 3), (5, 13)]),  # lines 3 and 4 taken away
        ([(4, 6), (8, 9)], [(5, 6, 5, 9)], [(5, 6), (8, 9)], [(4, 5)]),  # one line became four
        ([(2, 3), (2, 3)], [(1, 2, 1, 2)], [], [(2, 3), (2, 3)]),  # asked for by two children
        ([(9, 12)], [(2, 2, 2, 4), (6, 9, 8, 10)], [(9, 10)], [(9, 11)]),
    ],
)
def test_lines_are_told_from_those_that_hunks_put_there(ranges, hunks, new, old):
    """By numbers before the hunks."""
    assert split(ranges, hunks) == (new, old)
