"""The files that tensors come in: one .safetensors, one .npz, or a folder of .npy."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save_file

from llorch_core.spec.component import schema
from llorch_core.spec.errors import SpecError
from llorch_core.spec.suite import suite_folder

if TYPE_CHECKING:
    import jsonschema

Array = NDArray[Any]

METADATA = "__metadata__"
DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1"},
}


@dataclass(frozen=True)
class TensorFile:
    """A file as it stands.

    tensors   by name; those of a dtype that NumPy cannot hold are opaque bytes
    metadata  what the file says of itself
    stored    dtype of tensors that NumPy does not have, as the file calls it; BF16 is decoded to float32
    """

    path: Path
    tensors: dict[str, Array]
    metadata: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)

    def error(self, text: str) -> SpecError:
        return SpecError(text, self.path)


def read_tensors(path: Path) -> TensorFile:
    """Read tensors. Raises SpecError where there are none, or they cannot be read.

    Those of .safetensors and .npy stay on disk until somebody looks at them, but for BF16.
    """
    try:
        if not path.exists():
            raise SpecError("does not exist. A dump is a .safetensors, a .npz, or a folder of .npy.", path)
        if path.suffix == ".npy" and not path.is_dir():
            raise SpecError("is one tensor. Give the folder that holds it and the others.", path)
        read = _read_folder if path.is_dir() else _read_npz if path.suffix == ".npz" else _read_safetensors
        file = read(path)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}.", path) from error
    return _checked(file, "metadata", file.metadata)


def write_tensors(path: Path, tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    """Write safetensors, whole or not at all. Raises SpecError where that cannot be done."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({name: np.asarray(x, order="C") for name, x in tensors.items()}, beside, metadata)
        beside.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise SpecError(f"cannot be written: {error}.", path) from error
    finally:
        beside.unlink(missing_ok=True)


def _read_safetensors(path: Path) -> TensorFile:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                text = f"holds {name} {count} times. Forward calls are told apart by the prefix step.K/."
                raise SpecError(text, path)
        return dict(pairs)

    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, path.stat().st_size)), object_pairs_hook=once)
        with safetensors.safe_open(path, framework="numpy"):
            pass  # the library checks the numbers: that shapes, offsets and sizes fit the file
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"cannot be read as safetensors: {error}.", path) from error
    forms = {
        (*entry, entry.get("dtype"), len(entry.get("shape", ()))): name for name, entry in header.items()
    }
    _checked(
        TensorFile(path, {}), "file", {name: header[name] for name in forms.values()}
    )  # one of each form
    metadata = header.pop(METADATA, {})
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    tensors: dict[str, Array] = {}
    for name, entry in header.items():
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        if entry["dtype"] in DTYPES:
            tensors[name] = data[first:last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        else:
            tensors[name] = np.broadcast_to(np.void(b"\0"), entry["shape"])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            tensors[name] = (tensors[name].astype("<u4") << 16).view("<f4")
    stored = {name: e["dtype"] for name, e in header.items() if DTYPES.get(e["dtype"]) in (None, "<u2")}
    return TensorFile(path, tensors, metadata, {k: v for k, v in stored.items() if v != "U16"})


def _read_npz(path: Path) -> TensorFile:
    tensors: dict[str, Array] = {}
    name = ""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            for name in file.files:
                tensors[name] = file[name]
    except Exception as error:  # NumPy lets through whatever its tokenizer, zip and zlib raise
        raise SpecError(f"{name + ' ' if name else ''}cannot be read as npz: {error}.", path) from error
    return TensorFile(path, tensors, _metadata(str(tensors.pop(METADATA, "{}")), path))


def _read_folder(path: Path) -> TensorFile:
    tensors: dict[str, Array] = {}
    for file in sorted(path.rglob("*.npy")):
        try:
            tensor = np.lib.format.open_memmap(file, mode="r")
        except Exception as error:  # NumPy lets through whatever its tokenizer raises
            raise SpecError(f"cannot be read as npy: {error}.", file) from error
        tensors[file.relative_to(path).as_posix().removesuffix(".npy")] = tensor
    beside = path / f"{METADATA}.json"
    return TensorFile(path, tensors, _metadata(beside.read_text("utf-8"), beside) if beside.exists() else {})


def _metadata(text: str, path: Path) -> dict[str, str]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{METADATA} is not JSON: {error}.", path) from error
    if not isinstance(data, dict):
        raise SpecError(f'{METADATA} is {text[:40]}, wanted an object, as {{"engine": "mine"}}.', path)
    return data


def _checked(file: TensorFile, part: str, data: Any) -> TensorFile:
    """Return the file. Raises SpecError where `data` is not what a part of the schema says."""
    for error in _validator(part).iter_errors(data):
        where = ".".join(map(str, error.absolute_path)) or f"the {part}"
        text = f"{where}: {error.message[:300]}. The form is in specs/schema/dump.schema.json."
        raise file.error(text)
    return file


@cache
def _validator(part: str) -> jsonschema.protocols.Validator:
    import jsonschema

    whole: Any = schema(suite_folder() / "specs" / "schema", "dump").schema
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": whole["$defs"]})
