"""A quantised model is a folder that is read as it was written, or refused."""

import json

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed (pip install 'llorch[fast]')")

from safetensors.numpy import load_file

from llorch_core.engine.errors import ModelError, UsageError
from llorch_core.engine.model import Model
from llorch_core.fast.choose import load
from llorch_core.fast.files import count_of, quantize
from llorch_core.fast.loss import compare_on
from llorch_core.fast.packed import from_bfloat16

IDS = [5, 1, 4, 1, 5, 9]


def quantised(folder, tmp_path, kind="int8", group=None):
    quantize(folder, tmp_path / "out", kind, group, lambda: None)
    return tmp_path / "out"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("kind", "group"), [("bfloat16", None), ("int8", None), ("int8", 128), ("int4", 32)])
def test_what_is_written_is_what_is_packed_in_memory(tiny_folder, tmp_path, kind, group, tied):
    folder = tiny_folder(tie_word_embeddings=tied)
    counted = []
    quantize(folder, tmp_path / "out", kind, group, lambda: counted.append(1))
    model, kept = load(tmp_path / "out"), Model(folder)
    assert len(counted) == count_of(kept.config)
    if group in (None, 32):  # the groups that `load` takes
        assert np.array_equal(model.logits(IDS), load(folder, "fast", kind).logits(IDS))
    assert np.array_equal(
        model.forward.in_float32()["h.1.attn.c_attn.bias"], kept.weights.h[1].attn.c_attn.bias
    )
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("kind", "places", "group"),
    [("int8", [0, 8, 16, 24], 64), ("int4", [0, 8, 16, 24, 4, 12, 20, 28], 32)],
)
def test_the_weights_can_be_read_without_llorch(tiny_folder, tmp_path, kind, places, group):
    """By the rule of the page: 16 outputs a panel, and where in a word the inputs are."""
    out = quantised(tiny_folder(), tmp_path, kind)
    tensors = load_file(out / "model.safetensors")
    panels, scales = tensors["h.0.attn.c_proj.panels"], tensors["h.0.attn.c_proj.scales"]
    given = Model(tiny_folder()).weights.h[0].attn.c_proj.weight  # [in, out]
    largest = 2 ** (32 // len(places))
    for i, o in ((0, 0), (3, 5), (6, 1), (11, 11)):
        word = int(panels[o // 16, i // len(places), o % 16])
        bits = (word >> places[i % len(places)]) % largest
        whole = bits - largest if bits >= largest // 2 else bits
        scale = float(from_bfloat16(scales[o // 16, i // group : i // group + 1, o % 16])[0])
        assert abs(whole * scale - given[i, o]) <= scale / 2 * (1 + 1e-6)


def test_panels_begin_where_64_divides_the_place_in_the_file(tiny_folder, tmp_path):
    data = (quantised(tiny_folder(), tmp_path) / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + length])
    begins = [f["data_offsets"][0] for name, f in fields.items() if name.endswith(".panels")]
    assert len(begins) == 9
    assert all((8 + length + begin) % 64 == 0 for begin in begins)


@pytest.mark.parametrize(
    ("kind", "group", "said"),
    [
        ("float32", None, "no precision float32"),
        ("int8", 48, "--group is 48"),
        ("bfloat16", 64, "has no scales"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(tiny_folder, tmp_path, kind, group, said):
    with pytest.raises(UsageError, match=said):
        quantised(tiny_folder(), tmp_path, kind, group)
    assert not list(tmp_path.glob("out*"))


def test_a_folder_that_is_there_is_not_written_over(tiny_folder, tmp_path):
    out = quantised(tiny_folder(), tmp_path)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        quantised(tiny_folder(), tmp_path, "int4")
    assert (out / "model.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="quantised already"):
        quantize(out, tmp_path / "again", "int4", None, lambda: None)


@pytest.mark.parametrize(("backend", "precision"), [("numpy", "auto"), ("auto", "int4"), ("auto", "float32")])
def test_a_quantised_model_is_read_in_its_own_precision_alone(tiny_folder, tmp_path, backend, precision):
    with pytest.raises(UsageError, match="was quantised to int8"):
        load(quantised(tiny_folder(), tmp_path), backend, precision)


def test_a_config_of_another_model_is_refused(tiny_folder, tmp_path):
    out = quantised(tiny_folder(), tmp_path)
    config = json.loads((out / "config.json").read_text())
    for changes, said in (({"n_inner": 30}, "wanted F32"), ({"n_layer": 1}, "no tensor of this model")):
        (out / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(ModelError, match=said):
            load(out)


def test_a_torn_file_is_refused(tiny_folder, tmp_path):
    out = quantised(tiny_folder(), tmp_path)
    path = out / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError):
        load(out)


def test_a_model_loses_nothing_against_itself_and_more_with_fewer_bits(tmp_path):
    original, ids = load(), np.arange(3, 203) % 500
    same = compare_on(ids, original, load(), lambda n: None)
    assert (same.perplexity, same.divergence, same.same_first) == (same.original, 0.0, 1.0)
    assert same.tokens == 199
    int8, int4 = (compare_on(ids, original, load(None, "fast", k), lambda n: None) for k in ("int8", "int4"))
    assert 0 < int8.divergence < int4.divergence


def test_perplexity_is_e_to_the_mean_surprise():
    model = load()
    ids = np.array([5, 9, 2])
    logits = model.logits(ids[:-1]).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = (1 / (p[0, 9] * p[1, 2])) ** 0.5
    assert abs(compare_on(ids, model, model, lambda n: None).perplexity / wanted - 1) < 1e-9
