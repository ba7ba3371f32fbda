"""Text that grows token by token: whole characters only, and never a part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from llorch_core.engine.errors import UsageError


class TextStream:
    """Turn ids into the pieces of text that may be shown, up to the first stop string.

    token_bytes  bytes of one token, as `Tokenizer.token_bytes`
    stop         strings that end the text; they and what follows are never shown

    All pieces together are decode(ids), cut before the stop string that begins first. Of two that
    begin together the shorter ends the text, since it is complete first. One that is complete still
    waits while another, begun before it, may yet be completed.
    Spec: generation.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stop):
            raise UsageError(
                f"stop is {stop!r} (wanted a list of strings, none of them empty).\n"
                'Write ["\\n"] for one stop string, [] for none.'
            )
        self.stop_string: str | None = None
        self._stop = tuple(sorted(stop, key=len))
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    @property
    def stopped(self) -> bool:
        """Whether the text has met a stop string: further tokens add nothing."""
        return self.stop_string is not None

    def push(self, token_id: int) -> str:
        """Take the next token; return the text that is certain by now, often none."""
        return self._take(self._token_bytes(token_id), final=False)

    def finish(self) -> str:
        """Say that no token follows; return what was held back. An incomplete character is U+FFFD."""
        return self._take(b"", final=True)

    def _take(self, data: bytes, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += self._decoder.decode(data, final)
        # min takes the first of equals, and _stop is sorted: the shorter of two that begin together
        found = [(self._held.find(s), s) for s in self._stop if s in self._held]
        begin, stop_string = min(found, key=lambda f: f[0], default=(len(self._held), None))
        possible = len(self._held) if final else self._begin_of_possible_stop()
        if begin <= possible:
            self.stop_string = stop_string  # None where none was found
        shown, self._held = self._held[: min(begin, possible)], self._held[min(begin, possible) :]
        return shown

    def _begin_of_possible_stop(self) -> int:
        """Return where the longest end of the held text begins that also begins a stop string."""
        longest = max(map(len, self._stop), default=0)
        for begin in range(max(0, len(self._held) - longest + 1), len(self._held)):
            if any(s.startswith(self._held[begin:]) for s in self._stop):
                return begin
        return len(self._held)
