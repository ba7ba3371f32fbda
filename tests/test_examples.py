"""The examples run, their dumps are right, and the page about dumps shows them as they are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llorch_core.spec.difference import shares
from llorch_core.spec.oracle import read_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.subject.dump import open_dump
from llorch_core.subject.names import known_maps, own_names, read_names

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "llorch_core" / "models" / "shakespeare"
PAGE = (ROOT / "docs" / "dumps.md").read_text(encoding="utf-8")
IDS = [5, 640, 17, 99, 5, 1000, 3]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(*command):
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""


def conforms(path):
    """Return the dump, after every checkpoint was compared with what the oracle makes of those before it."""
    dump = open_dump(path, load_specs())
    (calls,) = dump.sequences
    compared = set()
    for wanted in read_oracle(load_specs(), MODEL).local(calls, dump.precision):
        share = shares(calls[wanted.step][wanted.checkpoint], wanted.value, wanted.bound)
        assert share.max() < 0.5, (wanted.step, wanted.checkpoint)
        compared.add((wanted.step, wanted.checkpoint))
    assert compared == {(k, name) for k, call in enumerate(calls) for name in call if name != "ids"}
    return dump


def test_the_example_in_c_needs_no_library_and_writes_a_right_dump(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc, gcc) on this machine")
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2"]
    run(compiler, *strict, "-o", tmp_path / "dump", ROOT / "examples" / "dump.c", "-lm")
    run(tmp_path / "dump", MODEL / "model.safetensors", tmp_path / "d.safetensors", *IDS)
    dump = conforms(tmp_path / "d.safetensors")
    assert (dump.engine, dump.precision) == ("dump.c", "float32")
    (call,) = dump.sequences[0]
    assert call.keys() == {"ids", "embed", "h.0.ln_1"}
    np.testing.assert_array_equal(call["ids"], IDS)
    bad = subprocess.run([tmp_path / "dump", MODEL / "config.json", tmp_path / "e", "1"], capture_output=True)
    assert bad.returncode == 2


def test_the_example_in_python_writes_every_checkpoint_of_two_calls(tmp_path):
    run(sys.executable, ROOT / "examples" / "dump.py", MODEL, tmp_path / "d.safetensors", *IDS)
    dump = conforms(tmp_path / "d.safetensors")
    assert (dump.engine, dump.precision) == ("dump.py", "float32")
    prefill, decode = dump.sequences[0]
    wanted = read_oracle(load_specs(), MODEL).run([IDS])[0]
    assert prefill.keys() == decode.keys() == wanted.keys()
    assert decode["ids"].tolist() == [wanted["logits"][-1].argmax()]


@pytest.mark.parametrize(("language", "example"), [("c", "dump.c"), ("python", "dump.py")])
def test_the_page_shows_the_examples_as_they_are(language, example):
    text = (ROOT / "examples" / example).read_text(encoding="utf-8")
    assert blocks(language)
    for block in blocks(language):
        assert block in text


def test_the_page_names_every_checkpoint_and_its_shape():
    rows = re.findall(r"^\| `([a-zN_0-9.]+)` \| \[([^]]+)\] \|", PAGE, re.MULTILINE)
    shapes = {
        name: ", ".join(size.text for size in shape[1:])
        for name, shape in own_names(load_specs()).shapes.items()
    }
    assert dict(rows) == shapes


def test_the_page_names_every_map():
    for name in known_maps():
        assert f"| `{name}` |" in PAGE


def test_the_map_on_the_page_is_one(tmp_path):
    (text,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(text)
    names = read_names(tmp_path / "mine.yaml")
    assert names.find("layer_11.qkv") == ("layer_N.qkv", 11)
