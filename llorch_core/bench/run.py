"""The run: every engine is judged first, then all are timed in turn, round after round.

One engine's process is alive at a time, and is started anew in each round: so cold start and load are
measured as often as speed, an unlucky start weighs no more than one round, and memory has to hold one engine
alone. Files are in the page cache by then. The machine's limits are measured beside each engine, before it
starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llorch_core.bench import limits, sizes
from llorch_core.bench.engines import Engine, environment
from llorch_core.bench.judge import Judge, WrongError, decoded
from llorch_core.bench.judge import Row as LogitsRow
from llorch_core.bench.machine import available_memory
from llorch_core.bench.plan import Plan, limit
from llorch_core.bench.process import CannotError, FailedError, Process
from llorch_core.engine.config import Config
from llorch_core.engine.errors import UsageError

WARM = 16  # most tokens decoded in vain before anything is timed
Samples = dict[int, float]  # by round
Progress = Callable[[str], None]  # called before each engine's turn


@dataclass(frozen=True)
class Setting:
    """What a run is about.

    folder    of the model; config, plan: its shape, and what is asked
    cache     folder for what adapters convert
    patience  seconds for one answer
    """

    folder: Path
    config: Config
    plan: Plan
    threads: int
    rounds: int
    cache: Path
    patience: float


@dataclass
class Result:
    """What became of one engine.

    status   timed, wrong, failed (died, hung, no answer), or cannot (it says so itself: not installed …)
    error    of a row of logits against float32, relative; None where it gives none
    agreed   ids that agreed before two were as likely, of so many
    samples  by measure and round: tokens a second of each job; seconds of first, cold and load; bytes of
             memory (its own) and mapped
    limits   by job and round: tokens a second that the machine allowed just before
    unable   by measure: why there is none
    """

    engine: Engine
    status: str = "timed"
    reason: str = ""
    title: str = ""
    version: str = ""
    error: float | None = None
    agreed: int = 0
    of: int = 0
    samples: dict[str, Samples] = field(default_factory=dict)
    limits: dict[str, Samples] = field(default_factory=dict)
    unable: dict[str, str] = field(default_factory=dict)

    def refuse(self, status: str, reason: str) -> None:
        """Show no speed of an engine that is wrong, failed or cannot."""
        self.status, self.reason = status, reason
        self.samples, self.limits = {}, {}


@dataclass(frozen=True)
class Machine:
    """What the machine did in each round: bytes a second by precision and turn, operations a second."""

    read: dict[str, list[float]]
    rate: list[float]


def run(
    setting: Setting, engines: Sequence[Engine], reference: Engine, tell: Progress
) -> tuple[list[Result], Machine]:
    """Judge and time engines, as the top of this file says. Raises UsageError where the reference fails."""
    judge = make_judge(setting, reference)
    results = [Result(engine) for engine in engines]
    for result in results:
        tell(f"judging {result.engine.label}")
        with verdict(result):
            _judge(setting, judge, result)
    machine = Machine({}, [])
    for turn in range(setting.rounds):
        machine.rate.append(limits.product_rate(setting.threads))
        timed = [result for result in results if result.status == "timed"]
        for result in timed if turn % 2 == 0 else reversed(timed):
            tell(f"round {turn + 1}: {result.engine.label}")
            with verdict(result):
                _time(setting, judge, result, turn, machine)
    return results, machine


@contextmanager
def verdict(result: Result) -> Iterator[None]:
    """Turn what goes wrong with an engine into its result."""
    try:
        yield
    except WrongError as error:
        result.refuse("wrong", str(error))
    except FailedError as error:
        result.refuse("failed", str(error))
    except CannotError as error:
        result.refuse("cannot", str(error))


def make_judge(setting: Setting, engine: Engine) -> Judge:
    """Ask the reference everything once. Raises UsageError where it does not answer."""

    def row(prompt: Sequence[int]) -> LogitsRow:
        with started(setting, engine) as (process, _):
            return decoded(process.ask({"do": "logits", "prompt": [*prompt]}))

    try:
        with started(setting, engine) as (process, _):
            answers = {job.measure: process.ask(job.request) for job in setting.plan.jobs}
            first = decoded(process.ask({"do": "logits", "prompt": setting.plan.prompt}))
    except (FailedError, CannotError) as error:
        raise UsageError(
            f"{engine.label}, to which every engine is held, does not run: {error}.\n"
            "Does `llorch generate` run with this model? --timeout allows more time."
        ) from error
    return Judge(answers, first, row)


@contextmanager
def started(setting: Setting, engine: Engine) -> Iterator[tuple[Process, Mapping[str, Any]]]:
    """Start an engine and load the model; gives it and the answer. Raises FailedError, CannotError."""
    needed, there = sizes.weight_bytes(setting.config, engine.precision), available_memory()
    if there is not None and needed > there:
        raise CannotError(f"its weights take {needed / 1e9:.1f} GB, and {there / 1e9:.1f} GB are available")
    with Process(engine.command, environment(setting.threads), setting.patience) as process:
        request = {"do": "load", "model": str(setting.folder), "precision": engine.precision}
        loaded = process.ask({**request, "threads": setting.threads, "cache": str(setting.cache)})
        if loaded["precision"] != engine.precision:
            raise FailedError(f"it was asked for {engine.precision} and loaded {loaded['precision']}")
        yield process, loaded


def _judge(setting: Setting, judge: Judge, result: Result) -> None:
    """Ask an engine everything once, and compare. Raises WrongError, FailedError, CannotError."""
    precision = result.engine.precision
    with started(setting, result.engine) as (process, loaded):
        result.title, result.version = loaded["engine"], loaded["version"]
        try:
            answer = process.ask({"do": "logits", "prompt": setting.plan.prompt})
        except CannotError as error:
            result.unable["logits"] = str(error)
        else:
            result.error = judge.logits(answer, precision)
        for job in setting.plan.jobs:
            try:
                answer = process.ask(job.request)
            except CannotError as error:
                result.unable[job.measure] = str(error)
                continue
            result.agreed += judge.ids(job, answer, precision)
            result.of += sum(map(len, job.rows(answer)))


def _time(setting: Setting, judge: Judge, result: Result, turn: int, machine: Machine) -> None:
    """Give an engine its turn in a round. Raises WrongError, FailedError, CannotError."""
    engine, plan = result.engine, setting.plan
    read = limits.bandwidth(sizes.token_bytes(setting.config, engine.precision), setting.threads)
    machine.read.setdefault(engine.precision, []).append(read)
    found: dict[str, float] = {}
    with started(setting, engine) as (process, loaded):
        first = {**plan.jobs[0].request, "count": 1}
        process.ask(first)
        found["cold"] = time.perf_counter() - process.started
        found["load"] = loaded["seconds"]
        process.ask({**first, "count": min(WARM, plan.jobs[0].request["count"])})
        for job in plan.jobs:
            if job.measure in result.unable:
                continue
            answer = process.ask(job.request)
            judge.ids(job, answer, engine.precision)
            found[job.measure] = job.speed(answer)
            if job is plan.jobs[0]:
                found["first"] = answer["first_s"]
        found["memory"], found["mapped"] = process.watch.anonymous, process.watch.mapped
    for measure, value in found.items():
        result.samples.setdefault(measure, {})[turn] = float(value)
    for job in plan.jobs:
        allowed = limit(job, setting.config, engine.precision, read, machine.rate[turn])
        result.limits.setdefault(job.measure, {})[turn] = allowed
