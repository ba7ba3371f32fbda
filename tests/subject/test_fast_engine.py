"""The fast backend on trial: right in every precision, and found out where a kernel is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed (pip install 'llorch[fast]')")

from llorch_core.engine.errors import UsageError
from llorch_core.subject.engines import put_on_trial
from tests.commands import llorch

ROOT = Path(__file__).parents[2]


def verify(folder, *arguments, **more):
    command = [sys.executable, "-m", "llorch_core", "verify", "--json", "--jobs", "1", *arguments]
    # A copy of the house is no part of the house: its lines are not to be counted.
    untraced = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_START"}
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=180, env=untraced | more
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


@pytest.mark.untraced
@pytest.mark.parametrize("precision", ["float32", "int4"])
def test_the_kernels_conform_to_the_weights_that_they_multiply_with(precision):
    ran = llorch("verify", "--json", "--jobs", "1", "--backend", "fast", "--precision", precision)
    assert ran.returncode == 0, ran.stdout[-2000:]
    rules = json.loads(ran.stdout)["rules"]
    assert sum(rule["status"] == "passed" for rule in rules) >= (227 if precision == "float32" else 219)


BREAKS = {
    "attention_scores.causal": ("n_keys, seen = rows[r, 1] + 1,", "n_keys, seen = rows[r, 2],"),
    "attention_weights.over_keys": ("largest = scores[s] if", "largest = largest if"),
    "layer_norm.epsilon_inside_root": ("np.float32(n) + np.float32(epsilon))", "np.float32(n))"),
}


def test_each_broken_line_of_a_kernel_fails_the_rules_of_its_component_alone(tmp_path, copy_house):
    copy_house(tmp_path, "features/behaviour/server_*")  # it computes everything by these kernels
    path = tmp_path / "llorch_core" / "fast" / "kernels.py"
    source = path.read_text()
    for right, wrong in BREAKS.values():
        assert source.count(right) == 1, f"kernels.py no longer has this line once: {right}"
        source = source.replace(right, wrong)
    path.write_text(source)
    ran = verify(tmp_path, "--backend", "fast", NUMBA_OPT="0")  # which takes half of the time to compile
    assert ran.returncode == 1
    failed = {rule["rule"] for rule in json.loads(ran.stdout)["rules"] if rule["status"] == "failed"}
    assert set(BREAKS) <= failed
    of_parts = {rule.partition(".")[0] for rule in failed}
    assert of_parts == {rule.partition(".")[0] for rule in BREAKS} | {"gpt2"}


def test_what_the_quantised_weights_are_is_what_the_oracle_reads():
    subject = put_on_trial("fast:int8", None)
    assert subject.folder.name == "shakespeare-int8"
    assert (subject.model.weights.wte == subject.model.forward.in_float32()["wte.weight"]).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "numpy", "--precision", "int8"], "no backend numpy with int8"),
        (["--backend", "gpu"], "no backend gpu"),
        (["--engine", "spec", "--backend", "fast"], "--engine is spec"),
    ],
)
def test_a_backend_that_is_not_there_is_told(arguments, said):
    ran = llorch("verify", *arguments)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_precision_that_no_kernel_has_is_told():
    with pytest.raises(UsageError, match="no precision int3"):
        put_on_trial("fast:int3", None)
