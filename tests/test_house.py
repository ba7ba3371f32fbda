"""The house: rooms import what the design allows, every rule is shown, and a wheel is complete."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llorch_core.spec.suite import load_specs

ROOT = Path(__file__).parents[1]
ROOMS = {  # room: the rooms that it may import
    "engine": set(),
    "fast": {"engine"},
    "bench": {"engine", "fast"},
    "spec": set(),
    "check": {"spec"},
    "subject": {"engine", "fast", "spec", "server"},
    "diagnosis": {"spec", "check"},
    "trace": {"spec", "check", "subject"},
    "stubs": set(),
    "gate": {"spec", "check", "trace", "stubs"},
    "postmortem": {"stubs"},
    "server": {"engine"},
    "models": set(),
    "cli": {
        *(
            "engine",
            "spec",
            "check",
            "subject",
            "diagnosis",
            "trace",
            "stubs",
            "gate",
            "postmortem",
            "server",
        ),
        *("fast", "bench"),
    },
}
TOP_LEVEL = {
    *("features", "steps", "specs", "llorch_core", "tests", "tools", "docs", "examples", ".ci", ".github"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt"),
    *("environment.py", ".gitignore"),
}


def imports(path):
    """Return the rooms of llorch that a module imports, anywhere in it, also where only types are checked."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("llorch_core.")}
    return rooms


@pytest.mark.parametrize(
    "room", sorted(p.name for p in (ROOT / "llorch_core").iterdir() if p.is_dir() and p.name != "__pycache__")
)
def test_a_room_imports_only_what_the_design_allows(room):
    for path in (ROOT / "llorch_core" / room).rglob("*.py"):
        assert imports(path) <= ROOMS[room] | {room}, path


def test_the_oracle_shares_no_code_with_the_engine():
    code = "import llorch_core.spec.suite, sys; print([m for m in sys.modules if 'engine' in m])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout == "[]\n"


def test_nothing_stands_at_the_top_without_a_reason():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert {line.split("/")[0] for line in tracked.splitlines()} <= TOP_LEVEL


def test_every_rule_has_a_scenario_and_every_tag_has_a_rule():
    tags = {
        tag.removeprefix("@")
        for path in (ROOT / "features").rglob("*.feature")
        for line in path.read_text().splitlines()
        if line.strip().startswith("@")
        for tag in line.split()
    }
    assert {tag for tag in tags if "." in tag} == set(load_specs().all_rules())


def test_every_mistake_is_caught_by_a_rule():
    caught = {mistake for rule in load_specs().all_rules().values() for mistake in rule.catches}
    assert set(load_specs().mistake_ids()) <= caught


def test_the_embedded_model_is_small():
    assert sum(p.stat().st_size for p in (ROOT / "llorch_core/models/shakespeare").iterdir()) < 6_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_carries_what_its_pages_are_made_of(wheel):
    made_of = {p for kind in ("css", "j2", "js", "html") for p in (ROOT / "llorch_core").rglob(f"*.{kind}")}
    assert ROOT / "llorch_core" / "looks.css" in made_of
    with zipfile.ZipFile(wheel) as archive:
        assert {p.relative_to(ROOT).as_posix() for p in made_of} <= set(archive.namelist())


def test_a_wheel_verifies_and_diagnoses_without_a_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "llorch_core", "verify"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "numpy with shakespeare conforms" in ran.stdout
    command[3:] = ["diagnose", "--engine", "spec:mlp.erf_gelu", "--html", "page.html"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "mlp.erf_gelu" in (tmp_path / "page.html").read_text(encoding="utf-8")
    code = "import llorch_core.spec.suite as s; print(s.suite_folder())"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True).stdout
    assert Path(found.strip()) == tmp_path / "llorch_core" / "suite"
