"""What a user holds: `load`, `logits`, `encode`, `decode`, and an import that costs nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import llorch_core
from llorch_core import Completion, Model, ModelError, UsageError, load

PROMPT = "To be, or not to be"


@pytest.fixture(scope="module")
def model() -> Model:
    """The embedded model."""
    return load()


@pytest.fixture
def tiny(tiny_folder) -> Model:
    """300 tokens, 16 positions, no tokenizer."""
    return load(tiny_folder())


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_llorch_imports_nothing_heavy_before_something_is_asked_for():
    loaded = "sorted({'numpy', 'tiktoken', 'yaml', 'behave', 'click'} & sys.modules.keys())"
    assert python(f"import sys, llorch_core; print({loaded})") == "[]"
    assert python(f"import sys, llorch_core; llorch_core.load; print({loaded})") == "['numpy']"


def test_every_public_name_is_there():
    assert sorted(llorch_core.__all__) == llorch_core.__all__
    for name in llorch_core.__all__:
        assert getattr(llorch_core, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'llorch_core' has no attribute 'lode'"):
        llorch_core.lode  # noqa: B018  (the access is what is tested)
    with pytest.raises(ImportError):
        exec("from llorch_core import lode")  # noqa: S102  (the statement that a user writes)


def test_load_without_a_folder_is_the_embedded_model(model):
    assert (model.folder.name, model.config.n_vocab) == ("shakespeare", 1024)
    assert model.tokenizer is not None


def test_load_takes_a_path_or_its_text(tiny_folder):
    folder = tiny_folder()
    assert np.array_equal(load(folder).logits([1, 2, 3]), load(str(folder)).logits([1, 2, 3]))


@pytest.mark.parametrize(
    "overrides", [{"vocab_size": ...}, {"n_head": 5}, {"activation_function": "mish"}, {"n_layer": 3}]
)
def test_a_folder_that_is_no_gpt2_is_refused(tiny_folder, tiny_tensors, overrides):
    with pytest.raises(ModelError):
        load(tiny_folder(tiny_tensors(), **overrides))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load(tmp_path / "gpt2")


@pytest.mark.parametrize(
    "ids", [[5, 6, 7], (5, 6, 7), np.array([5, 6, 7], np.int32), np.array([5, 6, 7], np.uint16)]
)
def test_ids_of_any_whole_kind_give_the_same_float32_logits(tiny, ids):
    logits = tiny.logits(ids)
    assert (logits.dtype, logits.shape) == (np.float32, (3, 300))
    assert np.array_equal(logits, tiny.logits([5, 6, 7]))


def test_text_is_read_as_its_ids(model):
    ids = model.encode(PROMPT)
    assert np.array_equal(model.logits(PROMPT), model.logits(ids))
    assert model.generate(PROMPT, max_tokens=1).prompt_ids == ids


def test_the_trained_model_knows_what_it_reads(model):
    """The mean loss on a line that everybody knows is far below that of a guess, log 1024 = 6.9."""
    ids = model.encode("First Citizen:\nBefore we proceed any further, hear me speak.\n")
    logits = model.logits(ids)[:-1].astype(np.float64)
    losses = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(ids) - 1), ids[1:]]
    assert losses.mean() < 4


@pytest.mark.parametrize("ids", [[1.0, 2.0], np.array([1.5]), [True, False], [None], [2**70], ["1"]])
def test_ids_that_are_no_whole_numbers_are_refused(tiny, ids):
    with pytest.raises(UsageError, match="wanted whole numbers, or text"):
        tiny.logits(ids)


@pytest.mark.parametrize("ids", [[], "", 5, [[1, 2], [3, 4]]])
def test_ids_that_are_no_row_of_at_least_one_are_refused(model, ids):
    with pytest.raises(UsageError, match="wanted at least one id, in one row"):
        model.logits(ids)


def test_prompts_of_unequal_lengths_are_no_row_either(tiny):
    with pytest.raises(UsageError, match="one row"):
        tiny.logits([[1, 2], [3]])


def test_rows_other_than_all_and_last_are_refused(tiny):
    with pytest.raises(UsageError, match="rows is 'first'"):
        tiny.logits([1, 2], rows="first")


def test_a_cache_goes_on_where_the_last_call_ended(model):
    ids, cache = model.encode(PROMPT), model.new_cache()
    first = model.logits(ids[:4], kv_cache=cache)
    assert cache.n_past == 4
    second = model.logits(ids[4:], kv_cache=cache)
    assert cache.n_past == len(ids)
    whole = model.logits(ids)
    np.testing.assert_allclose(
        np.concatenate([first, second]), whole, rtol=0, atol=1e-5 * np.abs(whole).max()
    )


def test_calls_without_a_cache_have_no_past(tiny):
    fresh = tiny.logits([7, 8])
    tiny.logits([1, 2, 3])
    assert np.array_equal(tiny.logits([7, 8]), fresh)


def test_a_new_cache_has_room_for_the_whole_context_or_for_what_was_asked(tiny):
    assert (tiny.new_cache().capacity, tiny.new_cache(3).capacity) == (16, 3)
    assert tiny.new_cache().n_past == 0


@pytest.mark.parametrize("text", [PROMPT, "", " \n\n  x", "naïve 中文 😀", "<|endoftext|>"])
def test_decode_undoes_encode(model, text):
    assert model.decode(model.encode(text)) == text
    assert model.decode(np.array(model.encode(text), np.int64)) == text


def test_end_of_text_is_a_token_only_where_it_may_be(model):
    assert model.encode("<|endoftext|>", allow_special=True) == [model.config.eos_token_id] == [1023]
    assert len(model.encode("<|endoftext|>")) > 1


def test_an_id_without_a_token_is_refused(model):
    with pytest.raises(UsageError, match="token id 1024 has no token"):
        model.decode([5, 1024])


def test_a_model_without_tokenizer_says_what_to_do_for_text(tiny):
    for ask in (lambda: tiny.encode("x"), lambda: tiny.decode([1]), lambda: tiny.logits("x")):
        with pytest.raises(UsageError, match="pass token ids instead of text"):
            ask()


def test_a_completion_prints_as_its_text():
    made = Completion(prompt_ids=[1], ids=[2], text=" be", finish_reason="stop", seed=0)
    assert f"To{made}" == "To be"
