"""Who may ask: named bearer tokens, the addresses that need one, and how much each may ask for at a time.

A token is known by its SHA-256 only, once it is read: what is kept cannot be printed by mistake.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llorch_core.engine.errors import UsageError
from llorch_core.server.secret_file import read_secret

LEAST, MOST = 16, 4096  # characters of a token
MAX_HEADER = 8192  # characters of an Authorization header
LOOPBACK = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})  # not all of 127.0.0.0/8: names are compared
ONE, SEVERAL = "LLORCH_API_TOKEN", "LLORCH_API_TOKENS"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_TOKEN = re.compile(r"[!-~]+")  # printable ASCII, no space
_CREDENTIALS = re.compile(r"bearer +([!-~]+)", re.IGNORECASE | re.ASCII)  # RFC 9110: 1*SP, scheme in any case
_HOW = (
    f"Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))' (wanted {LEAST} or more)."
)


class TooManyError(Exception):
    """A token has as many requests running as it may."""


class Tokens:
    """The bearer tokens that a server accepts, each with a name for logs and limits. Spec: server_auth.

    enabled  whether there is a token at all; without one nobody is asked for it
    names    of the tokens, in the order in which they were read
    """

    def __init__(self, environment: Mapping[str, str], file: Path | None) -> None:
        self._fixed, self._file = _checked(_from_environment(environment), {}), file
        self._digests = self._read()

    @classmethod
    def read(cls, environment: Mapping[str, str], file: Path | None = None) -> Tokens:
        """Return the tokens of an environment and of a file.

        environment  LLORCH_API_TOKEN is one token, named "default"; LLORCH_API_TOKENS are NAME:TOKEN
                     pairs between commas
        file         one `name: token` a line; lines that begin with # and empty ones are passed over.
                     It must be ours, and nobody else may read it

        A token has 16 to 4096 characters of printable ASCII without spaces; a name has letters, digits,
        and . _ -. Raises UsageError for what is malformed, and for a name or a token that is there twice.
        """
        return cls(environment, file)

    @property
    def enabled(self) -> bool:
        return bool(self._digests)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._digests)

    def reload(self) -> None:
        """Read the file again. Raises UsageError where it is broken; the tokens are then those of before."""
        self._digests = self._read()  # one assignment: a request sees all the old tokens, or all the new

    def check(self, header: str | None) -> str | None:
        """Return the name of the token of an Authorization header, or None where it is none of ours.

        The time that it takes does not say how much of a token was right, nor which one was near.
        """
        token = bearer(header)
        return None if token is None else self._name_of(_digest(token))

    def fingerprint(self, name: str) -> str:
        """Return token: and six hex digits for the token of that name."""
        return _shown(self._digests[name])

    def _name_of(self, digest: bytes) -> str | None:
        found = None
        for name, known in self._digests.items():  # every one, also after the right one
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _read(self) -> dict[str, bytes]:
        return self._fixed if self._file is None else _checked(_from_file(self._file), self._fixed)


def bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header; None where it has another form, or more than 8 KiB.

    The scheme is Bearer in any case of its letters (RFC 9110, section 11.1; RFC 6750, section 2.1).
    """
    if header is None or len(header) > MAX_HEADER:
        return None
    found = _CREDENTIALS.fullmatch(header.strip(" \t"))
    return found[1] if found else None


def fingerprint(token: str) -> str:
    """Return how logs call a token: token: and the first six hex digits of its SHA-256."""
    return _shown(_digest(token))


def check_bind(host: str, tokens: Tokens) -> None:
    """Raise UsageError where a server without a token would listen to other machines. Spec: server_auth.

    host  the address to listen on. 127.0.0.1, ::1, [::1] and localhost need no token; every other one
          does, also those that mean this machine, such as 127.0.0.2
    """
    if tokens.enabled or host.lower() in LOOPBACK:
        return
    raise UsageError(
        f"--host is {host or 'empty, which is every address'}, and there is no token "
        f"(wanted {ONE}, of {LEAST} characters or more).\n"
        f"{_HOW} Or leave out --host, to serve this machine only."
    )


class Streams:
    """How many requests each name has running, and may have at a time.

    most  requests of one name; those who need no token share the name ""
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def running(self, name: str) -> int:
        with self._lock:
            return self._held[name]

    def take(self, name: str) -> bool:
        """Count one more, and return True; return False where the name has as many as it may."""
        with self._lock:
            if self._held[name] >= self.most:
                return False
            self._held[name] += 1
            return True

    def let_go(self, name: str) -> None:
        """Count one less. What is not held cannot be let go: it would make room for too many."""
        with self._lock:
            if self._held[name] < 1:
                raise ValueError(f"{name or 'nobody'} holds no request")
            self._held[name] -= 1
            self._held += Counter()  # names without a request are forgotten

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Count one request while the block runs. Raises TooManyError where there are as many as may be."""
        if not self.take(name):
            raise TooManyError(
                f"{name or 'nobody'} has {self.most} requests running (wanted fewer).\nWait for one to end."
            )
        try:
            yield
        finally:
            self.let_go(name)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _shown(digest: bytes) -> str:
    return f"token:{digest.hex()[:6]}"


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (where, name, token) of each token of the environment."""
    found = []
    if ONE in environment:  # empty is not absent: a deployment that lost its token must not start open
        found.append((ONE, "default", environment[ONE]))
    if SEVERAL in environment:
        pairs = [pair.strip() for pair in environment[SEVERAL].split(",")]
        found += _split(SEVERAL, enumerate(pairs, start=1), "pair")
    return found


def _from_file(file: Path) -> list[tuple[str, str, str]]:
    lines = [line.strip() for line in read_secret(file).splitlines()]
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line and not line.startswith("#")]
    if not numbered:  # an emptied file would open the door at the next reload
        raise UsageError(f"{file} holds no token (wanted `name: token`, one a line).\n{_HOW}")
    return list(_split(str(file), numbered, "line"))


def _split(where: str, numbered: Iterable[tuple[int, str]], what: str) -> Iterator[tuple[str, str, str]]:
    """Yield (where, name, token). The text itself is never told: it may be a token without its name."""
    for n, text in numbered:
        name, colon, token = text.partition(":")
        if not colon:
            raise UsageError(
                f"{where}, {what} {n}, has no colon (wanted NAME:TOKEN).\nGive each token a name, such as ci."
            )
        yield f"{where}, {what} {n}", name.strip(), token.strip()


def _checked(found: Iterable[tuple[str, str, str]], before: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the digests by name, after those of before.

    Raises UsageError, which tells places and no name: in its place there may be a token.
    """
    digests = dict(before)
    for where, name, token in found:
        if wrong := _wrong(name, token):
            raise UsageError(f"{where}: {wrong}.\n{_HOW}")
        digest = _digest(token)
        if name in digests:
            raise UsageError(f"{where}: the name is there twice (wanted one token of each name).\nRename it.")
        if digest in digests.values():  # who asked could not be told
            raise UsageError(f"{where}: the token is there twice (wanted one name of each token).\n{_HOW}")
        digests[name] = digest
    return digests


def _wrong(name: str, token: str) -> str | None:
    """Return what is malformed of a pair, or None."""
    if not _NAME.fullmatch(name):
        return "the name is malformed (wanted 1 to 64 of letters, digits, and . _ -)"
    if not LEAST <= len(token) <= MOST:
        return f"the token has {len(token)} characters (wanted {LEAST} to {MOST})"
    if not _TOKEN.fullmatch(token):
        return "the token has a space, or what is not printable ASCII (wanted none: a header carries it)"
    return None
