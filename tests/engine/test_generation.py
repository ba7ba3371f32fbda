"""The generation loop: the tokens that PyTorch chooses, and text that comes when it is made."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import Piece
from llorch_core.engine.model import Model, load
from llorch_core.engine.sampling import Sampling

SHARED = Path(__file__).parents[3] / "shared" / "data" / "models"
NAMES = sorted(path.parent.name for path in SHARED.glob("*/config.json")) or ["absent"]
GREEDY = Sampling(temperature=0)
SEEDED = [Sampling(temperature=0, seed=4), Sampling(seed=5), Sampling(seed=6, top_k=40, top_p=0.9)]
PROMPT = "To be, or not to be"

model_in = functools.cache(load)


@pytest.fixture
def model() -> Model:
    """The embedded model: trained, and with a tokenizer."""
    return model_in()


@pytest.fixture
def tiny(tiny_folder) -> Model:
    """300 tokens, 16 positions, random weights, no tokenizer; end-of-text is 299."""
    return load(tiny_folder())


def n_past(stream: Iterator[Piece]) -> list[int]:
    """How many positions each sequence of a suspended generation has read."""
    return [sequence.cache.n_past for sequence in inspect.getgeneratorlocals(stream)["running"]]


@pytest.mark.parametrize("name", NAMES)
def test_greedy_continuations_are_those_of_pytorch_in_float64(shared_models, name):
    reference = json.loads((shared_models / name / "reference.json").read_text("utf-8"))
    assert set(reference["greedy"]) == {"A", "B", "C"}
    for prompt, greedy in reference["greedy"].items():
        wanted = greedy["f64_nocache"]
        got = model_in(shared_models / name).generate(
            reference["prompts"][prompt], GREEDY, max_tokens=len(wanted), stop_at_end_of_text=False
        )
        assert got.ids == wanted, prompt


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_prompts_of_unequal_lengths_continues_each_as_pytorch_does(shared_models, name):
    reference = json.loads((shared_models / name / "reference.json").read_text("utf-8"))
    prompts = [reference["prompts"][prompt] for prompt in "ABC"]
    wanted = [reference["greedy"][prompt]["f64_nocache"] for prompt in "ABC"]
    n = min(map(len, wanted))
    made = model_in(shared_models / name).generate_batch(prompts, GREEDY, n, stop_at_end_of_text=False)
    assert [completion.ids for completion in made] == [ids[:n] for ids in wanted]
    assert [completion.prompt_ids for completion in made] == prompts


@pytest.mark.parametrize("sampling", SEEDED)
def test_each_prompt_of_a_batch_gets_what_it_gets_alone(model, sampling):
    prompts = [PROMPT, "O", "My lord,\n", "What is the"]
    together = model.generate_batch(prompts, sampling, max_tokens=12, stop=["\n"])
    assert together == [model.generate(prompt, sampling, max_tokens=12, stop=["\n"]) for prompt in prompts]


def test_in_a_batch_one_ends_and_the_others_go_on(tiny):
    made = tiny.generate_batch([[1] * 14, [2, 3], [4] * 9], GREEDY, stop_at_end_of_text=False)
    assert [len(completion.ids) for completion in made] == [3, 15, 8]
    assert {completion.finish_reason for completion in made} == {"length"}


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model):
    texts = [model.generate(PROMPT, Sampling(seed=seed), max_tokens=20).text for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_a_fresh_seed_is_reported_and_gives_the_same_again(model):
    first, other = (model.generate(PROMPT, max_tokens=12) for _ in range(2))
    assert first.seed != other.seed
    assert model.generate(PROMPT, Sampling(seed=first.seed), max_tokens=12) == first


def test_the_repetition_penalty_counts_the_prompt_and_what_was_added(tiny):
    prompt = [213, 7]
    plain = tiny.generate(prompt, GREEDY, stop_at_end_of_text=False).ids
    assert plain[0] in prompt and len(set(plain)) < len(plain)  # what the penalty has to change
    made = tiny.generate(
        prompt, Sampling(temperature=0, repetition_penalty=1e6), stop_at_end_of_text=False
    ).ids
    assert len({*prompt, *made}) == len(prompt) + len(made) == 17


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
def test_max_tokens_are_added_and_no_more(model, max_tokens):
    made = model.generate(PROMPT, GREEDY, max_tokens)
    assert len(made.ids) == max_tokens
    assert made.finish_reason == "length"
    assert made.text == model.decode(made.ids)


def test_without_max_tokens_128_are_added_or_as_many_as_there_is_room_for(model, tiny):
    assert len(model.generate([5], GREEDY, stop_at_end_of_text=False).ids) == 128
    made = tiny.generate([1, 2, 3, 4], GREEDY, stop_at_end_of_text=False)
    assert len(made.ids) == 13  # positions 4 to 15 are read, and the token after position 15 is not
    assert tiny.generate([1, 2, 3, 4], GREEDY, 13, stop_at_end_of_text=False).ids == made.ids


@pytest.mark.parametrize("max_tokens", [14, 0, -1, True, 2.0])
def test_a_max_tokens_that_cannot_be_is_refused_when_it_is_asked_for(tiny, max_tokens):
    with pytest.raises(UsageError, match=r"leaves room for 13 .*wanted 1 to 13"):
        tiny.stream([1, 2, 3, 4], GREEDY, max_tokens)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "at least one id"),
        ([300], "the id 300"),
        ([-1], "the id -1"),
        ([1] * 17, "17 tokens"),
        ([1.0], "whole numbers"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused_before_the_first_token_is_asked_for(tiny, prompt, words):
    with pytest.raises(UsageError) as caught:
        tiny.stream(prompt)
    assert words in str(caught.value)
    with pytest.raises(UsageError):
        tiny.generate_batch([[1, 2], prompt])


def test_no_prompts_give_no_completions(tiny):
    assert tiny.generate_batch([]) == []


@pytest.mark.parametrize("i", [1, 4, 9])
def test_a_stop_string_across_tokens_ends_the_text_and_no_part_of_it_is_shown(model, i):
    free = model.generate(PROMPT, Sampling(seed=3), max_tokens=24)
    words = [model.decode([token]) for token in free.ids]
    stop = words[i][-1] + words[i + 1][:1]  # begins in one token, ends in the next
    wanted = free.text[: free.text.index(stop)]
    made = model.generate(PROMPT, Sampling(seed=3), max_tokens=24, stop=["\0never", stop])
    assert (made.text, made.finish_reason) == (wanted, "stop")
    assert made.ids == free.ids[: len(made.ids)] and len(made.ids) <= i + 2
    shown = ""
    for piece in model.stream(PROMPT, Sampling(seed=3), max_tokens=24, stop=[stop]):
        shown += piece.text
        assert wanted.startswith(shown)
    assert shown == wanted


def test_a_stop_string_that_does_not_come_holds_back_nothing_at_the_end(model):
    free = model.generate(PROMPT, GREEDY, max_tokens=9)
    made = model.generate(PROMPT, GREEDY, max_tokens=9, stop=[free.text[-2:] + "\0"])
    assert (made.text, made.finish_reason) == (free.text, "length")


def test_end_of_text_ends_the_completion_and_is_no_part_of_it(tiny, tiny_folder):
    free = tiny.generate([1, 2, 3], Sampling(seed=8), stop_at_end_of_text=False)
    eos = free.ids[5]
    ending = load(tiny_folder(eos_token_id=eos))  # the same weights
    made = ending.generate([1, 2, 3], Sampling(seed=8))
    assert made.ids == free.ids[: free.ids.index(eos)]
    assert made.finish_reason == "stop"
    assert ending.generate([1, 2, 3], Sampling(seed=8), stop_at_end_of_text=False) == free
    *_, last = ending.stream([1, 2, 3], Sampling(seed=8))
    assert (last.id, last.finish_reason) == (None, "stop")


def test_end_of_text_as_the_first_token_gives_an_empty_completion(tiny, tiny_folder):
    first = tiny.generate([1, 2, 3], GREEDY, max_tokens=1, stop_at_end_of_text=False).ids[0]
    made = load(tiny_folder(eos_token_id=first)).generate([1, 2, 3], GREEDY)
    assert (made.ids, made.text, made.finish_reason) == ([], "", "stop")


def test_end_of_text_shows_what_a_stop_string_held_back(model, tmp_path):
    free = model.generate(PROMPT, GREEDY, max_tokens=9)
    eos = next(token for token in free.ids[2:] if token not in free.ids[:2])
    for file in model.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((model.folder / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": eos}), encoding="utf-8")
    wanted = model.decode(free.ids[: free.ids.index(eos)])
    made = load(tmp_path).generate(PROMPT, GREEDY, max_tokens=9, stop=[wanted[-1] + "\0"])
    assert (made.text, made.finish_reason) == (wanted, "stop")


@pytest.mark.parametrize("seed", range(4))
def test_the_pieces_of_a_stream_together_are_the_completion(model, seed):
    settings = {"sampling": Sampling(seed=seed), "max_tokens": 30, "stop": ["\n\n"]}
    made = model.generate(PROMPT, **settings)
    pieces = list(model.stream(PROMPT, **settings))
    assert "".join(piece.text for piece in pieces) == made.text == str(made)
    assert [piece.id for piece in pieces if piece.id is not None] == made.ids
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish_reason == made.finish_reason
    assert {piece.sequence for piece in pieces} == {0}


def test_a_character_of_many_tokens_is_shown_whole(model):
    """A random draw at a high temperature makes broken UTF-8: the stream ends as `decode` does."""
    pieces = list(model.stream(PROMPT, Sampling(seed=2, temperature=50.0), 60, stop_at_end_of_text=False))
    ids = [piece.id for piece in pieces]
    assert "\ufffd" in model.decode(ids)
    assert "".join(piece.text for piece in pieces) == model.decode(ids)


def test_nothing_is_computed_before_the_first_piece_is_asked_for(tiny):
    assert n_past(tiny.stream([1, 2, 3], GREEDY)) == [0]


def test_each_piece_is_yielded_before_the_next_token_is_computed(tiny):
    stream = tiny.stream([1, 2, 3], GREEDY, stop_at_end_of_text=False)
    for already_read in (3, 4, 5, 6):  # the prompt, then one token more for each piece
        assert next(stream).finish_reason is None
        assert n_past(stream) == [already_read]


def test_the_prompt_is_read_once_and_then_one_token_a_step(tiny):
    """The cache is what went on: the ids are those of reading all of it again for each token."""
    ids = [1, 2, 3]
    made = tiny.generate(ids, GREEDY, stop_at_end_of_text=False).ids
    for token in made:
        assert int(np.argmax(tiny.logits(ids, rows="last"))) == token
        ids.append(token)


def test_a_model_without_tokenizer_continues_ids_and_has_no_text(tiny):
    assert tiny.tokenizer is None
    made = tiny.generate(np.array([1, 2, 3]), GREEDY, max_tokens=5)
    assert (len(made.ids), made.text, made.prompt_ids) == (5, "", [1, 2, 3])


def test_a_model_without_tokenizer_refuses_text_and_stop_strings(tiny):
    with pytest.raises(UsageError, match="has no tokenizer files"):
        tiny.generate("To be")
    with pytest.raises(UsageError, match="stop strings need text"):
        tiny.stream([1, 2, 3], stop=["\n"])


@pytest.mark.parametrize("stop", ["\n", [""], [3]])
def test_stop_that_is_no_list_of_strings_is_refused_when_it_is_asked_for(model, stop):
    with pytest.raises(UsageError, match="wanted a list of strings"):
        model.stream(PROMPT, stop=stop)
