"""Continuous batching: sequences join and leave a batch that runs in a thread of its own, token by token."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from llorch_core.engine.cache import KVCache
from llorch_core.engine.errors import UsageError
from llorch_core.engine.generation import Continuation, Request
from llorch_core.engine.layers import Array, Ids
from llorch_core.engine.model import Model
from llorch_core.engine.sampling import Sampler
from llorch_core.server.chance import Chance, chance_of
from llorch_core.server.prefix import BLOCK, PrefixCache

LENGTH, CANCELLED, DEADLINE = "length", "cancelled", "deadline"
INVALID, FAILED = "invalid", "failed"


class QueueFullError(Exception):
    """There is no room for more work. `seconds` says when to try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Event:
    """What happened to one sequence.

    id      the token that was chosen; None where none was, or where it was end-of-text
    text    complete characters that may be shown now
    chance  how probable the token was, where that was asked for
    reason  why the sequence ended: "stop", "length", "cancelled", "deadline", "invalid" where its settings
            leave no token to choose, or "failed"; None: it goes on
    why     of "invalid" and "failed": what went wrong, in words
    prompt  of the first event: how probable each token of the prompt was, where that was asked for
    """

    id: int | None = None
    text: str = ""
    chance: Chance | None = None
    reason: str | None = None
    why: str = ""
    prompt: Sequence[Chance | None] | None = None


@dataclass(eq=False)
class Work:
    """One sequence to be continued, and how it goes.

    prompt        int64 (T,)
    sampler       chooses its tokens, and those of no other sequence
    max_tokens    most tokens to add; 0 only reads the prompt
    stop          strings that end the text
    alternatives  how many other tokens are told beside each one with their probabilities; None for neither
    of_prompt     whether the probabilities of the prompt's tokens are told, too
    deadline      on the clock of time.monotonic; None: there is none
    sink          called with each event, in the thread of the batch: it must not wait
    """

    prompt: Ids
    sampler: Sampler
    max_tokens: int
    sink: Callable[[Event], None]
    stop: Sequence[str] = ()
    alternatives: int | None = None
    of_prompt: bool = False
    deadline: float | None = None
    added: list[int] = field(default_factory=list)
    stop_string: str | None = None
    joined: float = 0.0
    _cancelled: bool = False

    def cancel(self) -> None:
        """Stop the work before its next token. May be called at any time, from any thread."""
        self._cancelled = True

    @property
    def over(self) -> str | None:
        """Why nothing more is to be done, or None."""
        if self._cancelled:
            return CANCELLED
        return DEADLINE if self.deadline is not None and time.monotonic() >= self.deadline else None


class _Running:
    """A sequence that has joined: its cache, and what of its prompt is unread."""

    def __init__(self, work: Work, model: Model, prefixes: PrefixCache) -> None:
        c = model.config
        self.work, self.model, self.prefixes = work, model, prefixes
        request = Request(work.prompt, work.sampler, stop=work.stop)
        self.made = Continuation(0, request, work.max_tokens, c, model.tokenizer)
        room = len(work.prompt) + max(0, work.max_tokens - 1)
        self.cache = KVCache(c.n_layer, c.n_head, c.head_dim, room)
        self.ended = False
        self.chances: list[Chance | None] = [None]
        if not work.of_prompt:
            prefixes.fill(work.prompt, self.cache)

    @property
    def reading(self) -> bool:
        """Whether some of the prompt is unread."""
        return self.cache.n_past < len(self.work.prompt)

    def read_block(self) -> int:
        """Read the next block of the prompt, alone; at its end choose the first token. Returns its length."""
        work, start = self.work, self.cache.n_past
        block = work.prompt[start : start + BLOCK]
        rows = self.model.forward([block], [self.cache], "all" if work.of_prompt else "last")
        if self.cache.n_past != start + len(block):  # it would be read again and again
            raise RuntimeError(f"the forward pass read {len(block)} ids, and the cache does not hold them")
        if len(block) == BLOCK:
            self.prefixes.keep(work.prompt, self.cache, self.model.config.n_layer)
        if work.of_prompt:
            following = self.made.ids[start + 1 : start + len(block) + 1]
            self.chances += [
                chance_of(row, token, work.alternatives or 0)
                for row, token in zip(rows, following, strict=False)
            ]
        if not self.reading:
            self.choose(rows[-1], first=True)
        return len(block)

    def choose(self, row: Array, first: bool = False) -> None:
        """Choose the next token by its logits, and tell it."""
        work = self.work
        prompt = self.chances if first and work.of_prompt else None
        if work.max_tokens == 0:
            self.end(Event(reason=LENGTH, prompt=prompt))
            return
        try:
            piece = self.made.choose(row)
        except UsageError as error:
            self.end(Event(reason=INVALID, why=str(error), prompt=prompt))
            return
        chance = None
        if piece.id is not None:
            work.added.append(piece.id)
            if work.alternatives is not None:
                chance = chance_of(row, piece.id, work.alternatives)
        work.stop_string = self.made.text.stop_string if self.made.text else None
        event = Event(piece.id, piece.text, chance, piece.finish_reason, prompt=prompt)
        if self.made.finished:
            self.end(event)
        else:
            work.sink(event)

    def end(self, event: Event) -> None:
        """Tell the last event."""
        self.ended = True
        self.work.sink(event)


@dataclass
class Watch:
    """What is told of the batch while it runs, in its thread: by default nothing to nobody.

    joined  seconds that a sequence waited, positions of its prompt that were known, and those to be read
    read    tokens of a prompt, and the seconds that reading them took
    step    tokens that were made in one step, and its seconds
    """

    joined: Callable[[float, int, int], None] = lambda seconds, known, unread: None
    read: Callable[[int, float], None] = lambda tokens, seconds: None
    step: Callable[[int, float], None] = lambda tokens, seconds: None


class Batch:
    """The thread that computes: a block of one prompt, then a token of every sequence past its prompt.

    most_running  sequences in the batch
    most_waiting  sequences that wait for a place in it
    prefix_bytes  of keys and values of prompts that are kept for others with the same beginning

    A prompt is read in blocks at fixed places, each in a call of its own, and tokens are read together
    only where the forward pass gives each the bits that it gets alone. So what a sequence becomes depends
    on its own request and on nothing else. Spec: server_batch.
    """

    def __init__(
        self,
        model: Model,
        most_running: int,
        most_waiting: int,
        prefix_bytes: int,
        watch: Watch | None = None,
    ) -> None:
        self.model, self.most_running, self.most_waiting = model, most_running, most_waiting
        self.prefixes = PrefixCache(prefix_bytes)
        self._watch = watch or Watch()
        self._together = bool(getattr(model.forward, "rows_alone", False))
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._running: list[_Running] = []
        self._closed = False
        self._seconds_of_work = 1.0  # how long a sequence has run, lately
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, works: Sequence[Work]) -> None:
        """Let sequences join as soon as there is room. Raises QueueFullError: then none of them does."""
        with self._changed:
            free = self.most_running - len(self._running) + self.most_waiting - len(self._waiting)
            if self._closed or len(works) > free:
                turns = 1 + len(self._waiting) / self.most_running
                raise QueueFullError(max(1, min(60, round(turns * self._seconds_of_work))))
            for work in works:
                work.joined = time.monotonic()
                self._waiting.append(work)
            self._changed.notify()

    def close(self) -> None:
        """End what runs and what waits, as cancelled, and the thread."""
        with self._changed:
            self._closed = True
            for work in [*self._waiting, *(s.work for s in self._running)]:
                work.cancel()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._running or self._closed):
                    self._changed.wait()
                if not (self._waiting or self._running):
                    return
                joining = self._join()
            for sequence in joining:
                known, length = sequence.cache.n_past, len(sequence.work.prompt)
                self._watch.joined(time.monotonic() - sequence.work.joined, known, length - known)
            self._turn()

    def _join(self) -> list[_Running]:
        """Let go of what is over, and let others take the places. Called with the lock."""
        for work in [w for w in self._waiting if w.over]:
            self._waiting.remove(work)
            work.sink(Event(reason=work.over))
        joined = []
        while self._waiting and len(self._running) < self.most_running:
            work = self._waiting.popleft()
            try:
                sequence = _Running(work, self.model, self.prefixes)
            except MemoryError:
                work.sink(Event(reason=FAILED, why="there is no memory for its keys and values"))
                continue
            self._running.append(sequence)
            joined.append(sequence)
        return joined

    def _turn(self) -> None:
        """Read a block of one prompt, then a token of every sequence that is past its own."""
        for sequence in self._running:
            if reason := sequence.work.over:
                sequence.end(Event(reason=reason))
        unread = next((s for s in self._running if s.reading and not s.ended), None)
        started = time.perf_counter()
        if unread:
            self._attempt([unread], lambda: self._read(unread, started))
        ready = [s for s in self._running if not s.reading and not s.ended]
        groups = [ready] if self._together else [[s] for s in ready]
        started = time.perf_counter()
        for group in filter(None, groups):
            self._attempt(group, lambda group=group: self._step(group))  # type: ignore[misc]
        if ready:
            self._watch.step(len(ready), time.perf_counter() - started)
        self._leave()

    def _read(self, sequence: _Running, started: float) -> None:
        count = sequence.read_block()
        self._watch.read(count, time.perf_counter() - started)

    def _step(self, group: Sequence[_Running]) -> None:
        chunks = [np.array(s.made.ids[-1:], np.int64) for s in group]
        rows = self.model.forward(chunks, [s.cache for s in group], "last")
        for sequence, row in zip(group, rows, strict=True):
            sequence.choose(row)

    def _attempt(self, group: Sequence[_Running], compute: Callable[[], None]) -> None:
        """Compute; what goes wrong ends the sequences that it went wrong for, and no other."""
        try:
            compute()
        except Exception as error:
            for sequence in group:
                if not sequence.ended:
                    sequence.end(Event(reason=FAILED, why=f"{type(error).__name__}: {error}"))

    def _leave(self) -> None:
        with self._changed:
            for sequence in self._running:
                if sequence.ended:
                    took = time.monotonic() - sequence.work.joined
                    self._seconds_of_work += 0.1 * (took - self._seconds_of_work)
            self._running = [s for s in self._running if not s.ended]
