"""What docs/generate.md shows works as it stands there."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from llorch_core import load
from llorch_core.engine.speculation import CLOSE

TEXT = (Path(__file__).parents[1] / "docs" / "generate.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
(PROMPTS,) = (block for language, block in BLOCKS if language == "jsonl")
COMMANDS = [block.strip() for _, block in BLOCKS if block.startswith("llorch ")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command, folder):
    arguments = [sys.executable, "-m", "llorch_core", *shlex.split(command)[1:]]
    ran = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    if "--batch" in command:
        rows = [json.loads(row) for row in (folder / "out.jsonl").read_text().splitlines()]
        (shown,) = (block for _, block in BLOCKS if block.startswith('{"line"'))
        named = [re.findall(r'"(\w+)": ', shown), *map(list, rows)]
        romeo = next(row for row in rows if row["line"] == 2)
        assert named[0] == list(romeo)
        assert romeo["prompt_ids"] == [813, 25]
        assert sorted(row["line"] for row in rows) == [1, 2, 3]


def test_the_page_has_a_command_of_each_kind():
    assert len(COMMANDS) == 3


def test_the_calls_that_the_page_names_exist():
    for name in re.findall(r"`model\.(\w+)\(", TEXT):
        assert callable(getattr(load(), name))


def test_the_page_says_how_close_is_close():
    assert CLOSE == 2.0**-14
    assert "within 2⁻¹⁴" in TEXT
