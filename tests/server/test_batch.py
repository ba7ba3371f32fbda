"""The batch: who joins and leaves, and that nobody's text depends on who is beside it."""

import threading
import time

import numpy as np
import pytest

from llorch_core.engine.model import load
from llorch_core.engine.sampling import Sampler, Sampling
from llorch_core.server.batch import Batch, QueueFullError, Watch, Work
from llorch_core.server.prefix import BLOCK, PrefixCache


class Caller:
    """A sequence with everything that it was told, and a way to wait for what is told."""

    def __init__(self, prompt, max_tokens=8, seed=3, temperature=1.0, **settings):
        self.events, self._told = [], threading.Condition()
        sampler = Sampler(Sampling(temperature=temperature, seed=seed))
        self.work = Work(np.asarray(prompt), sampler, max_tokens, self._take, alternatives=2, **settings)

    def _take(self, event):
        with self._told:
            self.events.append(event)
            self._told.notify_all()

    def wait(self, enough=lambda events: events and events[-1].reason):
        with self._told:
            assert self._told.wait_for(lambda: enough(self.events), 30), self.events
        return self.events

    @property
    def bits(self):
        """Ids, and the logarithms of their probabilities to the last bit."""
        return [(e.id, e.chance.logprob.hex(), e.chance.likeliest) for e in self.wait() if e.chance]


def backends():
    from importlib.util import find_spec

    return ["numpy", *(["fast"] if find_spec("numba") else [])]


@pytest.fixture(scope="module", params=backends())
def model(request):
    from llorch_core.fast.choose import load

    return load(None, request.param)


@pytest.fixture
def batch_of(model):
    made = []

    def make(most_running=8, most_waiting=32, prefix_bytes=0, watch=None):
        made.append(Batch(model, most_running, most_waiting, prefix_bytes, watch))
        return made[-1]

    yield make
    for batch in made:
        batch.close()


def prompt_of(length, seed=0):
    return np.random.default_rng([7, seed]).integers(0, 1000, length)


@pytest.mark.untraced
@pytest.mark.parametrize("length", [3, BLOCK, BLOCK + 9])
def test_what_a_sequence_becomes_does_not_depend_on_who_shares_the_batch(batch_of, length):
    def asker(**changes):
        return Caller(prompt_of(length), **changes)

    alone = asker()
    batch_of(1).submit([alone.work])
    wanted = alone.bits
    assert len(wanted) == 8
    batch = batch_of(8)
    among = asker()
    others = [Caller(prompt_of(5 + 17 * i, i + 1), max_tokens=3 + i, seed=i) for i in range(7)]
    batch.submit([*(other.work for other in others[:4]), among.work, *(other.work for other in others[4:])])
    assert among.bits == wanted
    again = asker()
    batch.submit([again.work])  # when the others have gone
    assert again.bits == wanted


@pytest.mark.untraced
def test_a_prompt_of_which_the_beginning_is_known_gives_the_same_bits(batch_of):
    prompt = prompt_of(2 * BLOCK + 5)
    found = []
    watch = Watch(joined=lambda seconds, known, unread: found.append(known))
    batch = batch_of(4, prefix_bytes=2**26, watch=watch)
    callers = [Caller(prompt), Caller(prompt), Caller(np.append(prompt[: BLOCK + 3], 9))]
    plain = batch_of(4)
    wanted = []
    for caller in callers:
        batch.submit([caller.work])
        caller.wait()
        alone = Caller(caller.work.prompt)
        plain.submit([alone.work])
        wanted.append(alone.bits)
    assert [caller.bits for caller in callers] == wanted
    assert found == [0, 2 * BLOCK, BLOCK]


def test_a_prefix_cache_drops_what_was_used_longest_ago_and_keeps_to_its_bytes():
    model = load()
    prompts = [prompt_of(BLOCK + 1, seed) for seed in range(3)]

    def read(prefixes, prompt):
        cache = model.new_cache(BLOCK + 1)
        if prefixes.fill(prompt, cache) == 0:
            model.forward([prompt[:BLOCK]], [cache], "last")
            prefixes.keep(prompt, cache, model.config.n_layer)
            return False
        return True

    prefixes = PrefixCache(2**30)
    read(prefixes, prompts[0])
    prefixes = PrefixCache(2 * prefixes.bytes)
    known = [read(prefixes, prompts[i]) for i in (0, 1, 0, 2, 0, 1)]
    assert known == [False, False, True, False, True, False]
    assert prefixes.bytes == prefixes.most_bytes


@pytest.mark.untraced
def test_one_that_is_cancelled_ends_before_its_next_token_and_the_others_go_on(batch_of):
    steps = []
    batch = batch_of(2, watch=Watch(step=lambda tokens, seconds: steps.append(tokens)))
    first, second = Caller(prompt_of(4), max_tokens=200), Caller(prompt_of(4, 1), max_tokens=30)
    batch.submit([first.work, second.work])
    first.wait(lambda events: len(events) >= 3)
    first.work.cancel()
    made = len(first.work.added)
    assert first.wait()[-1].reason == "cancelled"
    assert len(first.work.added) <= made + 1
    assert second.wait()[-1].reason == "length"
    assert len(second.work.added) == 30


def test_a_deadline_that_passes_ends_the_work_whether_it_runs_or_waits(batch_of):
    batch = batch_of(1)
    soon = time.monotonic() + 0.05
    running = Caller(prompt_of(4), max_tokens=250, deadline=soon)
    waiting = Caller(prompt_of(4, 1), deadline=soon)
    batch.submit([running.work, waiting.work])
    assert running.wait()[-1].reason == "deadline" or len(running.work.added) == 250
    assert waiting.wait()[-1].reason in ("deadline", "length")
    past = Caller(prompt_of(4), deadline=time.monotonic() - 1)
    batch.submit([past.work])
    assert [event.reason for event in past.wait()] == ["deadline"]


@pytest.mark.untraced
def test_what_there_is_no_room_for_is_refused_whole(batch_of):
    batch = batch_of(1, most_waiting=2)
    callers = [Caller(prompt_of(4, i), max_tokens=100) for i in range(4)]
    with pytest.raises(QueueFullError) as refused:
        batch.submit([caller.work for caller in callers])
    assert refused.value.seconds >= 1
    assert (batch.running, batch.waiting) == (0, 0)
    batch.submit([caller.work for caller in callers[:3]])
    for caller in callers[:3]:
        assert caller.wait()[-1].reason == "length"


def test_no_more_run_at_a_time_than_there_are_places(batch_of):
    steps = []
    batch = batch_of(2, watch=Watch(step=lambda tokens, seconds: steps.append(tokens)))
    callers = [Caller(prompt_of(4, i), max_tokens=6) for i in range(7)]
    batch.submit([caller.work for caller in callers])
    for caller in callers:
        caller.wait()
    assert max(steps) == 2


def test_settings_that_leave_no_token_end_one_sequence_and_no_other(batch_of):
    batch = batch_of(2)
    wrong, right = Caller(prompt_of(4), temperature=5e-324), Caller(prompt_of(4))
    batch.submit([wrong.work, right.work])
    assert wrong.wait()[-1].reason == "invalid"
    assert right.wait()[-1].reason == "length"


def test_an_engine_that_breaks_ends_what_it_broke_on_and_the_batch_goes_on(batch_of, model):
    batch = batch_of(2)
    broken = Caller([model.config.n_vocab + 5, 1])  # an id that has no row
    batch.submit([broken.work])
    end = broken.wait()[-1]
    assert end.reason == "failed"
    assert end.why
    after = Caller(prompt_of(4))
    batch.submit([after.work])
    assert after.wait()[-1].reason == "length"


def test_a_batch_that_closes_ends_everything_and_takes_nothing(model):
    batch = Batch(model, 1, 8, 0)
    callers = [Caller(prompt_of(4, i), max_tokens=250) for i in range(3)]
    batch.submit([caller.work for caller in callers])
    batch.close()
    assert {caller.wait()[-1].reason for caller in callers} <= {"cancelled", "length", "stop"}
    with pytest.raises(QueueFullError):
        batch.submit([Caller(prompt_of(4)).work])


def test_the_first_token_is_told_before_the_second_is_computed(batch_of):
    told = []
    batch = batch_of(1, watch=Watch(step=lambda tokens, seconds: told.append("step")))
    caller = Caller(prompt_of(4), max_tokens=3)
    take = caller.work.sink
    caller.work.sink = lambda event: (told.append("token"), take(event))
    batch.submit([caller.work])
    caller.wait()
    batch.close()
    assert told == ["token", "token", "step", "token", "step"]


def test_the_probabilities_of_a_prompt_are_those_of_its_own_logits(batch_of, model):
    prompt = prompt_of(BLOCK + 4)
    caller = Caller(prompt, max_tokens=0, of_prompt=True)
    batch_of(1).submit([caller.work])
    (event,) = caller.wait()
    logits = model.logits(prompt).astype(np.float64)
    wanted = [row[token] - np.logaddexp.reduce(row) for row, token in zip(logits, prompt[1:], strict=False)]
    assert event.prompt[0] is None
    assert np.allclose([chance.logprob for chance in event.prompt[1:]], wanted, atol=1e-4)
    assert event.reason == "length"
    assert event.id is None
