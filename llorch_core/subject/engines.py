"""Engines by their names on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llorch_core.engine.errors import UsageError
from llorch_core.spec.suite import load_specs
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.subject.protocol import Subject
from llorch_core.subject.spec_engine import engine_of_specs

if TYPE_CHECKING:
    from llorch_core.subject.foreign import ForeignEngine

KINDS = (
    "numpy, fast, fast:PRECISION, spec, spec:COMPONENT.MISTAKE, transformers, transformers:DTYPE, "
    "python:MODULE:CLASS, "
    "'command: PROGRAM {model} {ids} {dump}', or dump:FILE"
)


def put_on_trial(
    engine: str, model: Path | None, timeout: float = 120.0, names: str | None = None
) -> Subject:
    """Return the engine of that name, with the model in it.

    engine   one of KINDS
    model    the model's folder; None is the embedded model
    timeout  seconds that one reading of a program may take
    names    how a program or a dump names its checkpoints; None: as the contract does

    A class and a program have to read a token first: one that cannot is no engine. Raises UsageError where
    there is no such engine, or it does not do what an engine has to; ModelError where the folder is no GPT-2.
    """
    kind, _, rest = engine.partition(":")
    rest = rest.strip()
    if names and kind not in ("command", "dump"):
        raise UsageError(
            f"--names is {names}, and {engine} has llorch's own names (wanted a program or a dump).\n"
            "Leave it out."
        )
    if engine == "numpy":
        return NumpyEngine(model)
    if kind == "fast":
        from llorch_core.subject.fast_engine import FastEngine

        return FastEngine(model, rest or "float32")
    if kind == "spec" and (not rest or set(rest.split(" + ")) <= set(load_specs().mistake_ids())):
        return engine_of_specs(load_specs(), NumpyEngine(model).folder, rest or None)
    if kind == "transformers":
        from llorch_core.subject.transformers_engine import TransformersEngine

        return TransformersEngine(model, rest or "float32")
    if kind == "dump" and rest:
        from llorch_core.subject.dump_engine import DumpEngine

        return DumpEngine(Path(rest), model, names)
    if kind == "python":
        from llorch_core.subject.python_engine import PythonEngine

        return introduced(PythonEngine(rest, model))
    if kind == "command":
        from llorch_core.subject.program import Program

        if not timeout > 0:
            raise UsageError(f"--timeout is {timeout:g} (wanted seconds, more than 0).")
        return introduced(Program(rest, model, timeout, names))
    raise UsageError(
        f"there is no engine {engine} (wanted {KINDS}).\n"
        "`llorch spec show COMPONENT` lists the mistakes of a component; docs/subjects.md shows the others."
    )


def introduced(subject: ForeignEngine) -> Subject:
    """Let an engine read one token, and another after it where it can; return it."""
    subject.record([[0], [0]] if subject.has_past and subject.config["n_ctx"] > 1 else [[0]])
    return subject
