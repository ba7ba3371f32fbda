"""An engine that shows nothing but text: its greedy ids and log-probabilities against the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from llorch_core.diagnosis.result import CONFORMS, DIVERGES, UNDECIDED
from llorch_core.diagnosis.text_looks import looks
from llorch_core.diagnosis.text_replay import log_sum, replay
from llorch_core.diagnosis.text_result import TextDiagnosis, Token, count
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Oracle

PRINTED_IN_FULL = 7  # decimals: with fewer, a number was rounded when it was printed


def diagnose_text(
    oracle: Oracle,
    prompt_ids: Sequence[int],
    got_ids: Sequence[int],
    precision: str,
    logprobs: Sequence[float | None] | None = None,
    *,
    engine: str,
    model: str,
    read: Sequence[int] | int | None = None,
    from_text: bool = False,
    text_of: Callable[[int], str] | None = None,
    seconds: float = 30.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TextDiagnosis:
    """Hold the ids that an engine chose greedily against the oracle, each after the engine's own ids.

    prompt_ids  what the engine was given
    got_ids     what it chose behind that
    logprobs    the engine's log-probability of each id that it chose
    read        the ids that the engine says it read as the prompt, or how many
    from_text   whether got_ids were made from text by a tokenizer, and not by the engine
    text_of     what an id reads as
    seconds     how long mistakes may be tried that could have chosen the same ids; 0 tries none
    progress    is told how many of them were tried, and how many there are
    """
    prompt, got = [int(i) for i in prompt_ids], [int(i) for i in got_ids]
    answer = TextDiagnosis(UNDECIDED, "", engine, model, precision)
    if reason := _not_comparable(oracle, prompt, got, read):
        return replace(answer, reason=reason)
    usable, lacking = _usable(oracle, prompt, got)
    if not usable:
        return replace(answer, reason=lacking)
    given, notes = _readable(logprobs, len(got))
    if from_text:
        notes.append(
            "ids taken from the text: the engine did not show its own, and other ids may read the same"
        )
    rows, bounds = _teacher_forced(oracle, prompt, usable, precision)
    tokens = tuple(
        _token(k + 1, len(prompt) - 1 + k, id, row, bound, logprob, PRECISIONS[precision][0])
        for k, (id, row, bound, logprob) in enumerate(
            zip(usable, rows[-len(usable) :], bounds[-len(usable) :], given, strict=False)
        )
    )
    printed = _printed(given)
    tokens = tuple(replace(t, logprob_rounding=t.logprob_rounding + printed) for t in tokens)
    texts = {i: text_of(i) for t in tokens for i in (t.got, t.wanted)} if text_of else None
    first = next((t for t in tokens if t.wrong or t.logprob_wrong), None)
    notes.append(_how_little(tokens))
    answer = replace(answer, tokens=tokens, first=first, texts=texts, notes=tuple(notes))
    if first is None:
        if reason := lacking or _blind(tokens, precision):
            return replace(answer, reason=reason)
        return replace(answer, verdict=CONFORMS)
    causes, tried, total = replay(oracle, prompt, tokens, seconds, progress)
    gives = "gives" if len(causes) == 1 else "give"
    notes.append(
        f"of {total} mistakes {tried} were tried, each alone; {len(causes)} {gives} exactly this text"
    )
    notes += [lacking] if lacking else []
    patterns = looks(oracle, prompt, rows, tokens, precision, bool(causes))
    return replace(answer, verdict=DIVERGES, causes=causes, patterns=patterns, notes=tuple(notes))


# Before anything is compared


def _not_comparable(
    oracle: Oracle, prompt: list[int], got: list[int], read: Sequence[int] | int | None
) -> str:
    """Return why nothing can be compared, or ""."""
    n_vocab, n_ctx = oracle.config["n_vocab"], oracle.config["n_ctx"]
    if not prompt:
        return "the prompt has no token: there is nothing to read the first token from."
    if not got:
        return "the engine gave no token. Ask for one or more."
    if (unknown := next((i for i in prompt if not 0 <= i < n_vocab), None)) is not None:
        return f"the prompt holds the id {unknown}, and the model knows 0 to {n_vocab - 1}."
    if len(prompt) > n_ctx:
        return f"the prompt has {len(prompt)} tokens, and the model has {n_ctx} positions. Shorten it."
    if isinstance(read, int):
        if read != len(prompt):
            return (
                f"the engine read {count(read, 'token')}, and was asked with {len(prompt)}. Does it put a "
                "token before the text, or cut the text otherwise?"
            )
    elif read is not None and (seen := [int(i) for i in read]) != prompt:
        k = next((k for k, (a, b) in enumerate(zip(seen, prompt, strict=False)) if a != b), None)
        where = min(len(seen), len(prompt)) if k is None else k
        return (
            f"the engine read other ids than it was asked with: at place {where} it read "
            f"{seen[where] if where < len(seen) else 'nothing'}, wanted "
            f"{prompt[where] if where < len(prompt) else 'nothing'}. Compare the tokenizers, or ask with ids."
        )
    return ""


def _usable(oracle: Oracle, prompt: list[int], got: list[int]) -> tuple[list[int], str]:
    """Return the tokens that can be compared, and why not all of them can, or ""."""
    n_vocab, n_ctx = oracle.config["n_vocab"], oracle.config["n_ctx"]
    room = n_ctx - len(prompt) + 1  # the last token is chosen, and never read
    for k, id in enumerate(got[:room]):
        if not 0 <= id < n_vocab:
            return got[:k], (
                f"token {k + 1} is {id}, and the model knows 0 to {n_vocab - 1}: another model or tokenizer, "
                "or columns that pad the table and take part. Nothing can be said from there on."
            )
    if len(got) > room:
        return got[:room], (
            f"the prompt and {count(len(got), 'token')} exceed the {n_ctx} positions of the model: nothing "
            f"can be said of the tokens from {room + 1} on. Ask for {room} at most."
        )
    return got, ""


def _readable(logprobs: Sequence[float | None] | None, n: int) -> tuple[Sequence[float | None], list[str]]:
    """Return a log-probability for each token, None where it cannot be compared, and a note that says so."""
    if logprobs is None:
        return [None] * n, []
    if len(logprobs) != n:
        return [None] * n, [f"not compared: {len(logprobs)} log-probabilities for {count(n, 'token')}"]
    if not any(logprobs):
        return [None] * n, ["not compared: log-probabilities that are all 0, of choices already made"]
    return logprobs, []


def _blind(tokens: Sequence[Token], precision: str) -> str:
    """Return why a text without a wrong token says nothing, or ""."""
    if any(t.gap > t.rounding or t.logprob_got is not None for t in tokens):
        return ""
    return (
        f"in {precision} rounding explains either of the first two candidates at every token. Take a longer "
        "text, or record tensors."
    )


# The comparison


def _teacher_forced(
    oracle: Oracle, prompt: list[int], got: list[int], precision: str
) -> tuple[Tensor, Tensor]:
    """Return the logits that each token is chosen from, and how far those of an honest engine may be away.

    The row before them comes first, where there is one.
    """
    ids = np.asarray(prompt + got[:-1])
    (wanted,) = oracle.everywhere([{"ids": ids, "logits": np.empty(0)}], precision)
    start = max(len(prompt) - 2, 0)
    return wanted.value[start:], wanted.bound[start:]


def _token(
    number: int, position: int, got: int, row: Tensor, bound: Tensor, given: float | None, eps: float
) -> Token:
    """Compare one token with the row of logits that it is chosen from.

    bound  how far each of those of an honest engine may be away: two of them by the sum of their bounds
    """
    first, second = (int(i) for i in np.argsort(-row, kind="stable")[:2])
    other = second if got == first else got
    return Token(
        number=number,
        position=position,
        got=got,
        wanted=first,
        gap=float(row[first] - row[second]),
        behind=float(row[first] - row[got]),
        rounding=float(bound[first] + bound[other]),
        rank=1 + int(np.count_nonzero(row > row[got])),
        logprob=float(row[got] - log_sum(row)),
        logprob_got=None if given is None else float(given),
        logprob_rounding=_logprob_bound(row, bound, got, eps),
    )


def _logprob_bound(row: Tensor, bound: Tensor, id: int, eps: float) -> float:
    """Return how far a log-probability may be away where each logit is by its bound at most.

    The logit itself moves by its bound. The logarithm of the sum grows with every logit and is convex: it
    moves most where all of them go up. To that comes the rounding of the log-softmax: what the spec of the
    attention weights allows a softmax, as a share of a probability, is an amount of its logarithm.
    """
    moved = log_sum(row + bound) - log_sum(row)
    return float(bound[id]) + moved + eps * (12 + 4 * float(row.max() - row[id]))


def _printed(logprobs: Sequence[float | None]) -> float:
    """Return how far numbers are away from what they were before they were printed with few decimals."""
    most = 0
    for p in logprobs:
        if p is not None and np.isfinite(p):
            most = max(most, len(np.format_float_positional(p, trim="-").partition(".")[2]))
    return 0.5 * 10.0**-most if most < PRINTED_IN_FULL else 0.0


def _how_little(tokens: Sequence[Token]) -> str:
    least = min(t.gap for t in tokens)
    return (
        f"a text proves little: {count(len(tokens), 'token')}, the smallest gap {least:.3g}; an engine whose "
        f"logits are all off by less than {least / 2:.2g} writes the same text"
    )
