"""Is a record comparable at all: the same ids, the same model? Asked before anything is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llorch_core.spec.oracle import Oracle, Step


class UndecidedError(Exception):
    """The record cannot be compared; the text says why, and what would help."""


def align(oracle: Oracle, record: Sequence[Step], asked: Sequence[Sequence[int]] | None) -> list[Step]:
    """Return the record with its ids, as whole numbers. Raises UndecidedError where it cannot be compared.

    asked  the ids that were to be read, for each forward call; None where the record says it itself
    """
    steps = [dict(step) for step in record]
    if not any(step.keys() - {"ids"} for step in steps):
        raise UndecidedError("nothing was recorded. Wanted: at least one checkpoint besides the ids.")
    if asked is not None and len(asked) != len(steps):
        raise UndecidedError(f"{len(asked)} forward calls were asked for, and {len(steps)} were recorded.")
    seen = 0
    for k, step in enumerate(steps):
        if "ids" not in step and asked is None:
            raise UndecidedError(
                f"step {k} does not say which ids it read. Record ids, or give --ids or --prompt."
            )
        ids = np.asarray(step.get("ids", asked[k] if asked else ()))
        if ids.ndim != 1 or not ids.size or not np.array_equal(ids, np.round(ids)):
            raise UndecidedError(
                f"the ids of step {k} are {list(ids.shape)} of {ids.dtype}, wanted whole numbers [T]."
            )
        if asked is not None and ids.tolist() != list(asked[k]):
            raise UndecidedError(
                f"step {k} read the ids {_few(ids.tolist())}, and {_few(list(asked[k]))} were asked for. "
                "Compare the tokenizers, and record the same ids."
            )
        if ids.min() < 0 or ids.max() >= oracle.config["n_vocab"]:
            raise UndecidedError(
                f"step {k} read the id {int(ids.max() if ids.min() >= 0 else ids.min())}, and the model has "
                f"{oracle.config['n_vocab']} tokens. Is it the same model?"
            )
        seen += ids.size
        step["ids"] = ids.astype(np.int64)
    if seen > oracle.config["n_ctx"]:
        raise UndecidedError(f"{seen} positions were read, and the model has {oracle.config['n_ctx']}.")
    _same_model(oracle, steps)
    return steps


def _same_model(oracle: Oracle, steps: Sequence[Step]) -> None:
    """Raise UndecidedError where no tensor has the shape it has in this model, or a weight is not finite."""
    known = {name for place in oracle.places([[0]]) for name in place.node.makes} | {"ids"}
    for k, step in enumerate(steps):
        for name in step:
            if name not in known:
                n_layer = oracle.config["n_layer"]
                raise UndecidedError(
                    f"step {k} shows {name}, and the model has {n_layer} blocks. Is it the same model?"
                )
    recorded = [(k, name) for k, step in enumerate(steps) for name in step if name != "ids"]
    if not oracle.usable(steps) & set(recorded):
        k, name = recorded[0]
        wanted = next(
            oracle.shape(place, output)
            for place in oracle.places([step["ids"] for step in steps])
            for made, output in place.node.makes.items()
            if place.step == k and made == name
        )
        raise UndecidedError(
            f"no tensor has the shape that it has in this model: step {k}, {name} is "
            f"{list(np.shape(steps[k][name]))}, wanted {list(wanted)}. "
            "Is it the same model, and are the ids those that were read?"
        )
    for name in oracle.weights:
        if not np.isfinite(oracle.weights[name]).all():
            raise UndecidedError(
                f"the weight {name} of the model is not finite: nothing can be computed with it."
            )


def _few(ids: Sequence[int]) -> str:
    return f"{list(ids[:8])}{' …' if len(ids) > 8 else ''}"
