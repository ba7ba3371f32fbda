"""ONNX Runtime on trial: its tensors, as a dump.

    pip install torch transformers onnx onnxscript onnxruntime safetensors
    python tools/peers/onnx_dump.py MODEL_FOLDER OUT.safetensors --ids 5,3,8 [--optimize all|none]
        [--option KEY=VALUE] [--leave-out CHECKPOINTS]
    llorch diagnose OUT.safetensors --model MODEL_FOLDER

PyTorch's exporter turns GPT2LMHeadModel of transformers into an ONNX graph whose outputs are the tensors that
hooks see in its modules, and ONNX Runtime computes them on a CPU in float32. Every number is ONNX Runtime's;
NumPy only cuts `c_attn` in three and deals it out to the heads. What is handed to each Softmax is a graph
output, too: `scores`, with hidden keys as the smallest float.

A tensor that is an output cannot be fused away. --leave-out mlp.act lets the GELU be fused; --leave-out all
keeps only the logits, and lets ONNX Runtime fuse whatever it does.
"""

from __future__ import annotations

import argparse
import collections
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from safetensors.numpy import save_file


class Shown(torch.nn.Module):
    """A GPT-2 that returns what its modules make, by the names of checkpoints, beside the logits."""

    def __init__(self, gpt2, left_out):
        super().__init__()
        self.gpt2, self.seen, self.left_out = gpt2, {}, left_out
        parts = gpt2.transformer
        self.after("embed", parts.drop)
        for n, block in enumerate(parts.h):
            self.after(f"h.{n}.ln_1", block.ln_1)
            self.after(f"h.{n}.attn.qkv", block.attn.c_attn)
            self.before(f"h.{n}.attn.context", block.attn.c_proj)
            self.after(f"h.{n}.attn.out", block.attn.c_proj)
            self.before(f"h.{n}.mid", block.ln_2)
            self.after(f"h.{n}.ln_2", block.ln_2)
            self.after(f"h.{n}.mlp.fc", block.mlp.c_fc)
            self.after(f"h.{n}.mlp.act", block.mlp.act)
            self.after(f"h.{n}.mlp.out", block.mlp.c_proj)
            self.after(f"h.{n}.out", block)
        self.after("ln_f", parts.ln_f)

    def wanted(self, name):
        return not any(left in ("all", name, name.split(".", 2)[-1]) for left in self.left_out)

    def after(self, name, module):
        if not self.wanted(name):
            return

        def keep(_, given, made):
            self.seen[name] = made[0] if isinstance(made, tuple) else made

        module.register_forward_hook(keep)

    def before(self, name, module):
        if not self.wanted(name):
            return

        def keep(_, given):
            self.seen[name] = given[0]

        module.register_forward_pre_hook(keep)

    def forward(self, input_ids):
        self.seen.clear()
        logits = self.gpt2(input_ids, use_cache=False).logits
        # clones: an output of its own, even where two checkpoints are one tensor
        return logits, *(x.clone() for x in self.seen.values())


def export(folder, ids, left_out, path):
    """Write the graph; return the names of its outputs, in order, and the model's configuration."""
    gpt2 = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").to(torch.float32)
    module = Shown(gpt2, left_out).eval()
    with torch.no_grad():
        module(torch.tensor([ids]))
    names = ["logits", *module.seen]
    torch.onnx.export(
        module,
        (torch.tensor([ids]),),
        path,
        input_names=["input_ids"],
        output_names=names,
        dynamo=True,
        verbose=False,
    )
    model = onnx.load(path)
    for n, node in enumerate(node for node in model.graph.node if node.op_type == "Softmax"):
        for name, tensor in ((f"h.{n}.attn.scores", node.input[0]), (f"h.{n}.attn.probs", node.output[0])):
            if module.wanted(name):
                model.graph.output.append(
                    onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
                )
                names.append(name)
    onnx.save(model, path)
    return names, gpt2.config


def run(path, ids, optimize, entries):
    """Return what ONNX Runtime computes, and the operators of the graph that it ran."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize == "all" else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.optimized_model_filepath = f"{path}.optimized"
    for entry in entries:
        options.add_session_config_entry(*entry.split("=", 1))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    made = session.run(None, {"input_ids": np.array([ids], np.int64)})
    ran = onnx.load(f"{path}.optimized", load_external_data=False)
    return made, collections.Counter(node.op_type for node in ran.graph.node)


def heads(x, n_head):
    """[1, T, n_embd] to [1, n_head, T, head_dim]."""
    return x.reshape(*x.shape[:2], n_head, -1).transpose(0, 2, 1, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--optimize", choices=["all", "none"], default="all")
    parser.add_argument(
        "--option", action="append", default=[], help="an entry of the session's configuration"
    )
    parser.add_argument(
        "--leave-out", default="", help="checkpoints to be no output, such as mlp.act,mid; or all"
    )
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of the exporter, about hooks and about what is not installed
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    ids = [int(i) for i in given.ids.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/gpt2.onnx"
        names, config = export(given.model, ids, given.leave_out.split(","), path)
        made, operators = run(path, ids, given.optimize, given.option)
    seen = dict(zip(names, made, strict=True))
    for whole in [name for name in seen if name.endswith(".qkv")]:
        for name, x in zip("qkv", np.split(seen.pop(whole), 3, axis=-1), strict=True):
            seen[whole.removesuffix("qkv") + name] = heads(x, config.n_head)
    seen["ids"] = np.array([ids], np.int64)
    engine = f"ONNX Runtime {onnxruntime.__version__}, optimisations {given.optimize}"
    save_file(
        {name: np.ascontiguousarray(x) for name, x in seen.items()},
        given.out,
        {"llorch_dump": "1", "engine": engine, "dtype": "float32"},
    )
    ran = ", ".join(f"{name} {n}" for name, n in sorted(operators.items()))
    print(f"{given.out}: {engine}; {len(seen) - 1} checkpoints; operators that ran: {ran}", file=sys.stderr)


if __name__ == "__main__":
    main()
