"""What a diagnosis at text level says: its tokens, what may have made them, and how little that proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llorch_core.check.compare import number
from llorch_core.diagnosis.result import CONFORMS, DIVERGES, EXIT_CODES, UNDECIDED


@dataclass(frozen=True)
class Token:
    """One token that the engine chose, and what the oracle says after the engine's own tokens before it.

    number            of the token, from 1
    position          of the row of logits that it was chosen from, from 0
    got, wanted       the engine's token, and the oracle's likeliest
    gap               between the oracle's first two candidates, in logits
    behind            how far the engine's token is behind the likeliest
    rounding          how far the difference of two logits may be off in the engine's precision
    rank              of the engine's token: 1 is the likeliest
    logprob           of the engine's token, by the oracle
    logprob_got       the same by the engine, or None where it does not say
    logprob_rounding  how far the two may be apart
    """

    number: int
    position: int
    got: int
    wanted: int
    gap: float
    behind: float
    rounding: float
    rank: int
    logprob: float
    logprob_got: float | None = None
    logprob_rounding: float = 0.0

    @property
    def near_tie(self) -> bool:
        """Whether it is not the oracle's token, and rounding can explain that."""
        return self.got != self.wanted and self.behind <= self.rounding

    @property
    def wrong(self) -> bool:
        """Whether it is not the oracle's token, and rounding cannot explain that."""
        return self.got != self.wanted and not self.behind <= self.rounding

    @property
    def logprob_wrong(self) -> bool:
        """Whether the engine's log-probability is further away than rounding can explain."""
        if self.logprob_got is None:
            return False
        return not abs(self.logprob_got - self.logprob) <= self.logprob_rounding


@dataclass(frozen=True)
class Pattern:
    """What the text looks like; never a certainty."""

    name: str
    text: str


@dataclass(frozen=True)
class TextCause:
    """A mistake with which the oracle chooses exactly the engine's tokens."""

    mistake: str
    text: str
    seen_in: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextDiagnosis:
    """The whole answer at text level.

    verdict   conforms, diverges or undecided
    reason    why it is undecided, or ""
    tokens    every token that was compared
    first     the first token that rounding cannot explain, by its id or its log-probability, or None
    causes    mistakes with which the oracle chooses exactly the engine's tokens, where the right one does
              not: the text cannot tell them apart
    patterns  what the text looks like
    notes     what was left out, and how little a text proves
    texts     what an id reads as, where somebody knows
    """

    verdict: str
    reason: str
    engine: str
    model: str
    precision: str
    tokens: tuple[Token, ...] = ()
    first: Token | None = None
    causes: tuple[TextCause, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    notes: tuple[str, ...] = ()
    texts: Mapping[int, str] | None = None

    @property
    def exit_code(self) -> int:
        """0 conforms, 1 does not, 2 could not tell."""
        return EXIT_CODES[self.verdict]

    @property
    def near_ties(self) -> tuple[Token, ...]:
        """The tokens that are not the oracle's, where rounding can explain it."""
        return tuple(token for token in self.tokens if token.near_tie)

    @property
    def smallest_gap(self) -> float | None:
        """The smallest gap between the oracle's first two candidates."""
        return min((token.gap for token in self.tokens), default=None)

    def name(self, id: int) -> str:
        """Return the id, with its text where somebody knows it."""
        return f"{id} {self.texts[id]!r}" if self.texts and id in self.texts else str(id)

    def lines(self) -> list[str]:
        """Return the answer as lines for a terminal, the verdict first."""
        total = len(self.tokens)
        out = {
            CONFORMS: [
                f"conforms             {count(total, 'token')}, {len(self.near_ties)} of them near-ties"
            ],
            DIVERGES: [],
            UNDECIDED: [f"undecided            {self.reason}"],
        }[self.verdict]
        if (t := self.first) is not None:
            got, wanted = self.name(t.got), self.name(t.wanted)
            if t.wrong:
                out.append(
                    f"first wrong token    token {t.number}, position {t.position}: {got}, wanted {wanted}"
                )
                out.append(
                    f"                     {t.behind:.4g} behind in logits, rank {t.rank}; rounding explains "
                    f"{t.rounding:.2g}; the first two candidates are {t.gap:.4g} apart"
                )
            else:
                out.append(
                    f"first wrong number   token {t.number}, position {t.position}: {got} has the "
                    f"log-probability {t.logprob_got:.7g}, wanted {t.logprob:.7g}; rounding explains "
                    f"{t.logprob_rounding:.2g}"
                )
            others = sum(u.wrong for u in self.tokens if u.number > t.number)
            out.append(f"after it             {others} of {total - t.number} tokens are wrong, each after "
                       "the engine's own text")  # fmt: skip
        for t in self.near_ties:
            out.append(
                f"near-tie             token {t.number}: {self.name(t.got)}, wanted {self.name(t.wanted)}; "
                f"{t.behind:.2g} behind, rounding explains {t.rounding:.2g}"
            )
        out += [f"the same text from   {cause.mistake}: {cause.text}" for cause in self.causes]
        out += [f"looks like           {pattern.text} ({pattern.name})" for pattern in self.patterns]
        return out + [f"note                 {note}" for note in self.notes]

    def as_json(self) -> dict[str, Any]:
        """Return what `llorch diagnose --json` prints at text level."""

        def shown(t: Token) -> dict[str, Any]:
            data = {key: number(value) for key, value in asdict(t).items()}
            data |= {"near_tie": t.near_tie, "wrong": t.wrong, "logprob_wrong": t.logprob_wrong}
            if self.texts:
                data |= {"got_text": self.texts.get(t.got), "wanted_text": self.texts.get(t.wanted)}
            return data

        return {
            "level": "text",
            "verdict": self.verdict,
            "reason": self.reason,
            "engine": self.engine,
            "model": self.model,
            "precision": self.precision,
            "compared": {
                "tokens": len(self.tokens),
                "log_probabilities": sum(t.logprob_got is not None for t in self.tokens),
                "near_ties": [t.number for t in self.near_ties],
                "smallest_gap": self.smallest_gap,
            },
            "first_divergence": shown(self.first) if self.first else None,
            "causes": [{**asdict(cause), "seen_in": list(cause.seen_in)} for cause in self.causes],
            "patterns": [asdict(pattern) for pattern in self.patterns],
            "tokens": [shown(token) for token in self.tokens],
            "notes": list(self.notes),
        }


def count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
