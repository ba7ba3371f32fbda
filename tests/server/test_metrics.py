"""What Prometheus reads is what happened; its own parser reads it back."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from llorch_core.server.metrics import OUTCOMES, Metrics, peak_bytes


def read(metrics: Metrics) -> dict[str, float]:
    """Return each sample by its name, with the labels that it has."""
    body, media_type = metrics.render()
    assert media_type.startswith("text/plain;")
    families = list(text_string_to_metric_families(body.decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {
        ",".join([sample.name, *(f"{k}={v}" for k, v in sample.labels.items())]): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_outcome_is_there_before_anything_happens():
    got = read(Metrics())
    assert {f"llorch_requests_total,outcome={outcome}" for outcome in OUTCOMES} <= got.keys()
    counted = [v for k, v in got.items() if k.startswith("llorch_requests_total")]
    assert counted == [0.0] * len(OUTCOMES)
    assert got["llorch_audit_records_lost_total"] == got["llorch_requests_running"] == 0


def test_requests_and_tokens_are_counted():
    metrics = Metrics()
    metrics.accepted(), metrics.accepted(), metrics.accepted()
    metrics.finished("stop", prompt_tokens=7, tokens=3, seconds=0.2)
    metrics.finished("length", prompt_tokens=5, tokens=16, seconds=3)
    metrics.finished("cancelled", prompt_tokens=1)
    metrics.refused("auth")
    metrics.audit_lost()
    got = read(metrics)
    assert got["llorch_requests_accepted_total"] == 3
    assert got["llorch_prompt_tokens_total"] == 13
    assert got["llorch_generated_tokens_total"] == 19
    ended = {outcome: got[f"llorch_requests_total,outcome={outcome}"] for outcome in OUTCOMES}
    assert [outcome for outcome in OUTCOMES if ended[outcome]] == ["stop", "length", "cancelled", "auth"]
    assert sum(ended.values()) == 4
    assert got["llorch_request_seconds_count"] == 2
    assert got["llorch_request_seconds_sum"] == pytest.approx(3.2)
    assert got["llorch_audit_records_lost_total"] == 1


@pytest.mark.parametrize("outcome", ["what a stranger sends", "", None])
def test_an_unknown_outcome_makes_no_label_of_its_own(outcome):
    metrics = Metrics()
    before = read(metrics).keys()
    metrics.finished(outcome)
    got = read(metrics)
    assert got.keys() == before and got["llorch_requests_total,outcome=other"] == 1


@pytest.mark.parametrize(
    ("code", "outcome"), [("invalid_request", "invalid"), ("TIMEOUT", "deadline"), ("audit_full", "audit")]
)
def test_the_code_of_a_refusal_is_an_outcome(code, outcome):
    metrics = Metrics()
    metrics.refused(code)
    assert read(metrics)[f"llorch_requests_total,outcome={outcome}"] == 1


def test_batches_are_told_by_size():
    metrics = Metrics()
    for size in (1, 3, 16, 16):
        metrics.step(size, 0.004)
    got = read(metrics)
    buckets = [got[f"llorch_batch_size_bucket,le={le}.0"] for le in (1, 2, 4, 8, 16, 32)]
    assert buckets == [1, 1, 2, 2, 4, 4]
    assert (got["llorch_batch_size_sum"], got["llorch_batch_size_count"]) == (36, 4)
    assert got["llorch_step_seconds_bucket,le=0.0025"] == 0
    assert got["llorch_step_seconds_bucket,le=0.005"] == 4


def test_times_are_told_in_seconds():
    metrics = Metrics()
    metrics.waited(0.02), metrics.first_token(0.2), metrics.between(0.003), metrics.between(0.02)
    got = read(metrics)
    assert got["llorch_queue_seconds_sum"] == pytest.approx(0.02)
    assert got["llorch_time_to_first_token_seconds_bucket,le=0.1"] == 0
    assert got["llorch_time_to_first_token_seconds_bucket,le=0.25"] == 1
    assert got["llorch_time_between_tokens_seconds_bucket,le=0.005"] == 1
    assert got["llorch_time_between_tokens_seconds_count"] == 2


def test_what_is_so_at_the_moment_is_what_was_told_last():
    metrics = Metrics()
    metrics.observe(queue=5, running=16, prefix_bytes=1024)
    metrics.observe(queue=3, running=8, prefix_bytes=512)
    metrics.prefix(hit_tokens=64, miss_tokens=10)
    metrics.prefix(hit_tokens=0, miss_tokens=7)
    got = read(metrics)
    assert (got["llorch_queue_length"], got["llorch_requests_running"]) == (3, 8)
    assert got["llorch_prefix_cache_bytes"] == 512
    assert got["llorch_prefix_cache_hit_tokens_total"] == 64
    assert got["llorch_prefix_cache_miss_tokens_total"] == 17


def test_memory_is_that_of_this_process():
    got = read(Metrics())["llorch_process_resident_memory_bytes"]
    with Path("/proc/self/status").open() as status:
        told = dict(line.split(":", 1) for line in status)
    resident, peak = (1024 * int(told[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    assert got == pytest.approx(resident, rel=0.1)
    assert got % os.sysconf("SC_PAGE_SIZE") == 0
    assert peak_bytes() == pytest.approx(peak, rel=0.1)


def test_uptime_is_since_the_server_was_made():
    before = time.monotonic()
    metrics = Metrics()
    made = time.monotonic()
    first = read(metrics)["llorch_uptime_seconds"]
    assert 0 <= first <= time.monotonic() - before
    while time.monotonic() < made + 0.02:
        pass
    assert read(metrics)["llorch_uptime_seconds"] >= 0.02


def test_two_servers_of_one_process_count_apart_and_leave_the_global_registry_alone():
    before = {family.name for family in REGISTRY.collect()}
    one, other = Metrics(), Metrics()
    one.accepted()
    assert read(one)["llorch_requests_accepted_total"] == 1
    assert read(other)["llorch_requests_accepted_total"] == 0
    assert {family.name for family in REGISTRY.collect()} == before


def test_threads_lose_no_count():
    metrics = Metrics()

    def work():
        for _ in range(500):
            metrics.step(2)
            metrics.finished("stop", tokens=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = read(metrics)
    assert got["llorch_batch_size_count"] == got["llorch_generated_tokens_total"] == 2000
