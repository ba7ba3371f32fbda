"""The parts of our engine that are not arithmetic, each as its spec asks for it, right or with a mistake.

A behaviour is made with the data of its spec. With the right data it calls the engine and nothing
else; where a mistake gives another value for a datum, a shim in front of the engine acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

HOMES: dict[str, str] = {
    # name of the spec: "module.Class" of this package
    "configuration": "files.Configuration",
    "weight_file": "files.WeightFile",
    "tokenizer": "text.Tokenizer",
    "kv_cache": "state.CacheProtocol",
    "sampling": "sampling.Sampling",
    "generation": "generation.Generation",
    "recording": "state.Recording",
    "server_api": "server_api.Api",
    "server_stream": "server_stream.Stream",
    "server_batch": "server_batch.Batching",
    "server_audit": "server_audit.ServerAudit",
    "server_auth": "server_auth.Auth",
    "server_deadline": "server_deadline.Deadlines",
    "server_log": "server_log.Logs",
    "server_life": "server_life.Life",
}


def behaviour(name: str) -> Callable[[Any, Mapping[str, Any]], Any]:
    """Return the class of a behaviour; it takes the model on trial and the data of the spec."""
    module, _, kind = HOMES[name].partition(".")
    made: Callable[[Any, Mapping[str, Any]], Any] = getattr(import_module(f"{__name__}.{module}"), kind)
    return made
