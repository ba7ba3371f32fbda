"""transformers on trial, right or wrong: what hooks see in its modules, as a dump under their own names.

    pip install torch transformers safetensors
    python tools/peers/transformers_dump.py MODEL_FOLDER OUT.safetensors --ids 5,3,8 [--calls 2,1]
        [--dtype float32] [--attention eager|sdpa] [--set KEY=VALUE ...] [--train]
    llorch diagnose OUT.safetensors --model MODEL_FOLDER --names transformers

--set changes the configuration that the model is built with, and so makes a wrong engine of a right one:
activation_function=gelu, layer_norm_epsilon=1e-6, scale_attn_weights=false. --train leaves dropout on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file


def watch(gpt2, seen):
    """Keep what every module makes and is given, under the module's name."""

    def after(name):
        def keep(_, given, made):
            for i, x in enumerate(made if isinstance(made, tuple) else ()):
                if torch.is_tensor(x):
                    seen[f"{name}.{i}"] = x.clone()
            if torch.is_tensor(made):
                seen[name] = made.clone()

        return keep

    def before(name):
        def keep(_, given):
            if given and torch.is_tensor(given[0]):
                seen[f"{name}.input"] = given[0].clone()

        return keep

    for name, module in gpt2.named_modules():
        if name not in ("", "transformer"):
            module.register_forward_hook(after(name))
            module.register_forward_pre_hook(before(name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--calls", help="how many ids each call reads; default: all in one")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--attention", default="eager")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    parser.add_argument("--train", action="store_true", help="leave dropout on")
    given = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.GPT2Config.from_pretrained(given.model)
    for change in given.changes:
        key, value = change.split("=", 1)
        kind = type(getattr(config, key))
        setattr(config, key, value == "true" if kind is bool else kind(value))
    gpt2 = transformers.GPT2LMHeadModel.from_pretrained(
        given.model, config=config, attn_implementation=given.attention
    ).to(getattr(torch, given.dtype))
    gpt2.train(given.train)
    ids = [int(i) for i in given.ids.split(",")]
    seen, tensors, cache = {}, {}, None
    watch(gpt2, seen)
    for k, n in enumerate([int(n) for n in given.calls.split(",")] if given.calls else [len(ids)]):
        seen.clear()
        now, ids = torch.tensor([ids[:n]]), ids[n:]
        with torch.no_grad():
            made = gpt2(now, past_key_values=cache, use_cache=True)
        cache = made.past_key_values
        seen["input_ids"] = now
        for i, layer in enumerate(cache.layers):
            seen[f"past_key_values.layers.{i}.keys"] = layer.keys
            seen[f"past_key_values.layers.{i}.values"] = layer.values
        tensors |= {f"step.{k}/{name}": x.detach().clone().contiguous() for name, x in seen.items()}
    engine = " ".join(
        [f"transformers {transformers.__version__}", given.dtype, given.attention, *given.changes]
        + ["train"] * given.train
    )
    save_file(tensors, given.out, {"llorch_dump": "1", "engine": engine, "dtype": given.dtype})
    print(f"{given.out}: {engine}; {len(tensors)} tensors", file=sys.stderr)


if __name__ == "__main__":
    main()
