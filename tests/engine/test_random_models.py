"""Random models of every shape, dtype and switch: each number that the engine computes conforms.

`make test` draws the same models each time. With LLORCH_FUZZ_SECONDS in the environment fresh ones are drawn
for that long; a failure is shrunk to the smallest model that shows it, and drawn again first the next time.
"""

import os
import shutil
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch_core.check.compare import everywhere, local, require
from llorch_core.engine.config import ACTIVATIONS
from llorch_core.spec.oracle import read_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import NumpyEngine

SECONDS = float(os.environ.get("LLORCH_FUZZ_SECONDS", "0"))
STORED = {"F32": np.float32, "F64": np.float64, "F16": np.float16}


class Drawn(NamedTuple):
    """A model and a prompt, in what hypothesis prints of a failure.

    config    of config.json
    chunks    ids of each forward call
    dtype     of the file; "mixed": each tensor its own, so that most lie off their alignment
    outliers  factor of one channel of the embeddings and the projections: large ones, as trained models have
              them, and one that is less than the smallest normal number
    flat      half the tokens and places are almost constant rows, far from 0
    sharp     factor of c_attn: a large one makes attention choose; of a faint one the scores underflow
    seed      of the weights
    """

    config: dict[str, Any]
    chunks: list[list[int]]
    dtype: str
    prefix: str
    shards: int
    outliers: float
    flat: bool
    sharp: float
    seed: int


@st.composite
def models(draw: st.DrawFn) -> Drawn:
    """Sizes first, since hypothesis shrinks what is drawn first the most."""
    n_layer, n_head, head_dim = (draw(st.integers(1, most)) for most in (3, 4, 16))
    n_inner = draw(st.integers(1, 48) | st.none())
    n_vocab = draw(st.integers(1, 40))
    chunks = draw(
        st.lists(st.lists(st.integers(0, n_vocab - 1), min_size=1, max_size=6), min_size=1, max_size=4)
    )
    config = {
        "vocab_size": n_vocab,
        "n_positions": sum(map(len, chunks)) + draw(st.integers(0, 3)),
        "n_embd": n_head * head_dim,
        "n_head": n_head,
        "n_layer": n_layer,
        "n_inner": n_inner,
        "activation_function": draw(st.sampled_from(ACTIVATIONS)),
        "layer_norm_epsilon": draw(st.sampled_from([1e-5, 1e-12, 1e-3, 0.5])),
        "scale_attn_weights": draw(st.booleans()),
        "scale_attn_by_inverse_layer_idx": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return Drawn(
        config,
        chunks,
        dtype=draw(st.sampled_from([*STORED, "BF16", "mixed"])),
        prefix=draw(st.sampled_from(["", "transformer."])),
        shards=draw(st.integers(1, 3)),
        outliers=draw(st.sampled_from([1.0, 3000.0, 30.0, 1e-42])),
        flat=draw(st.booleans()),
        sharp=draw(st.sampled_from([1.0, 8.0, 1e-25])),
        seed=draw(st.integers(0, 9999)),
    )


def weights_of(drawn: Drawn, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Seeded weights with the habits of trained ones, as the file stores them."""
    random = np.random.default_rng(drawn.seed)
    channel = random.integers(drawn.config["n_embd"])
    for name, tensor in tensors.items():
        if drawn.flat and name in ("wte.weight", "wpe.weight"):
            rows = random.random(len(tensor)) < 0.5
            tensor[rows] = 5 + 1e-3 * tensor[rows]
        if name.endswith(("wte.weight", "wpe.weight", "c_proj.weight")):
            tensor[:, channel] *= drawn.outliers
        if "c_attn" in name:
            tensor[...] *= drawn.sharp
    dtypes = [*STORED, "BF16"]
    return {
        name: stored(tensor, str(random.choice(dtypes)) if drawn.dtype == "mixed" else drawn.dtype)
        for name, tensor in tensors.items()
    }


def stored(tensor: np.ndarray, dtype: str) -> Any:
    """A tensor as `tiny_folder` takes it. F64 gets digits that float32 has not; BF16 keeps the upper half."""
    if dtype == "BF16":
        half = (tensor.view(np.uint32) >> 16).astype("<u2")
        return "BF16", list(tensor.shape), half.tobytes()
    return tensor.astype(np.float64) * (1 + 1e-9) if dtype == "F64" else tensor.astype(STORED[dtype])


def hold(drawn: Drawn, folder: Any) -> None:
    """Every element of every checkpoint conforms locally, and the logits conform from the ids alone."""
    engine, oracle = NumpyEngine(folder), read_oracle(load_specs(), folder)
    record = engine.record(drawn.chunks)
    compared = local(oracle, record, engine.precision)
    require(compared)
    recorded = {
        (k, name): x.size for k, step in enumerate(record) for name, x in step.items() if name != "ids"
    }
    assert {(c.step, c.what): c.elements for c in compared} == recorded
    ends = [{name: step[name] for name in ("ids", "logits")} for step in record]
    compared = everywhere(oracle, ends, engine.precision)
    require(compared)
    assert [c.elements for c in compared] == [step["logits"].size for step in record]


@pytest.mark.untraced
def test_every_number_of_a_random_model_conforms(tiny_folder, tiny_tensors):
    @settings(derandomize=not SECONDS, max_examples=60, deadline=None, print_blob=True)
    @given(models())
    def search(drawn: Drawn) -> None:
        tensors = tiny_tensors(seed=drawn.seed, **drawn.config)
        folder = tiny_folder(
            weights_of(drawn, tensors), prefix=drawn.prefix, shards=drawn.shards, **drawn.config
        )
        try:
            hold(drawn, folder)
        finally:
            shutil.rmtree(folder)  # hours of models would fill the disk

    end = time.monotonic() + SECONDS
    search()
    while time.monotonic() < end:
        search()
