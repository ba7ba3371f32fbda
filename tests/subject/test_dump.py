"""Dumps: every form that the contract allows says the same, and what it does not allow is refused by name."""

import json
import re
import struct
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from llorch_core.spec.errors import SpecError
from llorch_core.spec.oracle import random_oracle
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.subject.dump import check_layers, open_dump, read_dump, write_dump
from llorch_core.subject.names import own_names
from tests.subject.test_names import CONFIG

CALLS = [[3, 1, 4, 1, 5], [9, 2]]


@pytest.fixture(scope="module")
def record():
    """Two calls of a random model, in float32 as an engine has them, ids in int64."""
    steps = random_oracle(load_specs(), CONFIG).run(CALLS)
    return [{n: x.astype(np.int64 if n == "ids" else np.float32) for n, x in step.items()} for step in steps]


def prefixed(record):
    return {f"step.{k}/{name}": x for k, step in enumerate(record) for name, x in step.items()}


def as_safetensors(folder, tensors, metadata=None):
    save_file({n: np.asarray(x, order="C") for n, x in tensors.items()}, folder / "d.safetensors", metadata)
    return folder / "d.safetensors"


def as_npz(folder, tensors, metadata=None):
    np.savez(folder / "d.npz", **tensors, **({"__metadata__": json.dumps(metadata)} if metadata else {}))
    return folder / "d.npz"


def as_folder(folder, tensors, metadata=None):
    for name, x in tensors.items():
        path = folder / "d" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, x)
    if metadata:
        (folder / "d" / "__metadata__.json").write_text(json.dumps(metadata))
    return folder / "d"


FORMS = [as_safetensors, as_npz, as_folder]
each_form = pytest.mark.parametrize("form", FORMS)


def opened(path):
    return open_dump(path, load_specs())


def same(got, wanted):
    assert [step.keys() for step in got] == [step.keys() for step in wanted]
    for mine, theirs in zip(got, wanted, strict=True):
        for name, x in mine.items():
            np.testing.assert_array_equal(x, theirs[name])


@each_form
def test_every_form_gives_back_what_was_recorded(form, record, tmp_path):
    path = form(tmp_path, prefixed(record), {"llorch_dump": "1", "engine": "mine 3", "dtype": "bfloat16"})
    dump = opened(path)
    assert (dump.path, dump.engine, dump.precision, len(dump.sequences)) == (path, "mine 3", "bfloat16", 1)
    same(dump.sequences[0], record)
    same(read_dump(path), record)


@each_form
def test_a_leading_axis_is_the_batch(form, record, tmp_path):
    other = [{n: x + 1 for n, x in step.items()} for step in record]
    both = [
        {n: np.stack([x, step[n]]) for n, x in mine.items()} for mine, step in zip(record, other, strict=True)
    ]
    first, second = opened(form(tmp_path, prefixed(both))).sequences
    same(first, record)
    same(second, other)


def test_a_batch_of_one_may_be_left_out_anywhere(record, tmp_path):
    mixed = {n: x[None] if "attn" in n else x for n, x in prefixed(record).items()}
    (only,) = opened(as_safetensors(tmp_path, mixed)).sequences
    same(only, record)


def test_names_without_a_prefix_are_the_first_call(record, tmp_path):
    same(opened(as_safetensors(tmp_path, record[0])).sequences[0], record[:1])


def test_any_part_of_the_checkpoints_is_a_dump(record, tmp_path):
    part = {"ids": record[0]["ids"], "h.2.attn.probs": record[0]["h.2.attn.probs"]}
    same(opened(as_safetensors(tmp_path, part)).sequences[0], [part])


def test_calls_are_in_the_order_of_their_numbers(tmp_path):
    path = as_safetensors(tmp_path, {f"step.{k}/ids": np.array([k]) for k in range(11)})
    assert [int(step["ids"][0]) for step in opened(path).sequences[0]] == list(range(11))


def test_ids_of_any_integer_become_int64(tmp_path):
    for dtype in (np.int32, np.uint64, np.uint8):
        (step,) = opened(as_safetensors(tmp_path, {"ids": np.array([1, 2], dtype)})).sequences[0]
        assert step["ids"].dtype == np.int64


def test_a_safetensors_file_is_not_copied_into_memory(record, tmp_path):
    (calls,) = opened(as_safetensors(tmp_path, prefixed(record))).sequences
    assert not any(x.flags.owndata for step in calls for x in step.values())


def bits(x):
    """Return bfloat16 as its 16 bits; x must be representable."""
    return (np.ascontiguousarray(x, "<f4").view("<u4") >> 16).astype("<u2")


def rounded(x):
    return (np.ascontiguousarray(x, "<f4").view("<u4") & 0xFFFF0000).view("<f4")


def test_bfloat16_is_decoded_to_the_numbers_it_stands_for(record, tmp_path, write_safetensors):
    x = rounded(record[0]["embed"])
    path = write_safetensors(tmp_path / "d", {"embed": ("BF16", list(x.shape), bits(x).tobytes())}, pad=1)
    dump = opened(path)
    np.testing.assert_array_equal(dump.sequences[0][0]["embed"], x)
    assert dump.precision == "bfloat16"


@pytest.mark.parametrize(
    ("change", "precision"),
    [
        (lambda name, x: x, "float32"),
        (lambda name, x: x.astype(np.float64), "float32"),  # stored wider than it was computed
        (lambda name, x: x.astype(np.float64) * (1 + 1e-9), "float64"),
        (lambda name, x: x.astype(np.float16), "float16"),
        (lambda name, x: x.astype(np.float16).astype(np.float32), "float16"),
        (lambda name, x: rounded(x).reshape(x.shape), "bfloat16"),
        (lambda name, x: x if name == "logits" else x.astype(np.float16), "float16"),  # logits kept wide
        (lambda name, x: x.astype(np.float16) if ".keys" in name else x, "float32"),  # a narrow cache
    ],
)
def test_the_precision_is_what_most_tensors_show(change, precision, record, tmp_path):
    step = {name: x if name == "ids" else change(name, x) for name, x in record[0].items()}
    assert opened(as_safetensors(tmp_path, step)).precision == precision


def test_a_few_round_numbers_show_no_precision(tmp_path):
    assert opened(as_safetensors(tmp_path, {"embed": np.ones((2, 3), np.float32)})).precision == "float32"
    assert opened(as_safetensors(tmp_path, {"ids": np.array([1, 2])})).precision == "float32"


ONE = np.ones((5, 8), np.float32)
REFUSED = {
    "a name that nobody knows": (
        {"h.0.ln1": ONE},
        r"not a checkpoint: h\.0\.ln1\. The nearest is h\.0\.ln_1",
    ),
    "a name of another project": ({"blocks.0.hook_resid_mid": ONE}, "give --names transformer_lens"),
    "two maps fit": ({"transformer.h.0.ln_1": ONE}, "nanogpt and transformers has such names: give --names"),
    "a name that looks like nothing": ({"zzz": ONE}, r"give --names llama\.cpp \| llm\.c"),
    "a padded number": ({"h.01.ln_1": ONE}, r"not a checkpoint: h\.01\.ln_1"),
    "many unknown names": ({f"x{i}": ONE for i in range(9)}, r"x0, x1, x2, x3, x4 and 4 more"),
    "a gap": ({"step.0/ids": np.arange(3), "step.3/ids": np.arange(3)}, r"up to 3, but nothing of call 1, 2"),
    "no first call": ({"step.1/embed": ONE}, r"up to 1, but nothing of call 0"),
    "a call far away": ({"step.999999999999/embed": ONE}, r"nothing of call 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\."),
    "prefixes mixed": (
        {"step.0/embed": ONE, "ln_f": ONE},
        "step.0/embed has the prefix .*, and ln_f has none",
    ),
    "ids that are floats": ({"ids": ONE[0]}, r"ids of call 0 holds float32, wanted integers"),
    "ids that are truths": ({"ids": ONE[0] > 0}, "ids of call 0 holds bool, wanted integers"),
    "numbers that are integers": (
        {"embed": np.ones((5, 8), np.int32)},
        "holds int32, wanted float64, float32",
    ),
    "too few axes": (
        {"embed": ONE[0]},
        r"has the shape \[8\], wanted \[T, n_embd\], or \[B, T, n_embd\] for",
    ),
    "too many axes": ({"embed": ONE[None, None]}, r"has the shape \[1, 1, 5, 8\]"),
    "a scalar": ({"ids": np.array(3)}, r"ids of call 0 has the shape \[\], wanted \[T\], or \[B, T\]"),
    "two batches": ({"embed": np.ones((2, 5, 8)), "ln_f": np.ones((3, 5, 8))}, "batch of 2, and .* one of 3"),
    "a batch in part": ({"embed": np.ones((2, 5, 8)), "ln_f": ONE}, "batch of 2, and ln_f .* no batch axis"),
    "an empty batch": ({"embed": np.ones((0, 5, 8))}, "has a batch of 0"),
    "nothing": ({}, "holds no tensor"),
}


@each_form
@pytest.mark.parametrize("what", REFUSED)
def test_what_breaks_the_contract_is_refused_and_named(what, form, tmp_path):
    tensors, message = REFUSED[what]
    if form is as_folder:
        (tmp_path / "d").mkdir()
    with pytest.raises(SpecError, match=message) as error:
        opened(form(tmp_path, tensors))
    assert str(error.value).startswith(str(tmp_path / "d"))


@each_form
@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llorch_dump": "2"}, "llorch_dump: '1' was expected"),
        ({"dtype": "fp16"}, r"dtype: 'fp16' is not one of \['float64', 'float32', 'float16', 'bfloat16'\]"),
    ],
)
def test_metadata_that_the_contract_does_not_have_is_refused(metadata, message, form, tmp_path):
    with pytest.raises(SpecError, match=message):
        opened(form(tmp_path, {"embed": ONE}, metadata))


def header(data, rest=b""):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return struct.pack("<Q", len(text)) + text + rest


TENSOR = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
BROKEN = {
    "d": [
        (b"", "cannot be read as safetensors"),
        (b"nothing of the kind", "cannot be read as safetensors"),
        (header(b"[" * 9000), "cannot be read as safetensors"),
        (header(b"\xff{}"), "cannot be read as safetensors"),
        (header([1]), "cannot be read as safetensors"),
        (header({"embed": TENSOR}), "cannot be read as safetensors"),  # the data are missing
        (header({"embed": TENSOR}, b"12345"), "cannot be read as safetensors"),  # there are more
        (header({"embed": {**TENSOR, "shape": [2, 1]}}, b"1234"), "cannot be read as safetensors"),
        (header({"embed": {**TENSOR, "offset": 3}}, b"1234"), "embed: Additional properties .*'offset'"),
        (
            header({"embed": {**TENSOR, "dtype": "F8_E4M3", "data_offsets": [0, 1]}}, b"1"),
            "holds F8_E4M3, wanted",
        ),
        (
            header(b'{"embed":' + json.dumps(TENSOR).encode() + b',"embed":{}}', b"1234"),
            "holds embed 2 times",
        ),
    ],
    "d.npz": [
        (b"", "cannot be read as npz"),
        (b"PK\x03\x04 and nothing else", "cannot be read as npz"),
    ],
    "d/embed.npy": [
        (b"", "cannot be read as npy"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9)}", "read as npy"),
    ],
    "d/__metadata__.json": [(b"{", "__metadata__ is not JSON"), (b"[1]", "wanted an object")],
    "embed.npy": [(b"", "is one tensor. Give the folder")],
}


@pytest.mark.parametrize(
    ("name", "content", "message"), [(n, *case) for n, cases in BROKEN.items() for case in cases]
)
def test_what_cannot_be_read_is_refused(name, content, message, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        opened(tmp_path / Path(name).parts[0])


def test_a_pickle_is_never_loaded(tmp_path):
    np.savez(tmp_path / "d.npz", embed=np.array([print], dtype=object))
    with pytest.raises(SpecError, match=r"embed cannot be read as npz: Object arrays cannot be loaded"):
        opened(tmp_path / "d.npz")


def test_a_dump_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="does not exist"):
        opened(tmp_path / "d.safetensors")


def test_a_block_that_the_model_does_not_have_is_named(record, tmp_path):
    dump = opened(as_safetensors(tmp_path, record[0]))
    check_layers(dump, 3)
    with pytest.raises(
        SpecError, match=r"h\.2\.[a-z_.0-9]+ is of block 2, and the model has 2, the first of them 0"
    ):
        check_layers(dump, 2)


def test_what_is_written_is_read_again(record, tmp_path):
    write_dump(tmp_path / "d.safetensors", record, "mine", "float32")
    dump = opened(tmp_path / "d.safetensors")
    assert (dump.engine, dump.precision) == ("mine", "float32")
    same(dump.sequences[0], record)
    with safe_open(tmp_path / "d.safetensors", "numpy") as file:
        assert file.metadata() == {"llorch_dump": "1", "engine": "mine", "dtype": "float32"}
    assert [p.name for p in tmp_path.iterdir()] == ["d.safetensors"]


def test_a_batch_is_written_as_one_dump(record, tmp_path):
    other = [{n: x + 1 for n, x in step.items()} for step in record]
    write_dump(tmp_path / "d", [record, other], "mine", "float16")
    dump = opened(tmp_path / "d")
    assert dump.precision == "float16"
    for got, wanted in zip(dump.sequences, [record, other], strict=True):
        same(got, wanted)


def test_sequences_that_differ_are_not_written(record, tmp_path):
    shorter = [{n: x[:1] for n, x in step.items()} for step in record]
    with pytest.raises(SpecError, match="ids of call 0 has another shape"):
        write_dump(tmp_path / "d", [record, shorter], "mine", "float32")
    with pytest.raises(SpecError, match="differ in calls or checkpoints"):
        write_dump(tmp_path / "d", [record, record[:1]], "mine", "float32")
    with pytest.raises(SpecError, match="half is not a precision"):
        write_dump(tmp_path / "d", record, "mine", "half")
    assert not list(tmp_path.iterdir())


def test_a_dump_that_cannot_be_written_leaves_nothing(record, tmp_path):
    with pytest.raises(SpecError, match="cannot be written"):
        write_dump(tmp_path / "nowhere" / "d", record, "mine", "float32")
    (tmp_path / "d").mkdir()
    with pytest.raises(SpecError, match="cannot be written"):
        write_dump(tmp_path / "d", record, "mine", "float32")
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def schema():
    return json.loads((suite_folder() / "specs" / "schema" / "dump.schema.json").read_text())


def of_header(path):
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def test_the_schema_accepts_the_header_of_a_dump(record, tmp_path):
    write_dump(tmp_path / "d", record, "mine", "float32")
    jsonschema.validate(of_header(tmp_path / "d"), schema())


BETWEEN_TENSORS = {  # a schema looks at one tensor at a time
    *("a gap", "no first call", "a call far away", "prefixes mixed"),
    *("two batches", "a batch in part", "an empty batch"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_schema_refuses_what_one_tensor_can_have_wrong(what, tmp_path):
    head = of_header(as_safetensors(tmp_path, REFUSED[what][0]))
    assert jsonschema.Draft202012Validator(schema()).is_valid(head) is (what in BETWEEN_TENSORS)


def test_the_schema_has_the_names_of_the_specs():
    names = re.compile(schema()["propertyNames"]["pattern"])
    for name in own_names(load_specs()).shapes:
        assert names.match(name.replace("N", "0")), name
        assert names.match(f"step.10/{name.replace('N', '47')}"), name
    for name in ("h.0.foo", "h.01.ln_1", "embed.0", "step.00/embed", "Ids", "h.ln_1", "ln_f.out"):
        assert not names.match(name), name
