"""A server is ready when it has read the weights that it should have, and computes what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from llorch_core.engine.layers import Array
from llorch_core.engine.model import Model


class SelfCheckError(Exception):
    """The engine does not compute what is known of this model."""


@dataclass(frozen=True)
class Known:
    """The answer that is known of a model.

    ids     a prompt
    logits  (T, n_vocab)  what follows each id, from a source that is not this engine
    share   of the largest known logit: how far each logit may be away
    source  where the answer is from, in words
    """

    ids: Sequence[int]
    logits: Array
    share: float
    source: str


def digest_of_weights(folder: Path) -> str:
    """Return the SHA-256 of the weight files of a folder, in the order of their names."""
    paths = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    states = [path.stat() for path in paths]
    return _digest(tuple(paths), tuple((state.st_size, state.st_mtime_ns, state.st_ino) for state in states))


@lru_cache(maxsize=1)
def _digest(paths: tuple[Path, ...], states: tuple[tuple[int, int, int], ...]) -> str:
    """Read the files once, as long as they are as they were: a start asks twice, and they may be large."""
    del states
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(2**22):
                digest.update(block)
    return digest.hexdigest()


def check_digest(found: str, wanted: str | None) -> None:
    """Raise SelfCheckError where the weights have another digest than they should."""
    if wanted is not None and found != wanted.lower():
        raise SelfCheckError(
            f"the weights have the SHA-256 {found} (wanted {wanted}).\n"
            "The server takes no work. Is this the right folder, and was it copied whole?"
        )


def check(model: Model, known: Known | None) -> None:
    """Read a prompt whose answer is known; where none is, logits must be numbers. Spec: server_life.

    Raises SelfCheckError with the first logit that is too far away.
    """
    ids = known.ids if known else range(min(4, model.config.n_vocab, model.config.n_ctx))
    got = model.logits(list(ids))
    if not np.isfinite(got).all():
        raise SelfCheckError("the engine computes logits that are not finite: the server takes no work.")
    if known is None:
        return
    away = np.abs(got - known.logits)
    bound = known.share * np.abs(known.logits).max()
    if (away > bound).any():
        row, token = np.unravel_index(int(away.argmax()), away.shape)
        raise SelfCheckError(
            f"the logit of id {token} after {row + 1} ids is {got[row, token]:.6g} (wanted "
            f"{known.logits[row, token]:.6g} ± {bound:.2g}, by {known.source}).\n"
            "The server takes no work. `llorch verify --model …` finds the first wrong number."
        )
