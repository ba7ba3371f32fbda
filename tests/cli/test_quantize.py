"""llorch quantize, as a person calls it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed (pip install 'llorch[fast]')")

from tests.commands import llorch

MODEL = Path(__file__).parents[2] / "llorch_core" / "models" / "shakespeare"


def test_a_model_is_quantised_measured_and_used(tmp_path):
    (tmp_path / "text.txt").write_text("First Citizen:\nBefore we proceed any further, hear me speak.\n" * 8)
    ran = llorch("quantize", MODEL, tmp_path / "out", "--text", tmp_path / "text.txt", "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size
    assert abs(found["perplexity"] / found["perplexity_of_the_original"] - 1) < 0.02
    assert 0 < found["kl_divergence"] < 0.01
    made = llorch("generate", "To be", "--model", tmp_path / "out", "--max-tokens", "5", "--temperature", "0")
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip()


def test_without_a_text_it_says_that_nothing_was_measured(tmp_path):
    ran = llorch("quantize", MODEL, tmp_path / "out", "--precision", "int4")
    assert ran.returncode == 0
    assert "not measured" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "int3"], "no precision int3"),
        (["--group", "7"], "--group is 7"),
        (["--text", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--max-tokens", "1", "--text", __file__], "--max-tokens is 1"),
    ],
)
def test_a_wrong_use_is_told_and_leaves_nothing(tmp_path, arguments, said):
    ran = llorch("quantize", MODEL, tmp_path / "out", *arguments)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())
