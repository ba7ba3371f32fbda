"""A spec is run when it is loaded: one that is false, or that says nothing, cannot enter.

Every equation is computed on random tensors whose sizes are distinct primes, so that no wrong axis
fits by chance, and whose values are awkward on purpose: rows of very different spread and offset,
ties where ties matter, a past and new positions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from llorch_core.spec.component import Component, Config, Input, resolve, show_shape
from llorch_core.spec.difference import MISTAKE_MARGIN, PRECISIONS, shares
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Tensor, at_most

SIZES = {  # primes, and no two of one tensor alike; n_embd and S follow from the others
    "T": 5, "P": 2, "S": 7, "B": 2, "n_head": 3, "head_dim": 11, "n_embd": 33, "n_inner": 37, "n_vocab": 43,
    "n_ctx": 17,
}  # fmt: skip
LAYER = 2
DRAWS = 4
MOST_ELEMENTS = 2**18  # sizes are small here; an equation that needs more is no part of GPT-2


def check_component(component: Component, config: Config) -> None:
    """Run the spec on samples. Raises SpecError where it contradicts itself or proves nothing.

    config  the defaults that `config.NAME` stands for
    """
    farthest = dict.fromkeys(component.mistakes, 0.0)
    with at_most(MOST_ELEMENTS):
        for case in cases(component, config):
            for draw in range(DRAWS):
                inputs = samples(component, draw)
                right = _run_right(component, inputs, case)
                for name in component.mistakes:
                    farthest[name] = max(farthest[name], _distance(component, name, inputs, case, right))
    for name, distance in farthest.items():
        if distance == 0:
            text = f"{name} changes nothing: it gives the numbers of the right equations. It proves nothing."
            raise component.file.error(text, "mistakes", name)
        if distance <= MISTAKE_MARGIN:
            raise component.file.error(
                f"{name} slips under the tolerance: at its worst it is {distance:.2g} tolerances away, and "
                f"{MISTAKE_MARGIN:g} are needed. Tighten the tolerance, or leave the mistake out.",
                "mistakes",
                name,
            )


def samples(component: Component, draw: int) -> dict[str, Tensor]:
    """Return one random tensor for each input, the same ones for the same spec and draw."""
    rng = np.random.default_rng([zlib.crc32(component.id.encode()), draw])
    tensors = {}
    for name, entry in component.inputs.items():
        try:
            tensors[name] = _sample(entry, draw, rng)
            component.sizes({name: tensors[name]}, SIZES)
        except (SpecError, IndexError) as error:
            text = f"{name} cannot be {entry.kind} of shape {show_shape(entry.shape)}: {error}"
            raise component.file.error(text, "inputs", name) from error
    return tensors


def _sample(entry: Input, draw: int, rng: np.random.Generator) -> Tensor:
    shape = resolve(entry.shape, SIZES)
    if entry.among:
        return np.asarray(entry.among[draw % len(entry.among)], np.float64)
    match entry.kind:
        case "ids":
            ids = rng.integers(0, SIZES["n_vocab"], shape).astype(np.float64)
            ids[-1] = ids[0]  # one occurs twice
            return ids
        case "count":
            return np.asarray(float(SIZES["P"]))
        case "lengths":
            cut = 1 + draw % (SIZES["T"] - 1)
            return np.array([cut, SIZES["T"] - cut], np.float64)
        case "ties":
            x = np.round(rng.normal(0, 2, shape))
            x[..., rng.permutation(shape[-1])[:3]] = x.max() + 1  # three equal winners
            return x * entry.spread
        case "probabilities":
            x = np.exp(rng.normal(0, 2, shape))
            x /= x.sum(axis=-1, keepdims=True)
            return x
        case "masked":
            x = _real(shape, entry.spread, rng)
            hidden = np.arange(shape[-1]) > np.arange(shape[-1] - shape[-2], shape[-1])[:, None]
            return np.where(hidden, -np.inf, x)
    return _real(shape, entry.spread, rng)


def _real(shape: tuple[int, ...], spread: float, rng: np.random.Generator) -> Tensor:
    """Normal numbers; where there are rows, each has a spread and an offset of its own."""
    x = rng.normal(0, 1, shape)
    if len(shape) > 1:
        rows = (*shape[:-1], 1)
        x = x * 10 ** rng.uniform(-2, 0.3, rows) + rng.normal(0, 0.5, rows)
    return x * spread


def cases(component: Component, config: Config) -> Iterator[Config]:
    if component.cases is None:
        yield config
        return
    if component.cases["config"] not in config:
        raise component.file.error(f"the config has no {component.cases['config']}.", "cases", "config")
    for case in component.cases["equation"]:
        yield {**config, component.cases["config"]: case}


def _run_right(component: Component, inputs: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    wanted = [*component.outputs, *(f"bound {name}" for name in component.outputs)]
    try:
        right = component.run(
            wanted, inputs, config, layer=LAYER, sizes=SIZES, precision=PRECISIONS["float32"]
        )
    except SpecError as error:
        if error.file:
            raise
        raise component.file.error(str(error), *_first_to_fail(component, inputs, config)) from error
    if why := component.degenerate(inputs, config, LAYER, SIZES):
        raise component.file.error(f"the samples prove nothing: {why}", "conditions")
    component.check_shapes({name: right[name] for name in component.outputs}, SIZES)
    for name in component.outputs:
        if np.isnan(right[name]).any():
            raise component.file.error(f"{name} is NaN on ordinary inputs.", "output", name)
        bound = right[f"bound {name}"]
        if np.isnan(bound).any() or (bound < 0).any() or np.isinf(bound).any():
            raise component.file.error(f"the tolerance of {name} is not a finite number ≥ 0.", "tolerance")
        if not _fits(bound.shape, right[name].shape):
            shapes = f"{list(bound.shape)}, which does not fit {list(right[name].shape)}"
            raise component.file.error(f"the tolerance of {name} is {shapes}.", "tolerance")
    return right


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a tensor of `shape` stands for one of `wanted`, repeated along axes of length 1."""
    padded = (1,) * (len(wanted) - len(shape)) + shape
    return len(padded) == len(wanted) and all(n in (1, m) for n, m in zip(padded, wanted, strict=True))


def _first_to_fail(component: Component, inputs: dict[str, Tensor], config: Config) -> tuple[str, ...]:
    """Return where the first equation stands that cannot be computed, else the tolerance."""
    for name in component.equations:
        try:
            component.run([name], inputs, config, layer=LAYER, sizes=SIZES)
        except SpecError:
            return ("equations", name)
    return ("tolerance",)


def _distance(
    component: Component, mistake: str, inputs: dict[str, Tensor], config: Config, right: dict[str, Tensor]
) -> float:
    """Return how many tolerances the mistake is away at the worst element, each output on its own."""
    try:
        wrong = component.run(component.outputs, inputs, config, layer=LAYER, sizes=SIZES, mistake=mistake)
    except SpecError as error:
        if error.file:
            raise
        raise component.file.error(str(error), "mistakes", mistake) from error
    for name, tensor in wrong.items():
        if tensor.shape != right[name].shape:
            shapes = f"{list(tensor.shape)} instead of {list(right[name].shape)}"
            raise component.file.error(
                f"{mistake} gives {name} the shape {shapes}. Any shape check finds that: it proves nothing.",
                "mistakes",
                mistake,
            )
    return max(
        float(shares(wrong[name], right[name], right[f"bound {name}"]).max()) for name in component.outputs
    )
