"""What docs/deploy.md names is there: options, addresses, metrics, events; unit and image start it."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from llorch_core.cli.serve import command
from llorch_core.server.auth import ONE, SEVERAL
from llorch_core.server.contract import DOCUMENT
from llorch_core.server.metrics import OUTCOMES, Metrics

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL))
OPTIONS = {name: option for option in command.params for name in option.opts}
OF_OTHERS = (  # options of docker and of its files
    *("--create-home", "--uid", "--no-cache-dir", "--start-period", "--interval", "--timeout"),
    *("--read-only", "--tmpfs", "--cap-drop", "--security-opt", "--stop-timeout", "--env-file"),
)
ROUTES = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))["paths"].keys()


def unit():
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(BLOCKS["ini"])
    return parser["Service"]


def read(arguments):
    """Return what the command makes of arguments; it must know them all."""
    assert arguments[:1] == ["serve"]
    return command.make_context("serve", arguments[1:], resilient_parsing=False).params


def test_every_option_is_one_of_the_command():
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TEXT)) - set(OF_OTHERS)
    assert named - OPTIONS.keys() == set()
    assert OPTIONS.keys() - named <= {"--model", "--host", "--port"}


def test_every_address_is_one_of_the_document():
    named = set(re.findall(r"`(/[a-z]+)`", TEXT)) | set(re.findall(r":8080(/[a-z]+)", TEXT))
    assert {"/livez", "/readyz", "/metrics"} <= named <= ROUTES


def test_every_metric_and_outcome_is_there():
    found = Metrics().render()[0].decode()
    families = set(re.findall(r"^# TYPE (\S+)", found, re.MULTILINE))
    assert set(re.findall(r"`(llorch_\w+)`", TEXT)) <= families
    outcomes = {"failed", "busy", "deadline", "cancelled", "stop", "length"}
    assert outcomes <= set(OUTCOMES)
    assert all(f"`{outcome}`" in TEXT for outcome in outcomes)


@pytest.mark.parametrize("event", ["engine.failed", "broken", "audit.lost", "tokens.kept"])
def test_every_event_to_be_woken_for_is_logged(event):
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "llorch_core/server").glob("*.py"))
    assert f"`{event}`" in TEXT
    assert f'log.error("{event}"' in code


def test_the_unit_starts_the_command_with_options_that_it_has():
    start = shlex.split(unit()["ExecStart"])
    assert start[0].endswith("/llorch")
    assert read(start[1:])["log"] == "json"


def test_the_unit_waits_longer_than_the_server_drains():
    drains = next(option for option in command.params if option.name == "drain_seconds").default
    assert int(unit()["TimeoutStopSec"]) > drains + 5
    assert int(re.search(r"--stop-timeout (\d+)", TEXT)[1]) > drains + 5


def test_the_unit_gives_a_folder_for_all_that_is_written():
    service = unit()
    (audit,) = re.findall(r"--audit (\S+)", service["ExecStart"])
    assert audit.startswith(f"/var/lib/{service['StateDirectory']}/")
    assert service["Environment"] == f"XDG_CACHE_HOME=/var/cache/{service['CacheDirectory']}"


def test_the_container_starts_the_command_with_options_that_it_has():
    lines = BLOCKS["dockerfile"].replace("\\\n", "").splitlines()
    found = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines if line}
    entry = [*yaml.safe_load(found["ENTRYPOINT"]), *yaml.safe_load(found["CMD"])]
    params = read(entry[1:])
    assert (params["host"], str(params["port"])) == ("0.0.0.0", found["EXPOSE"])
    assert str(params["audit"]).startswith(found["VOLUME"])
    assert found["USER"] == "llorch"
    check = yaml.safe_load(found["HEALTHCHECK"].partition("CMD")[2])
    compile(check[2], "HEALTHCHECK", "exec")
    assert f":{found['EXPOSE']}/livez" in check[2]


def test_the_tokens_are_read_from_where_the_page_says():
    assert f"`{ONE}`" in TEXT and f"`{SEVERAL}`" in TEXT


def test_an_option_that_the_command_does_not_have_would_be_noticed():
    with pytest.raises(click.UsageError):
        read(["serve", "--drain", "3"])
