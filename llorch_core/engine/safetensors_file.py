"""Read a .safetensors file, and refuse every file that does not say exactly where each byte belongs.

A file is eight bytes of header length (little-endian), the header (JSON: name to dtype, shape, data_offsets),
and the data. All of the header is checked against the size of the file before the first tensor is read.

Source: the format as described in huggingface/safetensors, README.md.
"""

import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llorch_core.engine.config import MOST_JSON, parse_json
from llorch_core.engine.errors import ModelError

FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}  # little-endian on every host
ITEMSIZE = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
ITEMSIZE |= {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}
MOST_HEADER = MOST_JSON  # the format allows 100 MB; GPT-2 with 48 layers has 75 kB
MOST_AXES = 64  # NumPy's limit; also keeps the product of a hostile shape small


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: its bytes are file[begin:end], counted from the start of the file."""

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name, in the header's order. Reads no tensor.

    Raises ModelError unless the entries, laid end to end, fill the file from the header to its last byte.
    """
    header, data_begin, size = _header_bytes(path)
    fields = parse_json(header, f"{path}: header")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "__metadata__", "an object of text to text", repr(metadata))
    entries = {name: _entry(path, name, field, data_begin) for name, field in fields.items()}
    _check_layout(path, entries.values(), data_begin, size)
    return entries


def map_file(path: Path) -> mmap.mmap:
    """The bytes of a file, read-only. Arrays made from the map keep it open; without them it closes."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_tensor(buffer: mmap.mmap | bytes, entry: Entry) -> npt.NDArray[np.float32]:
    """One tensor as float32, by its declared dtype.

    Aligned F32 is used in place: a read-only view of `buffer`, no copy. F16 and BF16 convert exactly, F64 to
    the nearest float32.

    Raises ModelError for a dtype that is not a float, and for an F64 value that float32 cannot hold.
    """
    if entry.dtype not in FLOATS:
        raise ModelError(
            f"{entry.name} in {entry.file} has dtype {entry.dtype} (wanted one of {' '.join(FLOATS)}).\n"
            "Weights are floating point. Save the tensor as F32."
        )
    stored = np.frombuffer(buffer, FLOATS[entry.dtype], math.prod(entry.shape), entry.begin).reshape(
        entry.shape
    )
    if entry.dtype == "BF16":  # the upper half of a float32, and no relative of F16
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if not stored.flags.aligned:
        stored = stored.copy()
    with np.errstate(over="ignore", invalid="ignore"):  # over: refused below; invalid: a NaN stays a NaN
        tensor = stored.astype(np.float32, copy=False)
    if entry.dtype == "F64" and np.any(outside := np.isinf(tensor) & np.isfinite(stored)):
        raise ModelError(
            f"{entry.name} in {entry.file} holds {stored[outside][0]} (wanted values that float32 can hold, "
            "at most 3.4e38).\nllorch never turns a weight into infinity. Save the tensor as F32."
        )
    return tensor


def _header_bytes(path: Path) -> tuple[bytes, int, int]:
    """The header, where the data begins, and the size of the file."""
    try:
        if not path.is_file():  # OSError: a shard may have any name that an index gives it
            raise ModelError(
                f"{path} is missing, or is not a file (wanted a safetensors file).\nIs the model complete?"
            )
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8:
                raise _broken(path, "the file", "8 bytes of header length", f"{size} bytes in all")
            if not 1 <= length <= min(MOST_HEADER, size - 8):
                wanted = f"1 to {MOST_HEADER}, within the {size} bytes of the file"
                raise _broken(path, "the header length", wanted, str(length))
            header = file.read(length)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.\nMay you read that file?") from error
    if not header.startswith(b"{"):
        raise _broken(path, "the header", "a JSON object, from its first byte", repr(header[:16]))
    return header, 8 + length, size


def _entry(path: Path, name: str, field: object, data_begin: int) -> Entry:
    """One field of the header as an Entry whose dtype and shape fill its bytes exactly."""
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, f"tensor {name!r}", "an object of dtype, shape and data_offsets", repr(field))
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEMSIZE:
        raise _broken(path, f"dtype of tensor {name!r}", f"one of {' '.join(ITEMSIZE)}", repr(dtype))
    if not _are_counts(shape) or len(shape) > MOST_AXES:
        wanted = f"a list of at most {MOST_AXES} whole numbers from 0"
        raise _broken(path, f"shape of tensor {name!r}", wanted, repr(shape))
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(path, f"data_offsets of tensor {name!r}", "[begin, end], begin <= end", repr(offsets))
    begin, end = (data_begin + offset for offset in offsets)
    wanted_bytes = math.prod(shape) * ITEMSIZE[dtype]
    if end - begin != wanted_bytes:
        raise _broken(
            path, f"tensor {name!r}, {dtype} {shape},", f"{wanted_bytes} bytes", f"{end - begin} bytes"
        )
    return Entry(path.name, name, dtype, tuple(shape), begin, end)


def _are_counts(value: object) -> bool:
    """A list of whole numbers from 0 that fit 63 bits. type(), since JSON's true is no number."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_layout(path: Path, entries: Iterable[Entry], data_begin: int, size: int) -> None:
    """Laid end to end the tensors fill the file: no overlap, no hole, nothing after, nothing cut off."""
    position = data_begin
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        what = f"tensor {entry.name!r}"
        if entry.end > size:
            raise _broken(
                path, what, f"its bytes within the file of {size}", f"{entry.begin} to {entry.end}, cut off"
            )
        if entry.begin < position:
            raise _broken(path, what, f"a begin at byte {position}", f"{entry.begin}, an overlap")
        if entry.begin > position:
            raise _broken(path, what, f"a begin at byte {position}", f"{entry.begin}, a hole")
        position = entry.end
    if position != size:
        raise _broken(path, "the file", f"{position} bytes in all", f"{size - position} trailing bytes more")


def _broken(path: Path, what: str, wanted: str, got: str) -> ModelError:
    shown = got if len(got) <= 200 else got[:200] + "…"
    return ModelError(
        f"{path} is not a whole safetensors file: {what} (wanted {wanted}, got {shown}).\n"
        "llorch reads nothing from a file that contradicts itself. Download or save it again."
    )
