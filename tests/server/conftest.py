"""A server of the embedded model in this process, on a port of 127.0.0.1 that was free."""

import io
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from llorch_core.engine.model import load
from llorch_core.server.audit import AuditLog
from llorch_core.server.auth import Tokens
from llorch_core.server.logs import configure
from llorch_core.server.serve import Server, running
from llorch_core.server.settings import Settings
from llorch_core.server.worker import Worker


class Served:
    """A server that runs, and a client of it.

    logged  what it has logged so far
    """

    def __init__(self, stack, audit=None, environment=None, **settings):
        self.logged = io.StringIO()
        log = configure(self.logged, "info", True)
        kept = AuditLog(audit) if audit else None
        tokens = Tokens.read(environment or {}, None)
        self.worker = Worker(load(), Settings(**settings), tokens, kept, log)
        self.server = stack.enter_context(running(Server(self.worker, "127.0.0.1", 0)))
        self.address = self.server.address
        self.client = stack.enter_context(httpx.Client(base_url=self.address, timeout=30))

    def complete(self, **body):
        return self.client.post("/v1/completions", json={"prompt": "To be", "max_tokens": 4, **body})


@pytest.fixture(scope="session")
def served():
    """One server for all tests that leave it as it was."""
    with ExitStack() as stack:
        yield Served(stack)


@pytest.fixture(scope="session")
def guarded():
    """A server that asks for a bearer token, and knows two."""
    with ExitStack() as stack:
        tokens = "first:correct-horse-battery,second:staple-staple-staple"
        yield Served(stack, environment={"LLORCH_API_TOKENS": tokens})


@pytest.fixture(scope="module")
def serve_for_all():
    """serve_for_all(**settings) -> a server for the tests of a file."""
    with ExitStack() as stack:
        yield lambda **settings: Served(stack, **settings)


@pytest.fixture
def serve():
    """serve(**settings) -> a server of a test's own; it is stopped when the test has ended."""
    with ExitStack() as stack:
        yield lambda **settings: Served(stack, **settings)


@pytest.fixture
def serve_and_stop():
    """`with serve_and_stop(**settings) as server`: it has ended when the block ends."""

    @contextmanager
    def run(**settings):
        with ExitStack() as stack:
            yield Served(stack, **settings)

    return run
