"""The command as a process: ready line, signals and exit codes; and a server that is told to stop early."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext

import httpx
import pytest

from llorch_core.engine.errors import UsageError
from llorch_core.engine.model import load
from llorch_core.server.auth import Tokens
from llorch_core.server.logs import configure
from llorch_core.server.self_check import SelfCheckError, digest_of_weights
from llorch_core.server.serve import Server, running
from llorch_core.server.settings import Settings
from llorch_core.server.worker import Worker

ONE, OTHER = "a-token-of-the-first-kind", "a-token-of-the-second-kind"
COMMAND = [sys.executable, "-m", "llorch_core", "serve", "--backend", "numpy"]
BARE = {name: value for name, value in os.environ.items() if not name.startswith("LLORCH_API")}


def refused(*options):
    """Return what the command says when it does not start."""
    ran = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, env=BARE)
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert "error:" in ran.stderr
    return ran.stderr


@contextmanager
def started(*options):
    """Start the command; yield the process and the address of its ready line."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": BARE}
    with subprocess.Popen([*COMMAND, "--port", "0", *options], **pipes) as process:
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"llorch serves shakespeare at (http://127\.0\.0\.1:\d+)\n", line)
            assert found, line + process.stderr.read()
            yield process, found[1]
        finally:
            process.kill()


def told(process, event):
    """Read the log up to an event."""
    for line in process.stderr:
        if (said := json.loads(line))["event"] == event:
            return said
    raise AssertionError(f"{event} was not logged")


def status(address, token):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{address}/v1/models", headers=headers, timeout=30).status_code


def write(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of Unix")
def test_a_process_reads_tokens_again_on_sighup_and_ends_with_0_on_sigterm(tmp_path):
    file = tmp_path / "tokens"
    write(file, f"one: {ONE}\n")
    with started("--token-file", str(file), "--log", "json") as (process, address):
        assert [status(address, token) for token in (ONE, OTHER)] == [200, 401]

        write(file, f"other: {OTHER}\n")
        process.send_signal(signal.SIGHUP)
        told(process, "tokens.loaded")
        assert [status(address, token) for token in (ONE, OTHER)] == [401, 200]

        write(file, "no token at all\n")
        process.send_signal(signal.SIGHUP)
        assert told(process, "tokens.kept")["level"] == "error"
        assert [status(address, token) for token in (ONE, OTHER)] == [401, 200]

        port = address.rpartition(":")[2]
        said = refused("--port", port)
        assert f"127.0.0.1:{port} cannot be listened to" in said

        process.send_signal(signal.SIGTERM)
        assert told(process, "stopped")["exit_code"] == 0
        assert process.wait(30) == 0
        assert process.stdout.read() == ""


def test_an_address_that_others_reach_needs_a_token():
    said = refused("--port", "0", "--host", "0.0.0.0")
    assert "LLORCH_API_TOKEN" in said


def test_a_setting_out_of_its_limits_is_refused():
    assert "--max-batch is 0 (wanted 1 to 256)" in refused("--port", "0", "--max-batch", "0")


# A server in this process


class Hasty(Server):
    wait = 0.001


def server_of(model, **options):
    logged = io.StringIO()
    worker = Worker(model, Settings(), Tokens.read({}, None), None, configure(logged, "info", True))
    return Hasty(worker, "127.0.0.1", 0, **options), logged


def test_a_server_that_is_told_to_stop_while_it_checks_itself_is_never_ready_and_ends_with_0():
    model, checking, go_on, calls = load(), threading.Event(), threading.Event(), []
    right = model.forward

    def forward(*parts, **named):
        checking.set()
        assert go_on.wait(30)
        return right(*parts, **named)

    model.forward = forward
    nobody = "http://127.0.0.1:9/"  # where nothing listens: a callback would fail, and with it the server
    server, logged = server_of(model, callback=nobody, on_ready=lambda: calls.append("ready"))
    codes = []
    thread = threading.Thread(target=lambda: codes.append(asyncio.run(server.serve())))
    thread.start()
    assert checking.wait(30)
    server.stop()
    with pytest.raises(httpx.TransportError):  # it stops listening, and the self-check goes on
        while thread.is_alive():
            httpx.get(f"{server.address}/livez", timeout=30)
    go_on.set()
    thread.join(30)
    assert codes == [0]
    assert calls == []
    assert '"ready"' not in logged.getvalue()


def test_a_callback_that_nobody_takes_ends_the_server():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        server, logged = server_of(load(), callback=url)
        with pytest.raises(UsageError, match=re.escape(f"the ready callback {url} was called 4 times")):
            asyncio.run(server.serve())
    last = json.loads(logged.getvalue().splitlines()[-1])
    assert (last["event"], last["reason"], last["exit_code"]) == ("stopped", "callback", 2)


def test_weights_of_another_digest_are_not_served():
    right = digest_of_weights(load().folder)
    for digest, told in ((right.upper(), None), ("0" * 64, "SHA-256")):
        log = configure(io.StringIO(), "info", True)
        worker = Worker(load(), Settings(), Tokens.read({}, None), None, log)
        server = Server(worker, "127.0.0.1", 0, weights_sha256=digest)
        with pytest.raises(SelfCheckError, match=told) if told else nullcontext(), running(server):
            assert told is None
