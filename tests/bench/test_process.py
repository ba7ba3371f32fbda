"""A process that is timed may die, hang, talk or lie: each is told of it alone. No time is judged here."""

import sys
import textwrap

import pytest

from llorch_core.bench.engines import environment
from llorch_core.bench.process import CannotError, FailedError, Process, checked

PREFILL = {"do": "prefill", "prompt": [1]}
ANSWER = 'print(json.dumps({"id": 7, "seconds": 0}), flush=True)'


@pytest.fixture
def process(tmp_path):
    """process(body, patience) -> a process whose script does `body` for each line that it is asked."""

    def made(body, patience=30.0):
        script = tmp_path / "script.py"
        head = "import json, os, sys, time\nfor line in sys.stdin:\n"
        script.write_text(head + textwrap.indent(body, "    "))
        return Process([sys.executable, str(script)], environment(1), patience)

    return made


def test_lines_before_and_behind_an_answer_are_passed_over(process):
    body = f'print("loading ...\\n\\n[1, 2]", flush=True)\n{ANSWER}\nprint("done", flush=True)'
    with process(body) as asked:
        assert asked.ask(PREFILL)["id"] == 7
        assert asked.ask(PREFILL)["id"] == 7


def test_one_that_dies_is_told_with_its_code_and_its_last_words(process):
    with process('print("first", file=sys.stderr)\nsys.exit("no such kernel")') as asked:
        with pytest.raises(FailedError, match=r"exit code 1: no such kernel$"):
            asked.ask(PREFILL)
        with pytest.raises(FailedError, match="exit code 1"):
            asked.ask(PREFILL)


def test_one_that_hangs_is_told_and_ended(process):
    def hangs():
        with process("time.sleep(600)", patience=0.3) as asked:
            ended.append(asked)
            asked.ask(PREFILL)

    ended = []
    with pytest.raises(FailedError, match=r"no answer to prefill in 0\.3 s"):
        hangs()
    assert ended[0]._process.returncode == -9


def test_one_that_closes_its_output_and_lives_is_not_waited_for(process, monkeypatch):
    monkeypatch.setattr("llorch_core.bench.process.GRACE", 0.2)
    with (
        process("os.close(1)\ntime.sleep(600)") as asked,
        pytest.raises(FailedError, match="it closed its standard output"),
    ):
        asked.ask(PREFILL)


def test_one_that_cannot_is_told_with_its_reason(process):
    with (
        process('print(json.dumps({"cannot": "no int4 here"}), flush=True)') as asked,
        pytest.raises(CannotError, match=r"^no int4 here$"),
    ):
        asked.ask(PREFILL)


def test_one_that_does_not_start_is_told():
    with pytest.raises(FailedError, match=r"nowhere does not start"):
        Process(["nowhere"], {}, 1.0)


@pytest.mark.parametrize(
    ("do", "answer", "said"),
    [
        ("prefill", {"seconds": 0.1}, "has no id"),
        ("prefill", {"id": "7", "seconds": 0.1}, "has no id"),
        ("prefill", {"id": 7, "seconds": -0.1}, "took"),
        ("prefill", {"id": 7, "seconds": float("nan")}, "took"),
        ("prefill", {"id": 7, "seconds": 2.0}, "and 1 s passed"),
        ("decode", {"ids": [], "first_s": 0.6, "rest_s": 0.6}, "and 1 s passed"),
        ("load", {"engine": "x", "version": "1", "precision": "int8"}, "has no seconds"),
    ],
)
def test_an_answer_that_cannot_be_true_is_none(do, answer, said):
    with pytest.raises(FailedError, match=said):
        checked(do, answer, wall=1.0)
