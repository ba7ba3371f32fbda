"""Who may ask, on trial. Spec: server_auth."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.server.auth import ONE, SEVERAL, Streams, Tokens, bearer, check_bind
from llorch_core.server.worker import Worker
from llorch_core.subject.behaviours.server import Live, Served, with_answer
from llorch_core.subject.behaviours.slowed import Pace

Read = tuple[Mapping[str, str], Path | None]


class Auth(Served):
    """The server, or one that lets in others than it should, or tells of them what it should not."""

    spec = "server_auth"
    given: Read = {}, None
    served: Worker

    def start(  # type: ignore[override]
        self, *, host: str = "127.0.0.1", pace: Pace | None = None, **settings: Any
    ) -> Live:
        """Start a server, as `Served.start`.

        host  an address that it is asked to listen on; whatever that is, a trial listens on 127.0.0.1
        pace  how slow its model is; None: as fast as it can be
        """
        environment, file = settings.pop("environment", None) or {}, settings.pop("tokens", None)
        name, value = self.wrong or ("", None)
        other = copy(self)
        other.given = environment, file
        with tempfile.TemporaryDirectory(prefix="llorch-tokens-") as folder:
            if starts := _STARTS.get(name):
                environment, file = starts(value, environment, file, Path(folder))
            read = Tokens.read(environment, file)
            _check_bind(value if name in ("needs_a_token", "loopback") else None, host, read)
            if pace:
                other.model = pace.slow(self.model)
            return Served.start(other, environment=environment, tokens=file, **settings)

    def worker(self, model: Any, *parts: Any) -> Worker:
        made = super().worker(model, *parts)
        name, value = self.wrong or ("", "")
        if kind := _TOKENS.get(f"{name}: {value}"):
            made.tokens = kind(*self.given)
        if counter := _STREAMS.get(f"{name}: {value}"):
            made.streams = counter(made.settings.streams_per_token)
        self.served = made
        return made

    def front(self) -> Callable[[Any], Any] | None:
        name, value = self.wrong or ("", "")
        fronts: dict[str, Callable[[Any], Any]] = {
            "challenge": with_answer(lambda path, answer: _challenged(value, answer)),
            "closed": lambda app: self._open(app, "/" + value.rpartition(" ")[2]),
            "logged": lambda app: self._telling(app, value),
            "audited": lambda app: self._telling(app, value),
            "place_is_free": self._losing,
        }
        return fronts.get(name)

    def _open(self, app: Any, path: str) -> Any:
        """Return an application that asks nobody for a token at one address."""

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == path:
                token = next(iter(_raw(self.given[0]).values()))
                right = (b"authorization", f"Bearer {token}".encode())
                kept = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
                scope = {**scope, "headers": [*kept, right]}
            await app(scope, receive, send)

        return changed

    def _telling(self, app: Any, what: str) -> Any:
        """Return an application that writes of a token what it should not, into the log or the audit log."""

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            sent = dict(scope["headers"]).get(b"authorization", b"").decode().rpartition(" ")[2]
            told = sent if what == "all of it" else sent[-6:]
            if self.wrong and self.wrong[0] == "logged":
                self.served.log.info("asked", who=told)
            else:
                self.served.note("auth.refused", reason=told)
            await app(scope, receive, send)

        return changed

    def _losing(self, app: Any) -> Any:
        """Return an application that never gives back the place of a client that went away."""

        async def changed(scope: Any, receive: Any, send: Any) -> None:
            over = False

            async def hears() -> Any:
                message = await receive()
                if message["type"] == "http.disconnect" and not over:
                    self.served.streams.most -= 1
                return message

            async def says(message: Any) -> None:
                nonlocal over
                over = over or (message["type"] == "http.response.body" and not message.get("more_body"))
                await send(message)

            await app(scope, hears, says)

        return changed


def watch_checks(live: Live) -> list[list[str]]:
    """Return a list to which each check of a header adds the names of the functions that it called."""
    seen: list[list[str]] = []
    tokens = live.server.worker.tokens
    check = tokens.check

    def watched(header: str | None) -> str | None:
        calls: list[str] = []

        def called(frame: Any, event: str, what: Any) -> None:
            if event == "c_call":
                calls.append(what.__name__)
            elif event == "call":
                calls.append(frame.f_code.co_name)

        before = sys.getprofile()
        sys.setprofile(called)
        try:
            return check(header)
        finally:
            sys.setprofile(before)
            seen.append(calls[:-1])  # the last call ends the watch

    tokens.check = watched  # type: ignore[method-assign]
    return seen


# What is wrong at the start


def _empty_is_none(value: Any, environment: Mapping[str, str], file: Path | None, folder: Path) -> Read:
    return {name: text for name, text in environment.items() if text}, file


def _short_is_enough(value: Any, environment: Mapping[str, str], file: Path | None, folder: Path) -> Read:
    token = environment.get(ONE, "")
    return {**environment, ONE: token.ljust(16, "x") if len(token) >= int(value) else token}, file


def _others_may_read(value: Any, environment: Mapping[str, str], file: Path | None, folder: Path) -> Read:
    allowed = 0o077 if value == "everybody" else 0o070
    if file is None or file.stat().st_mode & 0o077 & ~allowed:
        return environment, file
    own = Path(shutil.copyfile(file, folder / "tokens"))
    own.chmod(0o600)
    return environment, own


_STARTS: dict[str, Callable[[Any, Mapping[str, str], Path | None, Path], Read]] = {
    "empty_token": _empty_is_none,
    "least_characters": _short_is_enough,
    "file_is_read_by": _others_may_read,
}


def _check_bind(wrong: Any, host: str, tokens: Tokens) -> None:
    if wrong is None or (wrong == "what begins with 127" and not host.startswith("127")):
        check_bind(host, tokens)


# What is wrong with the tokens that are known


def _raw(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the tokens of an environment by their names, in order."""
    pairs = [pair.partition(":") for pair in environment.get(SEVERAL, "").split(",")]
    return {name: token for name, _, token in pairs if token}


class _Liked(Tokens):
    """Takes a token that is like one of its own."""

    def check(self, header: str | None) -> str | None:
        sent = bearer(header) or ""
        return next((name for name, own in _raw(self._given).items() if sent and self.like(sent, own)), None)

    def __init__(self, environment: Mapping[str, str], file: Path | None) -> None:
        super().__init__(environment, file)
        self._given = environment

    def like(self, sent: str, own: str) -> bool:
        return sent == own


class _Longer(_Liked):
    def like(self, sent: str, own: str) -> bool:
        return sent.startswith(own)


class _Shorter(_Liked):
    def like(self, sent: str, own: str) -> bool:
        return own.startswith(sent)


class _AnyCase(_Liked):
    def like(self, sent: str, own: str) -> bool:
        return sent.casefold() == own.casefold()


class _Equals(Tokens):
    def _name_of(self, digest: bytes) -> str | None:
        found = None
        for name, known in self._digests.items():
            if known == digest:
                found = name
        return found


class _UpTo(Tokens):
    def _name_of(self, digest: bytes) -> str | None:
        for name in self._digests:
            kept, self._digests = self._digests, {name: self._digests[name]}
            found = super()._name_of(digest)
            self._digests = kept
            if found:
                return found
        return None


class _First(Tokens):
    def check(self, header: str | None) -> str | None:
        return name if (name := super().check(header)) == self.names[0] else None


class _Last(Tokens):
    def check(self, header: str | None) -> str | None:
        return name if (name := super().check(header)) == self.names[-1] else None


class _OneCapital(Tokens):
    def check(self, header: str | None) -> str | None:
        return super().check(header) if (header or "").startswith("Bearer ") else None


class _Anywhere(_Liked):
    def check(self, header: str | None) -> str | None:
        return next((name for name, own in _raw(self._given).items() if own in (header or "")), None)


class _LastWord(Tokens):
    def check(self, header: str | None) -> str | None:
        return super().check(f"Bearer {header.rpartition(' ')[2]}" if header else header)


class _Endless(Tokens):
    def check(self, header: str | None) -> str | None:
        return super().check(re.sub(" +", " ", header) if header else header)


class _Unasked(Tokens):
    def check(self, header: str | None) -> str | None:
        return self.names[0] if header is None else super().check(header)


class _Empty(Tokens):
    def check(self, header: str | None) -> str | None:
        nothing = header is not None and header.strip().lower() in ("", "bearer")
        return self.names[0] if nothing else super().check(header)


class _Keeps(Tokens):
    def reload(self) -> None:
        before = self._digests
        super().reload()
        self._digests = {**before, **self._digests}


class _Opens(Tokens):
    def reload(self) -> None:
        try:
            super().reload()
        except UsageError:
            self._digests = {}
            raise


_TOKENS: dict[str, type[Tokens]] = {
    "right_token: one that begins with it": _Longer,
    "right_token: any beginning of it": _Shorter,
    "right_token: equal but for capitals": _AnyCase,
    "compared_by: ==": _Equals,
    "compared_with: those up to the right one": _UpTo,
    "let_in: the first": _First,
    "let_in: the last": _Last,
    "scheme: with one capital": _OneCapital,
    "form: a token is searched in it": _Anywhere,
    "form: its last word is the token": _LastWord,
    "longest_header: none": _Endless,
    "without_a_token: let in": _Unasked,
    "without_a_token: let in where the header is empty": _Empty,
    "token_taken_out: let in": _Keeps,
    "broken_file: opens the door": _Opens,
}


# What is wrong with their places


class _Boundless(Streams):
    def take(self, name: str) -> bool:
        self.most = 10**6
        return super().take(name)


class _Together(Streams):
    def take(self, name: str) -> bool:
        return super().take("")

    def let_go(self, name: str) -> None:
        super().let_go("")


_STREAMS: dict[str, type[Streams]] = {
    "streams_at_a_time: any number": _Boundless,
    "streams_counted: all together": _Together,
}


def _challenged(value: Any, answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    status, headers, raw = answer
    kept = {name: text for name, text in headers.items() if name.lower() != "www-authenticate"}
    if status == 401 and value != "none":
        kept["www-authenticate"] = f'{value} realm="llorch"'
    return (status, kept, raw) if status == 401 else answer
