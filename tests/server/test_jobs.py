"""Jobs belong to whoever asked for them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

FIRST, SECOND = ({"Authorization": f"Bearer {token}"} for token in ("a" * 16 + "1", "a" * 16 + "2"))
JOB = {"job_id": "mine", "prompt": "To be", "max_tokens": 200}


def last_event(lines):
    return json.loads([line for line in lines if line.startswith("data: ")][-1][6:])


@pytest.mark.untraced
def test_a_job_is_cancelled_by_its_own_token_alone_and_its_name_is_free_to_others(serve):
    tokens = {"LLORCH_API_TOKENS": f"one:{'a' * 16}1,two:{'a' * 16}2"}
    client = serve(environment=tokens).client

    def run(who, cancelled_by):
        with client.stream("POST", "/execute", json=JOB, headers=who) as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()
            read = [next(lines)]
            for one in cancelled_by:
                answer = client.post("/cancel", json={"job_id": "mine"}, headers=one)
                assert answer.status_code == 202
            return last_event([*read, *lines])

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, FIRST, [FIRST])
        second = pool.submit(run, SECOND, [])
        assert first.result(30)["code"] == "CANCELLED"
        assert second.result(30)["stop_reason"] == "MAX_TOKENS"
    assert run(SECOND, [FIRST])["stop_reason"] == "MAX_TOKENS"


def test_a_name_that_is_in_use_is_refused(serve):
    client = serve(max_batch=1).client
    busy = {"prompt": "To be", "max_tokens": 200, "n": 64, "stream": True}
    with (
        client.stream("POST", "/v1/completions", json=busy) as others,
        client.stream("POST", "/execute", json=JOB) as waiting,
    ):
        assert (others.status_code, waiting.status_code) == (200, 200)
        assert client.post("/execute", json=JOB).status_code == 409
        assert client.post("/cancel", json={"job_id": "mine"}).status_code == 202


def test_the_audit_log_says_who_did_what_from_the_start_to_the_end(serve_and_stop, tmp_path):
    tokens = {"LLORCH_API_TOKENS": f"one:{'a' * 16}1,two:{'a' * 16}2"}
    with serve_and_stop(environment=tokens, audit=tmp_path) as server:
        server.client.post("/v1/completions", json={"prompt": "To be", "max_tokens": 2}, headers=FIRST)
        server.client.post("/v1/completions", json={"prompt": "To be"})
        server.client.get("/v1/models", headers=FIRST)
    (file,) = tmp_path.glob("*.audit")
    events = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert [event["type"] for event in events] == [
        *("server.started", "config.loaded", "auth.accepted", "request.accepted", "request.finished"),
        *("auth.refused", "server.stopped"),
    ]
    assert events[1]["tokens"] == ["one", "two"]
    assert "max_batch = 16" in events[1]["settings"]
    assert (events[2]["name"], events[2]["token"]) == ("one", events[3]["token"])
    assert "To be" not in file.read_text()
