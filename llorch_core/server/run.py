"""The sequences of one request while they run, as the event loop sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from llorch_core.server.batch import Batch, Event, Work


class Run:
    """The works of one request, submitted together; their events come in the order in which they happen.

    Raises QueueFullError where the batch has no room: then none of them runs.
    """

    def __init__(self, batch: Batch, works: Sequence[Work]) -> None:
        self.works = works
        self._loop = asyncio.get_running_loop()
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
            self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.works[index].cancel()
