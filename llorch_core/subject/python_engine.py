"""A Python class on trial: it is made with a model folder, and has a method `forward`."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.spec.oracle import Step
from llorch_core.subject.foreign import EngineError, ForeignEngine, as_array
from llorch_core.subject.protocol import Array, Chunks, NotHereError


class PythonEngine(ForeignEngine):
    """An engine that is a Python class.

        class MyGPT2:
            def __init__(self, folder): ...
            def forward(self, ids, past): ...      # returns checkpoints, present

    ids          list of whole numbers, the new ones only
    past         what the call before returned as `present`; None in the first call
    checkpoints  arrays by name, any subset of the contract's; or the logits alone
    present      anything: it is only handed back

    A `forward(ids)` without `past` returns checkpoints alone, and is given nothing but whole prompts.
    Optional: `precision`; `logits(ids, past)`, which returns logits and present without recording;
    `batch(prompts)`, which returns the logits of the last positions, [B, n_vocab].

    Raises UsageError where there is no such class, or it cannot be made, or `forward` does not do that.
    """

    def __init__(self, where: str, model: Path | None) -> None:
        super().__init__(f"python:{where}", model)
        made = find_class(where)
        self._class = getattr(made, "__name__", where)
        with self._own_fault("__init__"):
            self.engine = made(str(self.folder))
        if not callable(getattr(self.engine, "forward", None)):
            raise UsageError(
                f"{self.name} has no method forward (wanted forward(ids, past), or forward(ids)).\n"
                "docs/subjects.md shows a whole engine that can be put on trial."
            )
        self.has_past = takes_past(self.engine.forward)
        self.aside = hasattr(self.engine, "logits")
        self.state(getattr(self.engine, "precision", None), self._class)

    def record(self, chunks: Chunks) -> list[Step]:
        return [
            self.step(ids, shown if isinstance(shown, Mapping) else {"logits": shown}, source)
            for ids, shown, source in self._calls("forward", chunks)
        ]

    def logits(self, chunks: Chunks) -> list[Array]:
        if not self.aside:
            return super().logits(chunks)
        calls = self._calls("logits", chunks)
        return [self.step(ids, {"logits": shown}, source)["logits"] for ids, shown, source in calls]

    def batch(self, prompts: Chunks) -> Array:
        if not hasattr(self.engine, "batch"):
            return super().batch(prompts)
        with self._own_fault("batch"):
            made = self.engine.batch([list(prompt) for prompt in prompts])
        rows, dtype = as_array(made)
        wanted = [len(prompts), self.config["n_vocab"]]
        if list(rows.shape) != wanted:
            raise UsageError(
                f"{self._class}.batch returned {dtype} {list(rows.shape)} (wanted the logits {wanted}).\n"
                "Return one row for each prompt: the logits of its last position."
            )
        return rows

    def _calls(self, method: str, chunks: Chunks) -> Iterator[tuple[Sequence[int], Any, str]]:
        """Call a method with each chunk; yield the chunk, what the method showed, and its name."""
        if len(chunks) > 1 and not self.has_past:
            raise NotHereError(
                f"a call after another, which {self.name} does not read: forward takes no past"
            )
        source = f"{self._class}.{method}"
        present = None
        for ids in chunks:
            with self._own_fault(method):
                call = getattr(self.engine, method)
                made = call(list(ids), present) if self.has_past else call(list(ids))
            if self.has_past:
                if not isinstance(made, tuple) or len(made) != 2:
                    raise UsageError(
                        f"{source} returned {_kind(made)} (wanted two things: checkpoints, present).\n"
                        "The second is handed back as `past` in the next call. An engine without one leaves "
                        "`past` out of its arguments."
                    )
                made, present = made
            yield ids, made, source

    @contextmanager
    def _own_fault(self, method: str) -> Iterator[None]:
        """Say of every error of the class where it was raised."""
        try:
            yield
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise EngineError(
                f"{self._class}.{method} raised {type(error).__name__}: {error} "
                f"({Path(last.filename).name}:{last.lineno})"
            ) from error


def _kind(made: Any) -> str:
    return f"a tuple of {len(made)}" if isinstance(made, tuple) else f"a {type(made).__name__}"


def takes_past(forward: Callable[..., Any]) -> bool:
    """Return whether a method has room for a second argument."""
    kinds = [parameter.kind for parameter in inspect.signature(forward).parameters.values()]
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in by_place for kind in kinds) > 1 or inspect.Parameter.VAR_POSITIONAL in kinds


def find_class(where: str) -> Callable[[str], Any]:
    """Return the class of "module:Class" or "path/to/file.py:Class". Raises UsageError."""
    place, _, name = where.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(
            f"there is no engine python:{where} (wanted python:MODULE:CLASS, or python:FILE.py:CLASS).\n"
            "For example: --engine python:my_package.model:MyGPT2"
        )
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{place} cannot be imported: {type(error).__name__}: {error}\n"
            "A module is looked for in the working folder and in the installed packages."
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        classes = [
            n for n, x in vars(module).items() if isinstance(x, type) and x.__module__ == module.__name__
        ]
        raise UsageError(
            f"{place} has no class {name} (it has {', '.join(classes) or 'no class at all'}).\n"
            "Wanted is a class that is made with a model folder; docs/subjects.md shows one."
        )
    made: Callable[[str], Any] = found
    return made


def _from_name(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return import_module(name)


def _from_file(path: Path) -> ModuleType:
    """Import a file by its path; what lies beside it can be imported by it."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None  # the name ends with .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
