"""The weights of a folder: each tensor in its place bit for bit, or a refusal that names it."""

import json
import mmap
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from llorch_core.engine.config import read_config
from llorch_core.engine.errors import ModelError
from llorch_core.engine.weights import Weights, expected_shapes, load_weights

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def load(folder: Path) -> Weights:
    return load_weights(folder, read_config(folder))


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    assert "\n" in message  # a next step follows
    return message


def by_name(weights: Weights) -> dict[str, np.ndarray]:
    """The weights under their names in a checkpoint, by the attributes that a reader would type."""
    named = {"wte.weight": weights.wte, "wpe.weight": weights.wpe}
    for i, block in enumerate(weights.h):
        for name, part in (
            ("ln_1", block.ln_1),
            ("attn.c_attn", block.attn.c_attn),
            ("attn.c_proj", block.attn.c_proj),
            ("ln_2", block.ln_2),
            ("mlp.c_fc", block.mlp.c_fc),
            ("mlp.c_proj", block.mlp.c_proj),
        ):
            named |= {f"h.{i}.{name}.weight": part.weight, f"h.{i}.{name}.bias": part.bias}
    return named | {"ln_f.weight": weights.ln_f.weight, "ln_f.bias": weights.ln_f.bias}


def owner_of_the_bytes(tensor: np.ndarray) -> object:
    while isinstance(tensor, np.ndarray):
        tensor = tensor.base
    return tensor.obj if isinstance(tensor, memoryview) else tensor


def assert_same_bits(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert got[name].dtype == np.float32, name
        assert got[name].shape == tensor.shape, name
        assert np.array_equal(got[name].view(np.uint32), tensor.astype(np.float32).view(np.uint32)), name


def test_the_expected_shapes_of_a_small_model(tiny_folder):
    """n_vocab 300, n_ctx 16, n_embd 12, n_inner 20: written out by hand."""
    block = {
        "h.0.ln_1.weight": (12,),
        "h.0.ln_1.bias": (12,),
        "h.0.attn.c_attn.weight": (12, 36),
        "h.0.attn.c_attn.bias": (36,),
        "h.0.attn.c_proj.weight": (12, 12),
        "h.0.attn.c_proj.bias": (12,),
        "h.0.ln_2.weight": (12,),
        "h.0.ln_2.bias": (12,),
        "h.0.mlp.c_fc.weight": (12, 20),
        "h.0.mlp.c_fc.bias": (20,),
        "h.0.mlp.c_proj.weight": (20, 12),
        "h.0.mlp.c_proj.bias": (12,),
    }
    rest = {"wte.weight": (300, 12), "wpe.weight": (16, 12), "ln_f.weight": (12,), "ln_f.bias": (12,)}
    assert expected_shapes(read_config(tiny_folder(n_layer=1))) == block | rest
    untied = read_config(tiny_folder(n_layer=1, tie_word_embeddings=False))
    assert expected_shapes(untied) == block | rest | {"lm_head.weight": (300, 12)}


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_each_tensor_comes_to_its_place(tiny_folder, tiny_tensors, prefix, shards):
    weights = load(tiny_folder(prefix=prefix, shards=shards))
    assert_same_bits(by_name(weights), tiny_tensors())
    assert len(weights.h) == 2
    assert weights.ignored == ()


def test_blocks_keep_their_numbers_past_nine(tiny_folder, tiny_tensors):
    """Sorted as text, h.10 would come before h.2."""
    assert_same_bits(by_name(load(tiny_folder(n_layer=11))), tiny_tensors(n_layer=11))


def test_n_inner_absent_is_four_times_n_embd(tiny_folder):
    assert load(tiny_folder(n_inner=None)).h[1].mlp.c_proj.weight.shape == (48, 12)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_half_and_double_weights_become_float32(tiny_folder, tiny_tensors, dtype):
    stored = {name: tensor.astype(dtype) for name, tensor in tiny_tensors().items()}
    assert_same_bits(by_name(load(tiny_folder(stored))), stored)


def test_bfloat16_weights_become_float32(tiny_folder, tiny_tensors):
    upper = {name: tensor.view(np.uint32) >> 16 for name, tensor in tiny_tensors().items()}
    stored = {name: ("BF16", list(half.shape), half.astype("<u2").tobytes()) for name, half in upper.items()}
    wanted = {name: (half << np.uint32(16)).view(np.float32) for name, half in upper.items()}
    assert_same_bits(by_name(load(tiny_folder(stored))), wanted)


def test_float32_weights_are_used_in_place(tiny_folder):
    for name, tensor in by_name(load(tiny_folder())).items():
        assert not tensor.flags.writeable, name
        assert isinstance(owner_of_the_bytes(tensor), mmap.mmap), name


def test_a_tied_head_is_the_token_embedding_itself(tiny_folder):
    weights = load(tiny_folder())
    assert weights.tied
    assert weights.lm_head is weights.wte


def test_an_untied_head_is_the_files_own(tiny_folder, tiny_tensors):
    stored = tiny_tensors(tie_word_embeddings=False)
    weights = load(tiny_folder(tie_word_embeddings=False))
    assert not weights.tied
    assert_same_bits({"lm_head.weight": weights.lm_head}, {"lm_head.weight": stored["lm_head.weight"]})
    assert not np.array_equal(weights.lm_head, weights.wte)


def test_a_tied_head_may_be_stored_when_it_equals_the_embedding(tiny_folder, tiny_tensors):
    stored = tiny_tensors()
    weights = load(tiny_folder(stored | {"lm_head.weight": stored["wte.weight"]}))
    assert weights.lm_head is weights.wte
    assert weights.ignored == ()


def test_a_tied_head_that_differs_is_refused_and_not_chosen(tiny_folder, tiny_tensors):
    stored = tiny_tensors()
    head = stored["wte.weight"].copy()
    head[7, 3] = 5.0
    stored["wte.weight"][7, 3] = 4.0
    refused(
        tiny_folder(stored | {"lm_head.weight": head}),
        "lm_head.weight in model.safetensors differs from wte.weight",
        "at 1 of 3600 values",
        "[7, 3]: wanted 4.0, got 5.0",
        "tie_word_embeddings",
    )


def test_an_untied_model_without_its_head_is_refused(tiny_folder, tiny_tensors):
    folder = tiny_folder(tiny_tensors(), tie_word_embeddings=False)
    refused(folder, "lm_head.weight is missing from model.safetensors", "wanted float32 [300, 12]")


def test_a_head_with_the_prefix_is_no_head(tiny_folder, tiny_tensors):
    stored = tiny_tensors()
    renamed = {f"transformer.{name}": tensor for name, tensor in stored.items()}
    folder = tiny_folder(renamed | {"transformer.lm_head.weight": stored["wte.weight"]}, prefix="")
    refused(folder, "'transformer.lm_head.weight' in model.safetensors is no tensor of this model")


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_causal_mask_buffers_are_ignored_and_listed(tiny_folder, tiny_tensors, prefix):
    """`attn.bias` also ends `attn.c_attn.bias`, which must not go with it."""
    masks = {
        "h.0.attn.bias": np.ones((1, 1, 16, 16), np.uint8),
        "h.0.attn.masked_bias": np.array(-10000, np.float32),
        "h.1.attn.bias": np.ones((1, 1, 16, 16), bool),
    }
    weights = load(tiny_folder(masks | tiny_tensors(), prefix=prefix))
    assert sorted(weights.ignored) == ["h.0.attn.bias", "h.0.attn.masked_bias", "h.1.attn.bias"]
    assert_same_bits(by_name(weights), tiny_tensors())


@pytest.mark.parametrize(
    "name", ["attn.bias", "h.0.attn.bias2", "h.x.attn.bias", "h.0.attn.c_attn.masked_bias", "h.0.mlp.bias"]
)
def test_only_causal_masks_are_ignored(tiny_folder, tiny_tensors, name):
    folder = tiny_folder(tiny_tensors() | {name: np.ones(2, np.float32)})
    refused(
        folder, f"'transformer.{name}' in model.safetensors is no tensor of this model", "F32 [2]", "wanted"
    )


NAMES_AND_SHAPES = [
    ("wte.weight", "[300, 12]"),
    ("wpe.weight", "[16, 12]"),
    ("h.1.ln_1.weight", "[12]"),
    ("h.1.ln_1.bias", "[12]"),
    ("h.1.attn.c_attn.weight", "[12, 36]"),
    ("h.1.attn.c_attn.bias", "[36]"),
    ("h.1.attn.c_proj.weight", "[12, 12]"),
    ("h.1.attn.c_proj.bias", "[12]"),
    ("h.1.ln_2.weight", "[12]"),
    ("h.1.ln_2.bias", "[12]"),
    ("h.1.mlp.c_fc.weight", "[12, 20]"),
    ("h.1.mlp.c_fc.bias", "[20]"),
    ("h.1.mlp.c_proj.weight", "[20, 12]"),
    ("h.1.mlp.c_proj.bias", "[12]"),
    ("ln_f.weight", "[12]"),
    ("ln_f.bias", "[12]"),
]


@pytest.mark.parametrize(("name", "shape"), NAMES_AND_SHAPES)
def test_a_missing_tensor_is_named_with_its_shape(tiny_folder, tiny_tensors, name, shape):
    stored = tiny_tensors()
    del stored[name]
    message = refused(tiny_folder(stored))
    assert message == (
        f"{name} is missing from model.safetensors (wanted float32 {shape}).\n"
        "llorch never fills in zeros for a tensor it cannot find. Is this a GPT-2 checkpoint? "
        "`llorch spec weights` lists the names."
    )


@pytest.mark.parametrize(("name", "shape"), NAMES_AND_SHAPES)
def test_a_misshaped_tensor_is_named_with_both_shapes(tiny_folder, tiny_tensors, name, shape):
    stored = tiny_tensors()
    stored[name] = np.ones((5, 7), np.float32)
    refused(
        tiny_folder(stored),
        f"{name} in model.safetensors has shape [5, 7] (wanted float32 {shape})",
        "config.json",
    )


@pytest.mark.parametrize(
    ("name", "got"),
    [("h.0.attn.c_attn", "[36, 12]"), ("h.0.mlp.c_fc", "[20, 12]"), ("h.1.mlp.c_proj", "[12, 20]")],
)
def test_a_transposed_matrix_is_recognised_as_a_linear_layer(tiny_folder, tiny_tensors, name, got):
    stored = tiny_tensors()
    stored[f"{name}.weight"] = stored[f"{name}.weight"].T.copy()
    refused(
        tiny_folder(stored),
        f"{name}.weight in model.safetensors has shape {got}",
        "This looks like an nn.Linear layout [out, in]",
    )


def test_a_transposed_embedding_is_no_linear_layer(tiny_folder, tiny_tensors):
    stored = tiny_tensors()
    stored["wpe.weight"] = stored["wpe.weight"].T.copy()
    message = refused(
        tiny_folder(stored), "wpe.weight in model.safetensors has shape [12, 16]", "float32 [16, 12]"
    )
    assert "nn.Linear" not in message


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_a_weight_that_is_no_float_is_refused(tiny_folder, tiny_tensors, dtype):
    stored = tiny_tensors()
    stored["h.1.ln_2.bias"] = np.zeros(12, dtype)
    name = {np.int64: "I64", np.uint8: "U8", bool: "BOOL"}[dtype]
    refused(
        tiny_folder(stored),
        f"h.1.ln_2.bias in model.safetensors is {name} (wanted float32 [12]",
        "F32 F16 BF16",
    )


def test_a_block_beyond_n_layer_is_refused(tiny_folder, tiny_tensors):
    message = refused(tiny_folder(tiny_tensors(n_layer=3)), "'transformer.h.2.ln_1.weight'", "F32 [12]")
    assert "and 7 more: 12 tensors are wrong" in message  # twelve tensors a block, five shown


def test_several_problems_come_in_one_message(tiny_folder, tiny_tensors):
    stored = tiny_tensors()
    del stored["ln_f.bias"]
    stored["wpe.weight"] = np.ones((8, 12), np.float32)
    stored["score.weight"] = np.ones((2, 12), np.float32)
    message = refused(
        tiny_folder(stored),
        "ln_f.bias is missing",
        "wpe.weight in model.safetensors has shape [8, 12]",
        "score.weight",
    )
    assert "more:" not in message
    assert message.count("\n") == 5  # three problems and a next step for each
    for hint in ("never fills in zeros", "follow from config.json", "leaves no weight unused"):
        assert hint in message


def test_a_file_that_holds_another_model_is_refused(tiny_folder):
    folder = tiny_folder({"model.layers.0.q_proj.weight": np.ones((4, 4), np.float32)}, prefix="")
    refused(
        folder,
        "wte.weight is missing from model.safetensors (wanted float32 [300, 12])",
        "29 tensors are wrong",
    )


def test_names_with_and_without_prefix_are_not_mixed(tiny_folder, tiny_tensors):
    stored = {f"transformer.{name}": tensor for name, tensor in tiny_tensors().items()}
    stored["ln_f.bias"] = stored.pop("transformer.ln_f.bias")
    refused(
        tiny_folder(stored, prefix=""),
        "model.safetensors holds ln_f.bias and transformer.wte.weight",
        "wanted all",
    )


def test_a_tensor_under_both_names_is_refused(tiny_folder, tiny_tensors):
    stored = tiny_tensors() | {f"transformer.{name}": tensor for name, tensor in tiny_tensors().items()}
    refused(tiny_folder(stored, prefix=""), "model.safetensors holds wte.weight and transformer.wte.weight")


def test_all_tensors_are_checked_before_any_is_read(tiny_folder, tiny_tensors):
    """wte would fail when read (1e300 is no float32); the misshaped ln_f, last in the file, comes first."""
    stored = {name: tensor.astype(np.float64) for name, tensor in tiny_tensors().items()}
    stored["wte.weight"][0, 0] = 1e300
    refused(tiny_folder(stored), "transformer.wte.weight in model.safetensors holds 1e+300", "wanted")
    stored["ln_f.bias"] = np.zeros(13)
    message = refused(tiny_folder(stored), "ln_f.bias in model.safetensors has shape [13]")
    assert "1e+300" not in message


def test_a_folder_without_weights_is_refused(tiny_folder):
    folder = tiny_folder()
    (folder / "model.safetensors").unlink()
    refused(folder, str(folder), "holds no weights", f"wanted model.safetensors, or {INDEX}")


def test_a_pickle_is_refused_by_load_weights_too(tiny_folder):
    folder = tiny_folder()
    config = read_config(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin \(wanted model\.safetensors\)"):
        load_weights(folder, config)


def test_a_truncated_file_is_refused(tiny_folder):
    folder = tiny_folder()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    refused(folder, "model.safetensors", "cut off")


def test_one_file_goes_before_an_index(tiny_folder, tiny_tensors):
    folder = tiny_folder()
    (folder / INDEX).write_text("not read", encoding="utf-8")
    assert_same_bits(by_name(load(folder)), tiny_tensors())


def edit_index(folder: Path, **changes: object) -> Path:
    """Change entries of the weight_map; ... removes one."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    for name, shard in changes.items():
        index["weight_map"][name] = shard
    index["weight_map"] = {name: shard for name, shard in index["weight_map"].items() if shard is not ...}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "shard",
    [
        "../elsewhere.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "..",
        "",
        INDEX,
        "pytorch_model.bin",
        "model\0.safetensors",
        None,
        3,
        ["model.safetensors"],
    ],
)
def test_a_shard_is_a_plain_safetensors_file_of_the_folder(tiny_folder, shard):
    folder = edit_index(tiny_folder(shards=2), **{"transformer.wte.weight": shard})
    refused(
        folder,
        INDEX,
        f"'transformer.wte.weight' is placed in {shard!r}",
        "wanted the name of a .safetensors file",
    )


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": null}'])
def test_an_index_without_a_weight_map_is_refused(tiny_folder, text):
    folder = tiny_folder(shards=2)
    (folder / INDEX).write_text(text, encoding="utf-8")
    refused(folder, INDEX, "weight_map is a", "wanted an object")


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": {"a": "b", "a": "b"}}'])
def test_an_index_that_is_no_json_object_is_refused(tiny_folder, text):
    folder = tiny_folder(shards=2)
    (folder / INDEX).write_text(text, encoding="utf-8")
    refused(folder, INDEX, "wanted")


def test_an_index_that_places_nothing_misses_everything(tiny_folder):
    folder = tiny_folder(shards=2)
    (folder / INDEX).write_text('{"weight_map": {}}', encoding="utf-8")
    refused(folder, f"wte.weight is missing from {INDEX} (wanted float32 [300, 12])", "28 tensors are wrong")


def test_a_missing_shard_is_refused(tiny_folder):
    folder = tiny_folder(shards=2)
    (folder / SECOND).unlink()
    refused(folder, SECOND, "is missing")


def test_a_tensor_that_its_shard_does_not_hold_is_refused(tiny_folder):
    folder = edit_index(tiny_folder(shards=2), **{"transformer.h.9.ln_1.bias": FIRST})
    refused(folder, "'transformer.h.9.ln_1.bias' is in no shard", f"wanted in {FIRST} alone")


def test_a_tensor_in_another_shard_than_the_index_says_is_refused(tiny_folder):
    folder = edit_index(tiny_folder(shards=2), **{"transformer.wte.weight": SECOND})
    refused(folder, f"'transformer.wte.weight' is in {FIRST}", f"wanted in {SECOND} alone")


def test_a_tensor_that_the_index_does_not_mention_is_refused(tiny_folder):
    folder = edit_index(tiny_folder(shards=2), **{"transformer.wte.weight": ...})
    refused(folder, f"'transformer.wte.weight' is in {FIRST}", f"wanted a place for it in {INDEX}")


def test_a_tensor_in_two_shards_is_refused(tiny_folder, tiny_tensors, write_safetensors):
    folder = tiny_folder(shards=2)
    second = safetensors.numpy.load_file(folder / SECOND)
    write_safetensors(folder / SECOND, second | {"transformer.wte.weight": tiny_tensors()["wte.weight"]})
    refused(folder, f"'transformer.wte.weight' is in {FIRST} and in {SECOND}", f"wanted in {FIRST} alone")


def test_a_missing_tensor_of_a_sharded_model_is_named(tiny_folder, tiny_tensors):
    stored = tiny_tensors()
    del stored["h.0.attn.c_attn.bias"]
    folder = tiny_folder(stored, shards=2)
    refused(folder, f"h.0.attn.c_attn.bias is missing from {INDEX} (wanted float32 [36])")


def test_every_shared_model_is_read_bit_for_bit(shared_models):
    """The safetensors library reads the same files; names are stripped of their prefix here, by hand."""
    folders = sorted(shared_models.iterdir())
    assert folders
    for folder in folders:
        stored = {}
        for file in sorted(folder.glob("model*.safetensors")):
            stored |= safetensors.numpy.load_file(file)
        wanted = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
        weights = load(folder)
        assert weights.tied
        head = wanted.pop("lm_head.weight", wanted["wte.weight"])
        assert_same_bits({"lm_head": weights.lm_head}, {"lm_head": head})
        assert_same_bits(by_name(weights), {n: t for n, t in wanted.items() if n not in weights.ignored})
