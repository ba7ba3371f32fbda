"""llorch bisect, as a user meets it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from llorch_core.cli.bisect import command
from llorch_core.engine.errors import UsageError
from tests.postmortem.build import History, run

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "specs" / "schema" / "bisect.schema.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "bisect.md").read_text(encoding="utf-8")
LINE = "2024-03-0{}T10:11:12+01:00 Alice Doe: value {}"
SMALL = "echo value $(cat value); [ $(cat value) -lt 5 ]"

# The beginning of a GPT-2, which shows embed and h.0.ln_1. COUNT is what its variance is divided by.
ENGINE = """\
import json, sys
import numpy as np
folder, ids, dump = sys.argv[1:]
raw = open(folder + "/model.safetensors", "rb").read()
start = 8 + int.from_bytes(raw[:8], "little")
header = json.loads(raw[8:start])
def tensor(name):
    about = header["transformer." + name]
    begin, end = about["data_offsets"]
    return np.frombuffer(raw[start + begin : start + end], "<f4").reshape(about["shape"])
ids = [int(i) for i in ids.split(",")]
x = tensor("wte.weight")[ids] + tensor("wpe.weight")[: len(ids)]
centred = x - x.mean(-1, keepdims=True)
variance = (centred**2).sum(-1, keepdims=True) / COUNT
ln_1 = centred / np.sqrt(variance + np.float32(1e-5)) * tensor("h.0.ln_1.weight") + tensor("h.0.ln_1.bias")
np.savez(dump, **{"embed": x, "h.0.ln_1": ln_1.astype(np.float32)})
"""
RIGHT = ENGINE.replace("COUNT", "np.float32(x.shape[-1])")
WRONG = ENGINE.replace("COUNT", "np.float32(x.shape[-1] - 1)")


def llorch(*arguments):
    words = [sys.executable, "-m", "llorch_core", "bisect", *map(str, arguments)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Four commits; the third makes `value` too large."""
    history = History()
    for n, value in enumerate((1, 2, 9, 8), 1):
        history.commit(f"value {value}", {"value": f"{value}\n"}, when=f"2024-03-0{n}T10:11:12+01:00")
    folder = tmp_path_factory.mktemp("values")
    return folder, history.make(folder)


def test_the_report_names_the_commit_and_what_the_check_said_and_progress_goes_to_standard_error(
    values, tmp_path
):
    folder, shas = values
    log = tmp_path / "log.jsonl"
    ran = llorch(folder, "--good", "main~3", "--check", SMALL, "--log", log)
    assert ran.returncode == 0, ran.stderr
    asked = {shas[4]: "bad", shas[1]: "good", shas[2]: "good", shas[3]: "bad"}
    shown = [line.rstrip() for line in ran.stdout.splitlines()]
    assert shown[0] == f"first bad commit   {shas[3]}"
    assert shown[1].split(maxsplit=1) == ["Alice", "Doe, 2024-03-03T10:11:12+01:00"]
    assert shown[3].split() == ["it", "changes", "modified", "value"]
    assert shown[4].split() == ["the", "check", "said", "value", "9"]
    assert shown[-1].startswith(f"{shas[3][:12]} is the first bad commit: 4 commits were asked, ")
    assert shown[-1].endswith("exit code 0")
    told = [line.split() for line in ran.stderr.splitlines()]
    assert {(words[2], words[4]) for words in told} == {(sha[:12], word) for sha, word in asked.items()}
    steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {step["commit"]: step["verdict"] for step in steps} == asked
    for step in steps:
        jsonschema.Draft202012Validator({**SCHEMA["$defs"]["step"], "$defs": SCHEMA["$defs"]}).validate(step)


def test_where_only_skipped_commits_are_left_the_candidates_are_shown_and_the_exit_code_is_2(values, capsys):
    folder, shas = values
    words = [str(folder), "--good", "main~2", "--check", f"[ $(cat value) != 9 ] || exit 125; {SMALL}"]
    assert command.main(words, standalone_mode=False) == 2
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["one", "of", "these", shas[3][:12], *LINE.format(3, 9).split()]
    assert shown[1].split() == [shas[4][:12], *LINE.format(4, 8).split()]
    said = "could not tell: only skipped commits are left: the first bad one is one of 2"
    assert said in [line.rstrip() for line in shown]


def test_an_engine_is_held_to_the_specs_of_today_and_component_checkpoint_and_mistake_are_named(
    tiny_folder, tmp_path
):
    """Its repository has a llorch_core of its own, which is not the one that judges."""
    history = History()
    history.commit("begin", {"engine.py": RIGHT, "llorch_core/__init__.py": "raise ImportError('another')\n"})
    history.commit("faster", {"engine.py": WRONG})
    shas = history.make(tmp_path / "gpt2")
    engine = f"command: {sys.executable} engine.py {{model}} {{ids}} {{dump.npz}}"
    options = ["--engine", engine, "--component", "layer_norm", "--model", tiny_folder()]
    ran = llorch(tmp_path / "gpt2", "--good", shas[1], *options, "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert (found["verdict"], found["first_bad"]["commit"]) == ("found", shas[2])
    wrong = found["wrong"]
    assert (wrong["component"], wrong["checkpoint"]) == ("layer_norm", "h.0.ln_1")
    assert wrong["mistakes"] == ["layer_norm.sample_variance"]
    assert [rule["rule"] for rule in wrong["rules"]] == ["layer_norm.each_position_alone"]
    (parent,) = [step for step in found["steps"] if step["commit"] == shas[1]]
    assert parent["verdict"] == "good"
    assert (parent["rules"], parent["passed"]) == ([], 1)


def test_what_ends_llorch_ends_the_check_and_takes_the_worktree_away(values, tmp_path):
    """The check itself sends the signal, from a step in the middle, to the process that called it first."""
    folder, shas = values
    ours, check = tmp_path / "ours", tmp_path / "check"
    send = f"echo $$ > {check}; kill -TERM $(cat {ours}); exec sleep 600"
    line = f"[ -e {ours} ] || echo $PPID > {ours}; [ $LLORCH_COMMIT != {shas[2]} ] || {{ {send}; }}; {SMALL}"
    ran = llorch(folder, "--good", "main~3", "--check", line)
    assert (ran.returncode, ran.stdout) == (143, "")
    stat = Path("/proc") / check.read_text().strip() / "stat"
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert run(folder, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "neither --check nor --engine given"),
        ("--check true --engine python:x:X", "--check and --engine given"),
        ("--check true --model x", "--model belongs to --engine"),
        ("--check true --names x", "--names belongs to --engine"),
        ("--check true --component mlp", "--component belongs to --engine"),
        ("--check true --timeout 0", "--timeout is 0 (wanted seconds, more than 0)"),
        ("--check true --log {here}/no/log", "cannot be written: No such file or directory"),
        ("--engine numpy", "--engine numpy is not in the repository"),
        ("--engine 'command: ./x {{ids}}'", "the command has no place for the dump"),
    ],
)
def test_options_that_do_not_go_together_are_refused(values, tmp_path, options, said):
    words = [str(values[0]), "--good", "main~1", *shlex.split(options.format(here=tmp_path))]
    with pytest.raises(UsageError) as error:
        command.main(words, standalone_mode=False)
    assert said in str(error.value)


def test_a_folder_that_is_no_repository_is_refused_with_exit_code_2(tmp_path):
    ran = llorch(tmp_path, "--good", "x", "--check", "true")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is not a repository that git can read" in ran.stderr


def test_the_page_has_every_option_and_every_command_in_it_can_be_parsed():
    options = {option for parameter in command.params for option in parameter.opts if option[:2] == "--"}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)", PAGE, re.MULTILINE))
    lines = [line for line in PAGE.splitlines() if line.startswith("llorch bisect ")]
    assert len(lines) >= 3
    for line in lines:
        command.make_context("bisect", shlex.split(line)[2:])


def test_the_help_text_opens_with_a_sentence_and_ends_with_an_example():
    text = command.get_help(command.make_context("bisect", [".", "--good", "x"]))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[1] == "Find the commit since which a check of today fails."
    assert lines[-1].startswith("Example: llorch bisect ")
