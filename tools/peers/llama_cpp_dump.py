"""llama.cpp on trial: what its eval callback sees on a CPU, as a dump under llama.cpp's own names.

    pip install llama-cpp-python gguf safetensors
    python tools/peers/llama_cpp_dump.py MODEL_FOLDER OUT.safetensors --ids 5,3,8 [--calls 2,1]
        [--weights f32|f16] [--cache f32|f16] [--flash]
    llorch diagnose OUT.safetensors --model MODEL_FOLDER --names llama.cpp

The weights are written to a GGUF file in the type that --weights says, float32 if not; matrices of Conv1D are
transposed, as llama.cpp wants them. The cache is float32, too, unless --cache f16 asks for llama.cpp's own
default. The callback gives each tensor after it was computed; strides are undone, sizes reversed (ggml counts
them from the innermost), and nothing else is changed. Only `ids` are written by hand: no operator makes them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file, save_file

F32, F16 = 0, 1
NUMPY = {F32: np.float32, F16: np.float16}
OF_A_BLOCK = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
THREE_AXES = {"Qcur", "Kcur", "Vcur", "kq", "kq_soft_max", "kqv"}  # heads apart; the others have two
OF_THE_MODEL = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output"}


class Tensor(ctypes.Structure):
    """The head of ggml_tensor, as ggml.h declares it."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )

    def array(self):
        """Return a copy, contiguous, outermost axis first. ggml counts four axes; those in front are 1."""
        axes = 3 if self.name.decode().split("-")[0] in THREE_AXES else 2
        while axes < 4 and self.ne[axes] > 1:
            axes += 1
        sizes, strides = list(self.ne)[:axes][::-1], list(self.nb)[:axes][::-1]
        dtype = np.dtype(NUMPY[self.type])
        room = sum((n - 1) * step for n, step in zip(sizes, strides, strict=True)) + dtype.itemsize
        raw = (ctypes.c_char * room).from_address(self.data)
        return np.array(np.ndarray(sizes, dtype, raw, strides=strides), order="C")


def no_vocabulary(writer, n_vocab):
    """Say that there is none: such a model is only ever given ids."""
    writer.add_tokenizer_model("none")


def write_gguf(folder, path, kind, vocabulary=no_vocabulary):
    """Write the model as GGUF, with what `vocabulary` writes for the tokens."""
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(config.get("n_ctx", config["n_positions"]))
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    vocabulary(writer, config["vocab_size"])
    writer.add_vocab_size(config["vocab_size"])
    for file in sorted(folder.glob("*.safetensors")):
        if not file.name.startswith("model"):
            continue
        for name, x in load_file(file).items():
            place = name.removeprefix("transformer.").split(".")
            if place[0] == "h":
                if place[2:] in (["attn", "bias"], ["attn", "masked_bias"]):
                    continue  # the mask, which old checkpoints hold
                target = f"blk.{place[1]}.{OF_A_BLOCK['.'.join(place[2:-1])]}"
            else:
                target = OF_THE_MODEL[place[0]]
            turned = x.T if place[0] == "h" and x.ndim == 2 else x
            matrix = x.ndim == 2 and place[0] != "wpe"
            dtype = np.float16 if kind == "f16" and matrix else np.float32
            writer.add_tensor(f"{target}.{place[-1]}", np.ascontiguousarray(turned, dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return config


@llama_cpp.llama_log_callback
def quiet(level, text, _):
    """Say nothing of how the graph is laid out."""


def run(path, n_ctx, calls, cache, flash):
    """Return what the callback saw in each call, and the tensors that were of no type of NumPy's."""
    seen, odd = [], set()

    @llama_cpp.ggml_backend_sched_eval_callback
    def watch(tensor, ask, _):
        if not ask:
            t = Tensor.from_address(tensor)
            if t.type in NUMPY:
                seen[-1][t.name.decode()] = t.array()
            else:
                odd.add(t.name.decode())
        return True

    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    given = llama_cpp.llama_model_default_params()
    given.n_gpu_layers, given.use_mmap = 0, False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), given)
    if not model:
        sys.exit(f"llama.cpp cannot read the model it was given: {path}")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = n_ctx
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = F32 if cache == "f32" else F16
    params.flash_attn_type = int(flash)
    params.cb_eval = watch
    context = llama_cpp.llama_init_from_model(model, params)
    past = 0
    for ids in calls:
        seen.append({"ids": np.array(ids, np.int64)})
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.logits[i] = token, past + i, True
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        if llama_cpp.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        llama_cpp.llama_batch_free(batch)
        past += len(ids)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return seen, odd


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--calls", help="how many ids each call reads; default: all in one")
    parser.add_argument("--cache", choices=["f32", "f16"], default="f32")
    parser.add_argument("--weights", choices=["f32", "f16"], default="f32")
    parser.add_argument(
        "--flash", action="store_true", help="flash attention, which shows neither kq nor its softmax"
    )
    given = parser.parse_args()
    ids = [int(i) for i in given.ids.split(",")]
    calls = []
    for n in [int(n) for n in given.calls.split(",")] if given.calls else [len(ids)]:
        calls.append(ids[:n])
        ids = ids[n:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gpt2.gguf"
        config = write_gguf(given.model, path, given.weights)
        seen, odd = run(path, config.get("n_ctx", config["n_positions"]), calls, given.cache, given.flash)
    engine = f"llama-cpp-python {version('llama-cpp-python')}, weights {given.weights}, cache {given.cache}"
    tensors = {f"step.{k}/{name}": x for k, step in enumerate(seen) for name, x in step.items()}
    save_file(tensors, given.out, {"llorch_dump": "1", "engine": engine, "dtype": "float32"})
    names = sorted({name.split("-")[0] for name in seen[0]} - {"ids"})
    print(f"{given.out}: {engine}; {len(tensors)} tensors: {', '.join(names)}", file=sys.stderr)
    if odd:
        print(f"left out, of a type that NumPy lacks: {', '.join(sorted(odd))}", file=sys.stderr)


if __name__ == "__main__":
    main()
