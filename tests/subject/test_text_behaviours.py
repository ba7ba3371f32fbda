"""Tokenizer, sampling and generation on trial: right they are the engine's own, wrong they are caught."""

import pytest

from llorch_core.engine.model import load
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.engine.tokenizer import Tokenizer
from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.run import suite
from llorch_core.trace.session import Session

PARTS = ("tokenizer", "sampling", "generation")
CLAIMS = [
    (mistake, rule.id)
    for rule in load_specs().all_rules().values()
    if rule.id.partition(".")[0] in PARTS
    for mistake in rule.catches
]
TEXT = "Who's there?  Nay, answer me:\n stand & unfold yourself."


@pytest.mark.parametrize(("mistake", "rule"), CLAIMS)
def test_a_rule_catches_the_mistake_that_it_claims_by_a_comparison(mistake, rule, tiny_folder):
    session = Session(NumpyEngine(tiny_folder(), mistake))
    failed = [outcome for outcome in suite().run(session, f"@{rule}") if outcome.status != "passed"]
    assert {outcome.status for outcome in failed} <= {"failed", "not run"}
    assert not any(outcome.crashed for outcome in failed)
    assert [c for outcome in failed for c in outcome.evidence if not c.conforms]


@pytest.mark.untraced
@pytest.mark.parametrize("part", PARTS)
def test_the_engine_passes_every_rule_of_a_part(part):
    outcomes = suite().run(Session(NumpyEngine()), f"@{part}.*")
    assert outcomes
    assert {outcome.status for outcome in outcomes} == {"passed"}


def test_the_right_tokenizer_is_the_one_of_the_model():
    subject = NumpyEngine()
    own = subject.behaviour("tokenizer").own
    assert own is subject.model.tokenizer
    assert type(subject.behaviour("tokenizer").read(subject.folder, subject.config["n_vocab"])) is Tokenizer


def test_a_model_without_tokenizer_files_has_none_with_a_mistake_either(tiny_folder):
    subject = NumpyEngine(tiny_folder(), "tokenizer.special_token_split")
    assert subject.behaviour("tokenizer").own is None


def test_the_right_sampler_is_the_one_of_the_engine():
    sampler = NumpyEngine().behaviour("sampling").sampler(temperature=0.5, seed=3)
    assert type(sampler) is Sampler
    assert sampler.sampling == Sampling(temperature=0.5, seed=3)


def test_the_right_generation_is_the_one_of_the_model():
    model, part = load(), NumpyEngine().behaviour("generation")
    settings = {"sampling": Sampling(seed=2), "max_tokens": 12, "stop": ["e"]}
    ids = model.encode(TEXT)
    assert part.complete(ids, **settings) == model.generate(ids, **settings)
    assert part.batch([ids, ids[:2]], **settings) == model.generate_batch([ids, ids[:2]], **settings)
    assert list(part.stream(ids, **settings)) == list(model.stream(ids, **settings))


@pytest.mark.parametrize("mistake", ["held_text_lost", "length_reported_as_stop", "characters_broken"])
def test_a_wrong_generation_differs_in_its_mistake_only(mistake):
    model, part = load(), NumpyEngine(mistake=f"generation.{mistake}").behaviour("generation")
    ids, sampling = model.encode(TEXT), Sampling(seed=2)
    stop = [model.generate(ids, sampling, max_tokens=12).text[6:8]]
    right = model.generate(ids, sampling, max_tokens=12, stop=stop)
    assert right.finish_reason == "stop"
    assert part.complete(ids, sampling=sampling, max_tokens=12, stop=stop) == right


def test_a_wrong_tokenizer_differs_in_its_mistake_only():
    model = load()
    for mistake in ("special_token_split", "unknown_id_left_out", "invalid_bytes_left_out"):
        wrong = NumpyEngine(mistake=f"tokenizer.{mistake}").behaviour("tokenizer").own
        assert wrong.encode(TEXT) == model.encode(TEXT)
        assert wrong.decode(model.encode(TEXT)) == TEXT
