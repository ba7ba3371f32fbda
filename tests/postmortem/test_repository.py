"""A repository is read as it was committed: tracked files, history below a path, names before a rename."""

import pytest

from llorch_core.postmortem.errors import PostmortemError
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import History, run

BODY = "".join(f"line {n}\n" for n in range(20))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository with a rename into src, one out of it, a merge, and an author in two spellings."""
    history = History()
    history.commit("begin\n\nand say why", {"old/a.py": BODY, "b.md": "one\n", "src/c.py": BODY + "c\n"})
    history.commit("move", {}, renames=[("old/a.py", "src/a.py")])
    history.commit("a new file of the old name", {"old/a.py": "other\n"})
    fork = history.commit("change", {"src/a.py": BODY + "more\n"}, author="ALICE DOE <a@example.org>")
    side = history.commit("aside", {"src/d.py": b"\x00\x01"}, branch="side", parent=fork)
    history.commit("mainline", {"b.md": "two\n"})
    history.commit("join", {"src/d.py": b"\x00\x01"}, merge=side)
    history.commit("move away", {}, renames=[("src/c.py", "c.py")])
    folder = tmp_path_factory.mktemp("repository")
    history.make(folder)
    return folder


def test_every_commit_is_read_with_its_changes(made):
    """All eight; the merge has none of its own, and a message keeps its body."""
    commits = Repository(made).commits
    assert len(commits) == 8
    assert commits[-1].message == "begin\n\nand say why"
    assert [c.subject for c in commits if c.merge] == ["join"]
    assert [(c.status, c.old, c.path) for c in commits[-2].changes] == [("R", "old/a.py", "src/a.py")]


def test_history_below_a_path_follows_renames(made):
    """What was src/a.py under another name counts; a later file of that name does not."""
    subjects = [c.subject for c in Repository(made, path="src").commits]
    assert subjects == ["move away", "aside", "change", "move", "begin"]


def test_only_tracked_files_below_the_path_are_read(made):
    """A file beside them in the work tree is not."""
    (made / "src" / "ignored.o").write_bytes(b"1")
    repository = Repository(made, path="src/")
    assert [f.path for f in repository.files] == ["src/a.py", "src/d.py"]
    assert repository.contents == {"src/a.py": (BODY + "more\n").encode(), "src/d.py": b"\x00\x01"}
    assert repository.files[0].blob == run(made, "rev-parse", "HEAD:src/a.py")


def test_lines_are_those_of_git(made):
    """Twenty and one begin; what is not text has none."""
    changes = {c.path: c for commit in Repository(made).commits for c in commit.changes if c.status == "A"}
    assert (changes["src/c.py"].added, changes["src/c.py"].deleted) == (21, 0)
    assert changes["src/d.py"].added is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"commit": "nowhere"}, "'nowhere' is no commit"),
        ({"path": "nothing/here"}, "nothing/here is not in"),
        ({"zone": "Mars/Base"}, "'Mars/Base' is no time zone"),
    ],
)
def test_what_is_not_there_is_refused(made, given, says):
    """With its name, and what was wanted."""
    with pytest.raises(PostmortemError, match=says):
        Repository(made, **given)


def test_a_shallow_clone_is_refused(made, tmp_path):
    """Its history would be wrong."""
    run(tmp_path, "clone", "-q", "--depth", "1", f"file://{made}", "shallow")
    with pytest.raises(PostmortemError, match="shallow clone"):
        Repository(tmp_path / "shallow")


def test_a_folder_without_git_is_refused(tmp_path):
    """In words."""
    with pytest.raises(PostmortemError, match="not a repository that git can read"):
        Repository(tmp_path)
