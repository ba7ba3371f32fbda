"""A check of today finds the commit since which it fails, and leaves nothing behind."""

import json
from pathlib import Path

import pytest

from llorch_core.postmortem.bisect.bisect import bisect
from llorch_core.postmortem.bisect.step import ABORT, BAD, GOOD, SKIP, Check, verdict_of
from llorch_core.postmortem.errors import PostmortemError
from tests.postmortem.build import History, run

BOB = "Bob Roe <bob@example.org>"
SMALL = '[ "$(cat value)" -lt 5 ]'


def shell(command, **options):
    return Check(command, ("sh", "-c", command), **options)


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """Nine commits; `value` becomes too large in the first of two commits of a branch that was merged."""
    history, marks = History(), {}
    marks["first"] = history.commit("first", {"value": "1\n", "docs/a": "a\n", ".gitignore": "built\n"})
    marks["docs"] = history.commit("docs", {"docs/a": "b\n"})
    fork = marks["fork"] = history.commit("code", {"code": "1\n"})
    aside = {"value": "9\n", "code": None, "kode": "1\n"}
    when = "2024-03-05T10:11:12+05:30"
    marks["culprit"] = history.commit("too much", aside, author=BOB, when=when, branch="side", parent=fork)
    side = marks["side"] = history.commit("more", {"docs/c": "c\n"}, branch="side")
    marks["main"] = history.commit("meanwhile", {"docs/a": "d\n"}, when="2024-03-05T12:00:00+00:00")
    marks["merge"] = history.commit("join", {"value": "9\n", "docs/c": "c\n"}, merge=side)
    marks["late"] = history.commit("late docs", {"docs/a": "e\n"})
    marks["last"] = history.commit("last", {"code2": "2\n"})
    folder = tmp_path_factory.mktemp("merged")
    shas = history.make(folder)
    return folder, {name: shas[mark] for name, mark in marks.items()}


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    """Ten commits in a row: 3, 8 and 9 cannot be built, 5 and 6 are bad, 7 is good, 9 and 10 are bad."""
    history = History()
    for n in range(1, 11):
        value = 9 if n in (5, 6, 9, 10) else n % 2
        history.commit(
            f"c{n}", {"value": f"{value}\n", "n": f"{n}\n", "wall": "" if n in (3, 8, 9) else None}
        )
    folder = tmp_path_factory.mktemp("walls")
    return folder, history.make(folder)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which temporary files are made: what is left there was left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_the_first_bad_commit_is_found_in_a_branch_that_was_merged(merged, temporary):
    """With its author, its date in his zone, its files; each commit that was asked got what it earns.

    Each step is told twice: before it, with the number of steps that are left, and after it.
    """
    told = []
    folder, shas = merged
    found = bisect(folder, shas["first"], "HEAD", shell(SMALL), take=lambda *event: told.append(event))
    assert found.exit_code == 0
    bad = found.first_bad
    assert bad.commit == shas["culprit"]
    assert bad.parents == (shas["fork"],)
    assert (bad.author, bad.email, bad.subject) == ("Bob Roe", "bob@example.org", "too much")
    assert bad.when == "2024-03-05T10:11:12+05:30"
    renamed = {"path": "kode", "old": "code", "what": "renamed"}
    assert sorted(bad.files, key=lambda file: file["path"]) == [
        renamed,
        {"path": "value", "old": "", "what": "modified"},
    ]
    with_large = {shas[name] for name in ("culprit", "side", "merge", "late", "last")}
    assert {step.commit for step in found.steps if step.verdict == BAD} <= with_large
    assert not {step.commit for step in found.steps if step.verdict == GOOD} & with_large
    assert [step.role for step in found.steps[:3]] == ["bad end", "good end", "step"]
    assert [(step.commit, ended) for step, ended, _ in told] == [
        (step.commit, ended) for step in found.steps for ended in (False, True)
    ]
    left = [left for step, ended, left in told if step.role == "step" and not ended]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert not [*temporary.iterdir()]


def test_of_a_merged_branch_only_the_merge_is_asked_on_demand(merged):
    folder, shas = merged
    found = bisect(folder, shas["fork"], shas["late"], shell(SMALL), first_parent=True)
    assert found.first_bad.commit == shas["merge"]
    assert {file["path"] for file in found.first_bad.files} == {"value", "docs/c"}
    assert not {step.commit for step in found.steps} & {shas["culprit"], shas["side"]}


def test_a_child_of_the_good_commit_needs_no_step(merged):
    folder, shas = merged
    found = bisect(folder, shas["fork"], shas["culprit"], shell(SMALL))
    assert found.first_bad.commit == shas["culprit"]
    assert [step.role for step in found.steps] == ["bad end", "good end"]


def test_only_commits_that_change_the_path_are_asked(merged):
    folder, shas = merged
    found = bisect(folder, shas["first"], "HEAD", shell(SMALL), path="./value/")
    assert found.first_bad.commit == shas["culprit"]
    touching = run(folder, "log", "--format=%H", "HEAD", "--", "value").split()
    assert {step.commit for step in found.steps if step.role == "step"} <= set(touching)
    assert found.steps[-1].role == "parent"
    assert (found.steps[-1].commit, found.steps[-1].verdict) == (shas["fork"], GOOD)


def test_a_path_that_leaves_the_culprit_out_is_noticed_by_a_parent_that_fails(merged):
    """Of the commits that change docs, the branch's second one is the first that fails; its parent did it."""
    folder, shas = merged
    found = bisect(folder, shas["fork"], shas["side"], shell(SMALL), path="docs")
    assert found.exit_code == 2
    assert found.first_bad.commit == shas["side"]
    assert f"its parent {shas['culprit'][:12]} fails, too" in found.reason


def test_a_path_whose_every_commit_passes_is_no_answer(merged):
    folder, shas = merged
    late = shell('[ "$(git log -1 --format=%s)" != last ]')
    found = bisect(folder, shas["main"], "HEAD", late, path="docs")
    assert (found.exit_code, found.first_bad) == (2, None)
    assert found.reason == "every commit that changes docs passes: what is wrong came in with another one"


@pytest.mark.untraced
def test_a_commit_that_cannot_be_built_is_skipped(walls):
    folder, shas = walls
    found = bisect(folder, shas[1], shas[5], shell(SMALL, setup="echo no wall; ! test -e wall"))
    assert found.first_bad.commit == shas[5]
    (skipped,) = [step for step in found.steps if step.verdict == SKIP]
    assert (skipped.commit, skipped.why) == (shas[3], "the setup failed: exit code 1")
    assert skipped.said == "no wall"


@pytest.mark.untraced
def test_where_only_skipped_commits_are_left_they_are_named(walls):
    folder, shas = walls
    found = bisect(folder, shas[7], shas[10], shell(f"! test -e wall || exit 125; {SMALL}"))
    assert (found.exit_code, found.first_bad) == (2, None)
    assert {candidate.commit for candidate in found.candidates} == {shas[8], shas[9], shas[10]}
    assert found.reason == "only skipped commits are left: the first bad one is one of 3"


@pytest.mark.parametrize(
    ("code", "verdict", "of_verify"),
    [
        (0, GOOD, GOOD),
        (1, BAD, BAD),
        (2, BAD, SKIP),
        (124, BAD, SKIP),
        (125, SKIP, SKIP),
        (126, SKIP, SKIP),
        (127, SKIP, SKIP),
        (128, ABORT, ABORT),
        (139, ABORT, ABORT),
        (255, ABORT, ABORT),
        (-11, ABORT, ABORT),
        (None, SKIP, SKIP),
    ],
)
def test_an_exit_code_is_read_as_git_does_and_what_could_not_run_is_skipped(code, verdict, of_verify):
    assert verdict_of(code, shell("x", timeout=1))[0] == verdict
    assert verdict_of(code, Check("x", ("x",), engine=True, timeout=1))[0] == of_verify


def test_a_signal_says_what_a_shell_makes_of_it():
    assert verdict_of(-11, shell("x"))[1] == "it was ended by SIGSEGV"
    assert verdict_of(139, shell("x"))[1] == "exit code 139, which is SIGSEGV to a shell"
    assert verdict_of(255, shell("x"))[1] == "exit code 255"


def test_a_check_that_is_ended_by_a_signal_ends_the_search_and_the_log_has_every_step(
    walls, tmp_path, temporary
):
    folder, shas = walls
    log = tmp_path / "log"
    check = shell(f'[ "$LLORCH_COMMIT" != {shas[3]} ] || {{ echo falling; kill -SEGV $$; }}; {SMALL}')
    with pytest.raises(PostmortemError) as error:
        bisect(folder, shas[1], shas[5], check, log=log)
    assert f"the check was aborted at {shas[3][:12]} (c3): it was ended by SIGSEGV" in str(error.value)
    assert "  | falling" in str(error.value)
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(step["commit"], step["verdict"]) for step in steps] == [
        (shas[5], BAD),
        (shas[1], GOOD),
        (shas[3], ABORT),
    ]
    assert not [*temporary.iterdir()]


def test_what_takes_too_long_is_ended_with_all_that_it_started(walls, tmp_path):
    folder, shas = walls
    pid = tmp_path / "pid"
    with pytest.raises(PostmortemError, match=r"could not tell at --bad .*: it ran longer than 0\.2 s"):
        bisect(folder, shas[4], shas[5], shell(f"sleep 600 & echo $! > {pid}; wait", timeout=0.2))
    assert gone(pid)


def gone(file):
    """Return whether the process whose number is in a file has ended; nobody may have noticed its end yet."""
    stat = Path("/proc") / file.read_text().strip() / "stat"
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("good", "bad", "check", "quoted", "said"),
    [
        (1, 4, "echo fine", "fine", "the check passes at --bad {bad}, {bad:.12} (c4): exit code 0"),
        (
            1,
            5,
            "echo broken; exit 3",
            "broken",
            "the check fails at --good {good}, {good:.12} (c1): exit code 3",
        ),
        (1, 5, "no_such", "sh: ", "the check could not tell at --bad {bad}, {bad:.12} (c5): exit code 127"),
    ],
)
def test_a_check_that_does_not_tell_good_from_bad_is_refused_with_what_it_said(
    walls, good, bad, check, quoted, said
):
    folder, shas = walls
    with pytest.raises(PostmortemError) as error:
        bisect(folder, shas[good], shas[bad], shell(check))
    assert said.format(good=shas[good], bad=shas[bad]) in str(error.value)
    assert f"  | {quoted}" in str(error.value)


def test_a_file_of_the_same_size_and_second_is_not_taken_for_the_old_one(tmp_path):
    """Python would: its cache of a compiled module knows only size and second of the source."""
    history = History()
    history.commit("right", {"m.py": "bad = 0\n", ".gitignore": "__pycache__\n"})
    history.commit("wrong", {"m.py": "bad = 1\n"})
    shas = history.make(tmp_path / "repository")
    check = shell("env -u PYTHONDONTWRITEBYTECODE python3 -S -c 'import m, sys; sys.exit(m.bad)'")
    assert bisect(tmp_path / "repository", shas[1], "HEAD", check).first_bad.commit == shas[2]


def test_what_was_built_stays_only_on_demand(merged):
    folder, shas = merged
    once = f"! test -e built || exit 125; touch built; {SMALL}"
    found = bisect(folder, shas["fork"], shas["side"], shell(once))
    assert [step.verdict for step in found.steps] == [BAD, GOOD, BAD]
    with pytest.raises(PostmortemError, match="could not tell at --good"):
        bisect(folder, shas["fork"], shas["side"], shell(once, keep=True))


def test_a_check_may_ruin_its_worktree(merged, temporary):
    """It commits, changes tracked files, leaves others, and removes what makes the folder a worktree."""
    folder, shas = merged
    ruin = (
        f"{SMALL}; e=$?; echo x > docs/a; echo x > code2; git checkout -q HEAD~0; git commit -qam x; exit $e"
    )
    found = bisect(folder, shas["fork"], shas["side"], shell(ruin))
    assert found.first_bad.commit == shas["culprit"]
    with pytest.raises(PostmortemError):
        bisect(folder, shas["fork"], shas["side"], shell("rm .git; exit 1"))
    assert run(folder, "worktree", "list").count("\n") == 0
    assert not [*temporary.iterdir()]


@pytest.fixture
def busy(merged, tmp_path):
    """A clone in the middle of a bisection, with a staged, a changed and a new file, and a hook."""
    folder = tmp_path / "busy"
    run(tmp_path, "clone", "-q", merged[0], folder)
    run(folder, "bisect", "start", "HEAD", merged[1]["first"])
    (folder / "docs" / "a").write_text("staged\n")
    run(folder, "add", "docs/a")
    (folder / "docs" / "a").write_text("changed\n")
    (folder / "new").write_text("new\n")
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    return folder


def state(folder):
    """Everything of the user that could be touched."""
    asked = ("status --porcelain", "rev-parse HEAD", "diff --cached", "diff", "bisect log", "for-each-ref")
    told = [run(folder, *words.split()) for words in (*asked, "worktree list", "config --list", "stash list")]
    return told, sorted(path.name for path in (folder / ".git").iterdir() if path.name != "worktrees")


def interrupted(step, ended, left):
    if step.role == "step":
        raise KeyboardInterrupt


@pytest.mark.parametrize("way", ["to its end", "interrupted", "a check that does not tell"])
def test_the_tree_the_index_and_a_bisection_of_the_user_are_not_touched(
    busy, merged, tmp_path, temporary, way
):
    before = state(busy)
    ends = (busy, merged[1]["fork"], "origin/side")
    if way == "to its end":
        assert bisect(*ends, shell(SMALL)).first_bad.commit == merged[1]["culprit"]
    elif way == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            bisect(*ends, shell(SMALL), take=interrupted)
    else:
        with pytest.raises(PostmortemError):
            bisect(*ends, shell("true"))
    assert state(busy) == before
    assert not [*temporary.iterdir()]
    assert not (tmp_path / "hooked").exists()


def test_a_check_of_today_is_found_in_the_folder_of_the_user(busy, merged):
    """A file that no commit has. It may ask git for the worktree, and for the repository of the user, too."""
    theirs = '[ "$(git -C "$LLORCH_REPOSITORY" rev-parse HEAD)" = "$(cat "$LLORCH_REPOSITORY/head")" ]'
    (busy / "head").write_text(run(busy, "rev-parse", "HEAD"))
    (busy / "check.sh").write_text(
        f'{theirs} && [ "$(git rev-parse HEAD)" = "$LLORCH_COMMIT" ] || exit 125\n{SMALL}\n'
    )
    check = shell('sh "$LLORCH_REPOSITORY/check.sh"')
    found = bisect(busy / "docs", merged[1]["fork"], "origin/side", check)
    assert found.first_bad.commit == merged[1]["culprit"]


def test_a_bare_repository_is_searched_too(merged, tmp_path):
    run(tmp_path, "clone", "-q", "--bare", merged[0], tmp_path / "bare.git")
    found = bisect(tmp_path / "bare.git", merged[1]["fork"], "side~1", shell(SMALL))
    assert found.first_bad.commit == merged[1]["culprit"]


VERDICTS = """
rule='"rule": "mlp.x", "says": "X.", "status": "passed", "elements": 4, "worst": null'
right() { echo "{\\"rules\\": [{$rule}]}"; }
wrong() { sed 's/passed/failed/; s/null/{"checkpoint": "h.0.mlp.act", "share": 7.5}/'; exit 1; }
"""


def engine(folder, middle):
    """Make three commits; return them, and a check that reads of the last that it is wrong."""
    history = History()
    for n in range(3):
        history.commit(f"c{n}", {"n": f"{n}\n"})
    words = f"{VERDICTS} case $(cat n) in 0) right;; 1) {middle};; *) right | wrong;; esac"
    return history.make(folder), Check("an engine", ("sh", "-c", words), engine=True, explain=("false",))


def test_of_an_engine_component_checkpoint_and_rules_are_told_where_nothing_else_is_known(tmp_path):
    """The program that is to explain it fails here: then the first rule that is broken says what it knows."""
    shas, check = engine(tmp_path / "made", "right | wrong")
    found = bisect(tmp_path / "made", shas[1], shas[3], check)
    assert found.first_bad.commit == shas[2]
    assert (found.wrong["component"], found.wrong["checkpoint"]) == ("mlp", "h.0.mlp.act")
    assert found.wrong["rules"] == [
        {
            "rule": "mlp.x",
            "says": "X.",
            "status": "failed",
            "elements": 4,
            "checkpoint": "h.0.mlp.act",
            "tolerances": 7.5,
        }
    ]
    assert found.wrong["first_divergence"] is None


def test_a_verdict_that_cannot_be_read_ends_the_search(tmp_path):
    shas, check = engine(tmp_path / "made", "echo no such thing; exit 1")
    with pytest.raises(PostmortemError) as error:
        bisect(tmp_path / "made", shas[1], shas[3], check)
    assert f"aborted at {shas[2][:12]} (c1): exit code 1, and llorch verify told no verdict" in str(
        error.value
    )
    assert "  | no such thing" in str(error.value)


@pytest.mark.parametrize(
    ("good", "bad", "path", "said"),
    [
        ("nowhere", "HEAD", "", "--good nowhere is no commit of"),
        ("-x", "HEAD", "", "--good -x is no commit of"),
        ("HEAD", "HEAD:value", "", "--bad HEAD:value is no commit of"),
        ("HEAD", "main", "", "--good HEAD and --bad main are the same commit"),
        ("main", "side", "", "is no ancestor of --bad side"),
        ("HEAD~3", "HEAD", "elsewhere", "--path elsewhere: no commit between"),
        ("HEAD~3", "HEAD", "../value", "is outside repository"),
    ],
)
def test_ends_and_paths_that_cannot_be_are_refused(merged, good, bad, path, said):
    with pytest.raises(PostmortemError) as error:
        bisect(merged[0], good, bad, shell("true"), path=path)
    assert said in str(error.value)


def test_a_shallow_clone_without_the_good_commit_says_what_to_fetch(merged, tmp_path):
    run(tmp_path, "clone", "-q", "--depth", "2", f"file://{merged[0]}", tmp_path / "shallow")
    with pytest.raises(PostmortemError) as error:
        bisect(tmp_path / "shallow", merged[1]["first"], "HEAD", shell("true"))
    assert "git fetch --unshallow" in str(error.value)


def test_what_is_no_repository_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(PostmortemError, match=r"not a (folder|repository)"):
            bisect(folder, "a", "b", shell("true"))


def test_without_git_it_says_so(merged, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PostmortemError, match="git is not installed"):
        bisect(merged[0], "HEAD~1", "HEAD", shell("true"))
