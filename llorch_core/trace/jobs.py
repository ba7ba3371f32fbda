"""Run the features in several processes: the same evidence in the same order, sooner."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from llorch_core.spec.suite import load_specs
from llorch_core.subject.engines import put_on_trial
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.subject.protocol import Subject
from llorch_core.trace.lines import Lines, Ran, merge
from llorch_core.trace.proof import EvidenceFile
from llorch_core.trace.run import suite, tags_of
from llorch_core.trace.session import LOADING_CONTEXT, Outcome, Session

POLL = 0.1  # seconds between two looks at how many scenarios have ended


class WorkerDiedError(Exception):
    """A process that ran features ended before its work was done."""


@dataclass(frozen=True)
class Order:
    """What is to be run: an engine, as `put_on_trial` takes it, and the rules that it is held to.

    component  only the rules of this one; None: all
    proof      folder of the proof bundle, in which evidence is left; None: nowhere
    traced     whether to note which lines of our NumPy engine, which it then is, each scenario runs
    """

    engine: str = "numpy"
    model: Path | None = None
    timeout: float = 120.0
    names: str | None = None
    component: str | None = None
    proof: Path | None = None
    traced: bool = False

    @property
    def ours(self) -> bool:
        """Whether the engine is of this package, and computes in this process."""
        return self.engine.partition(":")[0] in ("numpy", "spec")


@dataclass
class Run:
    """What came of it.

    outcomes  of every scenario, in the order of the features
    ran       the lines of our engine by context
    reading   elements of each checkpoint of the standard reading, as STEP/CHECKPOINT
    """

    outcomes: list[Outcome] = field(default_factory=list)
    ran: Ran = field(default_factory=dict)
    reading: dict[str, int] = field(default_factory=dict)


class Worker:
    """One process, or this one: an engine on trial, before which one feature after another is run."""

    def __init__(self, order: Order, subject: Subject | None = None, ended: Any = None) -> None:
        self._order = order
        self._ended = ended
        self._lines = Lines() if order.traced else None
        if self._lines:  # what runs while a model is loaded is of the scenarios that are about the model
            self._lines.start()
            self._lines.switch(LOADING_CONTEXT)
            ours = NumpyEngine(order.model)
            _ = ours.model.tokenizer  # it is read when it is needed first: now
            subject = ours
        given = (order.engine, order.model, order.timeout, order.names)
        self._session = Session(subject or put_on_trial(*given), load_specs())

    def feature(self, index: int, on_scenario: Callable[[Outcome], None] | None = None) -> Run:
        """Run one feature, and leave its evidence."""
        session, order = self._session, self._order
        session.outcomes = []
        notes = EvidenceFile(order.proof, suite().file(index), session.subject) if order.proof else None

        def ended(outcome: Outcome) -> None:
            if notes:
                notes.scenario(outcome)
            if on_scenario:
                on_scenario(outcome)
            if self._ended is not None:
                with self._ended.get_lock():
                    self._ended.value += 1

        session.on_scenario = ended
        if notes:
            session.on_comparison = notes.comparison
        if self._lines:
            self._lines.start()
            session.on_context = self._lines.switch
        ran: Ran = {}
        try:
            outcomes = suite().run(session, tags_of(order.component), index)
        finally:
            if self._lines:
                ran = self._lines.take()
            if notes:
                notes.close()
        record = session.__dict__.get("record") or []
        reading = {f"{k}/{name}": int(x.size) for k, step in enumerate(record) for name, x in step.items()}
        return Run(outcomes, ran, reading)


def run_order(
    order: Order,
    jobs: int = 1,
    on_scenario: Callable[[], None] = lambda: None,
    subject: Subject | None = None,
) -> Run:
    """Run every feature that the order selects, in `jobs` processes.

    on_scenario  called for each scenario that has ended
    subject      the engine, where it is made already: it is then used as it is in one process, and handed
                 to others where they can inherit it

    Raises WorkerDiedError where a process ends before its work is done.
    """
    counts = suite().counts(tags_of(order.component))
    wanted = [index for index, count in enumerate(counts) if count]
    jobs = min(jobs, len(wanted))
    if jobs <= 1:
        worker = Worker(order, subject)
        return _join([worker.feature(index, lambda outcome: on_scenario()) for index in wanted])
    inherited = order.ours and sys.platform == "linux"
    context = get_context("fork" if inherited else "spawn")
    ended = context.Value("i", 0)
    start = (order, subject if inherited else None, ended, jobs)
    done: dict[int, Run] = {}
    shown = 0
    try:
        with ProcessPoolExecutor(jobs, context, _begin, start) as pool:
            # What takes longest is begun first; the order in which it ends does not matter.
            futures = {pool.submit(_feature, i): i for i in sorted(wanted, key=lambda i: -counts[i])}
            waiting: set[Future[Run]] = set(futures)
            while waiting:
                finished, waiting = wait(waiting, POLL, FIRST_COMPLETED)
                done |= {futures[future]: future.result() for future in finished}
                for _ in range(ended.value - shown):
                    on_scenario()
                    shown += 1
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            "a process that ran features ended before its work was done (was there enough memory?).\n"
            "Try it with --jobs 1."
        ) from error
    return _join([done[index] for index in wanted])


def _join(parts: list[Run]) -> Run:
    reading = {name: size for part in parts for name, size in part.reading.items()}
    return Run([o for part in parts for o in part.outcomes], merge([p.ran for p in parts]), reading)


_here: list[Worker] = []  # the one of this process, where it is one of several


def share_cores(jobs: int) -> None:
    """Give this process its share of the cores for matrix products, where `jobs` run beside each other."""
    threadpool_limits(max(1, (os.cpu_count() or 1) // jobs))


def _begin(order: Order, subject: Subject | None, ended: Any, jobs: int) -> None:
    share_cores(jobs)
    _here.append(Worker(order, subject, ended))


def _feature(index: int) -> Run:
    return _here[0].feature(index)
