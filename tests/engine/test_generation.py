"""The generation loop: the tokens that PyTorch chooses, and text that comes when it is made."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest

from llorch_core.engine import generation
from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import Piece, Request
from llorch_core.engine.model import Model, load
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.engine.speculation import CLOSE, Lookup, close, drafter

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
    running = inspect.getgeneratorlocals(stream).get("running", [])
    return [sequence.cache.n_past for sequence in running]


class Counting:
    """The forward pass of a model, which also keeps how many ids each call reads of each sequence."""

    def __init__(self, model: Model) -> None:
        self.forward, self.calls = model.forward, []

    def __call__(self, chunks, caches, rows="all", observer=None):
        self.calls.append([len(chunk) for chunk in chunks])
        return self.forward(chunks, caches, rows, observer)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch):
    """counting(model) -> what is asked of its forward pass from now on."""

    def count(model: Model) -> list[list[int]]:
        forward = Counting(model)
        monkeypatch.setattr(model, "forward", forward)
        return forward.calls

    return count


class Drafts:
    """Drafts what it is told for a text; remembers what came of it."""

    def __init__(self, draft) -> None:
        self.draft, self.learnt = draft, []

    def learn(self, n_drafted: int, n_made: int, seconds: float) -> None:
        self.learnt.append((n_drafted, n_made))


def drafted(model: Model, prompt: list[int], drafts: Drafts, max_tokens: int | None = None, **settings):
    request = Request(np.array(prompt), Sampler(GREEDY), max_tokens, drafter=drafts, **settings)
    ((_, completion),) = model.generate_each([request], 1)
    return completion


@pytest.mark.untraced
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


def test_nothing_is_computed_before_the_first_piece_is_asked_for(tiny, counting):
    calls = counting(tiny)
    stream = tiny.stream([1, 2, 3], GREEDY)
    assert calls == []
    next(stream)
    assert calls == [[3]]


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


# Many prompts, of which one joins as another ends


def requests(model: Model, counts: list[int], seed: int = 3, **settings) -> list[Request]:
    """Prompts of different lengths, each with a number of tokens and a seed of its own."""
    rng = np.random.default_rng(5)
    return [
        Request(
            rng.integers(0, model.config.n_vocab, 1 + i % 4),
            Sampler(Sampling(seed=seed + i)),
            count,
            stop_at_end_of_text=False,
            **settings,
        )
        for i, count in enumerate(counts)
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_requests_that_join_and_leave_get_what_they_get_alone(model, batch_size):
    counts = [5, 1, 9, 3, 12, 2]
    alone = [done for r in requests(model, counts) for _, done in model.generate_each([r], 1)]
    together = dict(model.generate_each(requests(model, counts), batch_size))
    assert [together[i] for i in range(6)] == alone
    assert [len(done.ids) for done in alone] == counts


def test_one_joins_in_the_forward_call_after_another_has_ended(tiny, counting):
    calls = counting(tiny)
    order = [i for i, _ in tiny.generate_each(requests(tiny, [4, 2, 3, 1]), 2)]
    assert calls == [[1, 2], [1, 1], [1, 3], [1, 1], [1, 4]]
    assert order == [1, 0, 2, 3]


def test_a_request_is_asked_for_when_there_is_room_and_not_before(tiny):
    asked = []

    def waiting() -> Iterator[Request]:
        for request in requests(tiny, [3, 3, 3, 3]):
            asked.append(request)
            yield request

    stream = tiny.generate_each(waiting(), 2)
    assert asked == []
    next(stream)
    assert len(asked) == 2


def test_no_prompt_joins_a_call_that_reads_much_already(tiny, counting, monkeypatch):
    monkeypatch.setattr(generation, "PREFILL", 5)
    alone = [done for r in requests(tiny, [4] * 6) for _, done in tiny.generate_each([r], 1)]
    calls = counting(tiny)
    together = dict(tiny.generate_each(requests(tiny, [4] * 6), 6))
    assert [together[i] for i in range(6)] == alone
    assert calls[0] == [1, 2, 3]  # 6 ids: the next prompt waits for the next call
    assert calls[1] == [1, 1, 1, 4]
    assert max(map(sum, calls)) < 5 + 4


def test_pieces_are_seen_as_they_are_made(tiny):
    seen = []
    done = dict(tiny.generate_each(requests(tiny, [3, 5]), 2, seen.append))
    for i in (0, 1):
        assert [piece.id for piece in seen if piece.sequence == i] == done[i].ids


@pytest.mark.parametrize("batch_size", [0, -1, True, 1.5])
def test_a_batch_size_that_cannot_be_is_refused(tiny, batch_size):
    with pytest.raises(UsageError, match="wanted a whole number from 1 up"):
        tiny.generate_batch([[1, 2]], batch_size=batch_size)


def test_a_batch_of_completions_stands_in_the_order_of_the_prompts_whatever_its_size(model):
    prompts = [PROMPT, "O", "My lord,\n", "What is the"]
    wanted = model.generate_batch(prompts, SEEDED[1], max_tokens=6)
    assert model.generate_batch(prompts, SEEDED[1], max_tokens=6, batch_size=3) == wanted


# Drafts


def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a lookup draft whether it pays or not."""
    monkeypatch.setattr(Lookup, "_pays", lambda self: True)


@pytest.mark.untraced
@pytest.mark.parametrize("speculate", [1, 2, 5, 16])
@pytest.mark.parametrize("prompt", ["All: We know't, we know't.\n\nAll: We", "ROMEO:", "O, O, O, O, O,"])
def test_drafts_that_are_looked_up_change_no_id(model, prompt, speculate, monkeypatch):
    plain = model.generate(prompt, GREEDY, 120, speculate=0)
    always(monkeypatch)
    assert model.generate(prompt, GREEDY, 120, speculate=speculate) == replace(plain, seed=ANY)


def test_drafts_save_forward_calls_where_a_text_repeats_itself(model, counting, monkeypatch):
    always(monkeypatch)
    calls = counting(model)
    made = model.generate(PROMPT, GREEDY, 200, stop_at_end_of_text=False, speculate=8)
    assert len(made.ids) == 200
    assert len(calls) < 120  # 200 one by one


@pytest.mark.parametrize("sampling", [Sampling(seed=3), Sampling(temperature=0, repetition_penalty=1.1)])
def test_what_is_drawn_or_penalised_is_not_drafted(model, sampling, counting):
    calls = counting(model)
    model.generate("O, O, O, O, O,", sampling, 20, speculate=8)
    assert {len(call) for call in calls} == {1}
    assert all(call == [1] for call in calls[1:])
    assert drafter(8, sampling) is None


def test_nothing_is_drafted_unless_it_is_asked_for(model, counting):
    calls = counting(model)
    model.generate("O, O, O, O, O,", GREEDY, 20)
    assert all(call == [1] for call in calls[1:])


@pytest.mark.parametrize("speculate", [-1, 1.5, True, "8"])
def test_a_number_of_drafts_that_cannot_be_is_refused_when_it_is_asked_for(tiny, speculate):
    with pytest.raises(UsageError, match="wanted a whole number from 0 up"):
        tiny.stream([1, 2, 3], GREEDY, speculate=speculate)


def known(ids: list[int], right: int, wrong: int):
    """Drafts of a known text: some ids as they are, then others."""

    def draft(so_far, most):
        rest = ids[len(so_far) :][:most]
        return [*rest[:right], *((i + 1) % 300 for i in rest[right : right + wrong])]

    return Drafts(draft)


@pytest.mark.parametrize(("right", "wrong"), [(0, 3), (1, 2), (3, 0), (2, 1), (20, 0), (0, 20)])
@pytest.mark.parametrize("prompt", [[1, 2, 3], [213, 7], [9]])
def test_whatever_is_drafted_the_ids_are_those_without_drafts(tiny, prompt, right, wrong):
    plain = tiny.generate(prompt, GREEDY, stop_at_end_of_text=False)
    drafts = known([*prompt, *plain.ids], right, wrong)
    made = drafted(tiny, prompt, drafts, stop_at_end_of_text=False)
    assert made == replace(plain, seed=ANY)
    assert all(n_made <= right + 1 for n_drafted, n_made in drafts.learnt)
    assert sum(n_made for _, n_made in drafts.learnt) == len(plain.ids) - 1  # the prompt gave the first


def test_a_draft_is_read_in_one_call_and_its_right_beginning_kept(tiny, counting):
    plain = tiny.generate([1, 2, 3], GREEDY, 8, stop_at_end_of_text=False).ids
    calls = counting(tiny)
    drafts = known([1, 2, 3, *plain], 2, 1)
    drafted(tiny, [1, 2, 3], drafts, 8, stop_at_end_of_text=False)
    assert calls == [[3], [4], [4], [1]]  # an id that was chosen, and three of a draft
    assert drafts.learnt == [(3, 3), (3, 3), (0, 1)]


def test_a_text_ends_in_the_middle_of_a_draft_where_it_ends_without(tiny, tiny_folder, model):
    plain = tiny.generate([1, 2, 3], GREEDY, 8, stop_at_end_of_text=False).ids
    eos = next(i for k, i in enumerate(plain) if k >= 2 and i not in plain[:k])
    ending = load(tiny_folder(eos_token_id=eos))
    made = drafted(ending, [1, 2, 3], known([1, 2, 3, *plain], 8, 0), 8)
    assert (made.ids, made.finish_reason) == (plain[: plain.index(eos)], "stop")
    text = model.generate(PROMPT, GREEDY, 24)
    stop = [text.text[9:11]]
    wanted = model.generate(PROMPT, GREEDY, 24, stop=stop)
    prompt = model.encode(PROMPT)
    made = drafted(model, prompt, known([*prompt, *text.ids], 8, 0), 24, stop=stop)
    assert made == replace(wanted, seed=ANY)


class Rounding:
    """A forward pass whose rows differ in their last bits when a call has several: two ids change places."""

    def __init__(self, model: Model, apart: float) -> None:
        self.forward, self.calls, self.apart = model.forward, [], apart

    def __call__(self, chunks, caches, rows="all", observer=None):
        logits = self.forward(chunks, caches, rows, observer).copy()
        self.calls.append(len(logits))
        for row in logits:
            best, second = np.argsort(-row)[:2]
            row[second] = row[best] - self.apart * np.abs(row).max()
            if len(logits) > 1:
                row[best], row[second] = row[second], row[best]
        return logits


def test_where_two_logits_are_close_the_ids_are_read_one_by_one_as_without_drafts(tiny):
    """Each bit is then the one without drafts: an id is the same though rounding would exchange it."""
    tiny.forward = plain_forward = Rounding(tiny, CLOSE / 2)
    plain = tiny.generate([1, 2, 3], GREEDY, stop_at_end_of_text=False)
    plain_forward.calls.clear()
    made = drafted(tiny, [1, 2, 3], known([1, 2, 3, *plain.ids], 3, 0), stop_at_end_of_text=False)
    assert made == replace(plain, seed=ANY)
    assert max(plain_forward.calls) > 1


def test_without_the_second_reading_rounding_would_have_changed_an_id(tiny):
    """What the test above would not see if rows of several were never wrong."""
    tiny.forward = Rounding(tiny, CLOSE * 2)
    plain = tiny.generate([1, 2, 3], GREEDY, stop_at_end_of_text=False)
    made = drafted(tiny, [1, 2, 3], known([1, 2, 3, *plain.ids], 3, 0), stop_at_end_of_text=False)
    assert made.ids != plain.ids


def test_what_was_read_again_is_the_cache_of_reading_one_by_one(tiny, monkeypatch):
    """To the bit, also where every row counts as close."""
    monkeypatch.setattr(generation, "close", lambda row: True)
    prompt = [1, 2, 3]
    plain = tiny.generate(prompt, GREEDY, stop_at_end_of_text=False)
    wanted = tiny.new_cache()
    tiny.forward([np.array(prompt)], [wanted], "last")
    for i in plain.ids[:-1]:
        tiny.forward([np.array([i])], [wanted], "last")
    caches, alone = [], []
    forward = tiny.forward

    def keep(chunks, own, rows="all", observer=None):
        caches[:] = own
        alone.append(len(chunks[0]))
        return forward(chunks, own, rows, observer)

    tiny.forward = keep
    made = drafted(tiny, prompt, known([*prompt, *plain.ids], 1, 2), stop_at_end_of_text=False)
    assert made.ids == plain.ids
    assert alone.count(1) <= 2 * len(plain.ids)  # none is read again twice
    n = wanted.n_past - 1  # the last id but one was perhaps drafted, and not read again
    for name in ("_keys", "_values"):
        assert np.array_equal(getattr(caches[0], name)[:, :, :n], getattr(wanted, name)[:, :, :n])


def test_what_was_read_in_a_batch_is_not_read_again(tiny, counting, monkeypatch):
    monkeypatch.setattr(generation, "close", lambda row: True)
    plain = tiny.generate([1, 2, 3], GREEDY, 10, stop_at_end_of_text=False)
    settings = {"stop_at_end_of_text": False}
    first = Request(np.array([4, 5]), Sampler(GREEDY), 4, **settings)
    drafts = known([1, 2, 3, *plain.ids], 2, 0)
    second = Request(np.array([1, 2, 3]), Sampler(GREEDY), 10, drafter=drafts, **settings)
    calls = counting(tiny)
    done = dict(tiny.generate_each([first, second], 2))
    assert done[1].ids == plain.ids
    assert calls[:4] == [[2, 3], [1, 1], [1, 1], [1, 1]]
    assert calls[4:6] == [[3], [1]]  # a draft, and the first id of it alone: what the batch read stays


def test_an_engine_may_draft_where_nobody_says(tiny, counting, monkeypatch):
    always(monkeypatch)
    tiny.default_draft = 4
    calls = counting(tiny)
    tiny.generate([7, 7, 7, 7], GREEDY, 12, stop_at_end_of_text=False)
    assert any(call[0] > 1 for call in calls[1:])
    calls.clear()
    tiny.generate([7, 7, 7, 7], GREEDY, 12, stop_at_end_of_text=False, speculate=0)
    assert all(call == [1] for call in calls[1:])


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ([3.0, 1.0, 2.0], False),
        ([3.0, 3.0, 2.0], True),
        ([-100.0, -100.0 - 50 * CLOSE, -900.0], True),  # in units of the largest, whatever its sign
        ([100.0, 100.0 - 200 * CLOSE, 0.0], False),
        ([5.0], False),
    ],
)
def test_two_logits_are_close_in_units_of_the_largest(row, wanted):
    assert close(np.array(row)) is wanted


def test_a_draft_is_what_followed_the_last_three_ids_else_two_where_they_stood_last(monkeypatch):
    always(monkeypatch)
    assert Lookup(3).draft([1, 2, 3, 4, 5, 9, 2, 3, 7, 8, 6, 1, 2, 3], 9) == [4, 5, 9]
    assert Lookup(3).draft([1, 2, 3, 4, 2, 3, 5, 6, 7, 0, 2, 3], 9) == [5, 6, 7]
    assert Lookup(3).draft([1, 2, 3, 4], 9) == []
    assert Lookup(3).draft([4], 9) == []
    assert Lookup(8).draft([1, 2, 3, 1, 2], 2) == [3, 1]  # no more than there is room for
    assert Lookup(5).draft([7, 7, 7], 9) == [7] * 5  # what overlaps itself goes on
    assert Lookup(5).draft([8, 9, 8, 9, 8], 9) == [9, 8, 9, 8, 9]


def test_a_lookup_that_grows_finds_what_a_new_one_finds(monkeypatch):
    always(monkeypatch)
    rng = np.random.default_rng(1)
    ids = [int(i) for i in rng.integers(0, 4, 200)]
    growing = Lookup(4)
    for end in range(1, 200):
        assert growing.draft(ids[:end], 9) == Lookup(4).draft(ids[:end], 9)


def pace(check: float, made: int, n: int = 600) -> int:
    """Count the drafts of a text of one id, where a check takes so many times one id and adds so many."""
    lookup, count = Lookup(4), 0
    for _ in range(n):
        draft = lookup.draft([7] * 20, 9)
        count += bool(draft)
        lookup.learn(len(draft), made if draft else 1, check if draft else 1.0)
    return count


def test_drafts_go_on_while_they_pay_and_pause_longer_each_time_they_do_not():
    assert pace(check=3.0, made=5) == 599  # the first step teaches what one id takes
    assert pace(check=3.3, made=2) <= 8
    assert 1 <= pace(check=30.0, made=1) <= 8
