"""transformers (PyTorch) as a peer of `llorch bench`, answering the bench's protocol.

    pip install torch transformers
    python tools/peers/transformers_peer.py

Precisions: float32, bfloat16 (weights, activations and cache). Attention is PyTorch's own
(scaled_dot_product_attention). Each step calls the model with its cache of keys and values, and asks for the
logits of the last position alone; `generate` computes the same with more overhead. Nothing is compiled. In
bfloat16 the logits, too, are rounded to bfloat16, so that two ids can tie: the smaller id is taken.
"""

from __future__ import annotations

import time

from common import Stepwise, packages, precision_of

from llorch_core.bench.protocol import serve


class Transformers(Stepwise):
    engine = "transformers"

    def __init__(self, request):
        started = time.perf_counter()
        with packages("torch transformers"):
            import torch
            import transformers
        self.torch, self.version = torch, f"{transformers.__version__} (torch {torch.__version__})"
        self.precision = precision_of(request, {"float32": "float32", "bfloat16": "bfloat16"})
        torch.set_num_threads(request["threads"])
        transformers.utils.logging.disable_progress_bar()
        self.gpt2 = transformers.GPT2LMHeadModel.from_pretrained(
            request["model"], dtype=getattr(torch, self.precision), attn_implementation="sdpa"
        ).eval()
        self.load_s = time.perf_counter() - started

    def begin(self, rows, room):
        self.past = None

    def read(self, ids):
        with self.torch.inference_mode():
            made = self.gpt2(self.torch.from_numpy(ids), cache=self.past, use_cache=True, logits_to_keep=1)
        self.past = made.past_key_values
        return made.logits[:, -1].float().numpy()


if __name__ == "__main__":
    serve(Transformers)
