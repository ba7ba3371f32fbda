"""A small house of our own: the package, its specs and three features, in a git repository."""

import json
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEATURES = ("components/layer_norm.feature", "components/residual.feature", "sampling/choice.feature")
POLICY = """
[tool.llorch.gate]
proved = []
mistakes = 0
elements = 0
tests = ["steps"]

[tool.llorch.gate.coverage]
package = { line = 0, branch = 0 }
engine = { line = 0, branch = 0 }
rules = 0
"""


class House:
    """A copy of the project into which a test plants something."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *arguments):
        command = [sys.executable, "-m", "llorch_core", *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def git(self, *arguments):
        settings = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *settings, *arguments], cwd=self.folder, check=True, capture_output=True)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-qm", "A change")

    def prove(self):
        return self.run("verify", "-o", "proof", "--jobs", "1")

    def gate(self, *arguments):
        """Return the exit code of the gate, and its reasons."""
        ran = self.run("gate", "--json", *arguments)
        assert ran.returncode in (0, 1), ran.stderr
        return ran.returncode, json.loads(ran.stdout)["reasons"]

    @cached_property
    def reasons(self):
        """What the gate says of it, for a house that does not change any more."""
        return self.gate()[1]

    def change(self, file, old, new):
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def append(self, file, text):
        with (self.folder / file).open("a") as stream:
            stream.write(text)

    def copy(self, to):
        shutil.copytree(self.folder, to, symlinks=True)
        return House(to)


@pytest.fixture(scope="session")
def committed(tmp_path_factory, copy_house):
    """The house with its proof, all of it committed; it must not be changed."""
    folder = copy_house(tmp_path_factory.mktemp("house") / "house", "features/**/*.feature")
    for feature in FEATURES:
        shutil.copy(ROOT / "features" / feature, folder / "features" / feature)
    (folder / ".gitignore").write_text("proof/\n__pycache__/\n")
    (folder / "pyproject.toml").write_text(POLICY)
    house = House(folder)
    house.git("init", "-q")
    house.commit()
    ran = house.prove()
    assert (folder / "proof" / "manifest.json").exists(), ran.stdout + ran.stderr
    return house


@pytest.fixture
def house(committed, tmp_path):
    """A house of its own for each test."""
    return committed.copy(tmp_path / "house")
