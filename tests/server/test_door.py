"""What HTTP itself allows at the door: fields that come twice, that are long, and bodies that come late."""

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from llorch_core.cli.serve import command

TOKEN, OTHER = "correct-horse-battery", "staple-staple-staple"


def status(served, *headers, method="GET", path="/v1/models"):
    return served.client.request(method, path, headers=headers).status_code


def slowly(served, body, seconds, *headers):
    """Send a request whose last byte comes late, and return the status of its answer."""
    raw = json.dumps(body).encode()
    lines = ["POST /v1/completions HTTP/1.1", "Host: localhost", f"Content-Length: {len(raw)}", *headers]
    parts = urlsplit(served.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + raw[:-1])
        time.sleep(seconds)
        connection.sendall(raw[-1:])
        return int(connection.recv(12).split()[1])


@pytest.mark.parametrize("second", [TOKEN, OTHER, "wrong-wrong-wrong-1"])
def test_of_two_tokens_neither_counts(guarded, second):
    one = ("Authorization", f"Bearer {TOKEN}")
    assert status(guarded, one) == 200
    assert status(guarded, one, ("Authorization", f"Bearer {second}")) == 401
    assert status(guarded, ("Authorization", f"Bearer {second}"), one) == 401


def test_an_empty_field_beside_a_token_is_one_too_many(guarded):
    assert status(guarded, ("Authorization", f"Bearer {TOKEN}"), ("Authorization", "")) == 401


@pytest.mark.parametrize(("spaces", "wanted"), [(8000, 200), (8192, 401), (17_000, 431)])
def test_headers_have_a_bound(guarded, spaces, wanted):
    assert status(guarded, ("Authorization", "Bearer" + " " * spaces + TOKEN)) == wanted


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/"])
def test_what_watches_a_server_needs_no_token(guarded, path):
    assert status(guarded, path=path) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/livez/"), ("GET", "/livez/../v1/models"), ("GET", "/none"), ("PUT", "/x")],
)
def test_what_only_looks_like_an_open_address_is_closed(guarded, method, path):
    assert status(guarded, method=method, path=path) == 401


def test_who_is_turned_away_is_told_how_to_ask_whatever_was_sent(guarded):
    missing, wrong = guarded.client.get("/v1/models"), httpx.Headers({"Authorization": "Basic YTpi"})
    assert missing.headers["www-authenticate"] == 'Bearer realm="llorch"'
    told = guarded.client.post("/v1/completions", headers=wrong, content=b"{" * 100_000)
    assert told.headers["www-authenticate"] == 'Bearer realm="llorch", error="invalid_token"'
    assert told.json()["error"]["type"] == "authentication_error"


def test_time_is_counted_from_the_first_line_of_a_request_and_not_from_its_last_byte(served):
    body = {"prompt": "To be", "max_tokens": 1, "deadline_ms": 200}
    assert slowly(served, body, 0.25) == 504
    assert slowly(served, {**body, "deadline_ms": 60_000}, 0.05) == 200


def test_time_that_is_up_is_told_before_a_full_house(served):
    body = {"prompt": "To be", "max_tokens": 1}
    answer = served.client.post("/v1/completions", json=body, headers={"X-Deadline": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "TIMEOUT")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.2", ""])
def test_the_command_does_not_listen_to_others_without_a_token(host):
    done = CliRunner().invoke(command, ["--host", host, "--port", "0"], env={})
    assert type(done.exception).__name__ == "UsageError"
    assert "there is no token" in str(done.exception)


@pytest.mark.parametrize("token", ["", "x" * 15])
def test_the_command_does_not_start_with_a_token_that_is_too_short(token):
    done = CliRunner().invoke(command, ["--port", "0"], env={"LLORCH_API_TOKEN": token})
    assert f"the token has {len(token)} characters (wanted 16 to 4096)" in str(done.exception)
