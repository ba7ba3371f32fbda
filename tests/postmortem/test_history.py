"""The history of a made repository is measured as it was made, and each figure is what its command prints."""

import pytest

from llorch_core.postmortem.case import Settings
from llorch_core.postmortem.dig import nothing_yet
from llorch_core.postmortem.history import history, hot_spots, left_behind
from llorch_core.postmortem.repository import Repository
from tests.postmortem.build import History, run, shell

ZONE = "Europe/Amsterdam"  # an hour ahead of UTC in March
LOUD = "ALICE DOE <doe@example.org>"
BOB = "Bob <bob@old.example>"  # Robert Roe, says .mailmap


def body(lines, word="line"):
    """Return a text of so many lines, each with a number of its own."""
    return "".join(f"{word} {n}\n" for n in range(1, lines + 1))


def told(undone):
    """Tell a history of 18 commits and a merge; the last one takes back the commit of that hash."""
    story = History()
    engine, worker = body(10).splitlines(keepends=True), body(20, "work")
    begin = {
        "README.md": body(2),
        "old/worker.py": worker,
        "src/engine.py": body(10),
        "tests/test_engine.py": body(4, "assert"),
        "specs/worker.md": body(3, "must"),
        "attic/a.txt": "1\n",
    }
    story.commit("begin", begin, when="2024-03-04T09:00:00+00:00")
    engine[0] = "line one\n"
    worker = worker.replace("work 1\n", "work one\n")
    fixed = {"src/engine.py": "".join(engine), "old/worker.py": worker}
    story.commit("fix: the first line", fixed, author=LOUD, when="2024-03-04T23:30:00+00:00")
    moved = [("old/worker.py", "src/worker.py")]
    story.commit("move the worker, with a prefix", {}, renames=moved, when="2024-03-05T10:00:00+00:00")
    more = {"src/p.png": b"\x00\x01", "src/worker.py": worker + "more\nand more\n"}
    fork = story.commit("add a picture", more, author=BOB, when="2024-03-05T11:00:00+00:00")
    aside = {"src/side.py": body(5, "side")}
    side = story.commit(
        "aside", aside, author=BOB, branch="side", parent=fork, when="2024-03-05T12:00:00+00:00"
    )
    readme = {"README.md": "Line 1\nline 2\n"}
    story.commit("Bugfix in the README", readme, when="2024-03-05T12:30:00+00:00")
    story.commit("join", aside, merge=side, when="2024-03-05T13:00:00+00:00")
    mailmap = {".mailmap": "Robert Roe <bob@example.org> <bob@old.example>\n"}
    story.commit("close the attic", {"attic/a.txt": None, **mailmap}, when="2024-03-05T14:00:00+00:00")
    for n in range(10):
        engine[n] = f"changed {n}\n"
        files = {"src/engine.py": "".join(engine)}
        if n < 6:
            files["src/side.py"] = f"aside {n}\n" + body(5, "side").split("\n", 1)[1]
        minute = 48 + 6 * n
        when = f"2024-03-20T{18 + minute // 60}:{minute % 60:02}:00+00:00"
        story.commit(f"change line {n}", files, when=when)
    back = f'Revert "add a picture"\n\nThis reverts commit {undone}.\n'
    files = {"src/p.png": None, "src/worker.py": worker}
    story.commit(back, files, when="2024-03-21T21:00:00+00:00")
    return story


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the repository, and its hashes by the number of the commit."""
    first = told("0" * 40).make(tmp_path_factory.mktemp("first"))
    folder = tmp_path_factory.mktemp("repository")
    shas = told(first[4]).make(folder)
    run(folder, "tag", "v1", shas[8])
    return folder, shas


def measured(folder, path="", commit="HEAD", zone=ZONE):
    """Return the facts about the history of a repository."""
    repository = Repository(folder, commit, path, zone)
    facts = nothing_yet(repository)
    history.measure(repository, Settings("made", str(folder)), facts)
    return facts


@pytest.fixture(scope="module")
def facts(made):
    """The facts about all of it."""
    return measured(made[0])


def test_every_figure_is_as_it_was_made(facts):
    """Counted by hand from the story above."""
    assert {name: figure.value for name, figure in facts.figures.items()} == {
        "history.commits": 18,
        "history.merges": 1,
        "history.commits_with_merges": 19,
        "history.authors": 2,
        "history.first": "2024-03-04T10:00:00+01:00",
        "history.last": "2024-03-21T22:00:00+01:00",
        "history.days": 17.5,
        "history.longest_pause_days": 15.2,
        "history.active_days": 4,
        "history.busiest_day": "2024-03-20",
        "history.busiest_day_commits": 10,
        "history.bursts": 1,
        "history.reverts": 1,
        "history.fixes": 2,
        "history.added": 67,
        "history.deleted": 22,
        "history.renames": 1,
        "history.files_ever": 9,
        "history.files_now": 7,
        "history.lines_now": 45,
        "history.lines_now_percent": 67.2,
    }


@pytest.mark.parametrize("path", ["", "src", "specs"])
def test_each_command_prints_its_figure(made, path):
    """For all of it, for a path that a file was moved into, and for one that git alone can follow."""
    for name, figure in measured(made[0], path).figures.items():
        assert (name, shell(made[0], figure.command)) == (name, str(figure.value))


def test_each_command_of_a_table_runs(made, facts):
    """And prints something."""
    assert [name for name, table in facts.tables.items() if not shell(made[0], table.command)] == []


def test_a_file_moved_into_the_path_brings_its_history(made):
    """Of the worker five commits; git log alone follows it to the third."""
    figures = measured(made[0], "src/worker.py").figures
    assert figures["history.commits"].value == 5
    assert figures["history.added"].value == 23
    assert len(run(made[0], "log", "--format=%H", "--", "src/worker.py").split()) == 3


def test_the_zone_says_which_day_it_is(made, facts):
    """Half past eleven in the evening of the fourth, UTC, is the fifth in Amsterdam."""
    days = [("2024-03-04", 1, 40, 0), ("2024-03-05", 6, 11, 4)]
    days += [("2024-03-20", 10, 16, 16), ("2024-03-21", 1, 0, 2)]
    assert facts.tables["history.days"].rows == tuple(days)
    assert measured(made[0], zone="UTC").tables["history.days"].rows[0][:2] == ("2024-03-04", 2)
    assert facts.tables["history.hours"].rows[0] == (0, 1)
    assert sum(commits for _, commits in facts.tables["history.hours"].rows) == 18


def test_authors_are_folded_by_mailmap_and_case(facts):
    """Two spellings of Alice are one, and Bob is Robert Roe."""
    assert facts.tables["history.authors"].rows == (
        ("Alice Doe", 16, 60, 22, "2024-03-04T10:00:00+01:00", "2024-03-21T22:00:00+01:00"),
        ("Robert Roe", 2, 7, 0, "2024-03-05T12:00:00+01:00", "2024-03-05T13:00:00+01:00"),
    )


def test_a_mailmap_that_the_commit_lacks_does_not_count(made):
    """The fourth commit has none, the work tree has one."""
    rows = measured(made[0], commit=made[1][4]).tables["history.authors"].rows
    assert [row[0] for row in rows] == ["Alice Doe", "Bob"]


def test_a_burst_is_many_commits_in_a_row(facts):
    """Ten, six minutes from each to the next."""
    burst = ("2024-03-20T19:48:00+01:00", "2024-03-20T20:42:00+01:00", 10, 0.9)
    assert facts.tables["history.bursts"].rows == (burst,)


def test_a_burst_ends_with_a_pause_of_more_than_an_hour(tmp_path):
    """Ten commits an hour apart are one; the eleventh comes a second too late."""
    story = History()
    for n in range(10):
        story.commit(f"{n}", {"a.md": f"{n}\n"})
    story.commit("late", {"a.md": "late\n"}, when="2024-03-04T20:00:01+00:00")
    story.make(tmp_path)
    facts = measured(tmp_path)
    assert [row[2:] for row in facts.tables["history.bursts"].rows] == [(10, 9.0)]
    assert shell(tmp_path, facts.figures["history.bursts"].command) == "1"


def test_a_revert_is_told_with_what_it_reverts(made, facts):
    """By the hash in its message."""
    _, shas = made
    when, subject = "2024-03-21T22:00:00+01:00", 'Revert "add a picture"'
    assert facts.tables["history.reverts"].rows == ((shas[19], when, subject, shas[4], "add a picture"),)


def test_fixes_are_told_by_the_word(facts):
    """A prefix is none."""
    subjects = [row[2] for row in facts.tables["history.fixes"].rows]
    assert subjects == ["fix: the first line", "Bugfix in the README"]


def test_churn_follows_a_rename(facts):
    """The worker was written under another name; what is gone is not there."""
    churn = facts.tables["history.churn"].rows
    assert churn[:2] == (("src/engine.py", 12, 21, 11, 32), ("src/worker.py", 5, 23, 3, 26))
    assert {row[0] for row in churn[2:]} == {
        "src/side.py",
        "README.md",
        "tests/test_engine.py",
        "specs/worker.md",
        ".mailmap",
    }


def test_another_file_of_the_same_name_is_another_file(tmp_path):
    """The last one was b and then a; an older a is not it."""
    story = History()
    story.commit("an older a", {"a.py": body(9)})
    story.commit("is deleted", {"a.py": None})
    story.commit("write b", {"b.py": body(5, "b")})
    story.commit("call it a", {}, renames=[("b.py", "a.py")])
    story.commit("call it c", {}, renames=[("a.py", "c.py")])
    story.make(tmp_path)
    assert measured(tmp_path).tables["history.churn"].rows == (("c.py", 3, 5, 0, 5),)


def test_files_that_change_together_are_found(facts):
    """Six of the seven changes of the one are changes of the other."""
    assert facts.tables["history.together"].rows == (("src/side.py", "src/engine.py", 6, 7, 0.857),)


def test_a_test_and_a_specification_left_behind_are_found(facts):
    """The engine changed eleven times after its test, the worker four times after its specification."""
    begin = "2024-03-04T10:00:00+01:00"
    assert facts.tables["history.left_behind"].rows == (
        ("tests/test_engine.py", "test", "src/engine.py", begin, "2024-03-20T20:42:00+01:00", 11),
        ("specs/worker.md", "spec", "src/worker.py", begin, "2024-03-21T22:00:00+01:00", 4),
    )


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("tests/src/test_engine.py", "src/engine.py"),
        ("crates/a/tests/engine_test.rs", "crates/a/src/engine.rs"),
        ("crates/b/tests/engine.rs", None),  # there is none in b
        ("lib/engine.spec.ts", "lib/engine.ts"),
        ("lib/engine_test.go", "lib/engine.go"),  # of two that are as near, the one of the same language
        ("tests/mod.rs", None),  # says nothing
        ("lib/specs/Engine.md", "lib/engine.go"),
        ("specs/nothing.md", None),
    ],
)
def test_a_test_is_about_the_code_of_its_name(file, code):
    """In its own part of the repository, the nearest."""
    codes = ["crates/a/src/engine.rs", "lib/engine.go", "lib/engine.ts", "src/engine.py"]
    by_stem = {"engine": codes, "mod": ["src/mod.rs"]}
    assert left_behind.of_same_name(file, by_stem) == code


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("src/engine.py", "code"),
        ("src/contest.py", "code"),
        ("src/test_engine.py", "test"),
        ("lib/engine.spec.ts", "test"),
        ("cuda/EngineTest.cpp", "test"),
        ("crates/a/tests/util.rs", "test"),
        ("features/engine.feature", "spec"),
        (".specs/00_engine.md", "spec"),
        ("docs/engine-spec.md", "spec"),
        ("requirements.txt", None),
        ("docs/inspection.md", None),
    ],
)
def test_specifications_and_tests_are_told_by_name_and_folder(file, kind):
    """From code, and from what is neither."""
    assert left_behind.kind(file) == kind


def test_the_lines_of_each_day_that_are_still_there_are_counted(facts):
    """Of the forty of the first day, those of the engine and the attic are gone, and two others.

    The last day added none.
    """
    assert facts.tables["history.survival"].rows == (
        ("2024-03-04", 40, 27, 0.675),
        ("2024-03-05", 11, 7, 0.636),
        ("2024-03-20", 16, 11, 0.688),
    )


def test_the_timeline_has_what_a_person_would_put_there(made, facts):
    """Both ends, the tag, the authors, folders that come and go, the largest, the pause, the burst."""
    _, shas = made
    events = {(kind, subject, sha) for _, kind, subject, sha in facts.tables["history.events"].rows}
    assert events >= {
        ("first", "begin", shas[1]),
        ("last", 'Revert "add a picture"', shas[19]),
        ("revert", 'Revert "add a picture"', shas[19]),
        ("tag", "v1", shas[8]),
        ("author", "Robert Roe", shas[4]),
        ("folder", "src", shas[1]),
        ("gone", "attic", shas[8]),
        ("gone", "old", shas[3]),
        ("added", "40 lines: begin", shas[1]),
        ("pause", "after 15.2 days: change line 0", shas[9]),
        ("burst", "10 commits: change line 0", shas[9]),
    }
    assert {subject for kind, subject, _ in events if kind == "gone"} == {"attic", "old"}
    whens = [row[0] for row in facts.tables["history.events"].rows]
    assert whens == sorted(whens)


def test_hot_spots_are_churn_times_complexity(made, facts):
    """By the complexity that the structure names; a file without any is none."""
    columns = ("file", "complexity")
    rows = [("src/worker.py", 5), ("src/engine.py", 2), ("README.md", 0), ("elsewhere.py", 9)]
    facts.table("structure.files", columns, rows, "made", "true")
    hot_spots.join(Repository(made[0]), Settings("made", ""), facts)
    assert facts.tables["history.hot_spots"].rows == (
        ("src/worker.py", 5, 26, 5, 130),
        ("src/engine.py", 12, 32, 2, 64),
    )
