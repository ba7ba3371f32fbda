"""The wiring: which component makes which checkpoint of what."""

import shutil

import pytest

from llorch_core.spec.errors import SpecError
from llorch_core.spec.model import place
from llorch_core.spec.suite import load_specs, suite_folder


@pytest.mark.parametrize(
    ("name", "layer", "wanted"),
    [
        ("h.N.in", 0, "embed"),
        ("h.N.in", 2, "h.1.out"),
        ("h.N.attn.q", 3, "h.3.attn.q"),
        ("h.last.out", 0, "h.3.out"),
        ("h.last.in", 0, "h.2.out"),
        ("past.h.N.attn.keys", 1, "past.h.1.attn.keys"),
        ("h.0.attn.c_attn.weight", 2, "h.0.attn.c_attn.weight"),
        ("ln_f", 3, "ln_f"),
    ],
)
def test_a_name_of_the_wiring_stands_for_a_tensor_of_a_block(name, layer, wanted):
    assert place(name, layer, 4) == wanted


def test_a_model_of_two_blocks_has_every_checkpoint_in_the_order_of_the_data_flow():
    names = [name for node in load_specs().nodes(2) for name in node.makes]
    block = [
        "ln_1",
        "attn.q",
        "attn.k",
        "attn.v",
        "attn.keys",
        "attn.values",
        "attn.scores",
        "attn.probs",
        "attn.context",
        "attn.out",
        "mid",
        "ln_2",
        "mlp.fc",
        "mlp.act",
        "mlp.out",
        "out",
    ]
    assert names == ["embed", *(f"h.{n}.{part}" for n in range(2) for part in block), "ln_f", "logits"]


def test_a_mistake_of_the_wiring_changes_the_sources_of_its_step_alone():
    right, wrong = (load_specs().nodes(2, m) for m in (None, "residual_after_norm"))
    changed = [(r, w) for r, w in zip(right, wrong, strict=True) if r.sources != w.sources]
    assert [list(w.makes) for _, w in changed] == [["h.0.mid"], ["h.1.mid"]]
    assert changed[1][1].sources == {"stream": "h.1.ln_1", "branch": "h.1.attn.out"}


def test_the_names_and_shapes_of_the_weights_follow_from_the_config():
    config = {"n_layer": 2, "n_vocab": 11, "n_ctx": 7, "n_embd": 4, "n_inner": 9}
    shapes = load_specs().weight_shapes(config)
    assert len(shapes) == 2 + 2 * 12 + 3
    assert shapes["h.1.attn.c_attn.weight"] == (4, 12)
    assert shapes["h.0.mlp.c_proj.weight"] == (9, 4)


def test_a_config_is_read_with_the_defaults_of_the_spec():
    data = {"vocab_size": 11, "n_positions": 7, "n_embd": 4, "n_head": 2, "n_layer": 1, "n_inner": None}
    config = load_specs().read_config(data)
    assert config["n_inner"] == 16
    assert config["head_dim"] == 2
    assert config["layer_norm_epsilon"] == 1e-5
    assert config["activation_function"] == "gelu_new"
    with pytest.raises(SpecError, match=r"config\.json does not give n_head"):
        load_specs().read_config({**data, "n_head": None})


def test_every_mistake_has_an_id_of_its_own():
    ids = load_specs().mistake_ids()
    assert len(ids) == len(set(ids)) >= 90


# what is changed in gpt2.yaml, what it becomes, and what the error says
FALSE = {
    "unknown component": ("by: attention_weights", "by: softmax", "softmax is not a component"),
    "unknown source": ("{x: h.N.attn.context, ", "{x: h.N.attn.mixed, ", "h.N.attn.mixed is not a tensor of the model"),
    "missing input": ("{stream: h.N.mid, branch: h.N.mlp.out}", "{stream: h.N.mid}", "residual reads stream, branch; the step gives stream"),
    "unknown output": ("makes: {logits: out}", "makes: {logits: result}", "logits has no output result"),
    "checkpoint of another": ("makes: {logits: out}", "makes: {scores: out}", "does not list it in appears_as"),
    "mistake without effect": ("instead: {h.N.mid: {stream: h.N.ln_1}}", "instead: {h.N.mid: {stream: h.N.in}}", "residual_after_norm changes nothing"),
    "mistake in no input": ("instead: {h.N.mid: {stream: h.N.ln_1}}", "instead: {h.N.mid: {river: h.N.ln_1}}", "no step makes h.N.mid from river"),
    "mistake of nobody": ("catches: [keys_mixed]", "catches: [cache.values_are_values]", "which is not a mistake"),
    "unknown policy": ("policy:  recording_rounds", "policy:  hope", "hope"),
}  # fmt: skip


@pytest.mark.parametrize("what", FALSE)
def test_a_false_wiring_is_refused_with_file_and_line(tmp_path, what):
    right, wrong, named = FALSE[what]
    shutil.copytree(suite_folder() / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    path = tmp_path / "specs" / "model" / "gpt2.yaml"
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    with pytest.raises(SpecError) as caught:
        load_specs(tmp_path / "specs")
    assert named in str(caught.value)
    assert ".yaml:" in str(caught.value)


def test_a_spec_that_the_model_does_not_know_is_refused(tmp_path):
    shutil.copytree(suite_folder() / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    (tmp_path / "specs" / "components" / "draw.yaml").rename(tmp_path / "specs" / "components" / "lots.yaml")
    with pytest.raises(SpecError, match="draw is not a file"):
        load_specs(tmp_path / "specs")
