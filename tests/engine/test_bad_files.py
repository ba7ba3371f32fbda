"""Broken model folders, thousands of them: each is refused by a ModelError, or read exactly.

A case is one valid folder and one or two seeded mutations; its number gives the same case again. `make test`
runs the same cases each time. With LLORCH_FUZZ_SECONDS in the environment fresh ones are run for that long.
"""

import json
import math
import os
import random
import re
import shutil
import signal
import struct
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from llorch_core.engine.errors import ModelError
from llorch_core.engine.model import Model, load

SECONDS = float(os.environ.get("LLORCH_FUZZ_SECONDS", "0"))
CASES = 2100
MOST_SECONDS = 5  # for one load, a thousand times what it takes
ROOM = 1_000_000  # bytes that a load may take beyond twice the files: the parsed JSON, and the message

FILE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
MASK = re.compile(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
NUMBERS = [-1, 0, 1, 2, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400]
OTHERS = [
    None,
    True,
    False,
    "",
    "1",
    "F32",
    1.0,
    1.5,
    -0.0,
    math.nan,
    math.inf,
    [],
    [1],
    {},
    {"a": 1},
    *NUMBERS,
]

Folder = dict[str, bytes]
"""The files of a model folder, by name."""

Mutation = Callable[[random.Random, Folder], None]
MUTATIONS: list[Mutation] = []


def mutation(change: Mutation) -> Mutation:
    MUTATIONS.append(change)
    return change


# What is mutated: any file as bytes, or what its JSON says.


def any_file(rng: random.Random, folder: Folder) -> str:
    return rng.choice(sorted(folder))


def any_weights(rng: random.Random, folder: Folder) -> str:
    return rng.choice(sorted(name for name in folder if name.endswith(".safetensors")))


def splice(rng: random.Random, data: bytes, at: int) -> bytes:
    """One edit at a byte: a bit flipped, or some bytes lost, put in, or said twice."""
    match rng.choice(["flip", "lose", "insert", "replace", "twice"]):
        case "flip":
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case "lose":
            return data[:at] + data[at + rng.randint(1, 9) :]
        case "insert":
            return data[:at] + rng.randbytes(rng.randint(1, 9)) + data[at:]
        case "replace":
            return data[:at] + rng.choice(b'{}[]",:0123456789-.eE tn\\\x00\xff').to_bytes() + data[at + 1 :]
    end = at + rng.randint(1, 40)
    return data[:end] + data[at:]


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file that is still whole."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def any_tensor(rng: random.Random, header: dict[str, Any]) -> str:
    return rng.choice([name for name in header if name != "__metadata__"])


@contextmanager
def header_of(rng: random.Random, folder: Folder) -> Iterator[dict[str, Any]]:
    """The parsed header of some weights, to be changed; the data stay as they are."""
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    yield header
    folder[name] = joined(header, data)


@contextmanager
def json_of(name: str, folder: Folder) -> Iterator[dict[str, Any]]:
    value = json.loads(folder[name])
    yield value
    folder[name] = json.dumps(value).encode()


# Mutations of bytes.


@mutation
def a_file_is_cut_off(rng: random.Random, folder: Folder) -> None:
    name = any_file(rng, folder)
    folder[name] = folder[name][: rng.randrange(len(folder[name]))]


@mutation
def a_file_is_longer(rng: random.Random, folder: Folder) -> None:
    folder[any_file(rng, folder)] += rng.choice([b"\0", b" ", b"\n", rng.randbytes(rng.randint(1, 99))])


@mutation
def a_file_is_missing(rng: random.Random, folder: Folder) -> None:
    del folder[any_file(rng, folder)]


@mutation
def a_file_is_another(rng: random.Random, folder: Folder) -> None:
    folder[any_file(rng, folder)] = folder[any_file(rng, folder)]


@mutation
def a_byte_anywhere_is_edited(rng: random.Random, folder: Folder) -> None:
    name = any_file(rng, folder)
    folder[name] = splice(rng, folder[name], rng.randrange(len(folder[name])))


@mutation
def a_byte_of_the_header_is_edited(rng: random.Random, folder: Folder) -> None:
    """With the header length as it was, or corrected so that the JSON is what is wrong."""
    name = any_weights(rng, folder)
    (length,) = struct.unpack("<Q", folder[name][:8])
    if rng.random() < 0.5:
        folder[name] = splice(rng, folder[name], rng.randrange(8 + length))
        return
    text, data = folder[name][8 : 8 + length], folder[name][8 + length :]
    folder[name] = joined(splice(rng, text, rng.randrange(length)), data)


@mutation
def the_header_length_lies(rng: random.Random, folder: Folder) -> None:
    name = any_weights(rng, folder)
    (length,) = struct.unpack("<Q", folder[name][:8])
    size = len(folder[name])
    near = [length + rng.randint(-9, 9), rng.randrange(size), size - 8, size - 7, size]
    folder[name] = (
        struct.pack("<Q", rng.choice([*near, 0, 2**31, 2**32, 2**63, 2**64 - 1])) + folder[name][8:]
    )


@mutation
def the_json_is_hostile(rng: random.Random, folder: Folder) -> None:
    deep, wide = rng.choice([10, 900, 100_000]), rng.choice([1, 3000])
    text = rng.choice(
        [
            b"[" * deep,
            b'{"a":' * deep,
            b'{"a":' + b"[" * deep + b"]" * deep + b"}",
            b'{"a":[' + b"[]," * wide + b"[]]}",
            b'{"a":' + b"9" * deep + b"}",
            b'{"a":1e' + b"9" * deep + b"}",
            b'{"\\ud800":1}',
            b'{"a\xff":1}',
            b'\xef\xbb\xbf{"a":1}',
            '{"a":1}'.encode("utf-16"),
            b"{}",
            b"[]",
            b"null",
            b"NaN",
            b" {}",
            b"",
        ]
    )
    name = any_file(rng, folder)
    folder[name] = joined(text, parts(folder[name])[1]) if name.endswith(".safetensors") else text


# Mutations of what a header says.


@mutation
def offsets_lie(rng: random.Random, folder: Folder) -> None:
    with header_of(rng, folder) as header:
        offsets = header[any_tensor(rng, header)]["data_offsets"]
        other = header[any_tensor(rng, header)]["data_offsets"]
        match rng.choice(["one", "both", "shift", "swap", "other", "form", "kind"]):
            case "one":
                offsets[rng.randrange(2)] = rng.choice([rng.choice(other), rng.randint(-99, 999), *OTHERS])
            case "both":
                offsets[:] = rng.choice(NUMBERS), rng.choice(NUMBERS)
            case "shift":
                by = rng.choice([-8, -4, -1, 1, 4, 8, 2**32, 2**63, -(2**63)])
                offsets[:] = offsets[0] + by, offsets[1] + by
            case "swap":
                offsets.reverse()
            case "other":
                offsets[:] = other
            case "form":
                header[any_tensor(rng, header)]["data_offsets"] = rng.choice([*OTHERS, [*offsets, 0]])
            case "kind":
                kind: Any = rng.choice([float, str, lambda offset: False if offset == 0 else offset])
                for name in header.keys() - {"__metadata__"}:
                    header[name]["data_offsets"] = [kind(o) for o in header[name]["data_offsets"]]


@mutation
def a_shape_lies(rng: random.Random, folder: Folder) -> None:
    with header_of(rng, folder) as header:
        tensor = header[any_tensor(rng, header)]
        shape = tensor["shape"]
        elements = math.prod(shape)
        tensor["shape"] = rng.choice(
            [
                [*shape[:-1], rng.choice(OTHERS)],
                [rng.choice(OTHERS), *shape[1:]],
                shape[::-1],
                [elements],
                [1, *shape],
                [*shape, 0],
                [-size for size in shape],
                [-1, -elements],
                [2**63, 2, elements],
                [2**32, 2**32, elements],  # 0 elements in 64 bits
                [elements + 2**62],  # four bytes each: the right number of bytes in 64 bits
                [1] * 70 + shape,
                [2**62] * 60,
                [float(size) for size in shape],
                [str(size) for size in shape],
                [shape],
                rng.choice(OTHERS),
            ]
        )


@mutation
def a_shape_lies_about_no_bytes(rng: random.Random, folder: Folder) -> None:
    """A tensor of no elements takes no bytes, however large the other axes say that it is."""
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    shape = [rng.choice([0, 2**31, 2**62, 2**63 - 1]) for _ in range(rng.randint(1, 4))]
    extra = {"dtype": "F32", "shape": [0, *shape], "data_offsets": [len(data)] * 2}
    header[rng.choice(["h.0.attn.bias", "wte.weight", "extra", any_tensor(rng, header)])] = extra
    folder[name] = joined(header, data)


@mutation
def a_dtype_lies(rng: random.Random, folder: Folder) -> None:
    with header_of(rng, folder) as header:
        known = [
            "F16",
            "BF16",
            "F32",
            "F64",
            "I32",
            "U16",
            "U8",
            "BOOL",
            "C64",
            "F8_E4M3",
            "F4",
            "f32",
            "float32",
        ]
        header[any_tensor(rng, header)]["dtype"] = rng.choice([*known, *OTHERS])


@mutation
def a_field_is_missing_or_new(rng: random.Random, folder: Folder) -> None:
    with header_of(rng, folder) as header:
        name = any_tensor(rng, header)
        if rng.random() < 0.5:
            del header[name][rng.choice(sorted(header[name]))]
        else:
            header[name] = rng.choice([*OTHERS, {**header[name], "strides": [1]}])


@mutation
def a_tensor_has_another_name(rng: random.Random, folder: Folder) -> None:
    with header_of(rng, folder) as header:
        name = any_tensor(rng, header)
        bare = name.removeprefix("transformer.")
        names = [
            bare,
            "transformer." + name,
            name.upper(),
            name + "\0",
            name + " ",
            "",
            "é",
            "__metadata__",
            "a" * 999,
        ]
        names += [
            re.sub(r"h\.\d", "h.7", name),
            name.replace("weight", "bias"),
            "lm_head.weight",
            "h.0.attn.bias",
        ]
        header[rng.choice(names)] = header.pop(name)


@mutation
def a_key_stands_twice(rng: random.Random, folder: Folder) -> None:
    name = any_file(rng, folder)
    data = b""
    text = folder[name]
    if name.endswith(".safetensors"):
        header, data = parts(text)
        text = json.dumps(header).encode()
    first, second = rng.sample(list(re.finditer(rb'"([^"]+)": ', text)), 2)
    text = text[: second.start(1)] + first.group(1) + text[second.end(1) :]
    folder[name] = joined(text, data) if name.endswith(".safetensors") else text


@mutation
def two_tensors_change_places(rng: random.Random, folder: Folder) -> None:
    """Harmless to the format: what is read is what the file says."""
    with header_of(rng, folder) as header:
        one, other = any_tensor(rng, header), any_tensor(rng, header)
        header[one], header[other] = header[other], header[one]


@mutation
def the_header_is_in_another_order(rng: random.Random, folder: Folder) -> None:
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    text = json.dumps(dict(rng.sample(sorted(header.items()), len(header)))).encode()
    folder[name] = joined(text + b" " * rng.randrange(9), data)


@mutation
def the_metadata_is_something_else(rng: random.Random, folder: Folder) -> None:
    with header_of(rng, folder) as header:
        header["__metadata__"] = rng.choice([*OTHERS, {"format": "np", "é": ""}, {"format": None}])


@mutation
def a_tensor_is_missing(rng: random.Random, folder: Folder) -> None:
    """With its bytes left behind, or taken out with all offsets after it corrected."""
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    begin, end = header.pop(any_tensor(rng, header))["data_offsets"]
    if rng.random() < 0.5:
        data = data[:begin] + data[end:]
        for tensor in header.values():
            if "data_offsets" in tensor:
                tensor["data_offsets"] = [o - (end - begin) * (o >= end) for o in tensor["data_offsets"]]
    folder[name] = joined(header, data)


@mutation
def a_tensor_lies_over_another(rng: random.Random, folder: Folder) -> None:
    """Both of one size, and the bytes of the first taken out: nothing is left over, and no hole."""
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    one = header[any_tensor(rng, header)]
    begin, end = one["data_offsets"]
    tensors = [tensor for tensor in header.values() if "data_offsets" in tensor and tensor is not one]
    data = data[:begin] + data[end:]
    for tensor in tensors:
        tensor["data_offsets"] = [o - (end - begin) * (o >= end) for o in tensor["data_offsets"]]
    same = [t["data_offsets"] for t in tensors if t["data_offsets"][1] - t["data_offsets"][0] == end - begin]
    one["data_offsets"] = rng.choice(same or [[begin, end]])
    folder[name] = joined(header, data)


@mutation
def a_tensor_is_added(rng: random.Random, folder: Folder) -> None:
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    names = ["h.0.attn.bias", "transformer.h.0.attn.bias", "h.0.attn.masked_bias", "h.9.ln_1.weight", "extra"]
    dtype, size = rng.choice([("U8", 1), ("BOOL", 1), ("F32", 4), ("I64", 8), ("F8_E5M2", 1)])
    field = {"dtype": dtype, "shape": [5, 5], "data_offsets": [len(data), len(data) + 25 * size]}
    header[rng.choice([*names, "lm_head.weight", any_tensor(rng, header)])] = field
    folder[name] = joined(header, data + bytes(25 * size))


@mutation
def a_tensor_is_stored_as_another_dtype(rng: random.Random, folder: Folder) -> None:
    """Whole, and of the right shape: also an F64 that float32 cannot hold."""
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    tensor = header[any_tensor(rng, header)]
    begin, end = tensor["data_offsets"]
    values = np.random.default_rng(rng.randrange(2**32)).normal(0, 1, math.prod(tensor["shape"]))
    tensor["dtype"] = rng.choice([*NUMPY, "BF16", "I32"])
    if tensor["dtype"] == "F64" and rng.random() < 0.3:
        values[rng.randrange(len(values))] = rng.choice([1e39, -1e308, 3.4e38, 1e-60, np.inf])
    how = {**NUMPY, "BF16": "<u2", "I32": "<i4"}[tensor["dtype"]]
    raw = (np.abs(values) * 9999).astype(how) if how[1] in "ui" else values.astype(how)
    for other in header.values():
        if "data_offsets" in other:
            moved = [o + (raw.nbytes - end + begin) * (o >= end) for o in other["data_offsets"]]
            other["data_offsets"] = moved
    tensor["data_offsets"] = [begin, begin + raw.nbytes]
    folder[name] = joined(header, data[:begin] + raw.tobytes() + data[end:])


@mutation
def weights_are_not_finite(rng: random.Random, folder: Folder) -> None:
    """Every pattern of bits is a weight; what it is worth is not the reader's to say."""
    name = any_weights(rng, folder)
    header, data = parts(folder[name])
    begin, end = header[any_tensor(rng, header)]["data_offsets"]
    pattern = rng.choice(
        [b"\xff", b"\x00\x00\x80\x7f", b"\x01\x00\x80\x7f", b"\x00\x7c", b"\x80\x7f", b"\x01\xfc"]
    )
    raw = (pattern * (end - begin))[: end - begin]
    folder[name] = joined(header, data[:begin] + raw + data[end:])


# Mutations of the index and the config.


@mutation
def the_index_lies(rng: random.Random, folder: Folder) -> None:
    """To shards that are absent, elsewhere, no files, or the index itself; only the second folder has one."""
    with json_of(INDEX, folder) as index:
        places = index["weight_map"]
        name = rng.choice(sorted(places))
        paths = [
            FIRST,
            SECOND,
            FILE,
            INDEX,
            CONFIG,
            f"./{FIRST}",
            f"../{FIRST}",
            f"/{FIRST}",
            "..",
            "é.safetensors",
        ]
        paths += ["", "loop.safetensors", "\0.safetensors", "\ud800.safetensors", "a" * 300 + ".safetensors"]
        match rng.choice(["place", "drop", "add", "rename", "all", "elsewhere", "map"]):
            case "place":
                places[name] = rng.choice([*paths, rng.choice(OTHERS)])
            case "drop":
                del places[name]
            case "add":
                places[rng.choice(["extra", "h.0.attn.bias", "lm_head.weight", ""])] = rng.choice(paths)
            case "rename":
                places[name.removeprefix("transformer.")] = places.pop(name)
            case "all":
                index["weight_map"] = dict.fromkeys(places, rng.choice(paths))
            case "elsewhere":
                index["weight_map"] = {
                    name: file.replace(FIRST, f"../{FIRST}") for name, file in places.items()
                }
            case "map":
                index["weight_map"] = rng.choice([*OTHERS, {INDEX: INDEX}, {FIRST: SECOND, SECOND: FIRST}])


@mutation
def a_size_of_the_config_lies(rng: random.Random, folder: Folder) -> None:
    with json_of(CONFIG, folder) as config:
        key = rng.choice(["vocab_size", "n_positions", "n_ctx", "n_embd", "n_head", "n_layer", "n_inner"])
        size = config.get(key, 5)
        config[key] = rng.choice([size - 1, size + 1, size * 2, -size, 10_000, 10_001, rng.choice(OTHERS)])


@mutation
def a_switch_of_the_config_lies(rng: random.Random, folder: Folder) -> None:
    with json_of(CONFIG, folder) as config:
        key = rng.choice(sorted({*config, "add_cross_attention", "scale_attn_weights", "attn_pdrop"}))
        words = ["gelu", "silu", "relu", "GELU", "gpt2", "llama", 0.5, 1e-30, 1e308, [2], "2"]
        config[key] = rng.choice([True, False, rng.choice(words), rng.choice(OTHERS)])


@mutation
def a_key_of_the_config_is_missing(rng: random.Random, folder: Folder) -> None:
    with json_of(CONFIG, folder) as config:
        del config[rng.choice(sorted(config))]


# What a case must come to.


def right_tensors(folder: Path) -> dict[str, np.ndarray]:
    """What the safetensors library reads from the files of the weights, as float32 by bare name."""
    files = [FILE]
    if not (folder / FILE).exists():
        files = sorted({*json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()})
    tensors = {}
    for file in files:
        assert (folder / file).parent == folder, file
        for name, entry in safetensors.deserialize((folder / file).read_bytes()):
            if MASK.fullmatch(name):
                continue
            if entry["dtype"] == "BF16":
                flat = (np.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4")
            else:
                with np.errstate(invalid="ignore"):  # a signalling NaN
                    flat = np.frombuffer(entry["data"], NUMPY[entry["dtype"]]).astype("<f4")
            tensors[name.removeprefix("transformer.")] = flat.reshape(entry["shape"])
    return tensors


def named(part: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every array that was loaded, under its name in a checkpoint."""
    if isinstance(part, np.ndarray):
        yield (name if "." in name else f"{name}.weight"), part
    elif isinstance(part, tuple):
        for i, one in enumerate(part):
            yield from named(one, f"{name}.{i}")
    elif is_dataclass(part):
        for field in fields(part):
            yield from named(getattr(part, field.name), f"{name}.{field.name}".lstrip("."))


def assert_read_exactly(model: Model, folder: Path) -> None:
    """The arrays are those of the files bit for bit, each of them and no other; the config is the file's."""
    wanted, got = right_tensors(folder), dict(named(model.weights))
    if model.weights.tied:
        assert model.weights.lm_head is model.weights.wte
        head = wanted.pop("lm_head.weight", wanted["wte.weight"])
        assert np.array_equal(head, got.pop("lm_head.weight"), equal_nan=True)
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert got[name].dtype == np.float32 and got[name].shape == tensor.shape, name
        assert np.array_equal(got[name].view(np.uint32), tensor.view(np.uint32)), name
    called = {"vocab_size": "n_vocab", "n_positions": "n_ctx"}
    for key, value in json.loads((folder / CONFIG).read_text()).items():
        if (field := called.get(key, key)) in model.config.__dataclass_fields__ and value is not None:
            found = getattr(model.config, field)
            wanted_value = float(value) if field == "layer_norm_epsilon" else value
            assert found == wanted_value and isinstance(found, bool) == isinstance(value, bool), key


class TooSlowError(BaseException):
    """Not an Exception: nothing may take it for an error of the file."""


@contextmanager
def limited() -> Iterator[None]:
    """Stop what takes longer than MOST_SECONDS."""

    def stop(*_: object) -> None:
        raise TooSlowError(f"one load took more than {MOST_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(folder: Path) -> str:
    """Load a folder under a limit of time and memory; "refused" or "loaded", or an error of ours.

    Weights that are used in place, in a map of the file, take no memory here.
    """
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    model, message = None, ""
    tracemalloc.start()
    try:
        with limited():
            model = load(folder)
    except ModelError as error:
        message = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 2 * size + ROOM, f"{peak:,} bytes of memory for {size:,} bytes of files"
    if model is None:
        assert "\n" in message and len(message) < 5000, message  # what is wrong, and a next step
        return "refused"
    assert_read_exactly(model, folder)
    return "loaded"


def write(folder: Path, files: Folder) -> None:
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "loop.safetensors").symlink_to("loop.safetensors")


@pytest.fixture
def valid_folders(tiny_folder, tiny_tensors) -> list[Folder]:
    """A file of F32, two shards, and a separate head with every dtype and a mask; all without a tokenizer."""
    sizes = {"n_embd": 4, "n_layer": 1, "n_inner": 6, "vocab_size": 7, "n_positions": 5, "bos_token_id": 6}
    sizes |= {"eos_token_id": None}
    mixed: dict[str, Any] = tiny_tensors(**sizes, tie_word_embeddings=False)
    for name, dtype in zip(sorted(mixed), [np.float16, np.float64, "BF16", np.float32] * 5, strict=False):
        if dtype == "BF16":
            half = (mixed[name].view(np.uint32) >> 16).astype("<u2")
            mixed[name] = ("BF16", list(half.shape), half.tobytes())
        else:
            mixed[name] = mixed[name].astype(dtype)
    mixed["h.0.attn.bias"] = np.tril(np.ones((1, 1, 5, 5), np.uint8))
    written = [
        tiny_folder(**sizes),
        tiny_folder(shards=2, **sizes),
        tiny_folder(mixed, prefix="", **sizes, tie_word_embeddings=False),
    ]
    return [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in written]


def mutated(number: int, valid: list[Folder]) -> tuple[str, Folder]:
    """Case `number`: what was done to which folder, and its files. Every mutation has its turn."""
    rng = random.Random(number)
    done = [MUTATIONS[number % len(MUTATIONS)]]
    which = 1 if done[0] is the_index_lies else rng.randrange(len(valid))
    files = dict(valid[which])
    done[0](rng, files)
    if rng.random() < 0.2:
        try:
            again = rng.choice(MUTATIONS)
            again(rng, files)
            done.append(again)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError):
            pass  # what the first left cannot be edited as what it was
    return f"case {number}, folder {which}: {', '.join(m.__name__ for m in done)}", files


def test_the_valid_folders_are_read_exactly(tmp_path, valid_folders):
    for i, files in enumerate(valid_folders):
        folder = tmp_path / str(i)
        folder.mkdir()
        write(folder, files)
        assert outcome(folder) == "loaded"


@pytest.mark.untraced
def test_a_broken_folder_is_refused_or_read_exactly(tmp_path, valid_folders):
    folder, found = tmp_path / "broken", Counter()
    folder.mkdir()
    (tmp_path / FIRST).write_bytes(valid_folders[1][FIRST])  # an index that says ../ would find it
    first = random.SystemRandom().randrange(2**40) if SECONDS else 0
    number, end = first, time.monotonic() + SECONDS
    while number < first + CASES or time.monotonic() < end:
        what, files = mutated(number, valid_folders)
        write(folder, files)
        try:
            found[outcome(folder)] += 1
        except (Exception, TooSlowError) as error:
            kept = shutil.copytree(folder, tmp_path / "kept", symlinks=True)
            raise AssertionError(f"{what}; the folder is kept in {kept}") from error
        number += 1
    assert found["refused"] + found["loaded"] == number - first >= CASES
    assert found["refused"] > CASES / 2, found
    assert found["loaded"] > CASES / 20, found
