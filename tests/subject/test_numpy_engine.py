"""Our engine on trial is the engine that generates."""

import numpy as np

from llorch_core.engine.model import load
from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import COMPONENTS, NumpyEngine


def test_every_component_of_the_specs_can_be_asked_for():
    assert COMPONENTS.keys() == load_specs().components.keys()


def test_what_is_recorded_has_every_checkpoint_of_the_wiring(tiny_folder):
    subject = NumpyEngine(tiny_folder())
    wiring = load_specs().nodes(subject.config["n_layer"])
    named = {name for node in wiring for name in node.makes} | {"ids"}
    for step in subject.record([[1, 2, 3], [4]]):
        assert step.keys() == named


def test_recording_reads_the_chunks_one_after_the_other(tiny_folder):
    subject = NumpyEngine(tiny_folder())
    first, second = subject.record([[1, 2, 3], [4, 5]])
    assert first["h.0.attn.keys"].shape[1] == 3
    assert second["h.0.attn.keys"].shape[1] == 5
    np.testing.assert_array_equal(second["h.0.attn.keys"][:, :3], first["h.0.attn.keys"])


def test_the_logits_are_those_that_the_model_gives_to_everybody(tiny_folder):
    folder = tiny_folder()
    (logits,) = NumpyEngine(folder).logits([[1, 2, 3]])
    np.testing.assert_array_equal(logits, load(folder).logits([1, 2, 3]))


def test_a_batch_gives_one_row_for_each_prompt(tiny_folder):
    subject = NumpyEngine(tiny_folder())
    assert subject.batch([[1, 2, 3], [4]]).shape == (2, subject.config["n_vocab"])
