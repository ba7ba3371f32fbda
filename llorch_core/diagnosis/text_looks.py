"""What a wrong text looks like: patterns that a person would see, and never a certainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llorch_core.diagnosis.text_replay import log_sum
from llorch_core.diagnosis.text_result import Pattern, Token, count
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Oracle

LONGEST_PERIOD, REPEATS = 4, 3  # of a text that repeats itself
TEMPERATURES = np.geomspace(0.1, 4, 60)
SAMPLED = (0.25, 2.0)  # likeliest temperatures that look like sampling; those of junk are far above
PENALTIES = (1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)  # that engines have as their default, or people set


def looks(
    oracle: Oracle,
    prompt: list[int],
    rows: Tensor,
    tokens: Sequence[Token],
    precision: str,
    explained: bool,
) -> tuple[Pattern, ...]:
    """Return what the text looks like, the most telling first.

    rows       the logits that each token is chosen from, and, where the prompt has two ids, the row before
    explained  whether a listed mistake writes the same text: then chance and rounding have no part in it
    """
    got, wrong, own = [t.got for t in tokens], [t.wrong for t in tokens], rows[-len(tokens) :]
    if not any(wrong):
        return _temperature(own, tokens)
    first = wrong.index(True)
    mostly = np.mean(wrong[first:]) > 0.5
    found = []
    if got[: len(prompt)] == prompt:
        found.append(Pattern("prompt_echoed", "the prompt given back before the text"))
    if len(rows) > len(tokens) and got == rows[:-1].argmax(axis=-1).tolist():
        found.append(Pattern("one_row_too_early", "a choice from the logits of the position before"))
    if _first_left_out(oracle, prompt, tokens):
        found.append(Pattern("first_token_left_out", "the right text without its first token"))
    if (penalty := _penalty(prompt, own, tokens)) is not None:
        text = f"a repetition penalty of {penalty:g}: switch it off (repeat_penalty 1), it is not greedy"
        found.append(Pattern("repetition_penalty", text))
    chance = not explained and not found
    if first and mostly and (period := _period(got[first - 1 :])):
        text = (
            f"a text that repeats every {count(period, 'token')} where the model would not: a position that "
        )
        text += "does not advance, or a past that is forgotten"
        found.append(Pattern("repeats", text))
        chance = False
    if not explained and (coarser := _coarser(tokens, precision)):
        found.append(
            Pattern("lower_precision", f"an engine that computes in {coarser}, and not in {precision}")
        )
    elif chance and (temperature := _sampled(own, tokens)):
        text = f"tokens drawn at random, at a temperature near {temperature:.1f}, and not the likeliest ones"
        found.append(Pattern("sampling", text))
    if first and mostly:
        text = f"a prompt that is read right ({count(first, 'token')}), and a cache or a position that is not"
        found.append(Pattern("right_then_wrong", text))
    if all(wrong):
        text = (
            "other weights, another tokenizer or wrong arithmetic: no token is right, the first one neither"
        )
        found.append(Pattern("all_wrong", text))
    return tuple(found)


def _first_left_out(oracle: Oracle, prompt: list[int], tokens: Sequence[Token]) -> bool:
    """Whether the engine shows, from the first on, what comes after the token that it leaves out."""
    ids = [*prompt, tokens[0].wanted, *(t.got for t in tokens[:-1])]
    if len(tokens) < 2 or len(ids) > oracle.config["n_ctx"]:
        return False
    logits = oracle.run([ids])[0]["logits"][len(prompt) :]
    return all(row[t.got] >= row.max() - t.rounding for row, t in zip(logits, tokens, strict=True))


def _penalty(prompt: list[int], rows: Tensor, tokens: Sequence[Token]) -> float | None:
    """Return a repetition penalty under which every token is the likeliest, where there is one."""
    for penalty in PENALTIES:
        for seen in (list(prompt), []):  # of prompt and text, or of the text alone
            for row, t in zip(rows, tokens, strict=True):
                penalised = row.copy()
                penalised[seen] = np.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
                if penalised[t.got] < penalised.max() - t.rounding:
                    break
                seen.append(t.got)
            else:
                return penalty
    return None


def _period(ids: list[int]) -> int:
    """Return after how many tokens the text repeats itself, 0 where it does not."""
    for period in range(1, LONGEST_PERIOD + 1):
        if len(ids) >= REPEATS * period and ids[period:] == ids[:-period]:
            return period
    return 0


def _coarser(tokens: Sequence[Token], precision: str) -> str:
    """Return the finest precision whose rounding explains every token, and would not explain any text."""
    eps = PRECISIONS[precision][0]
    typical = np.median([t.gap for t in tokens])
    for name, (coarse, _) in PRECISIONS.items():
        allowed = [t.rounding * coarse / eps for t in tokens]
        explains = all(t.behind <= a for t, a in zip(tokens, allowed, strict=True))
        if coarse > eps and explains and np.median(allowed) < typical:
            return name
    return ""


def _sampled(rows: Tensor, tokens: Sequence[Token]) -> float | None:
    """Return the temperature at which the tokens are likeliest, where they look drawn; else None."""
    wrong = [t.wrong for t in tokens]
    if sum(wrong) < 2 or all(wrong[wrong.index(True) :]):
        return None
    chosen = np.array([row[t.got] for row, t in zip(rows, tokens, strict=True)])
    likely = [np.sum(chosen / x - [log_sum(row / x) for row in rows]) for x in TEMPERATURES]
    best = float(TEMPERATURES[int(np.argmax(likely))])
    return best if SAMPLED[0] <= best <= SAMPLED[1] else None


def _temperature(rows: Tensor, tokens: Sequence[Token]) -> tuple[Pattern, ...]:
    """Return a temperature that explains every log-probability, where there is one."""
    for temperature in np.arange(2, 41) / 20:
        scaled = [
            abs(row[t.got] / temperature - log_sum(row / temperature) - t.logprob_got)
            <= t.logprob_rounding / min(temperature, 1)
            for row, t in zip(rows, tokens, strict=True)
            if t.logprob_got is not None
        ]
        if temperature != 1 and all(scaled):
            text = f"log-probabilities at the temperature {temperature:g}: the logits may be right"
            return (Pattern("log_probabilities_after_temperature", text),)
    return ()
