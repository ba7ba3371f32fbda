"""Proof that the suite can fail: every mistake on trial, and single elements moved at random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.check.compare import Comparison, as_json, number
from llorch_core.spec.component import Component
from llorch_core.spec.model import ModelSpec
from llorch_core.spec.window import measure, places
from llorch_core.subject.spec_engine import engine_of_specs
from llorch_core.trace.run import suite
from llorch_core.trace.session import Outcome, Session

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Trial:
    """One mistake before one rule that claims to catch it.

    status    caught; crashed (the engine raised instead of being wrong); missed; elsewhere (only
              another rule noticed); error (our own bug); not run (something is not here)
    scenario  the one that caught it, or that should have
    found     the first comparison that failed
    """

    mistake: str
    rule: str
    status: str
    scenario: Outcome | None
    found: Comparison | None


def claims(spec: ModelSpec, part: str | None = None) -> list[tuple[str, str]]:
    """Return every mistake with each rule that claims to catch it, in the order of the specs.

    part  only mistakes of this component, or this one mistake
    """
    rules = spec.all_rules().values()
    return [
        (mistake, rule.id)
        for mistake in spec.mistake_ids()
        for rule in rules
        if mistake in rule.catches and part in (None, mistake, mistake.partition(".")[0])
    ]


def try_mistakes(spec: ModelSpec, folder: Path, wanted: Sequence[tuple[str, str]]) -> Iterator[Trial]:
    """Put each mistake on trial before the scenarios of each rule that claims to catch it."""
    sessions: dict[str, Session] = {}
    for mistake, rule in wanted:
        if mistake not in sessions:
            sessions = {mistake: Session(engine_of_specs(spec, folder, mistake), spec)}
        session = sessions[mistake].again()
        yield judge(mistake, rule, suite().run(session, f"@{rule}"), session)


def judge(mistake: str, rule: str, outcomes: Sequence[Outcome], session: Session) -> Trial:
    """Say what the scenarios of a rule made of a mistake; where they missed it, who else noticed."""
    for outcome in outcomes:
        failed = [c for c in outcome.evidence if not c.conforms]
        if outcome.status == "failed" and failed:
            return Trial(mistake, rule, "caught", outcome, failed[0])
    for status, name in (("failed", "crashed"), ("error", "error"), ("not run", "not run")):
        for outcome in outcomes:
            if outcome.status == status:
                return Trial(mistake, rule, name, outcome, None)
    everything = suite().run(session.again(), "not @nothing")
    elsewhere = next((o for o in everything if o.status == "failed"), None)
    return Trial(mistake, rule, "elsewhere" if elsewhere else "missed", elsewhere, None)


def trial_json(trial: Trial) -> dict[str, Any]:
    """Return one trial as JSON can hold it."""
    return {
        "mistake": trial.mistake,
        "component": trial.mistake.partition(".")[0],
        "rule": trial.rule,
        "status": trial.status,
        "scenario": trial.scenario.id if trial.scenario else None,
        "title": trial.scenario.title if trial.scenario else None,
        "found": as_json(trial.found) if trial.found else None,
    }


def window_json(component: Component, session: Session) -> dict[str, Any]:
    """Return the window of a tolerance in float32, as JSON can hold it: both sides of it in tolerances."""
    spec = session.spec
    window = measure(component, places(component, spec.defaults, session.oracle, session.chunks), ["float32"])
    mistake, away = window.nearest()
    noise = max(window.noise.values())
    return {"noise": noise, "nearest": number(away), "mistake": f"{component.id}.{mistake}"}


@dataclass(frozen=True)
class Moved:
    """One element of one checkpoint that was moved by some tolerances, and whether a scenario noticed."""

    checkpoint: str
    step: int
    index: tuple[int, ...]
    noticed: bool


def move_elements(
    base: Session, keeper: Mapping[str, str], count: int, tolerances: float, seed: int | tuple[int, int]
) -> Iterator[Moved]:
    """Move one random element of what the engine recorded, `count` times, and run the scenario that holds it.

    A checkpoint is drawn, then one of its elements; it moves by `tolerances` times its tolerance from
    what is wanted there, up or down. Where the tolerance is 0, or the value -inf, any other value is wrong.

    keeper  which rule's scenarios hold a checkpoint, as `keepers` returns it
    """
    rng = np.random.default_rng(seed)
    wanted = [w for w in base.wanted if w.checkpoint in keeper and w.value.size]
    for _ in range(count):
        target = wanted[rng.integers(len(wanted))]
        index = tuple(int(rng.integers(n)) for n in target.value.shape)
        moved = np.array(base.record[target.step][target.checkpoint], np.float64)
        right, bound = target.value[index], target.bound[index]
        if not np.isfinite(right):
            moved[index] = 0.0
        else:
            moved[index] = right + rng.choice([-1.0, 1.0]) * max(tolerances * bound, np.spacing(abs(right)))
        record = list(base.record)
        record[target.step] = {**record[target.step], target.checkpoint: moved}
        outcomes = suite().run(base.again(record), f"@{keeper[target.checkpoint]}")
        failed = [c for o in outcomes if o.status == "failed" for c in o.evidence if not c.conforms]
        noticed = any((c.what, c.step, c.index) == (target.checkpoint, target.step, index) for c in failed)
        yield Moved(target.checkpoint, target.step, index, noticed)


def keepers(session: Session) -> dict[str, str]:
    """Return for each checkpoint a rule of arithmetic whose scenarios compare it in the model's reading."""
    found: dict[str, str] = {}
    arithmetic = " or ".join(f"@{component}.*" for component in session.spec.components)
    for outcome in suite().run(session.again(), arithmetic):
        for comparison in outcome.evidence:
            if comparison in session.local:
                found.setdefault(comparison.what, outcome.rules[0])
    return found


def detection_bound(noticed: int, count: int) -> float:
    """Return the chance of detection that is exceeded with 95 % confidence, if all were noticed; else 0.

    Of n moves all noticed, a chance below 0.05 ** (1 / n) would have been seen to fail.
    """
    return float((1 - CONFIDENCE) ** (1 / count)) if count and noticed == count else 0.0
