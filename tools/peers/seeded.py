"""A model of one of GPT-2's sizes with random weights: as fast as a trained one, and as large.

    python tools/peers/seeded.py SHAPE FOLDER [--seed 124]

SHAPE is one of small, gpt2 (124M), gpt2-medium (355M), gpt2-large (774M), gpt2-xl (1.6B); small is of the
size of the embedded model. Weights are float32. The token embedding spreads by 0.02 as GPT-2's did before its
training, the other matrices by three times that: with 0.02 everywhere a model repeats one id for ever, and
that engines agree in it says nothing. Gains are not 1 and biases not 0, which would hide that they are left
out. The same seed writes the same bytes. One tensor is in memory at a time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from llorch_core.engine.config import read_config
from llorch_core.engine.weights import expected_shapes
from llorch_core.fast.files import header

GPT2 = {"vocab_size": 50257, "n_positions": 1024}
SHAPES = {
    "small": {"vocab_size": 1024, "n_positions": 256, "n_embd": 128, "n_head": 4, "n_layer": 4},
    "gpt2": {**GPT2, "n_embd": 768, "n_head": 12, "n_layer": 12},
    "gpt2-medium": {**GPT2, "n_embd": 1024, "n_head": 16, "n_layer": 24},
    "gpt2-large": {**GPT2, "n_embd": 1280, "n_head": 20, "n_layer": 36},
    "gpt2-xl": {**GPT2, "n_embd": 1600, "n_head": 25, "n_layer": 48},
}


def write_seeded(folder: Path, shape: str, seed: int = 124) -> Path:
    """Write config.json and model.safetensors into a new folder; returns it."""
    folder.mkdir(parents=True)
    config = {"model_type": "gpt2", **SHAPES[shape]}
    config |= {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shapes = expected_shapes(read_config(folder))
    rng = np.random.default_rng(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header({name: ("F32", sizes) for name, sizes in shapes.items()}, {"format": "pt"}, 8))
        for name, sizes in shapes.items():
            spread, mean = initial(name)
            x = rng.standard_normal(sizes, np.float32)
            x *= np.float32(spread)
            x += np.float32(mean)
            file.write(x.astype("<f4", copy=False).data)
    return folder


def initial(name: str) -> tuple[float, float]:
    """Return the standard deviation and the mean of a tensor."""
    if "ln_" in name:
        return (0.1, 1.0) if name.endswith("weight") else (0.02, 0.0)
    if name.endswith("bias"):
        return 0.01, 0.0
    return (0.02 if name == "wte.weight" else 0.06), 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=124)
    given = parser.parse_args()
    print(write_seeded(given.folder, given.shape, given.seed))


if __name__ == "__main__":
    main()
