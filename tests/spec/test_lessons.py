"""Each mistake that the field has made is a mistake of a spec, or is named with the reason why not."""

import json
import re
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from llorch_core.spec.suite import load_specs
from llorch_core.spec.yaml_file import read_yaml

ROOT = Path(__file__).parents[2]
LIST = ROOT.parent / "shared" / "MISTAKES.md"
FILES = ("field", "not-applicable")

NUMBERED = [f"PM-{number:02}" for number in range(1, 65)]
IN_WORDS = [  # one for each row of the list that has no number, in its order
    "bias_zeroed_by_name",
    "tensor_not_loaded",
    "unknown_dtype_accepted",
    "gain_renormalised",
    "decode_path_transposed",
    "head_vector_partial",
    "cache_stride",
    "cache_rows_beyond_length",
    "sampling_settings_ignored",
    "special_token_split",
    "padded_vocab_argmax",
    "unknown_id_accepted",
    "bounds_check_disabled",
    "recorded_by_reference",
    "oracle_shares_the_mistake",
    "few_elements_checked",
    "values_returned_unchanged",
]


def read(name):
    return read_yaml(ROOT / "specs" / "lessons" / f"{name}.yaml").data


LESSONS = read("field")["lessons"]
NOT_APPLICABLE = read("not-applicable")["not_applicable"]


@pytest.mark.parametrize("name", FILES)
def test_the_file_fits_the_schema(name):
    schema = json.loads((ROOT / "specs" / "schema" / "lessons.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(read(name))


def test_every_mistake_that_is_named_is_in_a_spec():
    named = {mistake for lesson in LESSONS for mistake in lesson["mistakes"]}
    assert named - set(load_specs().mistake_ids()) == set()


def test_at_least_ninety_mistakes_are_named():
    assert len({mistake for lesson in LESSONS for mistake in lesson["mistakes"]}) >= 90


def test_no_row_and_no_name_is_given_twice():
    for part in ("row", "name"):
        counts = Counter(entry[part] for entry in LESSONS + NOT_APPLICABLE)
        assert [text for text, count in counts.items() if count > 1] == []


def test_the_two_files_cover_every_row():
    assert {entry["row"] for entry in LESSONS + NOT_APPLICABLE} == {*NUMBERED, *IN_WORDS}


@pytest.mark.parametrize("entries", [LESSONS, NOT_APPLICABLE], ids=FILES)
def test_rows_stand_in_the_order_of_the_list(entries):
    rows = [entry["row"] for entry in entries]
    assert rows == sorted(rows, key=[*NUMBERED, *IN_WORDS].index)


def test_what_is_not_applicable_has_a_reason():
    for entry in NOT_APPLICABLE:
        assert len(entry["reason"]) >= 20, entry["row"]
        assert entry["reason"].endswith("."), entry["row"]


@pytest.mark.skipif(not LIST.exists(), reason="../shared/MISTAKES.md is absent")
def test_the_list_has_no_other_rows():
    numbered, _, in_words = LIST.read_text(encoding="utf-8").partition("\n## H.")
    assert re.findall(r"^\| (PM-\d+) \|", numbered, re.MULTILINE) == NUMBERED
    rows = re.findall(r"^\| (?!mistake \|)(.+?) \|", in_words, re.MULTILINE)
    assert len(rows) == len(IN_WORDS)
    slugs = [slug for row in in_words.splitlines() for slug in re.findall(r"`(\w+)`", row)]
    assert {"bias_zeroed_by_name", "cache_stride", "padded_vocab_argmax"} <= {*slugs} & {*IN_WORDS}
