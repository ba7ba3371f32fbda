"""Specs are read with the line of every part."""

import pytest

from llorch_core.spec.errors import SpecError
from llorch_core.spec.yaml_file import read_yaml


def write(folder, text):
    path = folder / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_have_the_types_that_yaml_gives_them(tmp_path):
    file = read_yaml(write(tmp_path, "a: 1\nb: [x, 1.0e-5, true]\nc:\n  d: text\n"))
    assert file.data == {"a": 1, "b": ["x", 1e-5, True], "c": {"d": "text"}}


def test_every_part_has_a_line(tmp_path):
    file = read_yaml(write(tmp_path, "a: 1\nb:\n  - x\n  - y\nc:\n  d: text\n"))
    assert file.lines[("a",)] == 1
    assert file.lines[("b", 1)] == 4
    assert file.lines[("c", "d")] == 6
    assert str(file.error("is wrong.", "c", "d")) == f"{tmp_path}/spec.yaml:6: is wrong."
    assert ":5: " in str(file.error("is wrong.", "c", "unknown", "deeper"))


def test_a_key_that_is_given_twice_is_refused_at_the_second(tmp_path):
    with pytest.raises(SpecError, match=r"spec.yaml:3: a is given twice"):
        read_yaml(write(tmp_path, "a: 1\nb: 2\na: 3\n"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is empty"),
        ("a: [1", "spec.yaml:2: is not YAML"),
        ("a: 1\n b: 2\n", "spec.yaml:2: is not YAML"),
        (b"a: \xff", "is not UTF-8 at byte 3"),
        ("a: &a [*a]", "contains itself"),
        ("a: !!python/object/apply:os.system [true]", "apply:os.system is not allowed"),
        ("a: !!int text", "is not a value"),
        ("a: 1\nb: !!int ''", "spec.yaml:2: '' is not a value"),
        ("a: !!bool maybe", "is not a value"),
        ("a: !!timestamp soon", "is not a value"),
        ("a: 2020-13-45", "is not a value"),
        ("a: 1\n? [b]\n: 2", "list or a mapping for a key"),
        ("a: 1\n---\nb: 2", "spec.yaml:2: is not YAML"),
        ("a: \x07", "is not YAML"),
        ("a: " + "[" * 100_000 + "]" * 100_000, "nested more than 20 deep"),
    ],
)
def test_what_cannot_be_read_is_a_spec_error(tmp_path, text, named):
    with pytest.raises(SpecError, match=named):
        read_yaml(write(tmp_path, text))


def test_a_missing_file_is_a_spec_error(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        read_yaml(tmp_path / "nothing.yaml")


def test_aliases_of_aliases_end_before_they_fill_the_memory(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 6)]
    with pytest.raises(SpecError, match="more than 50,000 parts"):
        read_yaml(write(tmp_path, "\n".join(lines)))


def test_an_alias_stands_for_what_it_names(tmp_path):
    assert read_yaml(write(tmp_path, "a: &it [1, 2]\nb: *it\n")).data == {"a": [1, 2], "b": [1, 2]}
