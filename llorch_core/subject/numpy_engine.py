"""Our engine on trial: the functions and the forward pass that also generate, and nothing beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llorch_core.engine import gpt2, layers, sampling
from llorch_core.engine.cache import KVCache
from llorch_core.engine.model import load
from llorch_core.engine.weights import MLP, Conv1D
from llorch_core.spec.oracle import Step, read_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.subject.behaviours import behaviour
from llorch_core.subject.protocol import Array, Chunks

Named = Mapping[str, Any]


class NumpyEngine:
    """llorch's own engine. Raises ModelError where `folder` is not a GPT-2.

    mistake  COMPONENT.MISTAKE of a component that is not arithmetic: a shim then makes it
    """

    precision = "float32"

    def __init__(self, folder: Path | None = None, mistake: str | None = None) -> None:
        self.name = f"spec:{mistake}" if mistake else "numpy"
        self._mistake = (mistake or ".").split(".")
        self.model = load(folder)
        self.folder = self.model.folder
        config = self.model.config
        self.config = {name: getattr(config, name) for name in config.__dataclass_fields__}
        self.config["head_dim"] = config.head_dim

    def component(
        self, name: str, inputs: Mapping[str, Array], config: Named, layer: int, sizes: Mapping[str, int]
    ) -> dict[str, Array]:
        settings = {**config, **sizes, "layer": layer}
        return COMPONENTS[name]({key: as_engine(key, value) for key, value in inputs.items()}, settings)

    def behaviour(self, name: str) -> Any:
        """Return the part of the engine that a spec of data and policies is about."""
        spec = load_specs()
        part, mistake = self._mistake
        data = {**spec.before, **spec.after}[name].data_of(mistake if part == name else None)
        return behaviour(name)(self.model, data)

    def record(self, chunks: Chunks) -> list[Step]:
        part, mistake = self._mistake
        spec = load_specs()
        behaviours = {**spec.before, **spec.after}
        if part in behaviours and behaviours[part].mistakes[mistake].shows_as:
            return read_oracle(spec, self.folder, f"{part}.{mistake}").run(chunks)
        if part == "recording":
            return list(self.behaviour(part).record(chunks))
        if part == "kv_cache":
            protocol = self.behaviour(part)
            past = protocol.new(sum(len(chunk) for chunk in chunks))
            return [protocol.read(past, list(chunk)) for chunk in chunks]
        cache = self.model.new_cache(sum(len(chunk) for chunk in chunks))
        steps: list[Step] = []
        for chunk in chunks:
            steps.append({})

            def observe(sequence: int, checkpoint: str, x: Array) -> None:
                steps[-1][checkpoint] = x

            self.model.logits(chunk, kv_cache=cache, observer=observe)
        return steps

    def logits(self, chunks: Chunks) -> list[Array]:
        cache = self.model.new_cache(sum(len(chunk) for chunk in chunks))
        return [self.model.logits(chunk, kv_cache=cache) for chunk in chunks]

    def batch(self, prompts: Chunks) -> Array:
        ids = [np.asarray(prompt, np.int64) for prompt in prompts]
        caches = [self.model.new_cache(len(prompt)) for prompt in prompts]
        return self.model.forward(ids, caches, "last")


def as_engine(name: str, value: Array) -> Any:
    """float32 arrays, as the engine has them; ids and counts are whole numbers."""
    if name in ("ids", "previous", "lengths"):
        return np.asarray(value, np.int64)
    return np.asarray(value, np.float32) if np.ndim(value) else float(value)


def _embedding(x: Named, s: Named) -> dict[str, Array]:
    places = layers.positions(int(x["n_past"]), len(x["ids"]))
    return {"out": layers.embedding(x["ids"], places, x["wte"], x["wpe"])}


def _qkv(x: Named, s: Named) -> dict[str, Array]:
    return dict(zip("qkv", layers.qkv(x["x"], x["weight"], x["bias"], s["n_head"]), strict=True))


def _cache(x: Named, s: Named) -> dict[str, Array]:
    n_head, n_past, head_dim = x["past_keys"].shape
    cache = KVCache(1, n_head, head_dim, n_past + x["k"].shape[1])
    cache.extend(0, x["past_keys"], x["past_values"])
    cache.advance(n_past)
    return dict(zip(("keys", "values"), cache.extend(0, x["k"], x["v"]), strict=True))


def _scores(x: Named, s: Named) -> dict[str, Array]:
    by_layer = bool(s["scale_attn_by_inverse_layer_idx"])
    scale = layers.attention_scale(x["q"].shape[-1], s["layer"], bool(s["scale_attn_weights"]), by_layer)
    return {"out": layers.attention_scores(x["q"], x["keys"], scale)}


def _mlp(x: Named, s: Named) -> dict[str, Array]:
    shown: dict[str, Array] = {}
    weights = MLP(Conv1D(x["fc_weight"], x["fc_bias"]), Conv1D(x["proj_weight"], x["proj_bias"]))
    gpt2.mlp(weights, s["activation_function"], 0, x["x"], lambda name, y: shown.update({name[8:]: y.copy()}))
    return shown


def _temperature(x: Named, s: Named) -> dict[str, Array]:
    scaled = sampling.temperature(x["logits"], x["temperature"])
    return {"scaled": scaled, "probabilities": sampling.softmax(scaled)}


COMPONENTS: dict[str, Callable[[Named, Named], dict[str, Array]]] = {
    "embedding": _embedding,
    "layer_norm": lambda x, s: {
        "out": layers.layer_norm(x["x"], x["weight"], x["bias"], s["layer_norm_epsilon"])
    },
    "qkv": _qkv,
    "cache": _cache,
    "attention_scores": _scores,
    "attention_weights": lambda x, s: {"out": layers.attention_weights(x["scores"])},
    "attention_context": lambda x, s: {"out": layers.attention_context(x["probs"], x["values"])},
    "attention_output": lambda x, s: {"out": layers.projection(x["x"], x["weight"], x["bias"])},
    "residual": lambda x, s: {"out": layers.residual(x["stream"], x["branch"])},
    "activation": lambda x, s: {"out": layers.activation(x["x"], s["activation_function"])},
    "mlp": _mlp,
    "logits": lambda x, s: {"out": layers.logits(x["x"], x["weight"])},
    "last_position": lambda x, s: {"out": x["logits"][layers.last_positions(x["lengths"])]},
    "argmax": lambda x, s: {"out": np.array([sampling.argmax(x["logits"])])},
    "repetition_penalty": lambda x, s: {
        "out": sampling.repetition_penalty(x["logits"], x["previous"], x["penalty"])
    },
    "temperature": _temperature,
    "top_k": lambda x, s: {"out": sampling.top_k(x["logits"], int(x["k"]))},
    "top_p": lambda x, s: {"out": sampling.top_p(x["logits"], x["p"])},
    "draw": lambda x, s: {"out": np.array([sampling.draw(x["probabilities"], x["u"])])},
}
