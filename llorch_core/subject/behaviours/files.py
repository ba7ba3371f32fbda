"""The weight file and the config, as the engine reads them; a mistake reads another file in their place.

A reader with a mistake gives what the right reader gives of a file that has it. So a shim writes that
file into a temporary folder, and the engine's own loader reads it.
"""

from __future__ import annotations

import json
import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine.config import Config, read_config
from llorch_core.engine.errors import ModelError
from llorch_core.engine.model import Model
from llorch_core.engine.safetensors_file import FLOATS, ITEMSIZE, Entry, read_header, read_tensor
from llorch_core.engine.weights import FILE, HEAD, INDEX, PREFIX, Weights, expected_shapes, load_weights

Tensors = dict[str, NDArray[np.float32]]
PARTS = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
GPT2_SMALL = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}


class WeightFile:
    """The weights of a folder in memory, by their GPT-2 names."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self._model = model
        self._data = data
        self._changes = [change for (datum, value), change in WEIGHT_SHIMS.items() if data[datum] == value]
        if data["left_as_allocated"] != "none":
            self._changes.append(_not_loaded(data["left_as_allocated"]))
        self._wrong = bool(self._changes) or any(data[datum] == value for datum, value in LAYOUT_SHIMS)

    def in_memory(self) -> Tensors:
        """Return the tensors of the model on trial, as the forward pass reads them."""
        return self.load(self._model.folder) if self._wrong else tensors_of(self._model.weights)

    def load(self, folder: Path) -> Tensors:
        """Load a folder. Raises ModelError where the engine refuses it."""
        if not self._wrong:
            return tensors_of(load_weights(folder, read_config(folder)))
        checkpoint = self._checkpoint(folder)
        for change in self._changes:
            change(checkpoint)
        with _written(checkpoint.config) as other:
            (other / FILE).write_bytes(checkpoint.as_bytes())
            return tensors_of(load_weights(other, read_config(other)))

    def _checkpoint(self, folder: Path) -> Checkpoint:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if (folder / FILE).exists():
            return Checkpoint(config, self._read(folder / FILE))
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        tensors: dict[str, Stored] = {}
        for number, shard in enumerate(sorted(set(index["weight_map"].values()))):
            found = self._read(folder / shard)
            if number and self._data["shards"] == "the first":
                found = {name: stored.zeros() for name, stored in found.items()}
            tensors |= found
        return Checkpoint(config, tensors)

    def _read(self, path: Path) -> dict[str, Stored]:
        """Read a file; what no mistake lets pass is refused by the engine itself."""
        raw = path.read_bytes()
        begin = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:begin])
        header.pop("__metadata__", None)
        end = begin + max(field["data_offsets"][1] for field in header.values())
        if self._data["missing_bytes"] == "zeros":
            raw = raw.ljust(end, b"\0")
        if self._data["trailing_bytes"] == "ignored":
            raw = raw[:end]
        if self._data["shared_bytes"] != "accepted":
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / path.name).write_bytes(raw)
                read_header(Path(folder) / path.name)
        return {name: Stored.cut(field, raw[begin:]) for name, field in header.items()}


@dataclass(frozen=True)
class Stored:
    """A tensor as a file holds it."""

    dtype: str
    shape: tuple[int, ...]
    raw: bytes

    @classmethod
    def cut(cls, field: Mapping[str, Any], data: bytes) -> Stored:
        begin, end = field["data_offsets"]
        return cls(field["dtype"], tuple(field["shape"]), data[begin:end])

    @classmethod
    def of(cls, x: NDArray[Any]) -> Stored:
        return cls("F32", x.shape, x.astype("<f4").tobytes())

    def zeros(self) -> Stored:
        return replace(self, raw=bytes(len(self.raw)))

    def bits(self) -> NDArray[Any]:
        """Return the elements as unsigned numbers, to be moved about whatever they mean."""
        return np.frombuffer(self.raw, f"<u{ITEMSIZE[self.dtype]}").reshape(self.shape)

    def values(self) -> NDArray[np.float32]:
        return read_tensor(self.raw, Entry("", "", self.dtype, self.shape, 0, len(self.raw)))


@dataclass
class Checkpoint:
    """A model folder, to be read in another way than it is meant."""

    config: dict[str, Any]
    tensors: dict[str, Stored]

    def change(self, chosen: Callable[[str], bool], how: Callable[[Stored], Stored]) -> None:
        """Put another tensor in the place of each one that is chosen by its bare name."""
        for name, stored in self.tensors.items():
            if chosen(name.removeprefix(PREFIX)):
                self.tensors[name] = how(stored)

    def name(self, bare: str) -> str:
        """Return the name that a tensor has in this file, or would have."""
        prefixed = any(name.startswith(PREFIX) for name in self.tensors)
        return PREFIX + bare if prefixed and bare != HEAD else bare

    def shapes(self) -> dict[str, tuple[int, ...]]:
        with _written(self.config) as folder:
            return {self.name(bare): shape for bare, shape in expected_shapes(read_config(folder)).items()}

    def as_bytes(self) -> bytes:
        header, at = {}, 0
        for name, stored in self.tensors.items():
            end = at + len(stored.raw)
            header[name] = {"dtype": stored.dtype, "shape": stored.shape, "data_offsets": [at, end]}
            at = end
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + b"".join(s.raw for s in self.tensors.values())


def tensors_of(weights: Weights) -> Tensors:
    """Return what the forward pass reads, by GPT-2 name."""
    named = {"wte.weight": weights.wte, "wpe.weight": weights.wpe}
    homes = {f"h.{n}.{part}": attrgetter(part)(block) for n, block in enumerate(weights.h) for part in PARTS}
    for place, home in {**homes, "ln_f": weights.ln_f}.items():
        named |= {f"{place}.weight": home.weight, f"{place}.bias": home.bias}
    return {**named, HEAD: weights.lm_head}


@contextmanager
def _written(config: Mapping[str, Any]) -> Iterator[Path]:
    """Write a config into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield Path(folder)


# Mistakes of reading weights: what each makes of the file.


def _not_found(prefixed: bool) -> Callable[[Checkpoint], None]:
    """Names of one kind are not found, and their memory stays as it was allocated."""

    def change(file: Checkpoint) -> None:
        for name, stored in file.tensors.items():
            if name.startswith(PREFIX) == prefixed and name != HEAD:
                file.tensors[name] = stored.zeros()

    return change


def _transposed(stored: Stored) -> Stored:
    return replace(stored, raw=stored.bits().T.tobytes())


def _square_transposed(file: Checkpoint) -> None:
    file.change(lambda name: name.endswith("attn.c_proj.weight"), _transposed)


def _reshaped(file: Checkpoint) -> None:
    for name, shape in file.shapes().items():
        if ".c_" in name and file.tensors[name].shape == shape[::-1]:
            file.tensors[name] = replace(file.tensors[name], shape=shape)


def _sorted_as_text(file: Checkpoint) -> None:
    order = sorted(range(file.config["n_layer"]), key=str)
    blocks = {f"h.{n}.": f"h.{place}." for place, n in enumerate(order)}

    def renamed(name: str) -> str:
        bare = name.removeprefix(PREFIX)
        block = next((block for block in blocks if bare.startswith(block)), None)
        return file.name(blocks[block] + bare.removeprefix(block)) if block else name

    file.tensors = {renamed(name): stored for name, stored in file.tensors.items()}


def _zero_biases(file: Checkpoint) -> None:
    file.change(lambda name: name.endswith(".bias"), Stored.zeros)


def _unit_gains(file: Checkpoint) -> None:
    def scaled(stored: Stored) -> Stored:
        values = stored.values().astype(np.float64)
        return Stored.of(values / values.mean())

    file.change(lambda name: "ln_" in name and name.endswith(".weight"), scaled)


def _not_loaded(pattern: str) -> Callable[[Checkpoint], None]:
    """One of the tensors of every block, h.N.PART, keeps what its memory held."""
    part = pattern.removeprefix("h.N")
    return lambda file: file.change(lambda name: name.startswith("h.") and name.endswith(part), Stored.zeros)


def _fresh_head(file: Checkpoint) -> None:
    if file.config.get("tie_word_embeddings", True):
        file.config["tie_word_embeddings"] = False
        shape = file.tensors[file.name("wte.weight")].shape
        file.tensors[HEAD] = Stored.of(np.random.default_rng(0).normal(0, 0.02, shape))


def _wte_for_head(file: Checkpoint) -> None:
    if HEAD in file.tensors:
        file.tensors[HEAD] = file.tensors[file.name("wte.weight")]


def _head_dropped(file: Checkpoint) -> None:
    if file.config.get("tie_word_embeddings", True):
        file.tensors.pop(HEAD, None)


def _rows_of_the_file(file: Checkpoint) -> None:
    file.config["vocab_size"] = file.tensors[file.name("wte.weight")].shape[0]


def _decoded_as(dtype: str, wrong: str) -> Callable[[Checkpoint], None]:
    def change(file: Checkpoint) -> None:
        for name, stored in file.tensors.items():
            if stored.dtype == dtype:
                file.tensors[name] = replace(stored, dtype=wrong)

    return change


def _unknown_as_float16(file: Checkpoint) -> None:
    for name, stored in file.tensors.items():
        if stored.dtype not in FLOATS:
            file.tensors[name] = replace(stored, dtype="F16", raw=stored.raw[: 2 * math.prod(stored.shape)])


def _swapped(file: Checkpoint) -> None:
    file.change(lambda name: True, lambda stored: replace(stored, raw=stored.bits().byteswap().tobytes()))


def _zeros_for_missing(file: Checkpoint) -> None:
    for name, shape in file.shapes().items():
        if name not in file.tensors:
            file.tensors[name] = Stored.of(np.zeros(shape))


def _is_mask(name: str) -> bool:
    return name.endswith((".attn.bias", ".attn.masked_bias"))


def _unknown_ignored(file: Checkpoint) -> None:
    wanted = file.shapes()
    file.tensors = {
        n: stored for n, stored in file.tensors.items() if n in wanted or n == HEAD or _is_mask(n)
    }


def _mask_as_bias(file: Checkpoint) -> None:
    for name, stored in list(file.tensors.items()):
        if name.endswith(".attn.bias"):
            bias = name.replace(".attn.bias", ".attn.c_proj.bias")
            width = file.tensors[bias].shape[0]
            file.tensors[bias] = Stored.of(stored.values().reshape(-1)[:width])


def _mask_refused(file: Checkpoint) -> None:
    for name in file.tensors:
        if _is_mask(name):
            raise ModelError(f"{name} is no tensor of this model.")


LAYOUT_SHIMS = (
    ("missing_bytes", "zeros"),
    ("trailing_bytes", "ignored"),
    ("shared_bytes", "accepted"),
    ("shards", "the first"),
)
WEIGHT_SHIMS: dict[tuple[str, str], Callable[[Checkpoint], None]] = {
    ("prefix", "transformer. only"): _not_found(prefixed=False),
    ("prefix", "none only"): _not_found(prefixed=True),
    ("square_matrix", "transposed"): _square_transposed,
    ("other_layouts", "reshaped"): _reshaped,
    ("order_of_blocks", "as text"): _sorted_as_text,
    ("biases", "zeros"): _zero_biases,
    ("gains", "scaled to mean 1"): _unit_gains,
    ("tied_head", "drawn anew"): _fresh_head,
    ("untied_head", "wte"): _wte_for_head,
    ("contradicting_head", "dropped"): _head_dropped,
    ("vocabulary", "rows of the file"): _rows_of_the_file,
    ("f16", "upper half of a float32"): _decoded_as("F16", "BF16"),
    ("bf16", "IEEE 754 half"): _decoded_as("BF16", "F16"),
    ("other_dtypes", "read as F16"): _unknown_as_float16,
    ("byte_order", "big"): _swapped,
    ("missing_tensor", "zeros"): _zeros_for_missing,
    ("unknown_tensor", "ignored"): _unknown_ignored,
    ("mask_buffers", "the bias of attn.c_proj"): _mask_as_bias,
    ("mask_buffers", "refused"): _mask_refused,
}


class Configuration:
    """What the engine makes of a config.json."""

    def __init__(self, model: Model, data: Mapping[str, Any]) -> None:
        self._model = model
        self._changes = [change for (datum, value), change in CONFIG_SHIMS.items() if data[datum] == value]

    def in_force(self) -> Config:
        """Return the config that the model on trial runs with."""
        return self.read(self._model.folder) if self._changes else self._model.config

    def read(self, folder: Path) -> Config:
        """Read FOLDER/config.json. Raises ModelError where the engine refuses it."""
        if not self._changes:
            return read_config(folder)
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for change in self._changes:
            change(values)
        with _written(values) as other:
            return read_config(other)


# Mistakes of reading a config: what each makes of its values.

Values = dict[str, Any]


def _guess_sizes(values: Values) -> None:
    values |= {key: value for key, value in GPT2_SMALL.items() if key not in values}


def _older_name_unknown(values: Values) -> None:
    values.pop("n_ctx", None)


def _n_positions_wins(values: Values) -> None:
    if "n_positions" in values:
        values.pop("n_ctx", None)


def _known_activation(values: Values) -> None:
    if values.get("activation_function") not in ("gelu", "relu", "silu", "tanh"):
        values["activation_function"] = "gelu_new"


def _round_down(values: Values) -> None:
    values["n_embd"] -= values["n_embd"] % values["n_head"]


def _default(key: str, value: Any) -> Callable[[Values], None]:
    def change(values: Values) -> None:
        values.setdefault(key, value)

    return change


def _always(key: str, value: Any) -> Callable[[Values], None]:
    def change(values: Values) -> None:
        values[key] = value

    return change


CONFIG_SHIMS: dict[tuple[str, Any], Callable[[Values], None]] = {
    ("missing_size", "that of GPT-2 small"): _guess_sizes,
    ("older_name", "not read"): _older_name_unknown,
    ("two_names", "n_positions wins"): _n_positions_wins,
    ("n_inner", "4 * n_embd"): _always("n_inner", None),
    ("epsilon", "always 1.0e-5"): _always("layer_norm_epsilon", 1e-5),
    ("absent_epsilon", 1e-12): _default("layer_norm_epsilon", 1e-12),
    ("absent_tie", False): _default("tie_word_embeddings", False),
    ("absent_scale", False): _default("scale_attn_weights", False),
    ("other_activation", "gelu_new"): _known_activation,
    ("unequal_heads", "rounded down"): _round_down,
    ("other_model", "accepted"): _always("model_type", "gpt2"),
}
