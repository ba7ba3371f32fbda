"""Medians, ratios of what was measured in the same round, and the targets that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from llorch_core.bench.run import Result, Samples

Spread = dict[str, float]
MEMORY = 1.15  # times weights and cache


def spread(values: Sequence[float]) -> Spread:
    """Return median, min and max."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread | None:
    """Return the spread of the ratios of two engines round by round; None where they share none."""
    ratios = [ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)]
    return spread(ratios) if ratios else None


def fastest(results: Sequence[Result], measure: str) -> Result | None:
    """Return the result with the best median of a measure; None where none has it."""
    have = [result for result in results if result.samples.get(measure)]
    return max(have, key=lambda result: median(result.samples[measure].values()), default=None)


@dataclass(frozen=True)
class Target:
    """What is wanted of an engine of ours.

    of       its labels; the fastest of them counts
    against  "limit", or the peers that are meant, whose fastest counts: a choice and how it is called
    """

    of: tuple[str, ...]
    measure: str
    wanted: float
    against: str
    among: Callable[[Result], bool] | None


def _peer(name: str, precision: str) -> Callable[[Result], bool]:
    return lambda r: (r.engine.name, r.engine.precision) == (name, precision)


def _float32(result: Result) -> bool:
    return result.engine.precision == "float32"


def _any(result: Result) -> bool:
    return True


TARGETS = (
    Target(("numpy-float32",), "decode", 1.0, "the best float32 peer", _float32),
    Target(("numpy-float32",), "decode", 0.85, "the measured limit", None),
    Target(("numpy-float32",), "prefill", 0.95, "the best float32 peer", _float32),
    Target(("numpy-float32",), "batch 8", 1.0, "the best float32 peer", _float32),
    Target(("fast-float32",), "decode", 1.1, "the best float32 peer", _float32),
    Target(("fast-bfloat16",), "decode", 1.1, "llama.cpp bfloat16", _peer("llama_cpp", "bfloat16")),
    Target(("fast-int8",), "decode", 1.2, "llama.cpp int8", _peer("llama_cpp", "int8")),
    Target(("fast-int4",), "decode", 1.0, "llama.cpp int4", _peer("llama_cpp", "int4")),
    Target(("fast-int8",), "batch 8", 1.1, "the best of all peers", _any),
    Target(("fast-float32",), "prefill", 1.0, "the best float32 peer", _float32),
    Target(
        *(("fast-int8", "fast-bfloat16"), "prefill", 0.6, "the best quantised peer"),
        lambda r: r.engine.precision != "float32",
    ),
)


def judged(results: Sequence[Result]) -> list[dict[str, object]]:
    """Return every target with what was reached; `ratio` is None where an engine was not timed."""
    found: list[dict[str, object]] = []
    for target in TARGETS:
        ours = fastest([r for r in results if r.engine.ours and r.engine.label in target.of], target.measure)
        theirs, name = _opponent(results, target, ours)
        ratio = paired(ours.samples[target.measure], theirs) if ours and theirs else None
        found.append(
            {
                "engine": ours.engine.label if ours else target.of[0],
                "measure": target.measure,
                "against": target.against,
                "opponent": name,
                "wanted": target.wanted,
                "ratio": ratio,
                "met": None if ratio is None else ratio["median"] >= target.wanted,
            }
        )
    return found


def _opponent(
    results: Sequence[Result], target: Target, ours: Result | None
) -> tuple[Samples | None, str | None]:
    if target.among is None:
        return (ours.limits.get(target.measure) if ours else None), None
    peer = fastest([r for r in results if not r.engine.ours and target.among(r)], target.measure)
    return (peer.samples[target.measure], peer.engine.label) if peer else (None, None)


def against_peers(results: Sequence[Result], measures: Sequence[str]) -> list[dict[str, object]]:
    """Return, for each engine of ours and each measure, the ratio to the fastest peer of its precision."""
    found: list[dict[str, object]] = []
    for result in results:
        for measure in measures:
            same = [r for r in results if not r.engine.ours and r.engine.precision == result.engine.precision]
            peer = fastest(same, measure)
            if result.engine.ours and peer and measure in result.samples:
                ratio = paired(result.samples[measure], peer.samples[measure])
                if ratio:
                    about = {"engine": result.engine.label, "measure": measure}
                    found.append({**about, "peer": peer.engine.label, "ratio": ratio})
    return found
