"""Every command of the README works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    line.strip()
    for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith((".venv/bin/llorch", "make "))
]


def test_the_readme_has_commands_to_run():
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(".venv")])
def test_a_command_of_the_readme_runs(command):
    ran = subprocess.run(
        command.replace(".venv/bin/llorch", f"{sys.executable} -m llorch_core", 1),
        shell=True,  # as a reader would paste it
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert ran.returncode == (1 if "erf_gelu" in command else 0), ran.stderr
    assert ran.stdout.strip()
    if command.endswith("spec check"):
        assert "specs are well-formed and were run" in ran.stdout


@pytest.mark.parametrize(
    ("command", "begins"), [("verify --component mlp", "failed "), ("diagnose", "first wrong number")]
)
def test_the_failure_that_the_readme_shows_is_the_one_that_comes_out(command, begins):
    arguments = [sys.executable, "-m", "llorch_core", *command.split(), "--engine", "spec:mlp.erf_gelu"]
    ran = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=120)
    (shown,) = re.findall(rf"```\n({begins}.*?)```", TEXT, re.DOTALL)
    for line in shown.splitlines():
        assert line in ran.stdout


@pytest.mark.parametrize("goal", [c.removeprefix("make ") for c in COMMANDS if c.startswith("make")])
def test_a_make_goal_of_the_readme_exists(goal):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    ran = subprocess.run(["make", "-n", goal], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "llorch" in ran.stdout or "coverage" in ran.stdout


def test_the_python_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout) > 20


def test_every_folder_and_page_that_the_readme_names_exists():
    for name in re.findall(r"`([a-z_./]+/)`|\]\(([a-z_./]+)\)", TEXT):
        path = "".join(name)
        assert (ROOT / path).exists() or (ROOT / "llorch_core" / path).exists(), path
