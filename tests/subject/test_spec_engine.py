"""An engine made of the specs: right without a mistake, wrong with one."""

import numpy as np
import pytest

from llorch_core.spec.suite import load_specs
from llorch_core.subject.spec_engine import SpecEngine

CHUNKS = [[1, 2, 3], [4, 5]]


def test_a_mistake_in_a_component_shows_in_what_is_recorded(tiny_folder):
    folder, spec = tiny_folder(), load_specs()
    right = SpecEngine(spec, folder).record(CHUNKS)
    wrong = SpecEngine(spec, folder, "mlp.erf_gelu").record(CHUNKS)
    np.testing.assert_array_equal(right[0]["h.0.mlp.fc"], wrong[0]["h.0.mlp.fc"])
    assert not np.array_equal(right[0]["h.0.mlp.act"], wrong[0]["h.0.mlp.act"])


def test_a_mistake_in_a_component_shows_where_it_is_asked_for_alone(tiny_folder):
    spec, inputs = load_specs(), {"logits": np.array([3.0, 9.0, 9.0])}
    right, wrong = (SpecEngine(spec, tiny_folder(), m) for m in (None, "argmax.last_of_equals"))
    assert right.component("argmax", inputs, {}, 0, {})["out"] == [1]
    assert wrong.component("argmax", inputs, {}, 0, {})["out"] == [2]


def test_a_mistake_of_another_component_leaves_a_component_alone(tiny_folder):
    engine = SpecEngine(load_specs(), tiny_folder(), "mlp.erf_gelu")
    assert engine.component("argmax", {"logits": np.array([3.0, 9.0, 9.0])}, {}, 0, {})["out"] == [1]


@pytest.mark.parametrize("mistake", ["gpt2.recorded_in_place", "gpt2.recording_rounds"])
def test_a_policy_makes_the_record_differ_from_what_runs(tiny_folder, mistake):
    engine = SpecEngine(load_specs(), tiny_folder(), mistake)
    recorded = [step["logits"] for step in engine.record(CHUNKS)]
    assert any(
        not np.array_equal(seen, ran) for seen, ran in zip(recorded, engine.logits(CHUNKS), strict=True)
    )


def test_without_a_mistake_the_record_is_what_runs(tiny_folder):
    engine = SpecEngine(load_specs(), tiny_folder())
    for step, logits in zip(engine.record(CHUNKS), engine.logits(CHUNKS), strict=True):
        np.testing.assert_array_equal(step["logits"], logits)


def test_the_batch_gives_each_prompt_its_own_last_row(tiny_folder):
    engine = SpecEngine(load_specs(), tiny_folder())
    rows = engine.batch([[1, 2, 3], [4]])
    np.testing.assert_array_equal(rows[0], engine.logits([[1, 2, 3]])[0][-1])
    np.testing.assert_array_equal(rows[1], engine.logits([[4]])[0][0])
