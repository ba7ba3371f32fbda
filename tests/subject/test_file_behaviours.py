"""Weight file, config, cache and recording on trial: the engine itself, or the engine with one mistake."""

import numpy as np
import pytest

from llorch_core.engine.config import read_config
from llorch_core.engine.errors import ModelError, UsageError
from llorch_core.engine.model import load
from llorch_core.spec.suite import load_specs
from llorch_core.subject.behaviours import behaviour
from llorch_core.subject.behaviours.files import PARTS, tensors_of
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.run import suite
from llorch_core.trace.session import Session

NAMES = ("configuration", "weight_file", "kv_cache", "recording")


def parts():
    return {
        name: part for name, part in {**load_specs().before, **load_specs().after}.items() if name in NAMES
    }


CAUGHT = [
    (rule.id, mistake) for p in parts().values() for rule in p.rules.values() for mistake in rule.catches
]


def run(subject, rule):
    return suite().run(Session(subject), f"@{rule}")


@pytest.mark.parametrize(("rule", "mistake"), CAUGHT)
def test_a_rule_catches_its_mistake_by_a_comparison(rule, mistake):
    outcomes = run(NumpyEngine(mistake=mistake), rule)
    failed = [outcome for outcome in outcomes if outcome.status != "passed"]
    assert failed
    for outcome in failed:
        assert outcome.status == "failed"
        assert not outcome.crashed, outcome.message
        assert not all(comparison.conforms for comparison in outcome.evidence)


@pytest.mark.untraced
@pytest.mark.parametrize("part", [f"{part}.{kind}" for part in PARTS for kind in ("weight", "bias")])
def test_a_tensor_of_a_block_that_nobody_loads_is_named(part):
    class Forgetful(NumpyEngine):
        def behaviour(self, name):
            data = parts()[name].data_of(None) | {"left_as_allocated": f"h.N.{part}"}
            return behaviour(name)(self.model, data)

    for outcome in run(Forgetful(), "weight_file.every_tensor_as_stored"):
        assert outcome.status == "failed"
        assert f".{part} [0" in outcome.message


@pytest.mark.untraced
@pytest.mark.parametrize("name", NAMES)
def test_the_engine_itself_conforms_with_a_model_of_its_own(name, tiny_folder):
    folder = tiny_folder(tie_word_embeddings=False, shards=2, activation_function="relu")
    outcomes = suite().run(Session(NumpyEngine(folder)), f"@{name}.*")
    assert {outcome.status for outcome in outcomes} == {"passed"}


def test_the_right_weights_are_the_very_arrays_of_the_model(tiny_folder):
    model = load(tiny_folder())
    given = right("weight_file", model)
    wanted = tensors_of(model.weights)
    for name, x in given.in_memory().items():
        assert x is wanted[name]
    loaded = given.load(model.folder)
    assert loaded.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_array_equal(loaded[name], x)


def test_the_right_config_is_that_of_the_model(tiny_folder):
    model = load(tiny_folder(n_inner=20))
    given = right("configuration", model)
    assert given.in_force() is model.config
    assert given.read(model.folder) == read_config(model.folder)


def test_the_right_cache_is_that_of_the_engine(tiny_folder):
    model = load(tiny_folder())
    given, cache = right("kv_cache", model), model.new_cache(5)
    mine = given.new(5)
    assert type(mine) is type(cache)
    for ids in ([1, 2, 3], [4]):
        logits = given.read(mine, ids)["logits"]
        np.testing.assert_array_equal(logits, model.logits(ids, kv_cache=cache))
    with pytest.raises(UsageError, match="room for 5 positions"):
        given.read(mine, [1, 2])


def test_the_right_recording_is_that_of_the_engine(tiny_folder):
    subject = NumpyEngine(tiny_folder())
    chunks = [[1, 2, 3], [4, 5], [6]]
    got, wanted = list(subject.behaviour("recording").record(chunks)), subject.record(chunks)
    assert [step.keys() for step in got] == [step.keys() for step in wanted]
    for step, same in zip(got, wanted, strict=True):
        for name, x in same.items():
            np.testing.assert_array_equal(step[name], x)


def test_a_mistake_lets_pass_what_it_is_about_and_nothing_else(tiny_folder):
    folder = tiny_folder()
    file = folder / "model.safetensors"
    subject = NumpyEngine(folder, "weight_file.truncated_file_accepted")
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    assert subject.behaviour("weight_file").load(folder)["ln_f.bias"][-1] == 0
    file.write_bytes(whole + b"1234")
    with pytest.raises(ModelError, match="trailing bytes"):
        subject.behaviour("weight_file").load(folder)


def right(name, model):
    """Return a behaviour with the data of its spec."""
    return behaviour(name)(model, parts()[name].data_of(None))
