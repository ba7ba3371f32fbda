"""What the adapters of peers share: what is missing, and where conversions lie.

An adapter is a script that answers `llorch_core.bench.protocol`, run by a Python that has the peer. It
imports the peer only when a model is asked for, so that a missing package is an answer and not an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from llorch_core.bench.converted import converted as converted
from llorch_core.bench.protocol import Stepwise as Stepwise  # which adapters take from here
from llorch_core.bench.protocol import Unable

Kind = TypeVar("Kind")
STEP = 256  # room in a cache is made in steps of so many positions


@contextmanager
def packages(names: str) -> Iterator[None]:
    """Say what to install where an import fails."""
    try:
        yield
    except ImportError as error:
        raise Unable(f"{error}: pip install {names}") from error


def precision_of(request: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Kind:
    """Return what this engine calls the precision that is asked for."""
    if request["precision"] not in kinds:
        raise Unable(f"no {request['precision']} here (there is {', '.join(kinds)})")
    return kinds[request["precision"]]


def plain_gpt2(config: Any) -> None:
    """Refuse a model that is not computed as OpenAI's GPT-2 is: graphs here are written for that one."""
    if config.activation_function != "gelu_new":
        raise Unable(f"a graph is written here for gelu_new alone, not {config.activation_function}")
    if not config.scale_attn_weights or config.scale_attn_by_inverse_layer_idx:
        raise Unable("a graph is written here for scores divided by the root of head_dim alone")


def in_steps(room: int) -> int:
    """Return the room that is made for so many positions."""
    return -(-room // STEP) * STEP
