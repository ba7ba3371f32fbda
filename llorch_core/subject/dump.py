"""Dumps: what an engine left in a file, checkpoint by checkpoint, call by call, sequence by sequence.

The contract is in docs/dumps.md. Nothing here reads a model; a map of names needs the sizes in its config.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.spec.component import show_shape
from llorch_core.spec.difference import PRECISIONS
from llorch_core.spec.errors import SpecError
from llorch_core.spec.model import ModelSpec
from llorch_core.spec.oracle import Step
from llorch_core.subject.dump_file import Array, TensorFile, read_tensors, write_tensors
from llorch_core.subject.names import BATCH, NameMap, known_maps, of_block, own_names, read_names

ENOUGH = 32  # numbers that show a precision; fewer may be round by chance
SAMPLE = 4096  # numbers of a tensor that are looked at for its precision


@dataclass(frozen=True)
class Dump:
    """What an engine recorded.

    path       the file or folder
    sequences  for each sequence of the batch its forward calls, each with checkpoints by name
    precision  that the engine computes in: float64, float32, float16 or bfloat16
    engine     what recorded it, or ""
    """

    path: Path
    sequences: tuple[list[Step], ...]
    precision: str
    engine: str


def open_dump(
    path: Path,
    spec: ModelSpec,
    names: NameMap | str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Dump:
    """Read a dump: one .safetensors, one .npz, or a folder of .npy.

    names   the map that makes checkpoints of the tensors of another project, or its name or file
    config  the model's config, under the names of the spec; a map cannot do without

    Raises SpecError where the file cannot be read, or is not what the contract says.
    """
    book = read_names(names, spec) if isinstance(names, str) else names or own_names(spec)
    file = read_tensors(Path(path))
    calls = _calls(file)
    for k, call in enumerate(calls):
        for name in [name for name in call if book.ignores(name)]:
            del call[name]
        _check_names(file, call, book)
        for name, tensor in call.items():
            call[name] = _checked(file, k, name, tensor, book)
    rows = _batch(file, calls, book)
    sequences = [
        [{name: _row(x, _batch_axis(name, x, book), b) for name, x in call.items()} for call in calls]
        for b in range(rows)
    ]
    if names is not None:
        if config is None:
            raise file.error(f"the map {book.name} needs the sizes of the model. Give it: --model FOLDER.")
        blocks = {name: book.block(name) for call in calls for name in call}
        _check_blocks(file, blocks, config["n_layer"])
        sequences = [_translate(file, steps, book, config) for steps in sequences]
    return Dump(
        path=file.path,
        sequences=tuple(sequences),
        precision=file.metadata.get("dtype") or _precision(file, calls),
        engine=file.metadata.get("engine", ""),
    )


def read_dump(path: Path) -> list[Step]:
    """Return the tensors of each forward call as they stand in the file: no name or shape is checked."""
    return _calls(read_tensors(path))


def check_layers(dump: Dump, n_layer: int) -> None:
    """Raise SpecError where the dump holds a block that a model of `n_layer` blocks does not have."""
    names = {name for calls in dump.sequences for step in calls for name in step}
    blocks = {name: int(name.split(".")[1]) if name.startswith("h.") else 0 for name in names}
    _check_blocks(TensorFile(dump.path, {}), blocks, n_layer)


def write_dump(path: Path, steps: Sequence[Step] | Sequence[Sequence[Step]], engine: str, dtype: str) -> None:
    """Write a dump in safetensors, whole or not at all.

    steps   checkpoints of each forward call; or, for a batch, these of each sequence, alike in shape
    engine  what recorded them
    dtype   the precision that the engine computes in

    Raises SpecError where it cannot be written, or the sequences are not alike.
    """
    if dtype not in PRECISIONS:
        raise SpecError(f"{dtype} is not a precision. There are: {', '.join(PRECISIONS)}.", path)
    calls: Sequence[Any] = steps
    batch: list[Any] = [list(sequence) for sequence in steps if not isinstance(sequence, Mapping)]
    if batch:
        if any([call.keys() for call in one] != [call.keys() for call in batch[0]] for one in batch):
            raise SpecError("the sequences differ in calls or checkpoints. Write one dump for each.", path)
        calls = [{name: _stack(path, name, k, batch) for name in call} for k, call in enumerate(batch[0])]
    tensors = {f"step.{k}/{name}": np.asarray(x) for k, call in enumerate(calls) for name, x in call.items()}
    write_tensors(path, tensors, {"llorch_dump": "1", "engine": engine, "dtype": dtype})


def _stack(path: Path, name: str, k: int, batch: Sequence[Sequence[Step]]) -> Array:
    try:
        return np.stack([calls[k][name] for calls in batch])
    except ValueError as error:
        text = f"{name} of call {k} has another shape in another sequence. Write one dump for each."
        raise SpecError(text, path) from error


def _calls(file: TensorFile) -> list[Step]:
    """Return the tensors of each forward call, by their names without the prefix step.K/."""
    calls: dict[int, Step] = {}
    bare, numbered = "", ""
    for name, tensor in file.tensors.items():
        found = re.fullmatch(r"step\.(0|[1-9][0-9]*)/(.+)", name, re.DOTALL)
        bare, numbered = (bare, name) if found else (name, numbered)
        number, checkpoint = (int(found[1]), found[2]) if found else (0, name)
        calls.setdefault(number, {})[checkpoint] = tensor
    if bare and numbered:
        text = f"{numbered} has the prefix of a forward call, and {bare} has none. Give it to all or to none."
        raise file.error(text)
    if not calls:
        raise file.error("holds no tensor. Record a checkpoint, or more: docs/dumps.md names them.")
    if missing := sorted(set(range(min(max(calls), len(calls) + 9))) - calls.keys()):
        text = f"holds forward calls up to {max(calls)}, but nothing of call {', '.join(map(str, missing))}."
        raise file.error(f"{text} Record every call: step.0/ is the first, and there is no gap.")
    return [calls[k] for k in range(len(calls))]


def _check_names(file: TensorFile, call: Iterable[str], book: NameMap) -> None:
    unknown = sorted(name for name in call if book.find(name) is None)
    if not unknown:
        return
    listed = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
    layer = int((re.findall(r"\d{1,9}", unknown[0]) or [0])[0])
    near = get_close_matches(unknown[0], [of_block(name, layer) for name in book.shapes], 1)
    text = f"not a checkpoint: {listed}." + (f" The nearest is {near[0]}." if near else "")
    if book.name:
        text += f" {book.name} does not list it either, neither under tensors nor under ignore."
        raise file.error(f"{text} A map of your own may: --names FILE.")
    likely = [name for name in known_maps() if read_names(name).find(unknown[0])]
    text += " " + (f"{' and '.join(likely)} has such names" if likely else "For names of another project")
    raise file.error(f"{text}: give --names {likely[0] if likely else ' | '.join([*known_maps(), 'FILE'])}.")


def _checked(file: TensorFile, k: int, name: str, tensor: Array, book: NameMap) -> Array:
    """Return a tensor as it is compared: ids as int64, foreign ones without further axes of size 1 in front.

    Raises SpecError where it holds other numbers, or has another number of axes, than it should.
    """
    what, dtype = f"{name} of call {k}", _stored(file, k, name) or tensor.dtype.name
    if book.is_ids(name):
        if tensor.dtype.kind not in "iu":
            raise file.error(f"{what} holds {dtype}, wanted integers. Write the token ids as int64.")
        tensor = tensor.astype(np.int64, copy=False)
    elif tensor.dtype.kind != "f" or tensor.dtype.itemsize > 8:
        text = f"{what} holds {dtype}, wanted float64, float32, float16 or bfloat16."
        raise file.error(f"{text} Record the numbers that the engine computes, before they are converted.")
    shape = book.shape(name)
    while book.name and tensor.ndim > len(shape) and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim not in (len(shape), len(shape) - shape.count(BATCH)):
        wanted = show_shape(book.row_shape(name))
        wanted += f", or {show_shape(shape)} for a batch" if BATCH in shape else ""
        hint = book.record or "Give every axis, also one of size 1."
        raise file.error(f"{what} has the shape {list(tensor.shape)}, wanted {wanted}. {hint}")
    return tensor


def _stored(file: TensorFile, k: int, name: str) -> str | None:
    return file.stored.get(f"step.{k}/{name}", file.stored.get(name))


def _batch_axis(name: str, tensor: Array, book: NameMap) -> int | None:
    shape = book.shape(name)
    return shape.index(BATCH) if BATCH in shape and tensor.ndim == len(shape) else None


def _row(tensor: Array, axis: int | None, sequence: int) -> Array:
    """Return what one sequence has of a tensor; no number is copied."""
    return tensor if axis is None else tensor[(slice(None),) * axis + (sequence,)]


def _batch(file: TensorFile, calls: Iterable[Step], book: NameMap) -> int:
    """Return how many sequences the dump holds. Raises SpecError where its tensors disagree."""
    seen: dict[int | None, str] = {}
    for k, call in enumerate(calls):
        for name, tensor in call.items():
            axis = _batch_axis(name, tensor, book)
            seen.setdefault(None if axis is None else tensor.shape[axis], f"{name} of call {k}")
    sizes = sorted(n for n in seen if n is not None)
    if len(sizes) > 1:
        text = f"{seen[sizes[0]]} has a batch of {sizes[0]}, and {seen[sizes[1]]} one of {sizes[1]}."
        raise file.error(f"{text} Record the same sequences everywhere.")
    if sizes and sizes[0] == 0:
        raise file.error(f"{seen[0]} has a batch of 0. Record one sequence or more.")
    if sizes and sizes[0] > 1 and None in seen:
        text = f"{seen[sizes[0]]} has a batch of {sizes[0]}, and {seen[None]} has no batch axis."
        raise file.error(f"{text} Record every sequence everywhere, or write one dump for each.")
    return sizes[0] if sizes else 1


def _translate(
    file: TensorFile, calls: Sequence[Step], book: NameMap, config: Mapping[str, Any]
) -> list[Step]:
    """Return the checkpoints of each call of one sequence."""
    steps: list[Step] = []
    n_past = 0
    for k, call in enumerate(calls):
        try:
            steps.append(book.translate(call, config, n_past))
            n_past += book.positions(call) or 0
        except SpecError as error:
            raise file.error(f"call {k}: {error}") from error
    return steps


def _check_blocks(file: TensorFile, blocks: Mapping[str, int], n_layer: int) -> None:
    for name, block in blocks.items():
        if block >= n_layer:
            text = f"{name} is of block {block}, and the model has {n_layer}, the first of them 0."
            raise file.error(f"{text} Was it recorded with another model?")


def _precision(file: TensorFile, calls: Iterable[Step]) -> str:
    """Return the precision that most tensors show, of two that are as frequent the coarser one.

    What was stored wider than it was computed shows it: float32 without a bit in the lower half is
    bfloat16. A tensor of few numbers shows nothing, as long as another one shows something.
    """
    coarse = sorted(PRECISIONS, key=lambda name: -PRECISIONS[name][0])
    clear, unclear = Counter[str](), Counter[str]()
    for k, call in enumerate(calls):
        for name, tensor in call.items():
            if tensor.dtype.kind == "f":
                numbers = _sample(tensor)
                stored = "bfloat16" if _stored(file, k, name) == "BF16" else tensor.dtype.name
                enough = numbers.size >= ENOUGH
                shown = next(p for p in coarse if p == stored or (enough and _fits(numbers, p)))
                (clear if enough else unclear)[shown] += 1
    counts = clear or unclear or Counter(["float32"])
    return max(coarse, key=lambda name: counts[name])


def _sample(tensor: Array) -> Array:
    """Return some numbers of a tensor, spread over it: finite ones that are not 0."""
    numbers = tensor.flat[:: max(1, tensor.size // SAMPLE)]
    return np.asarray(numbers[np.isfinite(numbers) & (numbers != 0)])


def _fits(numbers: Array, precision: str) -> bool:
    """Return whether a precision can hold these numbers as they are."""
    with np.errstate(all="ignore"):
        if precision == "bfloat16":
            single = np.ascontiguousarray(numbers, "<f4")
            return bool(np.all(single == numbers) and not np.any(single.view("<u4") & 0xFFFF))
        return bool(np.all(numbers.astype(precision) == numbers))
