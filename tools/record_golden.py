"""Record golden tensors from PyTorch's own forward pass, as a dump that any engine can be held against.

    pip install -e '.[torch]'
    python tools/record_golden.py MODEL_FOLDER OUT.safetensors [--prompt TEXT | --ids 1,2,3] [--decode K]

transformers' GPT2LMHeadModel reads the folder in float64 with eager attention. Step 0 is the prefill of
the prompt; steps 1 to K read one token each, the likeliest after the step before, with the model's own
KV cache. Nothing of GPT-2 is written again here: every tensor is one that the model made on its way.

    embed, ln_1, attn.out, ln_2, mlp.fc, mlp.act, mlp.out, out, ln_f   outputs of the modules of that name
    mid, attn.context        inputs of ln_2 and of attn.c_proj
    attn.q .k .v             output of attn.c_attn, cut in three and dealt out to the heads
    attn.keys .values        the cache that the call returned
    attn.scores              what eager_attention_forward hands to softmax; hidden keys are written as -inf
    attn.probs, logits       returned by the call

The dump has the names and shapes of DESIGN, "Checkpoints and dumps", under step.K/. It is written only if
every step has every checkpoint, no number but a hidden score is infinite or NaN, and the logits of all
steps together are those of one pass without a cache, to 1e-12 of the largest.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from torch.overrides import TorchFunctionMode
from transformers import GPT2LMHeadModel

AGREEMENT = 1e-12  # of the largest logit: what the order of float64 sums may cost, and no mistake
Step = dict[str, torch.Tensor]


class SoftmaxInputs(TorchFunctionMode):
    """While it is entered, keeps what each call of torch's softmax was given. It changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.nn.functional.softmax:
            self.seen.append(args[0].clone())
        return function(*args, **(kwargs or {}))


def watch(model: GPT2LMHeadModel, seen: Step) -> None:
    """Hook the modules, so that each call of the model puts its tensors into `seen`, without batch axis."""

    def keep_output(name: str, module: torch.nn.Module) -> None:
        module.register_forward_hook(lambda _, args, out: seen.update({name: as_tensor(out)[0].clone()}))

    def keep_input(name: str, module: torch.nn.Module) -> None:
        module.register_forward_pre_hook(lambda _, args: seen.update({name: args[0][0].clone()}))

    keep_output("embed", model.transformer.drop)
    for n, block in enumerate(model.transformer.h):
        keep_output(f"h.{n}.ln_1", block.ln_1)
        keep_output(f"h.{n}.attn.qkv", block.attn.c_attn)
        keep_input(f"h.{n}.attn.context", block.attn.c_proj)
        keep_output(f"h.{n}.attn.out", block.attn.c_proj)
        keep_input(f"h.{n}.mid", block.ln_2)
        keep_output(f"h.{n}.ln_2", block.ln_2)
        keep_output(f"h.{n}.mlp.fc", block.mlp.c_fc)
        keep_output(f"h.{n}.mlp.act", block.mlp.act)
        keep_output(f"h.{n}.mlp.out", block.mlp.c_proj)
        keep_output(f"h.{n}.out", block)
    keep_output("ln_f", model.transformer.ln_f)


def as_tensor(output: Any) -> torch.Tensor:
    """A block returns its stream, in some versions of transformers as the first of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def record(model: GPT2LMHeadModel, prompt: list[int], n_decode: int) -> list[Step]:
    """Read the prompt, then `n_decode` tokens one by one; return the checkpoints of each call."""
    seen: Step = {}
    watch(model, seen)
    steps: list[Step] = []
    chunk, cache = torch.tensor(prompt), None
    for _ in range(1 + n_decode):
        seen.clear()
        with SoftmaxInputs() as softmax:
            made = model(chunk[None], past_key_values=cache, use_cache=True, output_attentions=True)
        cache = made.past_key_values
        step = {"ids": chunk, **seen, "logits": made.logits[0]}
        for n, scores in enumerate(softmax.seen):
            q, k, v = step.pop(f"h.{n}.attn.qkv").split(model.config.n_embd, dim=-1)
            step |= {f"h.{n}.attn.{name}": heads(x, model) for name, x in (("q", q), ("k", k), ("v", v))}
            step[f"h.{n}.attn.keys"] = cache.layers[n].keys[0].clone()
            step[f"h.{n}.attn.values"] = cache.layers[n].values[0].clone()
            hidden = scores[0] <= torch.finfo(scores.dtype).min / 2  # transformers adds finfo.min to these
            step[f"h.{n}.attn.scores"] = scores[0].masked_fill(hidden, -torch.inf)
            step[f"h.{n}.attn.probs"] = made.attentions[n][0]
        steps.append(step)
        chunk = made.logits[0, -1:].argmax(dim=-1)
    return steps


def heads(x: torch.Tensor, model: GPT2LMHeadModel) -> torch.Tensor:
    """Return x (T, n_embd) as (n_head, T, head_dim)."""
    return x.view(len(x), model.config.n_head, -1).transpose(0, 1)


def check(model: GPT2LMHeadModel, steps: list[Step]) -> float:
    """Refuse steps that contradict the model; return how far cached and uncached logits differ."""
    wanted = 4 + 16 * model.config.n_layer  # ids, embed, ln_f, logits, and those of each block
    for k, step in enumerate(steps):
        if len(step) != wanted or step.keys() != steps[0].keys():
            sys.exit(f"step {k} has {len(step)} checkpoints (wanted {wanted}): has transformers changed?")
        for name, x in step.items():
            hidden = x == -torch.inf if name.endswith("scores") else torch.zeros(())
            if not (x.isfinite() | hidden.bool()).all():
                sys.exit(f"step {k}, {name}: not finite (wanted numbers). Is the model damaged?")
    ids = torch.cat([step["ids"] for step in steps])
    right = model(ids[None], use_cache=False).logits[0]
    difference = (torch.cat([step["logits"] for step in steps]) - right).abs().max() / right.abs().max()
    if not difference < AGREEMENT:
        sys.exit(f"with and without a cache the logits differ by {difference:.1e} (wanted {AGREEMENT}).")
    return float(difference)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a GPT-2 in the Hugging Face layout")
    parser.add_argument("out", type=Path, help="the dump to write, .safetensors")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", metavar="TEXT")
    prompt.add_argument("--ids", type=lambda text: [int(i) for i in text.split(",")], metavar="1,2,3")
    parser.add_argument("--decode", type=int, default=2, metavar="K", help="single-token steps (2)")
    options = parser.parse_args()

    model, loading = GPT2LMHeadModel.from_pretrained(
        options.folder,
        dtype=torch.float64,
        attn_implementation="eager",
        local_files_only=True,
        output_loading_info=True,
    )
    if any(loading.values()):  # transformers would go on, with random numbers for what is missing
        sys.exit(f"{options.folder}: not every tensor is in its place: {loading}")
    ids = options.ids or transformers.GPT2Tokenizer.from_pretrained(options.folder).encode(options.prompt)
    steps = record(model, ids, options.decode)
    difference = check(model, steps)
    tensors = {f"step.{k}/{name}": x.contiguous() for k, step in enumerate(steps) for name, x in step.items()}
    metadata = {
        "llorch_dump": "1",
        "engine": f"transformers {transformers.__version__}, torch {torch.__version__}, eager attention, "
        "hooks on the real modules",
        "dtype": "float64",
        "command": shlex.join(["python", *sys.argv]),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(safetensors.torch.save(tensors, metadata))
    print(
        f"{options.out}: {len(tensors)} tensors, {options.out.stat().st_size:,} bytes; {len(ids)} + "
        f"{options.decode} tokens; cached and uncached logits differ by {difference:.1e} of the largest"
    )


if __name__ == "__main__":
    main()
