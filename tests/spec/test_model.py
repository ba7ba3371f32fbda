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
    right, wrong = (load_specs().nodes(2, m) for m in ((), ["residual_after_norm"]))
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
    "source that is made later": ("{x: h.N.in, weight: h.N.ln_1.weight", "{x: h.N.mid, weight: h.N.ln_1.weight", "h.N.mid is not a tensor of the model, or is not made before"),
    "mistake that reads nothing": ("instead: {h.N.mid: {stream: h.N.ln_1}}", "instead: {h.N.mid: {stream: h.N.river}}", "h.N.river is not a tensor that h.N.mid could be made from"),
    "mistake that reads what follows": ("instead: {h.N.mid: {stream: h.N.ln_1}}", "instead: {h.N.mid: {stream: logits}}", "logits is not a tensor that h.N.mid could be made from"),
    "mistake of another shape": ("instead: {h.N.mid: {stream: h.N.ln_1}}", "instead: {h.N.mid: {stream: h.N.attn.q}}", "stream is [3, 5, 11], wanted [T, n_embd]"),
    "source of another shape": ("{x: ln_f, weight: lm_head.weight}", "{x: ids, weight: lm_head.weight}", "x is [5], wanted [T, n_embd]"),
    "checkpoint made twice": ("makes: {h.N.out: out}", "makes: {h.N.mid: out}", "h.N.mid is made twice"),
    "weight that nobody reads": ("{x: h.last.out, weight: ln_f.weight, bias: ln_f.bias}", "{x: h.last.out, weight: ln_f.weight, bias: ln_f.weight}", "no step reads ln_f.bias"),
    "weight of an unknown size": ("  ln_f.bias:                [n_embd]", "  ln_f.bias:                [n_emb]", "n_emb is not an entry of the config"),
    "weight of no size": ("  ln_f.bias:                [n_embd]", "  ln_f.bias:                [n.embd]", "n.embd in 'n.embd' is not allowed"),
    "tie to nothing": ("tied: {lm_head.weight: wte.weight}", "tied: {lm_head.weight: wte}", "wte is not a weight"),
    "checkpoint that is not made": ("makes: {h.N.attn.q: q, h.N.attn.k: k, ", "makes: {h.N.attn.k: k, ", "h.N.attn.q"),
    "unknown key": ("tied: {", "ties: {}\ntied: {", "'ties' was unexpected"),
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


def test_the_line_of_a_wiring_error_is_the_line_of_the_fault(tmp_path):
    shutil.copytree(suite_folder() / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    path = tmp_path / "specs" / "model" / "gpt2.yaml"
    lines = path.read_text().splitlines()
    (at,) = [i for i, line in enumerate(lines) if "mlp_reads_raw_stream:" in line]
    lines[at + 1] = lines[at + 1].replace("h.N.mid", "nowhere")
    path.write_text("\n".join(lines))
    with pytest.raises(SpecError, match=rf"gpt2\.yaml:{at + 2}: nowhere is not a tensor"):
        load_specs(tmp_path / "specs")


def test_the_steps_of_a_block_stand_together(tmp_path):
    shutil.copytree(suite_folder() / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    path = tmp_path / "specs" / "model" / "gpt2.yaml"
    head, *steps = path.read_text().split("  - by: ")
    last, rest = steps[-1].split("rules:", 1)
    text = head + "".join(f"  - by: {step}" for step in [*steps[:5], last, *steps[5:-1]]) + "rules:" + rest
    path.write_text(text)
    with pytest.raises(SpecError, match=r"gpt2\.yaml:\d+: the steps of a block"):
        load_specs(tmp_path / "specs")


@pytest.mark.parametrize(
    ("entry", "value"),
    [("n_head", 0), ("n_head", 3), ("n_layer", True), ("n_embd", "4"), ("n_embd", 4.0), ("vocab_size", -1)],
)
def test_a_config_with_an_impossible_size_is_refused(entry, value):
    data = {"vocab_size": 11, "n_positions": 7, "n_embd": 4, "n_head": 2, "n_layer": 1}
    with pytest.raises(SpecError, match=str(value)):
        load_specs().read_config({**data, entry: value})


def test_a_spec_that_the_model_does_not_know_is_refused(tmp_path):
    shutil.copytree(suite_folder() / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("golden"))
    (tmp_path / "specs" / "components" / "draw.yaml").rename(tmp_path / "specs" / "components" / "lots.yaml")
    with pytest.raises(SpecError, match="draw is not a file"):
        load_specs(tmp_path / "specs")
