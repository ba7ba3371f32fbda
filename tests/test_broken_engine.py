"""The suite can fail: one line of the engine is broken in a copy, and the right rule must turn red."""

import json
import os
import subprocess
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

ROOT = Path(__file__).parents[1]
LAYERS, GPT2, CACHE, SAMPLING = (
    f"llorch_core/engine/{name}.py" for name in ("layers", "gpt2", "cache", "sampling")
)

# what is broken: file, the line as it is, the line as it becomes, the rule that must fail
BREAKS = {
    "GELU to erf": (LAYERS, '"gelu_new": gelu_new,', '"gelu_new": gelu,', "activation.gelu_new_is_the_tanh_form"),
    "MLP ignores the config": (GPT2, "computed.activation(fc, function, out=fc)", "layers.gelu(fc)", "mlp.activation_of_the_config"),
    "mask sees the next": (LAYERS, "positions(n_seen - n_new, n_new)", "positions(n_seen - n_new + 1, n_new)", "attention_scores.scaled_by_root_of_head_dim"),
    "mask ignores the past": (LAYERS, "positions(n_seen - n_new, n_new)", "positions(0, n_new)", "attention_scores.mask_counts_the_past"),
    "every projection's bias dropped": (LAYERS, "    y += bias\n", "", "qkv.bias_added"),
    "position not advanced": (GPT2, "layers.positions(c.n_past, t)", "layers.positions(0, t)", "embedding.positions_follow_the_past"),
    "cache not advanced": (CACHE, "self.n_past += n_new", "pass", "embedding.positions_follow_the_past"),
    "epsilon after the root": (LAYERS, "np.sqrt(variance + epsilon)", "(np.sqrt(variance) + epsilon)", "layer_norm.epsilon_inside_root"),
    "scale left out": (LAYERS, "q * scale", "q", "attention_scores.scaled_by_root_of_head_dim"),
    "residual after the norm": (GPT2, "x = computed.residual(x, branch, out=x)\n        show(f\"h.{n}.mid\"", "x = computed.residual(normed, branch, out=x)\n        show(f\"h.{n}.mid\"", "residual.both_added"),
    "logits a little too large": (GPT2, "layers.logits(x, weights.lm_head)", "layers.logits(x * 1.0001, weights.lm_head)", "logits.token_rows"),
    "weights of the first block": (GPT2, "attention(block, config", "attention(weights.h[0], config", "qkv.thirds"),
    "observed logits are rounded": (GPT2, '    show("logits", logits)\n', '    if observer is not None:\n        logits = np.round(logits, 2)\n    show("logits", logits)\n', "logits.token_rows"),
    "the crossing token dropped": (SAMPLING, "np.searchsorted(mass, p * total) + 1", "np.searchsorted(mass, p * total)", "top_p.crossing_token_kept"),
    "ties to the highest id": (SAMPLING, "[: k - larger.size]", "[-(k - larger.size) :]", "top_k.exactly_k"),
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory, copy_house):
    # servers have broken parts of their own: their mistakes
    folder = copy_house(tmp_path_factory.mktemp("copy"), "features/behaviour/server_*")
    for compiled in folder.rglob("*.pyc"):
        compiled.unlink()
    compiled = compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    assert compiled  # a file that is broken has another hash, and is compiled anew without being written
    return folder


def failed_rules(folder, model):
    """Run `llorch verify` in a copy; return its exit code and the rules that failed, in data-flow order."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "llorch_core", "verify", "--json", "--jobs", "1", "--model", str(model)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    assert "Traceback" not in ran.stderr, ran.stderr
    rules = json.loads(ran.stdout)["rules"]
    return ran.returncode, [rule["rule"] for rule in rules if rule["status"] == "failed"]


def test_the_engine_as_it_is_conforms(copy, tiny_folder):
    assert failed_rules(copy, tiny_folder())[1] == []


@pytest.mark.parametrize("what", BREAKS)
def test_one_broken_line_fails_the_right_rule_and_blames_nothing_before_it(copy, tiny_folder, what):
    name, right, wrong, rule = BREAKS[what]
    path = copy / name
    source = path.read_text()
    assert source.count(right) == 1, f"{name} no longer has this line once: {right}"
    path.write_text(source.replace(right, wrong))
    try:
        code, failed = failed_rules(copy, tiny_folder())
    finally:
        path.write_text(source)
    assert code == 1
    assert rule in failed, failed
    assert failed[0].split(".")[0] == rule.split(".")[0], (
        failed
    )  # nothing before it in the data flow is blamed
