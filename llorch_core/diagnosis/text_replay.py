"""Which mistakes write the text that an engine wrote: the oracle generates with each of them, greedily."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from llorch_core.diagnosis.text_result import TextCause, Token
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Oracle

CARRIED = ("embedding", "cache", "attention_scores", "kv_cache")  # what reads what a call leaves to the next
CALLS = 4  # after so many calls most mistakes are refuted; only the others read the whole text


def replay(
    oracle: Oracle,
    prompt: list[int],
    tokens: Sequence[Token],
    seconds: float,
    progress: Callable[[int, int], None],
) -> tuple[tuple[TextCause, ...], int, int]:
    """Try every mistake that the oracle can make, those that show from the second token on first.

    Returns those with which it chooses the engine's tokens; how many were tried in time; and of how many.
    """
    until = time.monotonic() + seconds
    mistakes = {mistake.id: mistake for part in oracle.spec.parts() for mistake in part.mistakes.values()}
    ids = candidates(oracle)
    found: list[TextCause] = []
    tried = 0
    for done, id in enumerate(ids):
        progress(done, len(ids))
        if time.monotonic() > until:
            break
        try:
            with np.errstate(all="ignore"):
                same = _writes(oracle, id, prompt, tokens, until)
        except TimeoutError:
            continue
        except (SpecError, IndexError, ValueError):  # with this mistake it cannot even read the ids
            same = False
        tried += 1
        if same:
            found.append(TextCause(id, mistakes[id].symptom, tuple(mistakes[id].seen_in)))
    progress(len(ids), len(ids))
    return tuple(found), tried, len(ids)


def candidates(oracle: Oracle) -> list[str]:
    """Return the mistakes that can be tried: of the arithmetic, of the wiring, and some of the cache."""
    spec = oracle.spec
    parts = {node.component.id for node in spec.nodes(oracle.config["n_layer"])} | {"argmax"}
    wiring = {mistake.id for mistake in spec.mistakes.values() if not mistake.policy}
    wanted = [i for i in spec.mistake_ids() if i.partition(".")[0] in parts or i in wiring or i in _PROTOCOL]
    return sorted(wanted, key=lambda i: i.partition(".")[0] not in CARRIED and "cache" not in i)


def _writes(oracle: Oracle, id: str, prompt: list[int], tokens: Sequence[Token], until: float) -> bool:
    """Whether the oracle with that mistake chooses the tokens, with a cache or without one."""
    got = [t.got for t in tokens]
    if id.startswith("argmax."):
        return not any(t.logprob_wrong for t in tokens) and _chooses(oracle, id, prompt, got)
    wrong = oracle if id in _PROTOCOL else replace(oracle, mistake=id)
    started = time.monotonic()
    if not _all_give(wrong.run([prompt])[0]["logits"][-1:], tokens):
        return False
    if time.monotonic() + 2 * len(got) * (time.monotonic() - started) > until:
        raise TimeoutError
    if id in _PROTOCOL:
        return _all_give(_PROTOCOL[id](oracle, prompt, got), tokens[1:])
    return _all_give(_with_cache(wrong, prompt, got), tokens) or _all_give(
        _without_cache(wrong, prompt, got), tokens
    )


def _all_give(rows: Iterable[Tensor], tokens: Sequence[Token]) -> bool:
    return all(gives(row, t) for row, t in zip(rows, tokens, strict=False))


def gives(row: Tensor, t: Token) -> bool:
    """Whether a row of logits leads to the engine's token, and log-probability, within rounding."""
    if np.isnan(row).any():  # the choice among them is the engine's own; NumPy takes the first
        return t.got == int(row.argmax())
    if not row[t.got] >= row.max() - t.rounding:
        return False
    if t.logprob_got is None:
        return True
    return bool(abs(row[t.got] - log_sum(row) - t.logprob_got) <= t.logprob_rounding)


def log_sum(row: Tensor) -> float:
    """Return the logarithm of the sum of the exponentials of a row."""
    top = row.max()
    return float(top + np.log(np.sum(np.exp(row - top))))


def _with_cache(wrong: Oracle, prompt: list[int], got: list[int]) -> Iterator[Tensor]:
    done = 0
    for calls in (CALLS, len(got)):
        chunks = [prompt, *([i] for i in got[: calls - 1])]
        if len(chunks) > done:
            yield from (step["logits"][-1] for step in wrong.run(chunks)[done:])
            done = len(chunks)


def _without_cache(wrong: Oracle, prompt: list[int], got: list[int]) -> Iterator[Tensor]:
    for k in range(len(got)):
        yield wrong.run([prompt + got[:k]])[0]["logits"][-1]


def _chooses(oracle: Oracle, id: str, prompt: list[int], got: list[int]) -> bool:
    """Whether another choice from the right logits gives the tokens."""
    part, _, mistake = id.partition(".")
    logits = oracle.run([prompt + got[:-1]])[0]["logits"][len(prompt) - 1 :]
    for row, token in zip(logits, got, strict=True):
        made = oracle.spec.components[part].run(
            ["out"], {"logits": row}, oracle.config, layer=0, sizes={"n_vocab": len(row)}, mistake=mistake
        )
        if int(made["out"][0]) != token:
            return False
    return True


# Mistakes of the cache's protocol that the oracle makes when it is called otherwise: rows from the second
# token on


def _not_advanced(oracle: Oracle, prompt: list[int], got: list[int]) -> Iterator[Tensor]:
    """Every token stands at position 0, and sees itself alone."""
    for id in got[:-1]:
        yield oracle.run([[id]])[0]["logits"][-1]


def _advanced_by_one(oracle: Oracle, prompt: list[int], got: list[int]) -> Iterator[Tensor]:
    """The prompt counts as one position: what follows sees its first token, and overwrites the others."""
    yield from oracle.run([prompt[:1] + got[:-1]])[0]["logits"][1:]


_PROTOCOL: dict[str, Callable[[Oracle, list[int], list[int]], Iterator[Tensor]]] = {
    "kv_cache.position_not_advanced": _not_advanced,
    "kv_cache.position_advanced_by_one": _advanced_by_one,
}
