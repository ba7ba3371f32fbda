"""config.json: what is read, what is taken as default, what is refused."""

import json
import re
from pathlib import Path

import pytest

from llorch_core.engine.config import Config, read_config
from llorch_core.engine.errors import ModelError


def write_config(folder: Path, text: str | bytes) -> Path:
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def refused(folder: Path, *words: str) -> str:
    """The message of the ModelError; each of the words is in it."""
    with pytest.raises(ModelError) as caught:
        read_config(folder)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    assert "\n" in message  # a next step follows
    return message


def test_every_value_of_a_config_is_read(tiny_folder):
    folder = tiny_folder(
        activation_function="relu",
        layer_norm_epsilon=0.25,
        scale_attn_weights=False,
        scale_attn_by_inverse_layer_idx=True,
        tie_word_embeddings=False,
        bos_token_id=7,
        eos_token_id=None,
    )
    assert read_config(folder) == Config(
        n_vocab=300,
        n_ctx=16,
        n_embd=12,
        n_head=2,
        n_layer=2,
        n_inner=20,
        activation_function="relu",
        layer_norm_epsilon=0.25,
        scale_attn_weights=False,
        scale_attn_by_inverse_layer_idx=True,
        tie_word_embeddings=False,
        eos_token_id=None,
        bos_token_id=7,
    )


def test_what_is_absent_takes_the_default_of_gpt2config(tmp_path):
    sizes = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
    config = read_config(write_config(tmp_path, json.dumps(sizes)))
    assert config == Config(
        n_vocab=50257,
        n_ctx=1024,
        n_embd=768,
        n_head=12,
        n_layer=12,
        n_inner=3072,
        activation_function="gelu_new",
        layer_norm_epsilon=1e-5,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        tie_word_embeddings=True,
        eos_token_id=50256,
        bos_token_id=50256,
    )


def test_the_heads_share_n_embd(tiny_folder):
    assert read_config(tiny_folder(n_embd=12, n_head=3)).head_dim == 4


def test_a_default_token_outside_the_vocabulary_is_none(tiny_folder):
    config = read_config(tiny_folder(eos_token_id=..., bos_token_id=...))
    assert (config.eos_token_id, config.bos_token_id) == (None, None)


@pytest.mark.parametrize("n_inner", [None, ...], ids=["null", "absent"])
def test_n_inner_is_four_times_n_embd_unless_given(tiny_folder, n_inner):
    assert read_config(tiny_folder(n_inner=n_inner)).n_inner == 48


def test_n_ctx_is_another_name_of_n_positions(tiny_folder):
    tensors = {}
    assert read_config(tiny_folder(tensors, n_positions=..., n_ctx=16)).n_ctx == 16
    assert read_config(tiny_folder(tensors, n_positions=16, n_ctx=16)).n_ctx == 16


def test_n_ctx_that_contradicts_n_positions_is_refused(tiny_folder):
    refused(tiny_folder(n_ctx=32), "config.json", "n_positions is 16", "wanted 32, as n_ctx")


def test_swish_is_silu(tiny_folder):
    assert read_config(tiny_folder(activation_function="swish")).activation_function == "silu"


@pytest.mark.parametrize("name", ["gelu_new", "gelu", "gelu_fast", "quick_gelu", "relu", "silu", "tanh"])
def test_the_activations_of_gpt2_are_accepted(tiny_folder, name):
    assert read_config(tiny_folder(activation_function=name)).activation_function == name


@pytest.mark.parametrize("epsilon", [0, 1, 1e-12])
def test_epsilon_may_be_written_as_a_whole_number(tiny_folder, epsilon):
    got = read_config(tiny_folder(layer_norm_epsilon=epsilon)).layer_norm_epsilon
    assert isinstance(got, float)
    assert got == epsilon


def test_keys_that_change_no_number_are_ignored(tiny_folder):
    extra = {"resid_pdrop": 0.1, "task_specific_params": {"text-generation": {}}, "torch_dtype": "float16"}
    assert read_config(tiny_folder(**extra)) == read_config(tiny_folder())


SIZES = ["vocab_size", "n_positions", "n_embd", "n_head", "n_layer"]


@pytest.mark.parametrize("key", SIZES)
def test_a_missing_size_is_never_guessed(tiny_folder, key):
    refused(tiny_folder({}, **{key: ...}), "config.json", f"{key} is missing", "a whole number from 1")


@pytest.mark.parametrize("value", [0, -1, True, 12.0, "12", [12], 2**31 + 1])
@pytest.mark.parametrize("key", [*SIZES, "n_inner", "n_ctx"])
def test_a_size_is_a_whole_number_within_reason(tiny_folder, key, value):
    refused(tiny_folder({}, **{key: value}), f"{key} is {value!r}", "wanted a whole number from 1")


@pytest.mark.parametrize("key", SIZES)
def test_null_is_no_size(tiny_folder, key):
    refused(tiny_folder({}, **{key: None}), f"{key} is None", "wanted a whole number from 1")


def test_a_number_of_layers_that_no_file_could_hold_is_refused(tiny_folder):
    refused(tiny_folder({}, n_layer=10_001), "n_layer is 10001", "from 1 to 10000")


def test_heads_that_do_not_divide_n_embd_are_refused(tiny_folder):
    refused(tiny_folder(n_head=5), "config.json", "n_embd is 12 and n_head is 5", "divisible")


@pytest.mark.parametrize("value", ["gelu_newer", "", None, 3, ["gelu"], "gelu_pytorch_tanh"])
def test_an_unknown_activation_is_refused(tiny_folder, value):
    folder = tiny_folder(activation_function=value)
    refused(folder, "config.json", f"activation_function is {value!r}", "wanted one of gelu_new gelu ")


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "-1e-5", "1e999", "true", "null", '"1e-5"', "1" + "0" * 400]
)
def test_epsilon_is_a_finite_number_from_0(tiny_folder, text):
    folder = tiny_folder()
    config = (folder / "config.json").read_text(encoding="utf-8")
    write_config(folder, config.replace('"layer_norm_epsilon": 1e-05', f'"layer_norm_epsilon": {text}'))
    refused(folder, "config.json", "layer_norm_epsilon is", "wanted a finite number, 0 or more")


@pytest.mark.parametrize("value", [0, 1, "true", None])
@pytest.mark.parametrize(
    "key",
    ["scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings", "add_cross_attention"],
)
def test_a_switch_is_true_or_false(tiny_folder, key, value):
    refused(tiny_folder({}, **{key: value}), f"{key} is {value!r}", "wanted true or false")


@pytest.mark.parametrize("value", [-1, 300, True, 2.0, "</s>"])
@pytest.mark.parametrize("key", ["eos_token_id", "bos_token_id"])
def test_a_token_outside_the_vocabulary_is_refused(tiny_folder, key, value):
    refused(tiny_folder(**{key: value}), f"{key} is {value!r}", "wanted null or an id from 0 to 299")


def test_a_list_of_end_tokens_is_refused_and_says_so(tiny_folder):
    refused(tiny_folder(eos_token_id=[1, 2]), "eos_token_id is [1, 2]", "one id or null", "not a list")


@pytest.mark.parametrize("value", ["llama", None, 2])
def test_another_model_type_is_refused(tiny_folder, value):
    refused(tiny_folder(model_type=value), f"model_type is {value!r}", 'wanted "gpt2"')


def test_an_absent_model_type_is_taken_for_gpt2(tiny_folder):
    assert read_config(tiny_folder(model_type=...)) == read_config(tiny_folder())


def test_cross_attention_is_refused(tiny_folder):
    refused(tiny_folder(add_cross_attention=True), "add_cross_attention is True", "wanted false")


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    refused(tmp_path / "nowhere", str(tmp_path / "nowhere"), "does not exist", "wanted a model folder")


def test_a_file_in_place_of_the_folder_is_refused(tiny_folder):
    refused(tiny_folder() / "config.json", "config.json is a file", "wanted a model folder")


def test_a_missing_config_is_refused(tmp_path):
    refused(tmp_path, str(tmp_path / "config.json"), "is missing", "model.safetensors")


def test_a_folder_in_place_of_the_config_is_refused(tmp_path):
    (tmp_path / "config.json").mkdir()
    refused(tmp_path, "config.json", "is not a file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_a_pickle_is_never_read_and_its_conversion_is_named(tiny_folder, name):
    folder = tiny_folder()
    (folder / "model.safetensors").rename(folder / name)
    refused(folder, str(folder), name, "wanted model.safetensors", "pickle", "safe_serialization=True")


def test_a_pickle_beside_the_safetensors_file_is_left_alone(tiny_folder):
    folder = tiny_folder()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert read_config(folder).n_embd == 12


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'n_embd': 12}",
        "version https://git-lfs.github.com/spec/v1",
        b'{"n_embd": "\xff"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "[" * 100_000,
        '{"n_embd": ' + "1" * 5000 + "}",
    ],
    ids=["empty", "cut", "quotes", "lfs", "latin1", "bom", "utf16", "deep", "digits"],
)
def test_what_is_not_json_is_refused(tmp_path, text):
    refused(
        write_config(tmp_path, text), "config.json", "is not JSON", "wanted a JSON object in UTF-8", "got"
    )


@pytest.mark.parametrize(
    ("text", "got"), [("[]", "list"), ("null", "NoneType"), ('"gpt2"', "str"), ("1", "int")]
)
def test_json_that_is_no_object_is_refused(tmp_path, text, got):
    refused(write_config(tmp_path, text), "config.json", f"JSON {got}", "wanted an object")


def test_a_key_given_twice_is_refused(tmp_path):
    refused(
        write_config(tmp_path, '{"n_head": 2, "n_embd": 12, "n_head": 3}'), "'n_head' twice", "config.json"
    )


def test_the_configs_of_the_shared_models_are_read(shared_models):
    sizes = re.compile(r"(\d+)x(\d+)x(\d+)_")  # layers, heads, width: the folder's own name
    seen = 0
    for folder in sorted(shared_models.iterdir()):
        config = read_config(folder)
        assert config.head_dim * config.n_head == config.n_embd
        if match := sizes.match(folder.name):
            assert (config.n_layer, config.n_head, config.n_embd) == tuple(map(int, match.groups()))
            seen += 1
    assert seen >= 3
    assert read_config(shared_models / "slm4096_char").activation_function == "gelu"
    assert read_config(shared_models / "slm4096_char").eos_token_id is None


def test_a_config_of_megabytes_is_refused_before_it_is_read(tiny_folder):
    path = tiny_folder() / "config.json"
    with path.open("r+b") as file:
        file.truncate(4_000_001)  # sparse: takes no room
    with pytest.raises(
        ModelError, match=r"config\.json has 4000001 bytes \(wanted a JSON object of at most 4000000\)"
    ):
        read_config(path.parent)
