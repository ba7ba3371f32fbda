"""The sequences of one request while they run, as the event loop sees them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial

from llorch_core.server.batch import Batch, Event, Work


class Mailbox:
    """Events on their way from the thread of the batch to the event loop, which is woken once for many."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[asyncio.Queue[tuple[int, Event]], int, Event]] = deque()
        self._told = False

    def post(self, queue: asyncio.Queue[tuple[int, Event]], index: int, event: Event) -> None:
        """Hand over an event. Raises RuntimeError where the loop is closed."""
        self._held.append((queue, index, event))
        if not self._told:  # else the loop comes by, and takes this one too
            self._told = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._told = False
        while self._held:
            queue, index, event = self._held.popleft()
            queue.put_nowait((index, event))


class Run:
    """The works of one request, submitted together; their events come in the order in which they happen.

    Raises QueueFullError where the batch has no room: then none of them runs.
    """

    def __init__(self, batch: Batch, works: Sequence[Work], mailbox: Mailbox) -> None:
        self.works, self._mailbox = works, mailbox
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        for index, work in enumerate(works):
            work.sink = partial(self._post, index)
        batch.submit(works)

    @property
    def tokens_out(self) -> int:
        return sum(len(work.added) for work in self.works)

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Yield the index of a work and what happened to it, until all have ended."""
        left = len(self.works)
        while left:
            index, event = await self._events.get()
            left -= event.reason is not None
            yield index, event

    def cancel(self) -> None:
        """Stop all before their next token."""
        for work in self.works:
            work.cancel()

    def _post(self, index: int, event: Event) -> None:
        """Hand an event over from the thread of the batch."""
        try:
            self._mailbox.post(self._events, index, event)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.works[index].cancel()
