"""What comes over the wire and is no request: too much, too slow, never finished."""

import socket
import time
from urllib.parse import urlsplit

import pytest


@pytest.fixture(scope="module")
def impatient(serve_for_all):
    return serve_for_all(idle_seconds=1, max_body_mib=1)


def connect(served):
    parts = urlsplit(served.address)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def all_of(connection):
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /li", HEAD, HEAD + b"X: " + b"a" * 100])
def test_a_connection_on_which_no_request_comes_is_closed(impatient, sent):
    with connect(impatient) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        assert all_of(connection) == b""
        assert time.monotonic() - began < 10


def test_a_body_that_stops_coming_is_answered(impatient):
    with connect(impatient) as connection:
        connection.sendall(HEAD + b'Content-Length: 50\r\n\r\n{"prompt"')
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_is_too_large_is_answered_although_the_client_still_sends(impatient):
    size = 2 * 2**20
    with connect(impatient) as connection:
        connection.sendall(HEAD + f"Content-Length: {size}\r\n\r\n".encode() + b" " * size)
        assert all_of(connection).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_end_ends_the_connection(impatient):
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(1000):
                connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def test_headers_that_are_too_large_are_refused(impatient):
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n")
        assert all_of(connection).startswith(b"HTTP/1.1 4")


def test_a_page_of_another_host_may_not_ask_through_its_name(impatient):
    answer = impatient.client.get("/v1/models", headers={"Host": "evil.example:8080"})
    assert answer.status_code == 421
    assert impatient.client.get("/v1/models", headers={"Host": "localhost"}).status_code == 200
