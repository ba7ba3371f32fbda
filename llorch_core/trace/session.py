"""One run of the features against one engine: what was asked, what was compared, what came out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np

from llorch_core.check.compare import (
    Comparison,
    MismatchError,
    compare,
    compare_record,
    everywhere,
    require,
)
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.model import ModelSpec
from llorch_core.spec.oracle import At, Oracle, Step, Wanted, random_oracle, read_oracle
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.subject.dump import read_dump
from llorch_core.subject.protocol import Array, Chunks, Subject
from llorch_core.subject.protocol import NotHereError as NotHereError  # its home for all of trace/

Result = TypeVar("Result")
READING = 32  # positions of the standard reading, where the model has as many
READING_CONTEXT = "the reading"  # what runs while the engine is recorded, for all scenarios
LOADING_CONTEXT = "the loading"  # what runs while the engine loads the model on trial
SEED = 2019  # of every random id
SMALL = {"vocab_size": 11, "n_positions": 8, "n_embd": 12, "n_head": 3, "n_layer": 2}  # as config.json has it


class CrashError(MismatchError):
    """The engine on trial raised an error of its own: it failed, but no comparison found it."""


class DegenerateError(Exception):
    """The data of a scenario are such that a wrong engine would pass too: it proves nothing."""


@dataclass
class Outcome:
    """What one scenario did: which rules it is about, what it compared, and how it ended.

    file      its feature, from the folder of the suite
    text      what it says, in Gherkin, without its tags
    facts     what its steps measured of its data, for the conditions of its rules
    of_model  the facts that the model on trial decides, and no line of the scenario
    shared    what it used that was computed once for all scenarios: names of contexts, as `id` is one
    of_oracle whether it is the oracle that is asked, and not the engine on trial
    """

    rules: tuple[str, ...]
    title: str
    file: str
    line: int
    evidence: list[Comparison] = field(default_factory=list)
    status: str = "passed"
    message: str = ""
    crashed: bool = False
    compared: int = 0
    facts: dict[str, float] = field(default_factory=dict)
    of_model: set[str] = field(default_factory=set)
    feature: str = ""
    text: str = ""
    seconds: float = 0.0
    shared: set[str] = field(default_factory=set)
    of_oracle: bool = False

    @property
    def id(self) -> str:
        """Its place, which names it and the context in which it runs: features/….feature:12."""
        return f"{self.file}:{self.line}"


class _OnceForAll(cached_property[Result]):
    """What is computed once, from the reading of the engine; a scenario that asks for it has used that."""

    def __set__(self, session: object, value: Result) -> None:  # with it, each access comes by __get__
        vars(session)[str(self.attrname)] = value

    def __get__(self, session: Any, owner: Any = None) -> Any:
        if session is not None and session.outcomes:
            session.outcomes[-1].shared.add(READING_CONTEXT)
        return super().__get__(session, owner)


class Session:
    """An engine on trial, with everything that scenarios share.

    subject   the engine
    spec      the specs that it is held to
    outcomes  one for each scenario that ran, in order

    on_scenario    called when a scenario has ended
    on_comparison  called with each comparison of a scenario, before it is judged
    on_context     called when what runs from now on is of another scenario, or shared by all
    """

    def __init__(self, subject: Subject, spec: ModelSpec | None = None) -> None:
        self.subject = subject
        self.spec = spec or load_specs()
        self.outcomes: list[Outcome] = []
        self._rounding: dict[str, Array] = {}
        self._local: dict[tuple[int | None, str], Comparison] = {}
        self.on_scenario: Callable[[Outcome], None] = lambda outcome: None
        self.on_comparison: Callable[[Outcome, Comparison], None] = lambda outcome, comparison: None
        self.on_context: Callable[[str], None] = lambda name: None

    @cached_property
    def oracle(self) -> Oracle:
        """The same model in float64, from the specs; read by code that is not the engine's."""
        return read_oracle(self.spec, self.subject.folder)

    def again(self, record: list[Step] | None = None) -> Session:
        """Return a session without outcomes, which shares what this one has computed.

        record  another record of the same reading, to be held against what is wanted of this one
        """
        other = Session(self.subject, self.spec)
        shared = ("oracle", "record", "wanted", "local", "everywhere", "recorded_by_others", "_whole")
        other.__dict__.update({name: self.__dict__[name] for name in shared if name in self.__dict__})
        other._rounding = self._rounding
        if record is None:
            other._local = self._local
        else:
            for name in ("local", "everywhere"):
                other.__dict__.pop(name, None)
            other.__dict__.update(wanted=self.wanted, record=record)
        return other

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Run the engine; whatever it raises is its own fault, and a mismatch."""
        try:
            yield
        except (NotHereError, MismatchError):
            raise
        except Exception as error:
            raise CrashError(f"the engine raised {type(error).__name__}: {error}") from error

    def refusal(self, call: Callable[[], object]) -> str:
        """Call the engine where it should refuse; return the type of its error: whose fault it is."""
        try:
            with self.trial():
                call()
        except CrashError as error:
            return type(error.__cause__).__name__
        return "nothing was refused"

    def note(self, comparisons: Iterable[Comparison]) -> None:
        """Keep comparisons as evidence of the scenario that runs, then require that they conform."""
        comparisons = list(comparisons)
        if not comparisons:
            raise NotHereError(f"these checkpoints, none of which {self.subject.name} shows")
        outcome = self.outcomes[-1]
        for comparison in comparisons:
            outcome.evidence.append(comparison)
            self.on_comparison(outcome, comparison)
        for comparison in comparisons:
            if comparison.one_buffer:
                raise DegenerateError(f"both sides of {comparison.what} are one buffer: nothing was compared")
            if not comparison.elements:
                raise DegenerateError(f"{comparison.what} was compared without a single element")
        require(comparisons)

    def watched_like(self, other: Session) -> None:
        """Count what runs from now on to the run of another session."""
        self.outcomes = other.outcomes
        self.on_scenario, self.on_comparison, self.on_context = (
            other.on_scenario,
            other.on_comparison,
            other.on_context,
        )

    # What a scenario proves depends on its data.

    def facts(self, **measured: float) -> None:
        """Keep what a step measured of the data that it uses."""
        self.outcomes[-1].facts |= measured

    def facts_of_model(self, **measured: float) -> None:
        """Keep what a step measured of the model on trial: what that lacks is no fault of the scenario."""
        self.facts(**measured)
        self.outcomes[-1].of_model |= measured.keys()
        self.outcomes[-1].shared.add(LOADING_CONTEXT)

    def check_data(self) -> None:
        """Hold the scenario that runs to the conditions that its rules need.

        Raises DegenerateError where its data prove nothing, or nobody measured them, and NotHereError
        where it is the model on trial that lacks something.
        """
        outcome = self.outcomes[-1]
        lacking = []
        for part, _, rule in (id.partition(".") for id in outcome.rules):
            behaviour = {**self.spec.before, **self.spec.after}.get(part)
            for condition in behaviour.needs.get(rule, ()) if behaviour else ():
                if (got := condition.unmet_by(outcome.facts)) is None:
                    continue
                if not condition.holds.names & outcome.of_model:
                    raise DegenerateError(
                        f"its data do not meet {condition.id}: wanted {condition.holds.text}, got {got}. "
                        f"Why: {condition.why}"
                    )
                lacking.append(f"a model with {condition.holds.text} ({got}): {condition.why}")
        if lacking:
            raise NotHereError("; ".join(lacking))

    def needs_positions(self, count: int) -> None:
        """Raise NotHereError where the model has fewer positions than a scenario reads."""
        n_ctx = self.subject.config["n_ctx"]
        if n_ctx < count:
            raise NotHereError(f"a model with {count} positions (n_ctx = {n_ctx})")

    # The standard reading: a prompt, a chunk, and single tokens. All code paths, and a past.

    def ids(self, count: int, seed: int = 0) -> list[int]:
        """Return `count` ids of the model's vocabulary, the same ones each time; one occurs twice."""
        ids = np.random.default_rng([SEED, seed]).integers(0, self.subject.config["n_vocab"], count)
        ids[count // 2 :][:1] = ids[:1]
        return [int(i) for i in ids]

    @cached_property
    def chunks(self) -> list[list[int]]:
        """A half of the reading as a prompt, a quarter as a chunk, and up to three single tokens.

        For an engine that reads no call after another: all in one.
        """
        count = min(READING, self.subject.config["n_ctx"])
        ids, half, quarter = self.ids(count), count // 2, count // 4
        if not self.has_past:
            return [ids]
        chunks = [ids[:half], ids[half : half + quarter], *([i] for i in ids[half + quarter :][:3])]
        return [chunk for chunk in chunks if chunk]

    @property
    def has_past(self) -> bool:
        """Whether the engine reads one call after another."""
        return bool(getattr(self.subject, "has_past", True))

    def require_past(self) -> None:
        """Raise NotHereError where the engine has no past, and a rule can fail only with one."""
        if self.has_past:
            return
        rules = self.spec.all_rules()
        for mistake in (m for id in self.outcomes[-1].rules for m in rules[id].catches):
            if needs_past(mistake):
                raise NotHereError(f"a call after another, without which {mistake} would not show")

    @_OnceForAll
    def record(self) -> list[Step]:
        """What the engine records of the standard reading."""
        self.on_context(READING_CONTEXT)
        try:
            with self.trial():
                return self.subject.record(self.chunks)
        finally:
            self.on_context(self.outcomes[-1].id if self.outcomes else "")

    @cached_property
    def wanted(self) -> list[Wanted]:
        """What every recorded checkpoint should be, by its equations, from what was recorded before it."""
        made = self.oracle.local(self.record, self.subject.precision, in_turn=True)
        return sorted(made, key=lambda wanted: wanted.step)

    @_OnceForAll
    def local(self) -> list[Comparison]:
        """Every recorded checkpoint against its equations."""
        return compare_record(self.record, self.wanted)

    @cached_property
    def _whole(self) -> dict[At, None] | None:
        """Every checkpoint of the reading in the order of the data flow; None where the engine shows less."""
        places = self.oracle.places([step["ids"] for step in self.record])
        every = dict.fromkeys((place.step, name) for place in places for name in place.node.makes)
        return every if every.keys() <= self.oracle.usable(self.record) else None

    def local_of(self, names: re.Pattern[str]) -> list[Comparison]:
        """The recorded checkpoints with such names against their equations; for a large model all take long.

        All are computed where the engine shows less than all: what lies between is moved at random.
        """
        if "wanted" in vars(self) or self._whole is None:
            return [comparison for comparison in self.local if names.fullmatch(comparison.what)]
        asked = [at for at in self._whole if names.fullmatch(at[1])]
        new = {at for at in asked if at not in self._local}
        made = self.oracle.local(self.record, self.subject.precision, new, self._whole, in_turn=True)
        self._local |= {(c.step, c.what): c for c in compare_record(self.record, made)}
        return [self._local[at] for at in asked]

    @_OnceForAll
    def everywhere(self) -> list[Comparison]:
        """Every recorded checkpoint against the oracle from the ids alone."""
        return everywhere(self.oracle, self.record, self.subject.precision)

    def rounding(self, chunks: Chunks) -> Array:
        """Return how far the logits of two honest runs may be apart: twice the global tolerance."""
        key = str(chunks)
        if key not in self._rounding:
            bare: list[Step] = [{"ids": np.asarray(chunk), "logits": np.empty(0)} for chunk in chunks]
            wanted = self.oracle.everywhere(bare, self.subject.precision)
            self._rounding[key] = 2 * np.concatenate([w.bound for w in wanted])
        return self._rounding[key]

    @cached_property
    def recorded_by_others(self) -> list[Step]:
        """Tensors of this model that PyTorch recorded. Raises NotHereError where there are none."""
        golden = suite_folder() / "specs" / "golden" / f"{self.subject.folder.name}.safetensors"
        path = golden if golden.is_file() else self.subject.folder / "reference.safetensors"
        if not path.is_file():
            raise NotHereError(f"tensors that others recorded of this model ({path.name} in its folder)")
        return read_dump(path)

    def hold_recorded(self, got: Sequence[Step], relative: float) -> Iterator[Comparison]:
        """Compare tensors with those that others recorded, to a share of each tensor's largest number."""
        for k, step in enumerate(self.recorded_by_others):
            for name, wanted in step.items():
                if name == "ids":  # they were given
                    continue
                finite = np.abs(wanted[np.isfinite(wanted)])
                yield compare(name, got[k][name], wanted, relative * finite.max(initial=0.0), k)

    def behaviour(self, name: str) -> Any:
        """Return a part of the engine that is not arithmetic, to be asked what its spec says."""
        found = getattr(self.subject, "behaviour", None)
        if found is None:
            raise NotHereError(f"{name}, for which {self.subject.name} cannot be asked")
        return found(name)

    # Components on their own: examples that a person can check.

    def example(self, name: str, given: Mapping[str, Any]) -> Example:
        """Run one component on hand-sized inputs, by the engine and by its equations."""
        if name not in self.spec.components:
            raise SpecError(f"{name} is not a component. There are: {', '.join(self.spec.components)}.")
        component = self.spec.components[name]
        config = {**self.spec.defaults, **{k: v for k, v in given.items() if k not in component.inputs}}
        sizes = {k: int(v) for k, v in config.items() if k.startswith("n_")}
        inputs: dict[str, Array] = {}
        for key, value in given.items():
            if key in component.inputs:
                wanted = len(component.inputs[key].shape)
                tensor = np.asarray(value, np.float64)
                inputs[key] = tensor.reshape((1,) * (wanted - tensor.ndim) + tensor.shape)
        sizes = component.sizes(inputs, sizes)
        for key, entry in component.inputs.items():
            if key not in inputs:
                if entry.neutral is None:
                    raise SpecError(f"{name} needs {key}: {entry.meaning}. Give it in the example.")
                shape = tuple(int(size.run({k: float(v) for k, v in sizes.items()})) for size in entry.shape)
                inputs[key] = np.full(shape, entry.neutral)
        inputs = {key: x.astype(np.float32).astype(np.float64) for key, x in inputs.items()}
        layer = int(config.get("layer", 0))
        if why := component.degenerate(inputs, config, layer, sizes):
            raise DegenerateError(why)
        with self.trial():
            got = self.subject.component(name, inputs, config, layer, sizes)

        def right(given: Mapping[str, Array], *names: str) -> dict[str, Array]:
            return component.run(
                [*names, *(f"bound {output}" for output in names)],
                inputs,
                config,
                layer=layer,
                sizes=sizes,
                given=given,
                precision=PRECISIONS[self.subject.precision],
            )

        local: dict[str, Array] = {}
        for output in component.outputs:
            others = {key: np.asarray(x, np.float64) for key, x in got.items() if key != output}
            usable = {key: x for key, x in others.items() if key in local and local[key].shape == x.shape}
            local |= right(usable, output)
        return Example(name, got, right({}, *component.outputs), local)


@dataclass
class Example:
    """What the engine and the equations made of the same inputs.

    got    the engine's outputs
    right  the equations' outputs, each with its tolerance as `bound NAME`
    local  the same, where each output is computed from the engine's own outputs before it
    """

    component: str
    got: Mapping[str, Array]
    right: Mapping[str, Array]
    local: Mapping[str, Array]

    def compare(self, output: str | None, by_hand: Array, rounding: float) -> Comparison:
        """Compare an output with numbers worked out by hand, rounded to `rounding`.

        Where an output before it is wrong, the numbers by hand are moved by what follows from that
        alone: each output answers for itself. Raises SpecError where the equations themselves do not
        give the numbers of the example.
        """
        outputs = [name for name in self.right if not name.startswith("bound ")]
        name = output or outputs[0]
        if name not in outputs or (output is None and len(outputs) > 1):
            raise SpecError(f"{self.component} returns {', '.join(outputs)}; name one of them.")
        right, local, bound = self.right[name], self.local[name], self.local[f"bound {name}"] + rounding
        if by_hand.size != right.size:
            text = (
                f"{self.component}.{name} is {list(right.shape)}, the example gives {by_hand.size} numbers."
            )
            raise SpecError(text)
        by_hand = by_hand.reshape(right.shape)
        agreed = compare(f"{self.component}.{name}", right, by_hand, self.right[f"bound {name}"] + rounding)
        if not agreed.conforms:
            raise SpecError(f"the equations do not give the numbers of the example: {agreed}.")
        wanted = np.where(local == right, by_hand, local)
        return compare(f"{self.component}.{name}", self.got[name], wanted, bound)


@cache
def needs_past(mistake: str) -> bool:
    """Return whether a mistake shows with a past, and not in one call: tried on a small model."""
    spec = load_specs()
    part, _, name = mistake.partition(".")
    if part not in spec.components and (part != spec.id or spec.mistakes[name].policy):
        return False  # it is in no equation, and in no wiring
    right, wrong = (random_oracle(spec, spec.read_config(SMALL), mistake=m) for m in (None, mistake))

    def shows(chunks: Chunks) -> bool:
        return any(
            x.shape != seen[checkpoint].shape or not np.allclose(x, seen[checkpoint])
            for step, seen in zip(right.run(chunks), wrong.run(chunks), strict=True)
            for checkpoint, x in step.items()
        )

    return not shows([[1, 2, 3, 2, 5]]) and shows([[1, 2, 3], [2], [5]])
