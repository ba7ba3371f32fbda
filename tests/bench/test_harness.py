"""The commands of the harness, timed as whole processes."""

import pytest

from llorch_core.bench.harness import IDS, Phase, measure


@pytest.mark.untraced
def test_each_command_is_run_as_often_as_asked_and_one_that_fails_is_told():
    phases = [
        Phase("write a reading", ("record", "--ids", IDS, "-o", "DUMP")),
        Phase("a file that is not there", ("diagnose", "nowhere.safetensors")),
    ]
    told = []
    found = measure(None, 2, 60.0, told.append, "llorch bench --harness", phases)
    recorded, refused = found["commands"]
    assert [start["command"] for start in found["starts"]] == told[:2]
    assert recorded["command"].startswith("llorch record") and recorded["seconds"] and recorded["memory"]
    assert refused["seconds"] is None
    assert "exit code 2" in refused["says"]
    for start in found["starts"]:
        assert 0 < start["seconds"]["min"] <= start["seconds"]["median"] <= start["seconds"]["max"]
