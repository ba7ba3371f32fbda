"""The safetensors reader: every byte of a file has its place, and every value comes out bit for bit."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from llorch_core.engine.errors import ModelError
from llorch_core.engine.safetensors_file import Entry, map_file, read_header, read_tensor

F32_PAIR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def raw_file(tmp_path: Path, header: object, data: bytes = b"") -> Path:
    """A file with any header at all: an object as JSON, bytes as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def refused(path: Path, *words: str) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    message = str(caught.value)
    assert not [word for word in ("model.safetensors", "wanted", *words) if word not in message], message
    assert "\n" in message  # a next step follows
    return message


def test_the_header_gives_dtype_shape_and_place_in_the_file(tmp_path):
    header = {
        "b": {"dtype": "F16", "shape": [2, 3], "data_offsets": [8, 20]},
        "a": F32_PAIR,
        "scalar": {"dtype": "U8", "shape": [], "data_offsets": [20, 21]},
        "empty": {"dtype": "I64", "shape": [0, 3], "data_offsets": [8, 8]},
    }
    start = 8 + len(json.dumps(header))
    assert read_header(raw_file(tmp_path, header, bytes(21))) == {
        "b": Entry("model.safetensors", "b", "F16", (2, 3), start + 8, start + 20),
        "a": Entry("model.safetensors", "a", "F32", (2,), start, start + 8),
        "scalar": Entry("model.safetensors", "scalar", "U8", (), start + 20, start + 21),
        "empty": Entry("model.safetensors", "empty", "I64", (0, 3), start + 8, start + 8),
    }


def test_metadata_is_no_tensor(tmp_path):
    path = raw_file(tmp_path, {"__metadata__": {"format": "pt"}, "a": F32_PAIR}, bytes(8))
    assert list(read_header(path)) == ["a"]


def test_a_file_without_tensors_is_whole(tmp_path):
    assert read_header(raw_file(tmp_path, {})) == {}


@pytest.mark.parametrize(
    ("size", "dtypes"), [(1, "BOOL U8 I8"), (2, "U16 I16 F16 BF16"), (4, "U32 I32 F32"), (8, "U64 I64 F64")]
)
def test_the_size_of_each_dtype_is_known(tmp_path, size, dtypes):
    for dtype in dtypes.split():
        header = {"a": {"dtype": dtype, "shape": [3, 1], "data_offsets": [0, 3 * size]}}
        assert read_header(raw_file(tmp_path, header, bytes(3 * size)))["a"].dtype == dtype
        header["a"]["data_offsets"] = [0, 3 * size + 1]
        refused(
            raw_file(tmp_path, header, bytes(3 * size + 1)),
            "'a'",
            f"{3 * size} bytes",
            f"{3 * size + 1} bytes",
        )


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "model.safetensors", "is missing")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    refused(tmp_path / "model.safetensors", "is not a file")


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_file_too_short_for_its_header_length_is_refused(tmp_path, size):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(size))
    refused(path, "8 bytes of header length", f"{size} bytes in all")


@pytest.mark.parametrize("length", [0, 3, 4_000_001, 2**63, 2**64 - 1])
def test_a_header_length_outside_the_file_or_the_format_is_refused(tmp_path, length):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    refused(path, "header length", "within the 10 bytes", f"got {length}")


def test_a_header_over_4_mb_is_refused_even_where_the_file_is_larger(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 4_000_001) + b"{}")
        file.truncate(4_000_100)  # sparse: takes no room
    refused(path, "header length", "1 to 4000000", "got 4000001")


@pytest.mark.parametrize("text", [b"{", b"{]", b"{'a': 1}", b'{"\xff": 1}', b"{}{}", b"{\0"])
def test_a_header_that_is_not_json_is_refused(tmp_path, text):
    refused(raw_file(tmp_path, text), "header is not JSON", "UTF-8")


@pytest.mark.parametrize("text", [b"[]", b"null", b'"a"', b" {}", b"\x00\x00"])
def test_a_header_that_does_not_begin_an_object_is_refused(tmp_path, text):
    refused(raw_file(tmp_path, text), "the header", "a JSON object, from its first byte", f"got {text!r}")


def test_a_tensor_named_twice_is_refused(tmp_path):
    field = json.dumps(F32_PAIR)
    text = f'{{"wte": {field}, "wte": {field}}}'.encode()
    refused(raw_file(tmp_path, text, bytes(8)), "'wte' twice")


def test_a_field_given_twice_is_refused(tmp_path):
    text = b'{"a": {"dtype": "F32", "dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}'
    refused(raw_file(tmp_path, text, bytes(8)), "'dtype' twice")


@pytest.mark.parametrize("metadata", [[], "pt", None, {"format": 1}, {"format": None}, {"format": {}}])
def test_metadata_is_text_to_text(tmp_path, metadata):
    path = raw_file(tmp_path, {"__metadata__": metadata})
    refused(path, "__metadata__", "an object of text to text", repr(metadata))


@pytest.mark.parametrize("field", [None, [], "F32", 1])
def test_a_tensor_that_is_no_object_is_refused(tmp_path, field):
    refused(raw_file(tmp_path, {"a": field}), "tensor 'a'", "dtype, shape and data_offsets", repr(field))


@pytest.mark.parametrize("key", ["dtype", "shape", "data_offsets"])
def test_a_tensor_that_lacks_a_field_is_refused(tmp_path, key):
    field = {name: value for name, value in F32_PAIR.items() if name != key}
    refused(raw_file(tmp_path, {"a": field}, bytes(8)), "tensor 'a'", key)


def test_a_tensor_with_a_field_that_the_format_lacks_is_refused(tmp_path):
    refused(raw_file(tmp_path, {"a": F32_PAIR | {"scale": 2}}, bytes(8)), "tensor 'a'", "'scale': 2")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "C64", "f32", "float32", "", None, 32, ["F32"]])
def test_an_unknown_dtype_is_refused(tmp_path, dtype):
    path = raw_file(tmp_path, {"a": F32_PAIR | {"dtype": dtype}}, bytes(8))
    refused(path, "dtype of tensor 'a'", "BF16", f"got {dtype!r}")


@pytest.mark.parametrize(
    "shape", [None, 2, "2", {}, [2.0], [-2], [True, 2], ["2"], [None], [2**63], [1] * 65]
)
def test_a_shape_is_a_list_of_whole_numbers_from_0(tmp_path, shape):
    path = raw_file(tmp_path, {"a": F32_PAIR | {"shape": shape}}, bytes(8))
    refused(path, "shape of tensor 'a'", "a list of at most 64 whole numbers")


@pytest.mark.parametrize(
    "offsets", [None, 8, [], [0], [0, 8, 16], [8, 0], [-8, 0], [0, 8.0], [False, 8], ["0", "8"], [0, 2**63]]
)
def test_offsets_are_a_begin_and_an_end(tmp_path, offsets):
    path = raw_file(tmp_path, {"a": F32_PAIR | {"data_offsets": offsets}}, bytes(8))
    refused(path, "data_offsets of tensor 'a'", "[begin, end]", repr(offsets))


@pytest.mark.parametrize("shape", [[1], [3], [2, 2], [0], [2**62, 2**62, 4], [2**62 + 2]])
def test_a_shape_that_does_not_fill_its_bytes_is_refused(tmp_path, shape):
    """In 64 bits (2**62 + 2) * 4 is 8, the right number of bytes: the product must not wrap around."""
    path = raw_file(tmp_path, {"a": F32_PAIR | {"shape": shape}}, bytes(8))
    refused(path, "tensor 'a'", "F32", str(shape), "got 8 bytes")


def two(first: list[int], second: list[int]) -> dict[str, object]:
    return {"a": F32_PAIR | {"data_offsets": first}, "b": F32_PAIR | {"data_offsets": second}}


@pytest.mark.parametrize(("first", "second"), [([0, 8], [0, 8]), ([0, 8], [4, 12]), ([4, 12], [0, 8])])
def test_tensors_that_overlap_are_refused(tmp_path, first, second):
    refused(raw_file(tmp_path, two(first, second), bytes(max(first[1], second[1]))), "tensor", "an overlap")


@pytest.mark.parametrize(("first", "second", "name"), [([0, 8], [12, 20], "'b'"), ([4, 12], [12, 20], "'a'")])
def test_a_hole_between_tensors_is_refused(tmp_path, first, second, name):
    refused(raw_file(tmp_path, two(first, second), bytes(20)), f"tensor {name}", "a hole")


def test_an_empty_tensor_inside_another_is_refused(tmp_path):
    header = {"a": F32_PAIR, "b": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]}}
    refused(raw_file(tmp_path, header, bytes(8)), "'b'", "an overlap")


def test_a_file_cut_off_is_refused_at_every_length(tmp_path):
    whole = raw_file(tmp_path, two([0, 8], [8, 16]), bytes(range(16))).read_bytes()
    path = tmp_path / "model.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole[:-1])
    refused(path, "tensor 'b'", "cut off")


@pytest.mark.parametrize("extra", [1, 4096])
def test_trailing_bytes_are_refused(tmp_path, extra):
    refused(raw_file(tmp_path, {"a": F32_PAIR}, bytes(8 + extra)), "the file", f"{extra} trailing bytes")


def test_a_long_value_is_not_poured_into_the_message(tmp_path):
    message = refused(raw_file(tmp_path, {"a": {"x" * 10_000: 1}}), "tensor 'a'")
    assert len(message) < 1000


def one(tmp_path: Path, dtype: str, data: bytes, itemsize: int) -> np.ndarray:
    """The data as a one-axis tensor of that dtype, read back."""
    header = {"a": {"dtype": dtype, "shape": [len(data) // itemsize], "data_offsets": [0, len(data)]}}
    path = raw_file(tmp_path, header, data)
    return read_tensor(map_file(path), read_header(path)["a"])


def bits(tensor: np.ndarray) -> list[int]:
    assert tensor.dtype == np.float32
    assert tensor.dtype.isnative
    return tensor.view(np.uint32).tolist()


def test_f32_is_read_bit_for_bit(tmp_path):
    patterns = [
        0x00000000,
        0x80000000,
        0x3F800000,
        0x00000001,
        0x7F7FFFFF,
        0x7F800000,
        0x7FC00001,
        0xC0490FDB,
    ]
    assert bits(one(tmp_path, "F32", struct.pack("<8I", *patterns), 4)) == patterns


def test_f16_is_widened_exactly(tmp_path):
    """One, -2, the largest, the smallest subnormal, -0, infinity: float32 patterns by IEEE 754."""
    data = struct.pack("<6H", 0x3C00, 0xC000, 0x7BFF, 0x0001, 0x8000, 0x7C00)
    wanted = [0x3F800000, 0xC0000000, 0x477FE000, 0x33800000, 0x80000000, 0x7F800000]
    assert bits(one(tmp_path, "F16", data, 2)) == wanted


def test_bf16_is_the_upper_half_of_a_float32(tmp_path):
    """One is 0x3F80: read as F16 it would be 1.875, with swapped bytes about 7.6e-06 would come for 1."""
    data = struct.pack("<5H", 0x3F80, 0xC000, 0x7F7F, 0x0001, 0x8000)
    assert bits(one(tmp_path, "BF16", data, 2)) == [
        0x3F800000,
        0xC0000000,
        0x7F7F0000,
        0x00010000,
        0x80000000,
    ]


def test_every_f16_and_bf16_pattern_is_read(tmp_path):
    data = np.arange(65536, dtype="<u2").tobytes()
    halves = [struct.unpack("<e", data[i : i + 2])[0] for i in range(0, len(data), 2)]
    np.testing.assert_array_equal(one(tmp_path, "F16", data, 2), np.array(halves, np.float32))
    assert bits(one(tmp_path, "BF16", data, 2)) == [pattern << 16 for pattern in range(65536)]


def test_f64_is_rounded_to_the_nearest_float32(tmp_path):
    """1 + 2**-24 lies halfway and goes to even; 1 + 3 * 2**-24 goes up; infinity was infinity in the file."""
    data = struct.pack("<5d", 1.0, 1 + 2**-24, 1 + 3 * 2**-24, -0.0, float("inf"))
    assert bits(one(tmp_path, "F64", data, 8)) == [0x3F800000, 0x3F800000, 0x3F800002, 0x80000000, 0x7F800000]


def test_the_largest_float32_survives_f64(tmp_path):
    assert bits(one(tmp_path, "F64", struct.pack("<d", 3.4028234663852886e38), 8)) == [0x7F7FFFFF]


@pytest.mark.parametrize("value", [3.5e38, -3.5e38, 1e308, 3.4028235677973366e38])
def test_an_f64_value_beyond_float32_is_refused_and_not_made_infinite(tmp_path, value):
    with pytest.raises(ModelError) as caught:
        one(tmp_path, "F64", struct.pack("<2d", 1.0, value), 8)
    message = str(caught.value)
    assert not [
        word for word in ("a in model.safetensors", str(value), "wanted", "float32") if word not in message
    ]


@pytest.mark.parametrize("dtype", ["I64", "U64"])
def test_integers_are_not_read_as_weights(tmp_path, dtype):
    with pytest.raises(ModelError, match=rf"a in model\.safetensors has dtype {dtype} \(wanted one of F32"):
        one(tmp_path, dtype, bytes(8), 8)


def test_rows_stay_rows(tmp_path, write_safetensors):
    stored = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_safetensors(tmp_path / "model.safetensors", {"a": stored})
    assert read_tensor(map_file(path), read_header(path)["a"]).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_an_empty_tensor_is_read(tmp_path, write_safetensors, dtype):
    path = write_safetensors(tmp_path / "model.safetensors", {"a": (dtype, [0, 3], b"")})
    assert read_tensor(map_file(path), read_header(path)["a"]).shape == (0, 3)


def test_aligned_f32_is_used_in_place_and_read_only(tmp_path, write_safetensors):
    path = write_safetensors(tmp_path / "model.safetensors", {"a": np.ones(3, np.float32)})
    buffer = map_file(path)
    tensor = read_tensor(buffer, read_header(path)["a"])
    assert np.shares_memory(tensor, np.frombuffer(buffer, np.uint8))
    assert not tensor.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_data_off_its_alignment_is_copied_and_right(tmp_path, write_safetensors, dtype):
    stored = np.array([[1.5, -2.25], [3.0, 0.125]], dtype)
    path = write_safetensors(tmp_path / "model.safetensors", {"a": stored}, pad=1)
    buffer = map_file(path)
    entry = read_header(path)["a"]
    assert entry.begin % 2 == 1
    tensor = read_tensor(buffer, entry)
    assert tensor.tolist() == [[1.5, -2.25], [3.0, 0.125]]
    assert tensor.flags.aligned
    assert not np.shares_memory(tensor, np.frombuffer(buffer, np.uint8))


def test_a_file_of_the_safetensors_library_is_read_bit_for_bit(tmp_path):
    random = np.random.default_rng(3)
    stored = {
        "half": random.normal(size=(3, 5)).astype(np.float16),
        "single": random.normal(size=(7, 2)).astype(np.float32),
        "double": random.normal(size=11),
        "mask": np.tril(np.ones((4, 4), bool)),
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(stored, path, metadata={"format": "np"})
    entries, buffer = read_header(path), map_file(path)
    assert {name: entry.shape for name, entry in entries.items()} == {n: a.shape for n, a in stored.items()}
    for name in ("half", "single", "double"):
        assert bits(read_tensor(buffer, entries[name])) == bits(stored[name].astype(np.float32))
