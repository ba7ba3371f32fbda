"""llama.cpp as a peer of `llorch bench`, through llama-cpp-python, answering the bench's protocol.

    pip install llama-cpp-python gguf safetensors
    python tools/peers/llama_cpp_peer.py

Precisions: float32; bfloat16; int8 (q8_0); int4 (q4_0). The weights are written as GGUF in float32, without
a vocabulary, and llama.cpp's own `llama_model_quantize` makes the others of it, with its own choice of what
stays more precise (in q4_0, the table of tokens). In float32 the cache is float32, too; else it is of
llama.cpp's default, float16. Whether attention is flash attention is left to llama.cpp. Sequences of a batch
share a call; logits are asked for behind the last id of each.

On a processor with AMX, GCC drops what llama.cpp stores in its tile configuration (pull request 26954 of
ggml-org/llama.cpp), and int8 and int4 end this process with an illegal instruction. A build without AMX does
not: CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON -DGGML_FMA=ON
-DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX2=ON" pip install llama-cpp-python.
"""

from __future__ import annotations

import ctypes
import time
from importlib.metadata import version
from pathlib import Path

from common import Stepwise, converted, in_steps, packages, precision_of

from llorch_core.bench.protocol import Unable, serve

KINDS = {"float32": "F32", "bfloat16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
ALL_F32, MOSTLY = 0, {"BF16": 32, "Q8_0": 7, "Q4_0": 2}  # llama_ftype, as llama.h declares it


class LlamaCpp(Stepwise):
    engine = "llama.cpp"

    def __init__(self, request):
        started = time.perf_counter()
        with packages("llama-cpp-python gguf safetensors"):
            import llama_cpp
            import numpy as np
            from llama_cpp_dump import F32, quiet, write_gguf
        self.llama, self.np, self.version = llama_cpp, np, version("llama-cpp-python")
        kind = precision_of(request, KINDS)
        self.precision, self.threads = request["precision"], request["threads"]
        self.cache_kind = F32 if kind == "F32" else None
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model = Path(request["model"])
        path, spent = converted(request, "llama.cpp-F32.gguf", lambda path: write_gguf(model, path, "f32"))
        if kind != "F32":
            float32 = path
            path, more = converted(
                request,
                f"llama.cpp-{self.version}-{kind}.gguf",
                lambda path: quantize(llama_cpp, float32, path, MOSTLY[kind]),
            )
            spent += more
        given = llama_cpp.llama_model_default_params()
        given.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), given)
        if not self.model:
            raise Unable(f"llama.cpp cannot read {path.name}")
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.context, self.rows, self.room = None, 0, 0
        self.load_s = time.perf_counter() - started - spent

    def begin(self, rows, room):
        llama = self.llama
        if rows != self.rows or room > self.room:
            if self.context:
                llama.llama_free(self.context)
            self.rows, self.room = rows, in_steps(room)
            given = llama.llama_context_default_params()
            given.n_ctx = rows * self.room
            given.n_batch = given.n_ubatch = rows * self.room
            given.n_seq_max = rows
            given.n_threads = given.n_threads_batch = self.threads
            if self.cache_kind is not None:
                given.type_k = given.type_v = self.cache_kind
            self.context = llama.llama_init_from_model(self.model, given)
            if not self.context:
                raise Unable(f"llama.cpp makes no context of {given.n_ctx} positions")
        llama.llama_memory_clear(llama.llama_get_memory(self.context), False)
        self.n_past = 0

    def read(self, ids):
        llama, (rows, new) = self.llama, ids.shape
        batch = llama.llama_batch_init(rows * new, 0, 1)
        batch.n_tokens = rows * new
        for at, token in enumerate(ids.ravel().tolist()):
            row, place = divmod(at, new)
            batch.token[at], batch.pos[at], batch.logits[at] = token, self.n_past + place, place == new - 1
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, row
        failed = llama.llama_decode(self.context, batch)
        llama.llama_batch_free(batch)
        if failed:
            raise Unable(f"llama_decode answers {failed}")
        self.n_past += new
        behind = (llama.llama_get_logits_ith(self.context, (row + 1) * new - 1) for row in range(rows))
        return self.np.stack([self.np.ctypeslib.as_array(logits, (self.n_vocab,)) for logits in behind])


def quantize(llama, float32, path, kind):
    """Write the same model with its matrices in another form, as llama.cpp's own tool makes them."""
    given = llama.llama_model_quantize_default_params()
    given.ftype = kind
    if llama.llama_model_quantize(str(float32).encode(), str(path).encode(), ctypes.byref(given)):
        raise Unable(f"llama.cpp cannot quantise {float32.name}")


if __name__ == "__main__":
    serve(LlamaCpp)
