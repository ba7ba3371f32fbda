"""Packed weights in a file: one model.safetensors, mapped and used in place.

Every matrix is two tensors, NAME.panels (U32) and NAME.scales (U16, bfloat16 bits); embeddings of places,
norms and biases stay F32. The metadata says how to read them: `llorch_packed` is the kind, `group` the
inputs that share a scale. Panels begin at addresses that 64 divides: the header is padded to that.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.engine.config import Config, read_config
from llorch_core.engine.errors import ModelError, UsageError
from llorch_core.engine.layers import Array
from llorch_core.engine.model import Model
from llorch_core.engine.safetensors_file import Entry, map_file, read_header
from llorch_core.engine.weights import FILE, LayerNorm, Weights, expected_shapes, read_block
from llorch_core.fast.packed import BITS, GROUPS, Packed, aligned, pack, packed_shapes

METADATA = "llorch_packed"
DTYPES = {"U32": np.uint32, "U16": np.uint16, "F32": np.float32}
ALIGNED = 64


def quantize(folder: Path, out: Path, kind: str, group: int | None, on_matrix: Callable[[], None]) -> int:
    """Write the model of `folder` to a new folder `out` with packed weights; return the bytes of its file.

    kind       "bfloat16", "int8" or "int4"
    group      inputs that share a scale: 32, 64 or 128; see GROUPS for the default
    on_matrix  called when a matrix is written; there are `count_of` them

    Raises ModelError if the folder is not a GPT-2, UsageError for what cannot be done: nothing is left then.
    """
    if kind not in BITS or kind == "float32":
        raise UsageError(f"there is no precision {kind} to quantise to (wanted bfloat16, int8 or int4).")
    if group is not None and (kind not in GROUPS or group not in (32, 64, 128)):
        wanted = "32, 64 or 128" if kind in GROUPS else f"none: {kind} has no scales"
        raise UsageError(f"--group is {group} (wanted {wanted}).")
    if out.exists():
        raise UsageError(f"{out} exists (wanted a folder to be made).\nGive another name, or remove it.")
    if metadata_of(folder):
        raise UsageError(f"{folder} is quantised already.\nQuantise the model that it was made from.")
    model = Model(folder)
    room = out.with_name(out.name + ".partial")
    shutil.rmtree(room, ignore_errors=True)
    try:
        shutil.copytree(folder, room, ignore=shutil.ignore_patterns("*.safetensors*", "*.bin", ".*"))
        size = _write(room / FILE, model, kind, group, on_matrix)
        room.rename(out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.\nIs there room on the disk?") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return size


def _write(path: Path, model: Model, kind: str, group: int | None, on_matrix: Callable[[], None]) -> int:
    matrices, kept = matrices_of(model.weights), kept_of(model.weights)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, weight in matrices.items():
        panels, scales = packed_shapes(weight.shape[0], weight.shape[1], kind, group)
        tensors[f"{name}.panels"] = ("U32", panels)
        if scales[1]:
            tensors[f"{name}.scales"] = ("U16", scales)
    tensors |= {name: ("F32", x.shape) for name, x in kept.items()}
    told = {METADATA: kind, "group": str(group or GROUPS.get(kind, 0))}
    with path.open("wb") as file:
        file.write(header(tensors, told, ALIGNED))
        for weight in matrices.values():
            packed = pack(weight, kind, group)
            file.write(packed.panels.data.cast("B"))
            if packed.scales.size:
                file.write(packed.scales.data.cast("B"))
            on_matrix()
        for x in kept.values():
            file.write(np.ascontiguousarray(x, np.float32).tobytes())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str], align: int
) -> bytes:
    """Return what a safetensors file begins with, where tensors (dtype, shape) follow each other in order.

    Its length is a multiple of `align`.
    """
    fields: dict[str, Any] = {"__metadata__": metadata}
    begin = 0
    for name, (dtype, shape) in tensors.items():
        end = begin + int(np.prod(shape)) * np.dtype(DTYPES[dtype]).itemsize
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(fields).encode()
    text += b" " * (-(8 + len(text)) % align)
    return len(text).to_bytes(8, "little") + text


def metadata_of(folder: Path) -> Mapping[str, str]:
    """Return what a folder's file says of its packed weights; empty where they are not packed."""
    path = folder / FILE
    if not path.is_file():
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            found: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError):
        return {}  # whoever reads the weights says what is wrong
    return found if METADATA in found else {}


def read_packed(folder: Path) -> tuple[Config, Weights, dict[str, Packed]]:
    """Read a folder that `quantize` wrote; the matrices of the weights are in the packed ones alone.

    Raises ModelError where a tensor is missing, or has another shape than its config gives it.
    """
    config, told = read_config(folder), metadata_of(folder)
    kind, group = told[METADATA], told.get("group", "0")
    if kind not in BITS or not group.isdecimal():
        raise ModelError(
            f"{folder / FILE} holds {kind} in groups of {group} (wanted one of {', '.join(BITS)}).\n"
            "Was it written by another version of llorch? Quantise the model again."
        )
    entries, buffer = read_header(folder / FILE), map_file(folder / FILE)
    shapes, packed = expected_shapes(config), {}

    def stored(name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        entry: Entry | None = entries.pop(name, None)
        if entry is None or entry.dtype != dtype or entry.shape != shape:
            got = "is missing" if entry is None else f"is {entry.dtype} {list(entry.shape)}"
            raise ModelError(
                f"{name} in {folder / FILE} {got} (wanted {dtype} {list(shape)}).\n"
                "Does config.json belong to this file? Quantise the model again."
            )
        count = int(np.prod(shape))
        x = np.frombuffer(buffer, DTYPES[dtype], count, entry.begin).reshape(shape)
        if x.ctypes.data % ALIGNED == 0 or dtype == "F32":
            return x
        copy = aligned(shape, DTYPES[dtype])
        copy[:] = x
        return copy

    def pack_of(name: str, n_out: int, n_in: int) -> None:
        panels, scales = packed_shapes(n_out, n_in, kind, int(group) or None)
        read_scales = stored(f"{name}.scales", "U16", scales) if scales[1] else np.empty(scales, np.uint16)
        size = (int(group) if kind in GROUPS else 0) or panels[1] * 32 // BITS[kind]
        packed[name] = Packed(kind, n_in, n_out, size, stored(f"{name}.panels", "U32", panels), read_scales)

    def read(name: str) -> Array:
        """Return a tensor by its GPT-2 name; of a matrix nothing, it is packed."""
        shape = shapes[name]
        if len(shape) == 1:
            return stored(name, "F32", shape)
        n_in, n_out = shape
        pack_of(name.removesuffix(".weight"), n_out, n_in)
        return NOWHERE

    pack_of("lm_head", config.n_vocab, config.n_embd)
    if not config.tie_word_embeddings:
        pack_of("wte", config.n_vocab, config.n_embd)
    weights = Weights(
        wte=NOWHERE,
        wpe=stored("wpe", "F32", shapes["wpe.weight"]),
        h=tuple(read_block(f"h.{n}", read) for n in range(config.n_layer)),
        ln_f=LayerNorm(read("ln_f.weight"), read("ln_f.bias")),
        lm_head=NOWHERE,
        ignored=(),
        tied=config.tie_word_embeddings,
    )
    if entries:
        raise ModelError(
            f"{next(iter(entries))!r} in {folder / FILE} is no tensor of this model.\n"
            "Does config.json belong to this file? Quantise the model again."
        )
    return config, weights, packed


NOWHERE: Array = np.empty((0, 0), np.float32)  # where the matrices of a model are packed


def matrices_of(weights: Weights) -> dict[str, Array]:
    """Return every matrix that is packed, [n_out, n_in], by its name."""
    found = {"lm_head": weights.lm_head} | ({} if weights.tied else {"wte": weights.wte})
    for n, b in enumerate(weights.h):
        found |= {f"h.{n}.{name}": conv.weight.T for name, conv in b.convs.items()}
    return found


def count_of(config: Config) -> int:
    """Return how many matrices a model has."""
    return 4 * config.n_layer + (1 if config.tie_word_embeddings else 2)


def kept_of(weights: Weights) -> dict[str, Array]:
    """Return every tensor that stays float32, by its name."""
    found: dict[str, Array] = {"wpe": weights.wpe}
    for n, b in enumerate(weights.h):
        found |= {f"h.{n}.{name}.bias": conv.bias for name, conv in b.convs.items()}
        for name, norm in (("ln_1", b.ln_1), ("ln_2", b.ln_2)):
            found |= {f"h.{n}.{name}.weight": norm.weight, f"h.{n}.{name}.bias": norm.bias}
    return found | {"ln_f.weight": weights.ln_f.weight, "ln_f.bias": weights.ln_f.bias}
