"""llorch record, as a user meets it."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.commands import llorch

ROOT = Path(__file__).parents[2]


def refused(*arguments):
    """Return the message of a call that must end with exit code 2, no output and no traceback."""
    ran = llorch("record", *arguments)
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.mark.untraced
def test_what_is_recorded_by_default_can_be_verified(tiny_folder, tmp_path):
    folder, out = tiny_folder(), tmp_path / "dump.safetensors"
    ran = llorch("record", "--model", folder, "-o", out)
    assert ran.returncode == 0, ran.stderr
    assert f"{out}: numpy with {folder.name} in float32; 15 ids in calls of 8, 4, 1, 1, 1; " in ran.stdout
    assert "35 checkpoints" in ran.stdout
    assert llorch("verify", "--model", folder, "--engine", f"dump:{out}").returncode == 0


def test_a_dump_says_who_recorded_it_and_in_which_precision(tiny_folder, tmp_path):
    out = tmp_path / "dump.safetensors"
    assert llorch("record", "--model", tiny_folder(), "--ids", "1,2,3", "-o", out).returncode == 0
    with safe_open(out, "numpy") as file:
        assert file.metadata() == {"llorch_dump": "1", "engine": "numpy", "dtype": "float32"}
    assert load_file(out)["step.0/ids"].tolist() == [1, 2, 3]
    assert load_file(out)["step.0/logits"].dtype == np.float32


def test_a_prompt_is_read_in_the_calls_that_are_asked_for(tmp_path):
    out = tmp_path / "dump.safetensors"
    ran = llorch("record", "--prompt", "To be, or not to be", "--calls", "5,1,1", "-o", out)
    assert ran.returncode == 0, ran.stderr
    tensors = load_file(out)
    assert len(tensors["step.1/ids"]) == len(tensors["step.2/ids"]) == 1
    assert tensors["step.2/h.0.attn.keys"].shape[1] == len(tensors["step.0/ids"]) + 2


def test_a_dump_that_is_there_is_kept_without_force(tiny_folder, tmp_path):
    folder, out = tiny_folder(), tmp_path / "dump.safetensors"
    out.write_text("precious")
    assert "--force" in refused("--model", folder, "-o", out)
    assert out.read_text() == "precious"
    assert llorch("record", "--model", folder, "-o", out, "--force").returncode == 0
    assert load_file(out)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--prompt", "a", "--ids", "1"], "--prompt and --ids (wanted one of them"),
        (["--ids", "1,x"], "wanted ids"),
        (["--ids", ""], "at least one id"),
        (["--ids", "1,300"], "holds the id 300 (wanted 0 to 299)"),
        (["--ids", ",".join("1" * 17)], "17 tokens, and the model 16 positions"),
        (["--ids", "1,2,3", "--calls", "2,2"], "add up to the 3 ids"),
        (["--ids", "1,2,3", "--calls", "3,0"], "lengths above 0"),
        (["--ids", "1,2,3", "--calls", "two"], "lengths above 0"),
        (["--engine", "cuda"], "there is no engine cuda"),
        (["--engine", "dump:nowhere.safetensors"], "nowhere.safetensors: does not exist"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tiny_folder, tmp_path, options, named):
    assert named in refused("--model", tiny_folder(), "-o", tmp_path / "dump.safetensors", *options)
    assert not (tmp_path / "dump.safetensors").exists()


def test_a_place_that_cannot_be_written_is_refused(tiny_folder, tmp_path):
    assert "there is no folder" in refused("--model", tiny_folder(), "-o", tmp_path / "no" / "d.safetensors")
    assert "ends with .safetensors" in refused("--model", tiny_folder(), "-o", tmp_path / "d.bin")


def test_an_engine_that_raises_while_it_is_recorded_ends_without_a_traceback(tiny_folder, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        "class E:\n"
        "    def __init__(self, folder): ...\n"
        "    def forward(self, ids, past): return ([[0.0] * 300] * len(ids), 1 / (len(ids) - 8))"
    )
    message = refused(
        "--model", tiny_folder(), "--engine", f"python:{path}:E", "-o", tmp_path / "d.safetensors"
    )
    assert "E.forward raised ZeroDivisionError: division by zero (bad.py:3)" in message
