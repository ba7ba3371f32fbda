"""Maps of names: tensors as other projects lay them out become the checkpoints again, bit for bit."""

from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import save_file

from llorch_core.spec.errors import SpecError
from llorch_core.spec.oracle import random_oracle, read_oracle
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.subject.dump import open_dump
from llorch_core.subject.names import known_maps, own_names, read_names

CONFIG = {
    "n_layer": 3, "n_head": 2, "head_dim": 4, "n_embd": 8, "n_inner": 10, "n_vocab": 17, "n_ctx": 16,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
}  # fmt: skip
PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]]


@pytest.fixture(scope="module")
def oracle():
    return random_oracle(load_specs(), CONFIG)


def in_calls(oracle, lengths):
    """Return the checkpoints of both prompts, read in calls of these lengths: [sequence][call][name]."""
    edges = np.cumsum([0, *lengths])
    return [oracle.run([p[a:b] for a, b in pairwise(edges)]) for p in PROMPTS]


def together(rows):
    """Return what the rows of a batch have, with the batch first: of each call, a function of the name."""
    return [lambda name, k=k: np.stack([row[k][name] for row in rows]) for k in range(len(rows[0]))]


def side_by_side(heads):
    """Return [B, T, n_embd] from [B, n_head, T, head_dim], head after head."""
    return np.concatenate([heads[:, i] for i in range(heads.shape[1])], axis=-1)


def hooks(get, middle):
    """Return what forward hooks of the modules of transformers and nanoGPT see."""
    seen = {"transformer.drop": get("embed"), "transformer.ln_f": get("ln_f"), "lm_head": get("logits")}
    for i in range(CONFIG["n_layer"]):
        b, h = f"transformer.h.{i}", f"h.{i}"
        q, k, v = (side_by_side(get(f"{h}.attn.{x}")) for x in "qkv")
        seen |= {
            f"{b}.ln_1": get(f"{h}.ln_1"),
            f"{b}.attn.c_attn": np.concatenate([q, k, v], axis=-1),
            f"{b}.attn.c_proj.input": get(f"{h}.attn.context"),
            f"{b}.attn.c_proj": get(f"{h}.attn.out"),
            f"{b}.ln_2.input": get(f"{h}.mid"),
            f"{b}.ln_2": get(f"{h}.ln_2"),
            f"{b}.mlp.c_fc": get(f"{h}.mlp.fc"),
            f"{b}.mlp.{middle}": get(f"{h}.mlp.act"),
            f"{b}.mlp.c_proj": get(f"{h}.mlp.out"),
            b: get(f"{h}.out"),
        }
    return seen


def of_transformers(get, oracle):
    seen = hooks(get, "act") | {"input_ids": get("ids"), "transformer.wte": get("embed")}
    for i in range(CONFIG["n_layer"]):
        seen[f"transformer.h.{i}.attn.1"] = get(f"h.{i}.attn.probs")
        seen[f"past_key_values.layers.{i}.keys"] = get(f"h.{i}.attn.keys")
        seen[f"past_key_values.layers.{i}.values"] = get(f"h.{i}.attn.values")
    return seen


def of_nanogpt(get, oracle):
    seen = hooks(get, "gelu") | {"idx": get("ids")}
    return seen | {f"transformer.h.{i}.attn.attn_dropout": get(f"h.{i}.attn.probs") for i in range(3)}


def of_transformer_lens(get, oracle):
    token = oracle.weights["wte.weight"][get("ids")]
    place = np.stack([oracle.weights["wpe.weight"][get("at")]] * len(token))
    seen = {"tokens": get("ids"), "logits": get("logits"), "hook_embed": token, "hook_pos_embed": place}
    seen["ln_final.hook_normalized"] = get("ln_f")
    for i in range(CONFIG["n_layer"]):
        b, h = f"blocks.{i}", f"h.{i}"
        seen |= {f"{b}.attn.hook_{x}": np.swapaxes(get(f"{h}.attn.{x}"), 1, 2) for x in "qkv"}
        context = get(f"{h}.attn.context")
        seen |= {
            f"{b}.ln1.hook_normalized": get(f"{h}.ln_1"),
            f"{b}.ln1.hook_scale": np.ones((2, 1, 1)),
            f"{b}.attn.hook_attn_scores": get(f"{h}.attn.scores"),
            f"{b}.attn.hook_pattern": get(f"{h}.attn.probs"),
            f"{b}.attn.hook_z": np.stack([context[..., :4], context[..., 4:]], axis=2),
            f"{b}.hook_attn_out": get(f"{h}.attn.out"),
            f"{b}.hook_resid_mid": get(f"{h}.mid"),
            f"{b}.ln2.hook_normalized": get(f"{h}.ln_2"),
            f"{b}.mlp.hook_pre": get(f"{h}.mlp.fc"),
            f"{b}.mlp.hook_post": get(f"{h}.mlp.act"),
            f"{b}.hook_mlp_out": get(f"{h}.mlp.out"),
            f"{b}.hook_resid_post": get(f"{h}.out"),
        }
    return seen


def of_llm_c(get, oracle):
    def layers(name):
        return np.stack([get(f"h.{i}.{name}") for i in range(CONFIG["n_layer"])])

    qkv = [np.stack([side_by_side(get(f"h.{i}.attn.{x}")) for i in range(CONFIG["n_layer"])]) for x in "qkv"]
    scores = layers("attn.scores")
    logits = get("logits")
    return {
        "inputs": get("ids").astype(np.int32),
        "encoded": get("embed"),
        "ln1": layers("ln_1"),
        "ln1_mean": np.zeros((3, 2, 8)),
        "qkv": np.concatenate(qkv, axis=-1),
        "atty": layers("attn.context"),
        "preatt": np.where(np.isfinite(scores), scores, 7e33),  # memory that nobody wrote
        "att": layers("attn.probs"),
        "attproj": layers("attn.out"),
        "residual2": layers("mid"),
        "ln2": layers("ln_2"),
        "fch": layers("mlp.fc"),
        "fch_gelu": layers("mlp.act"),
        "fcproj": layers("mlp.out"),
        "residual3": layers("out"),
        "lnf": get("ln_f"),
        "logits": np.concatenate([logits, np.zeros((*logits.shape[:2], 3))], axis=-1),
    }


def of_llama_cpp(get, oracle):
    """ggml has no batch here, and knows four sizes of every tensor: [1, 1, T, n_embd] in our order."""

    def padded(x):
        return np.concatenate([x, np.full((*x.shape[:2], 5), 3.0)], axis=-1)

    def one(name):
        return get(name)[0]

    seen = {"inp_tokens": one("ids").astype(np.int32), "inpL": one("embed"), "norm": one("ln_f")}
    seen |= {"result_norm": one("ln_f"), "result_output": one("logits")}
    for i in range(CONFIG["n_layer"]):
        h = f"h.{i}"
        seen |= {f"{x.upper()}cur-{i}": np.swapaxes(one(f"{h}.attn.{x}"), 0, 1) for x in "qkv"}
        products = one(f"{h}.attn.q") @ np.swapaxes(one(f"{h}.attn.keys"), 1, 2)
        scores = one(f"{h}.attn.scores")
        kq = np.where(np.isfinite(scores), scores * 2, products)  # 2 is the root of head_dim
        seen |= {
            f"attn_norm-{i}": one(f"{h}.ln_1"),
            f"Qcur-{i} (permuted)": one(f"{h}.attn.q"),
            f"kq-{i}": padded(kq),
            f"kq_soft_max-{i}": padded(one(f"{h}.attn.probs")),
            f"kqv_out-{i}": one(f"{h}.attn.context"),
            f"ffn_inp-{i}": one(f"{h}.mid"),
            f"ffn_norm-{i}": one(f"{h}.ln_2"),
            f"ffn_up-{i}": one(f"{h}.mlp.fc"),
            f"ffn_up_b-{i}": one(f"{h}.mlp.fc"),
            f"ffn_gelu-{i}": one(f"{h}.mlp.act"),
            f"ffn_out-{i}": one(f"{h}.mlp.out"),
            f"l_out-{i}": one(f"{h}.out"),
        }
    return {name: x.reshape((1,) * (4 - x.ndim) + x.shape) for name, x in seen.items()}


CACHE = ("attn.keys", "attn.values")
PROJECTS = {  # name of the map: (layout, lengths of the calls, checkpoints that the project does not show)
    "transformers": (of_transformers, [5, 3], ("attn.scores",)),
    "transformer_lens": (of_transformer_lens, [5, 3], CACHE),
    "nanogpt": (of_nanogpt, [8], ("attn.scores", *CACHE)),
    "llm.c": (of_llm_c, [8], CACHE),
    "llama.cpp": (of_llama_cpp, [5, 3], ("attn.out", *CACHE)),
}


def test_every_map_is_tried():
    assert set(PROJECTS) == set(known_maps())


@pytest.mark.parametrize("project", PROJECTS)
def test_tensors_of_another_project_become_every_checkpoint_that_it_shows(project, oracle, tmp_path):
    layout, lengths, hidden = PROJECTS[project]
    rows = in_calls(oracle, lengths)
    for row in rows:
        for call, start in zip(row, np.cumsum([0, *lengths]), strict=False):
            call["at"] = np.arange(start, start + len(call["ids"]))
    tensors = {}
    for k, get in enumerate(together(rows)):
        if project == "transformer_lens":

            def get(name, inner=get):
                return inner(name)[0] if name == "at" else inner(name)

        tensors |= {f"step.{k}/{name}": x for name, x in layout(get, oracle).items()}
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, tmp_path / "dump.safetensors")
    dump = open_dump(tmp_path / "dump.safetensors", load_specs(), read_names(project), CONFIG)
    assert dump.precision == "float64"
    assert len(dump.sequences) == (1 if project == "llama.cpp" else 2)
    for row, calls in zip(rows, dump.sequences, strict=False):
        for wanted, got in zip(row, calls, strict=True):
            shown = {name for name in wanted if name != "at" and not name.endswith(hidden)}
            assert got.keys() == shown
            for name in shown:
                np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


def test_what_a_block_reads_is_what_the_one_before_it_leaves(oracle, tmp_path):
    (call,) = in_calls(oracle, [8])[0]
    streams = [call["embed"], call["h.0.out"], call["h.1.out"], call["ln_f"]]  # as transformers returns them
    save_file({"hidden_states": np.stack(streams)}, tmp_path / "d.safetensors")
    (got,) = open_dump(tmp_path / "d.safetensors", load_specs(), "transformers", CONFIG).sequences[0]
    assert got.keys() == {"embed", "h.0.out", "h.1.out", "ln_f"}
    for name, x in got.items():
        np.testing.assert_array_equal(x, call[name])


def test_half_precision_stays_half_precision(oracle, tmp_path):
    (call,) = in_calls(oracle, [8])[0]
    qkv = np.concatenate([side_by_side(call[f"h.0.attn.{x}"][None]) for x in "qkv"], axis=-1)
    save_file({"transformer.h.0.attn.c_attn": qkv.astype(np.float16)}, tmp_path / "d.safetensors")
    dump = open_dump(tmp_path / "d.safetensors", load_specs(), "transformers", CONFIG)
    assert dump.precision == "float16"
    assert {x.dtype.name for x in dump.sequences[0][0].values()} == {"float16"}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"transformer.h.0.ln_1": np.ones((1, 8, 9))}, r"ln_1 has the shape \[8, 9\], wanted \[T, n_embd\]"),
        ({"transformer.h.0.ln_1": np.ones((8, 2, 1, 8))}, r"wanted \[T, n_embd\], or \[B, T, n_embd\]"),
        (
            {"transformer.h.3.ln_1": np.ones((8, 8))},
            "is of block 3, and the model has 3, the first of them 0",
        ),
        ({"transformer.h.0.ln_3": np.ones((8, 8))}, r"transformer\.h\.0\.ln_3.*nearest is transformer\.h\.0"),
        (
            {"input_ids": np.arange(8), "lm_head": np.ones((1, 1, 17))},
            "lm_head has 1 positions, and input_ids",
        ),
        ({"input_ids": np.ones(8)}, "input_ids of call 0 holds float64, wanted integers"),
    ],
)
def test_a_foreign_dump_that_does_not_fit_says_how_to_record_one(tensors, message, tmp_path):
    save_file(tensors, tmp_path / "d.safetensors")
    with pytest.raises(SpecError, match=message):
        open_dump(tmp_path / "d.safetensors", load_specs(), "transformers", CONFIG)


def test_a_map_without_a_model_says_what_is_missing(tmp_path):
    save_file({"lm_head": np.ones((1, 8, 17))}, tmp_path / "d.safetensors")
    with pytest.raises(SpecError, match=r"transformers needs the sizes of the model\. Give it: --model"):
        open_dump(tmp_path / "d.safetensors", load_specs(), "transformers")


GOOD = """\
title: Mine
source: [my own code]
record: Write what layer N prints.
tensors:
  emb: [B, T, n_embd]
  layer-N: [T, n_embd]
checkpoints:
  embed: emb
  h.N.out: {from: layer-N, as: 2 * x}
ignore: ["debug.*"]
"""


def test_a_file_of_the_users_own_is_a_map(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    save_file(
        {"layer-1": np.ones((4, 8)), "debug.x": np.ones(3, bool), "ln_f": np.ones((4, 8))}, tmp_path / "d"
    )
    (call,) = open_dump(tmp_path / "d", load_specs(), str(tmp_path / "mine.yaml"), CONFIG).sequences[0]
    assert call.keys() == {"h.1.out", "ln_f"}  # the names of the contract stay valid
    np.testing.assert_array_equal(call["h.1.out"], np.full((4, 8), 2.0))


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("title: Mine\n", "", r"mine\.yaml:1: .*'title' is a required property"),
        ("embed: emb", "embedding: emb", r"mine\.yaml:8: embedding is not a checkpoint"),
        ("embed: emb", "embed: em", r"mine\.yaml:8: em has no shape"),
        ("embed: emb", "embed: layer-N", r"mine\.yaml:8: layer-N is of one block N, and embed of none"),
        ("embed: emb", "ln_f: layer-0", r"mine\.yaml:8: layer-0 has no shape"),
        ("  embed: emb\n", "", r"mine\.yaml:5: emb becomes no checkpoint"),
        ("[T, n_embd]", "[T, 2 * width]", r"mine\.yaml:6: width is not a size"),
        (
            "from: layer-N, as: 2 * x",
            "from: emb",
            r"mine\.yaml:9: h\.N\.out is the same tensor in every block",
        ),
        ("[T, n_embd]", "[B, B, n_embd]", r"mine\.yaml:6: layer-N has more than one batch axis"),
        ("[T, n_embd]", '[T, "import os"]', r"mine\.yaml:6: .*not an equation"),
        ("2 * x", "2 * y", r"mine\.yaml:9: x is not used in '2 \* y'"),
        ("2 * x", "y * x", r"mine\.yaml:9: y in 'y \* x' is not known here"),
        ("2 * x", "dropout(x)", r"mine\.yaml:9: dropout in .* is not a function"),
        ("2 * x", "x.T", r"mine\.yaml:9: x\.T in .* is not allowed"),
        ("from: layer-N", "from: {layer: layer-N, b: emb}", r"mine\.yaml:9: layer is already a name"),
        (", as: 2 * x", ", as: 2 * x, at: 3", r"mine\.yaml:9: "),
    ],
)
def test_a_map_that_does_not_fit_is_refused_at_its_line(right, wrong, message, tmp_path):
    assert right in GOOD
    (tmp_path / "mine.yaml").write_text(GOOD.replace(right, wrong))
    with pytest.raises(SpecError, match=message):
        read_names(tmp_path / "mine.yaml")


def test_several_tensors_need_an_equation(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        GOOD.replace("{from: layer-N, as: 2 * x}", "{from: {a: emb, b: layer-N}}")
    )
    with pytest.raises(SpecError, match="several tensors need `as`"):
        read_names(tmp_path / "mine.yaml")


def test_a_map_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(SpecError, match=r"neither a map of names nor a file\. There are: llama\.cpp, llm\.c"):
        read_names("gguf")


def test_the_own_names_are_those_of_the_specs():
    shapes = own_names(load_specs()).shapes
    assert [size.text for size in shapes["h.N.attn.scores"]] == ["B", "n_head", "T", "S"]
    assert len(shapes) == 20


def test_transformers_itself_gives_what_the_map_expects(tmp_path, tiny_folder):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tiny_folder()
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    recorded = record_transformers(torch, model, [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    save_file(recorded, tmp_path / "d.safetensors")
    oracle = read_oracle(load_specs(), folder)
    dump = open_dump(tmp_path / "d.safetensors", load_specs(), "transformers", oracle.config)
    assert dump.precision == "float64"
    for got, ids in zip(dump.sequences, [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], strict=True):
        (wanted,) = oracle.run([ids])
        assert got[0].keys() == {name for name in wanted if not name.endswith("attn.scores")}
        for name, x in got[0].items():
            np.testing.assert_allclose(x, wanted[name], rtol=1e-9, atol=1e-9, err_msg=name)


def record_transformers(torch, model, ids):
    """Return what hooks see in every module of a model of transformers, and what the model returns."""
    seen = {}

    def after(name):
        def hook(module, given, out):
            parts = {name: out} if torch.is_tensor(out) else {f"{name}.{i}": x for i, x in enumerate(out)}
            seen.update({n: x.detach().numpy().copy() for n, x in parts.items() if torch.is_tensor(x)})

        return hook

    def before(name):
        def hook(module, given):
            if given and torch.is_tensor(given[0]):
                seen[f"{name}.input"] = given[0].detach().numpy().copy()

        return hook

    for name, module in model.named_modules():
        if name not in ("", "transformer"):
            module.register_forward_hook(after(name))
            module.register_forward_pre_hook(before(name))
    with torch.no_grad():
        out = model(torch.tensor(ids), output_hidden_states=True, output_attentions=True, use_cache=True)
    seen["input_ids"] = np.array(ids)
    seen["hidden_states"] = torch.stack(out.hidden_states).numpy()
    seen["attentions"] = torch.stack(out.attentions).numpy()
    for i, layer in enumerate(out.past_key_values.layers):
        seen[f"past_key_values.layers.{i}.keys"] = layer.keys.numpy()
        seen[f"past_key_values.layers.{i}.values"] = layer.values.numpy()
    return {name: np.ascontiguousarray(x) for name, x in seen.items()}


def test_every_map_stands_in_the_suite():
    assert {p.name for p in (suite_folder() / "specs" / "names").iterdir()} == {
        f"{n}.yaml" for n in known_maps()
    }
