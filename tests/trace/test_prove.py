"""The proof that tests can fail must itself be able to fail."""

import numpy as np
import pytest

from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.subject.spec_engine import SpecEngine
from llorch_core.trace.prove import claims, detection_bound, judge, keepers, move_elements, try_mistakes
from llorch_core.trace.run import suite
from llorch_core.trace.session import Session


def verdict(subject, mistake, rule):
    session = Session(subject, load_specs())
    return judge(mistake, rule, suite().run(session, f"@{rule}"), session)


def test_every_mistake_is_put_on_trial_before_every_rule_that_claims_it():
    found = claims(load_specs())
    assert {mistake for mistake, _ in found} == set(load_specs().mistake_ids())
    assert ("gpt2.last_block_skipped", "gpt2.final_norm") in found
    assert ("gpt2.last_block_skipped", "gpt2.end_to_end") in found


def test_claims_can_be_those_of_a_component_or_of_one_mistake():
    assert {m.split(".")[0] for m, _ in claims(load_specs(), "top_k")} == {"top_k"}
    assert claims(load_specs(), "mlp.erf_gelu") == [
        ("mlp.erf_gelu", "mlp.activation_of_the_config"),
        ("mlp.erf_gelu", "gpt2.full_size"),
    ]


def test_a_mistake_that_a_comparison_of_its_own_rule_finds_is_caught(tiny_folder):
    (trial,) = try_mistakes(load_specs(), tiny_folder(), claims(load_specs(), "argmax.last_of_equals"))
    assert trial.status == "caught"
    assert trial.scenario.title == "Of three equal logits the lowest id wins"
    assert (trial.found.what, trial.found.got, trial.found.wanted) == ("argmax.out", 4, 1)


@pytest.mark.untraced
def test_a_mistake_that_only_another_rule_notices_is_a_defect(tiny_folder):
    subject = SpecEngine(load_specs(), tiny_folder(), "argmax.last_of_equals")
    trial = verdict(subject, "argmax.last_of_equals", "argmax.largest")
    assert trial.status == "elsewhere"
    assert trial.scenario.rules == ("argmax.lowest_id_of_equals",)


def test_a_mistake_that_nobody_notices_is_missed(tiny_folder):
    trial = verdict(NumpyEngine(tiny_folder()), "argmax.smallest", "argmax.largest")
    assert trial.status == "missed"


class Crashing(NumpyEngine):
    """An engine that raises where it is asked for a component."""

    def component(self, name, inputs, config, layer, sizes):
        raise IndexError("index 7 is out of bounds")


def test_a_crash_is_not_a_catch(tiny_folder):
    trial = verdict(Crashing(tiny_folder()), "argmax.smallest", "argmax.largest")
    assert trial.status == "crashed"
    assert "the engine raised IndexError" in trial.scenario.message


def test_what_is_not_here_is_not_caught(tiny_folder):
    subject = SpecEngine(load_specs(), tiny_folder(), "gpt2.norms_exchanged")
    assert verdict(subject, "gpt2.norms_exchanged", "gpt2.others_agree").status == "not run"


@pytest.mark.untraced
def test_every_element_that_is_moved_by_four_tolerances_is_noticed(tiny_folder):
    base = Session(NumpyEngine(tiny_folder()), load_specs())
    moves = list(move_elements(base, keepers(base), 40, 4.0, 7))
    assert all(move.noticed for move in moves)
    assert len({move.checkpoint for move in moves}) > 15


def test_an_element_that_is_moved_within_its_tolerance_is_not_noticed(tiny_folder):
    base = Session(NumpyEngine(tiny_folder()), load_specs())
    moves = [m for m in move_elements(base, keepers(base), 40, 0.4, 7) if ".keys" not in m.checkpoint]
    moves = [m for m in moves if ".values" not in m.checkpoint and ".scores" not in m.checkpoint]
    assert moves
    assert not any(move.noticed for move in moves)


@pytest.mark.untraced
def test_the_same_seed_moves_the_same_elements(tiny_folder):
    base = Session(NumpyEngine(tiny_folder()), load_specs())
    assert list(move_elements(base, keepers(base), 5, 4.0, 3)) == list(
        move_elements(base, keepers(base), 5, 4.0, 3)
    )


@pytest.mark.parametrize(
    ("noticed", "count", "bound"), [(2000, 2000, 0.998503), (1, 1, 0.05), (1999, 2000, 0.0), (0, 0, 0.0)]
)
def test_the_bound_of_detection_is_the_rule_of_three(noticed, count, bound):
    assert detection_bound(noticed, count) == pytest.approx(bound, abs=1e-6)


def test_a_session_that_is_run_again_shares_what_was_computed_and_no_outcome(tiny_folder):
    base = Session(NumpyEngine(tiny_folder()), load_specs())
    suite().run(base, "@argmax.*")
    again = base.again()
    assert base.outcomes
    assert not again.outcomes
    record = [dict(step) for step in base.record]
    record[0]["embed"] = record[0]["embed"] + np.float32(1)
    wrong = base.again(record)
    assert {c.what for c in wrong.local if not c.conforms} == {"embed"}
    assert all(c.conforms for c in base.local)
