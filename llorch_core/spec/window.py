"""A tolerance is a window: honest engines stay well inside it, and every mistake goes far past it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from llorch_core.spec.arithmetic import FLOAT32, Arithmetic, computed_in, to_bfloat16, to_float16, to_float32
from llorch_core.spec.component import Component, Config
from llorch_core.spec.difference import MISTAKE_MARGIN, PRECISIONS, shares
from llorch_core.spec.language import Tensor
from llorch_core.spec.oracle import Oracle
from llorch_core.spec.trial import DRAWS, LAYER, SIZES, cases, samples

NOISE_MARGIN = 0.25  # honest engines use at most this share of a tolerance
ROUND = {"float32": to_float32, "float16": to_float16, "bfloat16": to_bfloat16}
WHOLE = ("ids", "count", "lengths")  # kinds of inputs that no precision rounds


@dataclass(frozen=True)
class Place:
    """One set of inputs to a component, and what goes with it."""

    inputs: Mapping[str, Tensor]
    config: Config
    layer: int
    sizes: Mapping[str, int]


@dataclass
class Window:
    """What was measured of one component's tolerance.

    noise     the largest share of the tolerance that an honest engine used, by its arithmetic
    distance  how many tolerances each mistake is away where it is farthest, by precision
    """

    component: Component
    noise: dict[str, float] = field(default_factory=dict)
    distance: dict[str, dict[str, float]] = field(default_factory=lambda: {name: {} for name in ROUND})

    def hidden(self, precision: str) -> list[str]:
        """Return the mistakes that no element shows in that precision."""
        return [name for name, away in self.distance[precision].items() if not away > MISTAKE_MARGIN]

    def nearest(self) -> tuple[str, float]:
        """Return the mistake that is nearest to the tolerance in float32, and how far away it is."""
        return min(self.distance["float32"].items(), key=lambda item: item[1])

    def check(self) -> None:
        """Raise SpecError where there is no window, or where the spec does not say what is hidden."""
        file = self.component.file
        for name, share in self.noise.items():
            if share > NOISE_MARGIN:
                raise file.error(
                    f"an honest engine ({name}) uses {share:.2f} of the tolerance, and {NOISE_MARGIN} is "
                    "allowed. Widen the tolerance, by what the arithmetic says.",
                    "tolerance",
                )
        for precision in self.distance:
            for name in self.distance[precision]:
                says = precision in self.component.mistakes[name].hidden_in
                if says != (name in self.hidden(precision)):
                    text = "shows" if says else "cannot be seen"
                    away = self.distance[precision][name]
                    raise file.error(
                        f"{name} {text} in {precision}: at its worst it is {away:.2g} tolerances away, and "
                        f"{MISTAKE_MARGIN:g} are needed. Correct its hidden_in.",
                        "mistakes",
                        name,
                    )


def measure(
    component: Component, places: Iterable[Place], precisions: Collection[str] = tuple(ROUND)
) -> Window:
    """Measure the window of a component's tolerance on inputs that the suite uses.

    precisions  of the engines whose window it is, float32 with them
    """
    window = Window(component)
    for place in places:
        for arithmetic in FLOAT32:
            _keep_worst(window.noise, arithmetic.name, _noise(component, place, arithmetic, "float32"))
        for precision in ("float16", "bfloat16"):
            if precision in precisions:
                _keep_worst(window.noise, precision, _noise(component, place, FLOAT32[0], precision))
        for precision in precisions:
            inputs = _rounded(component, place, precision)
            right = _right(component, place, inputs, precision)
            for name in component.mistakes:
                _keep_worst(
                    window.distance[precision], name, _distance(component, place, name, inputs, right)
                )
    return window


def places(component: Component, config: Config, oracle: Oracle, chunks: list[list[int]]) -> Iterator[Place]:
    """Yield the samples that specs are run on, and the inputs that the component has in a model."""
    for case in cases(component, config):
        for draw in range(DRAWS):
            yield Place(samples(component, draw), case, LAYER, SIZES)
    for node, inputs, sizes in oracle.inputs(chunks):
        if node.component.id == component.id:
            yield Place(inputs, oracle.config, node.layer, sizes)


def _keep_worst(found: dict[str, float], name: str, value: float) -> None:
    found[name] = max(found.get(name, 0.0), value)


def _rounded(component: Component, place: Place, precision: str) -> dict[str, Tensor]:
    return {
        name: x if component.inputs[name].kind in WHOLE else ROUND[precision](np.asarray(x, np.float64))
        for name, x in place.inputs.items()
    }


def _right(
    component: Component, place: Place, inputs: Mapping[str, Tensor], precision: str
) -> dict[str, Tensor]:
    wanted = [*component.outputs, *(f"bound {name}" for name in component.outputs)]
    return component.run(
        wanted,
        inputs,
        place.config,
        layer=place.layer,
        sizes=place.sizes,
        precision=PRECISIONS[precision],
    )


def _noise(component: Component, place: Place, arithmetic: Arithmetic, precision: str) -> float:
    """Return the share of the tolerance that an honest engine uses; each output from its own ones before."""
    inputs = _rounded(component, place, precision)
    given: dict[str, Tensor] = {}
    worst = 0.0
    for output in component.outputs:
        right = component.run(
            [output, f"bound {output}"],
            inputs,
            place.config,
            layer=place.layer,
            sizes=place.sizes,
            given=given,
            precision=PRECISIONS[precision],
        )
        with computed_in(arithmetic):
            got = component.run(
                [output], inputs, place.config, layer=place.layer, sizes=place.sizes, given=given
            )[output]
        given[output] = ROUND[precision](got)
        worst = max(
            worst, float(shares(given[output], right[output], right[f"bound {output}"]).max(initial=0.0))
        )
    return worst


def _distance(
    component: Component,
    place: Place,
    mistake: str,
    inputs: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
) -> float:
    wrong = component.run(
        component.outputs, inputs, place.config, layer=place.layer, sizes=place.sizes, mistake=mistake
    )
    return max(
        float(shares(wrong[name], right[name], right[f"bound {name}"]).max(initial=0.0))
        for name in component.outputs
    )
