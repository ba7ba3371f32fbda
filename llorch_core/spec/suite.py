"""Where the specs, features and steps are, and the specs loaded from there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from llorch_core.spec.behaviour import Behaviour, read_behaviour
from llorch_core.spec.component import Component, read_component
from llorch_core.spec.difference import MISTAKE_MARGIN, shares
from llorch_core.spec.errors import SpecError
from llorch_core.spec.held import keep, record_of
from llorch_core.spec.lessons import check_lessons
from llorch_core.spec.model import ModelSpec, read_model
from llorch_core.spec.oracle import random_oracle
from llorch_core.spec.trial import SIZES, check_component

# Specs in the order of the data flow; one that is not named here would not be run, and is an error.
BEFORE: tuple[str, ...] = ("configuration", "weight_file", "tokenizer")  # what happens before the arithmetic
AFTER: tuple[str, ...] = (  # and after it
    *("kv_cache", "sampling", "generation", "recording"),
    *("server_api", "server_stream", "server_batch", "server_audit"),
    *("server_deadline", "server_auth", "server_log", "server_life"),
)
ORDER = (
    "embedding", "layer_norm", "qkv", "cache", "attention_scores", "attention_weights", "attention_context",
    "attention_output", "residual", "activation", "mlp", "logits", "last_position", "argmax",
    "repetition_penalty", "temperature", "top_k", "top_p", "draw",
)  # fmt: skip


def suite_folder() -> Path:
    """Return the folder that holds specs, features and steps: the checkout's, or the installed package's."""
    package = Path(__file__).parents[1]
    checkout = package.parent
    return checkout if (checkout / "specs" / "components").is_dir() else package / "suite"


@cache
def load_specs(folder: Path | None = None, *, anew: bool = False) -> ModelSpec:
    """Load every spec below `folder`, run it, and return the model that they make.

    Specs that were run before, to the byte and by this very code, are run again only if `anew`.

    Raises SpecError, with file and line, at the first that is false or says nothing.
    """
    specs = folder or suite_folder() / "specs"
    record = record_of(specs)
    if record.exists() and not anew:
        return _read(specs, None)
    model = _read(specs, specs / "schema")
    for component in model.components.values():
        check_component(component, model.defaults)
    check_model(model)
    check_shown(model)
    check_lessons(specs / "lessons", specs / "schema", model.all_rules(), model.mistake_ids())
    keep(record)
    return model


def _read(specs: Path, schemas: Path | None) -> ModelSpec:
    found = {path.stem: path for path in (specs / "components").glob("*.yaml")}
    for name in sorted(found.keys() ^ {*BEFORE, *ORDER, *AFTER}):
        raise SpecError(
            f"{name} is {'not a file' if name not in found else 'not a component'} of the model.", specs
        )
    components: dict[str, Component] = {}
    for name in ORDER:
        components[name] = read_component(found[name], schemas, components)
    before, after = (
        {name: read_behaviour(found[name], schemas) for name in names} for names in (BEFORE, AFTER)
    )
    return read_model(specs / "model" / "gpt2.yaml", schemas, components, before, after)


def check_shown(model: ModelSpec) -> None:
    """Raise SpecError where a mistake shows as one that does not exist, or in such a weight."""
    tensors = {m.id for part in model.components.values() for m in part.mistakes.values()}
    tensors |= {mistake.id for mistake in model.mistakes.values()}
    behaviours: list[Behaviour] = [*model.before.values(), *model.after.values()]
    for part in behaviours:
        for name, mistake in part.mistakes.items():
            shown, at = mistake.shows_as, ("mistakes", name, "shows_as")
            if isinstance(shown, str) and shown not in tensors:
                raise part.file.error(f"{shown} is not a mistake of a component that computes tensors.", *at)
            if isinstance(shown, Mapping) and (unknown := shown.keys() - model.weights.keys()):
                raise part.file.error(f"{', '.join(sorted(unknown))} is not a weight of the model.", *at)


def check_model(model: ModelSpec) -> None:
    """Run the wiring on a small random model. Raises SpecError where a wrong wiring changes nothing."""
    config = {
        **model.defaults,
        **{name: SIZES[name] for name in ("n_embd", "n_head", "head_dim", "n_inner", "n_vocab", "n_ctx")},
        "n_layer": 2,
    }
    chunks = [[3, 1, 4, 1, 5], [9, 2]]
    oracle = random_oracle(model, config)
    try:
        right = oracle.run(chunks)
        bounds = {(w.step, w.checkpoint): w.bound for w in oracle.local(right, "float32")}
    except SpecError as error:
        raise model.file.error(str(error), "steps") from error
    for name, mistake in model.mistakes.items():
        if mistake.policy:
            continue
        try:
            wrong = random_oracle(model, config, mistake=mistake.id).run(chunks)
        except SpecError as error:
            raise model.file.error(str(error), "mistakes", name) from error
        farthest = max(
            float(shares(wrong[k][checkpoint], right[k][checkpoint], bound).max())
            for (k, checkpoint), bound in bounds.items()
        )
        if not farthest > MISTAKE_MARGIN:
            raise model.file.error(f"{name} changes nothing that a comparison could see.", "mistakes", name)
