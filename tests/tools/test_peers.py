"""The adapters of peers: each starts without its peer, and says what is missing; a seeded model loads."""

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from llorch_core import load
from llorch_core.bench.protocol import Unable

PEERS = Path(__file__).parents[2] / "tools" / "peers"
NEEDS = {  # what each imports, and what its answer says to install
    "transformers": (("torch", "transformers"), "torch transformers"),
    "ctranslate2": (("ctranslate2", "torch", "transformers"), "torch transformers ctranslate2 safetensors"),
    "onnxruntime": (("onnxruntime", "onnx"), "onnx onnxruntime"),
    "openvino": (("openvino", "nncf"), "openvino nncf"),
    "llama_cpp": (("llama_cpp", "gguf"), "llama-cpp-python gguf safetensors"),
}


def module(name):
    spec = importlib.util.spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


common, seeded = module("common"), module("seeded")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return seeded.write_seeded(tmp_path_factory.mktemp("seeded") / "small", "small", seed=3)


def answers(peer, *requests):
    """Return what the adapter answers, one after another, in a process of its own without any peer."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({NEEDS[peer][0]}))"  # None: an import of it fails
    script = PEERS / f"{peer}_peer.py"
    hide += f"; sys.path.insert(0, {str(PEERS)!r})"
    code = f"{hide}; import runpy; runpy.run_path({str(script)!r}, None, '__main__')"
    text = "".join(json.dumps(request) + "\n" for request in requests)
    ran = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_peer_that_is_missing_says_what_to_install_and_goes_on(small, tmp_path):
    ask = {"do": "load", "model": str(small), "precision": "float32", "threads": 1, "cache": str(tmp_path)}
    with ThreadPoolExecutor() as pool:
        found = dict(
            zip(NEEDS, pool.map(lambda peer: answers(peer, ask, {"do": "prefill"}), NEEDS), strict=True)
        )
    for peer, (missing, nothing) in found.items():
        assert missing["cannot"].endswith(f": pip install {NEEDS[peer][1]}"), peer
        assert any(name in missing["cannot"] for name in NEEDS[peer][0]), peer
        assert nothing == {"cannot": "nothing is loaded"}
    assert not list(tmp_path.iterdir())


def test_every_adapter_is_tested():
    assert {path.stem.removesuffix("_peer") for path in PEERS.glob("*_peer.py")} == NEEDS.keys()


def test_a_precision_that_a_peer_lacks_is_said_with_those_it_has():
    assert common.precision_of({"precision": "int8"}, {"float32": "F32", "int8": "Q8_0"}) == "Q8_0"
    with pytest.raises(Unable, match=r"^no int4 here \(there is float32, int8\)$"):
        common.precision_of({"precision": "int4"}, {"float32": "F32", "int8": "Q8_0"})


def test_a_model_is_converted_once_and_again_when_it_changes(small, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    request = {"model": str(model), "cache": str(tmp_path / "cache")}
    written = []

    def write(path):
        written.append(path)
        path.write_text("converted")

    first, _ = common.converted(request, "peer-1", write)
    assert common.converted(request, "peer-1", write)[0] == first and len(written) == 1
    assert first.read_text() == "converted" and list(first.parent.iterdir()) == [first]
    (model / "config.json").write_text("{ }")
    assert common.converted(request, "peer-1", write)[0] != first and len(written) == 2


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "model").mkdir()
    request = {"model": str(tmp_path / "model"), "cache": str(tmp_path / "cache")}

    def fail(path):
        path.write_text("half")
        raise Unable("no room")

    with pytest.raises(Unable):
        common.converted(request, "peer-1", fail)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


class Counting(common.Stepwise):
    """Answers the last id plus one, and keeps what it was asked."""

    def begin(self, rows, room):
        self.asked = [(rows, room)]

    def read(self, ids):
        self.asked.append(ids.tolist())
        return np.eye(50, dtype=np.float32)[ids[:, -1] + 1]


def test_greedy_reads_the_prompt_once_and_then_one_id_at_a_time():
    engine, firsts = Counting(), []
    assert engine.decode([3, 4], 3, lambda: firsts.append(len(engine.asked))) == [5, 6, 7]
    assert engine.asked == [(1, 5), [[3, 4]], [[5]], [[6]]] and firsts == [2]
    assert engine.batch([[3, 4], [8, 9]], 2) == [[5, 6], [10, 11]]
    assert engine.asked == [(2, 4), [[3, 4], [8, 9]], [[5], [10]]]
    assert engine.prefill([3, 4]) == 5
    assert np.frombuffer(engine.logits([3, 4]), "<f4").argmax() == 5


def test_a_seeded_model_is_one_that_the_engine_loads(small):
    model = load(small)
    assert (model.config.n_layer, model.config.n_embd, model.config.n_vocab) == (4, 128, 1024)
    assert model.config.activation_function == "gelu_new" and model.weights.tied
    assert np.isfinite(model.logits([1, 2, 3])).all()


def test_seeded_weights_have_the_spread_that_is_said(small):
    weights = load(small).weights
    assert weights.wte.std() == pytest.approx(seeded.initial("wte.weight")[0], rel=0.02)
    assert weights.h[0].ln_1.weight.mean() == pytest.approx(1, abs=0.05)
    for name, x in (
        ("h.1.ln_2.bias", weights.h[1].ln_2.bias),
        ("h.1.mlp.c_proj.bias", weights.h[1].mlp.c_proj.bias),
    ):
        assert x.std() == pytest.approx(seeded.initial(name)[0], rel=0.3)


def test_the_same_seed_writes_the_same_bytes(small, tmp_path):
    again = seeded.write_seeded(tmp_path / "again", "small", seed=3)
    other = seeded.write_seeded(tmp_path / "other", "small", seed=4)
    file = "model.safetensors"
    assert (again / file).read_bytes() == (small / file).read_bytes() != (other / file).read_bytes()


@pytest.mark.parametrize(
    ("shape", "millions"),
    [("gpt2", 124), ("gpt2-medium", 355), ("gpt2-large", 774), ("gpt2-xl", 1558)],
)
def test_the_shapes_have_as_many_parameters_as_those_of_gpt2(shape, millions, tmp_path):
    config = {"model_type": "gpt2", **seeded.SHAPES[shape]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shapes = seeded.expected_shapes(seeded.read_config(tmp_path))
    assert round(sum(int(np.prod(sizes)) for sizes in shapes.values()) / 1e6) == millions
