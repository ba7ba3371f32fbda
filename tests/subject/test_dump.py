"""Dumps: checkpoints by name, with the forward call before it."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from llorch_core.spec.errors import SpecError
from llorch_core.subject.dump import read_dump


def test_names_without_a_prefix_are_the_first_call(tmp_path):
    save_file({"ids": np.array([1, 2]), "embed": np.ones((2, 3))}, tmp_path / "dump.safetensors")
    (step,) = read_dump(tmp_path / "dump.safetensors")
    assert step.keys() == {"ids", "embed"}


def test_calls_are_in_the_order_of_their_numbers(tmp_path):
    tensors = {f"step.{k}/ids": np.array([k]) for k in range(11)}
    save_file(tensors, tmp_path / "dump.safetensors")
    assert [int(step["ids"][0]) for step in read_dump(tmp_path / "dump.safetensors")] == list(range(11))


def test_a_missing_call_is_refused(tmp_path):
    save_file({"step.0/ids": np.array([1]), "step.2/ids": np.array([1])}, tmp_path / "dump.safetensors")
    with pytest.raises(SpecError, match=r"forward calls \[0, 2\], wanted 0 to 1"):
        read_dump(tmp_path / "dump.safetensors")


def test_what_is_no_safetensors_is_refused_by_name(tmp_path):
    (tmp_path / "dump.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(SpecError, match=r"dump.safetensors: cannot be read as safetensors"):
        read_dump(tmp_path / "dump.safetensors")
