"""Specs are run once: remembered is what these very bytes and this very code gave, and nothing refused."""

import shutil
import sys
from pathlib import Path

import pytest

from llorch_core.spec import held
from llorch_core.spec.errors import SpecError
from llorch_core.spec.suite import load_specs, suite_folder


@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty cache, and the folder in it where records are."""
    monkeypatch.setenv(
        "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", str(tmp_path / "cache")
    )
    load_specs.cache_clear()
    yield tmp_path / "cache" / "llorch" / "held"
    load_specs.cache_clear()


@pytest.fixture
def specs(tmp_path):
    return shutil.copytree(suite_folder() / "specs", tmp_path / "specs")


def make_false(specs: Path) -> None:
    """Make a mistake change nothing: only who runs the specs can see it."""
    path = specs / "components" / "layer_norm.yaml"
    text = path.read_text()
    assert text.count("{centre: 0 * mean(x)}") == 1
    path.write_text(text.replace("{centre: 0 * mean(x)}", "{centre: 1 * mean(x)}"))


@pytest.mark.untraced
def test_specs_that_hold_leave_one_record_and_give_the_same_model_by_it(records, specs):
    first = load_specs(specs)
    assert len(list(records.iterdir())) == 1
    load_specs.cache_clear()
    second = load_specs(specs)
    assert second is not first
    assert second.all_rules() == first.all_rules()
    assert second.mistake_ids() == first.mistake_ids()


@pytest.mark.untraced
def test_a_false_spec_is_refused_beside_the_record_of_the_right_one_and_leaves_none(records, specs):
    load_specs(specs)
    make_false(specs)
    for _ in range(2):
        load_specs.cache_clear()
        with pytest.raises(SpecError, match="mean_kept changes nothing"):
            load_specs(specs)
    assert len(list(records.iterdir())) == 1


@pytest.mark.untraced
def test_a_record_is_taken_at_its_word_but_by_who_runs_the_specs_anew(records, specs):
    make_false(specs)
    held.keep(held.record_of(specs))
    load_specs(specs)
    with pytest.raises(SpecError, match="mean_kept changes nothing"):
        load_specs(specs, anew=True)


@pytest.mark.parametrize(
    "name", ["components/argmax.yaml", "schema/component.schema.json", "lessons/field.yaml"]
)
def test_one_byte_more_in_any_file_is_another_record(records, specs, name):
    before = held.record_of(specs)
    assert held.record_of(specs) == before
    with (specs / name).open("ab") as file:
        file.write(b"\n")
    assert held.record_of(specs) != before


def test_other_code_is_another_record(records, specs, tmp_path):
    package = shutil.copytree(Path(held.__file__).parent, tmp_path / "spec")
    source = (package / "trial.py").read_bytes()
    ours = held.record_of(specs, code=package)
    assert ours == held.record_of(specs)
    (package / "trial.py").write_bytes(source + b"#")
    assert held.record_of(specs, code=package) != ours


def test_without_a_folder_that_may_be_written_the_specs_are_loaded_all_the_same(records, specs):
    records.parent.parent.write_text("a file where the folder would be")
    assert load_specs(specs).all_rules()
    assert records.parent.parent.read_text() == "a file where the folder would be"
