"""CTranslate2 as a peer of `llorch bench`, answering the bench's protocol.

    pip install torch transformers ctranslate2 safetensors
    python tools/peers/ctranslate2_peer.py

Precisions: float32; int8 (weights, and activations rounded to int8 before each product). CTranslate2's own
converter reads the folder through transformers; token i is called `i`, so that no tokenizer stands between.
Its own greedy search generates: the prompt is read at once, and the end of a text is an id that no model has.
"""

from __future__ import annotations

import time
from pathlib import Path

from common import converted, packages, precision_of

from llorch_core.bench.protocol import serve

NEVER = 2**31 - 1  # no end of text: no vocabulary has such an id


class CTranslate2:
    engine = "CTranslate2"

    def __init__(self, request):
        started = time.perf_counter()
        with packages("torch transformers ctranslate2 safetensors"):
            import ctranslate2
        self.ctranslate2, self.version = ctranslate2, ctranslate2.__version__
        self.precision = precision_of(request, {"float32": "float32", "int8": "int8"})
        folder, spent = converted(
            request,
            f"ctranslate2-{self.version}-{self.precision}",
            lambda path: convert(request["model"], path, self.precision),
        )
        self.generator = ctranslate2.Generator(
            str(folder),
            device="cpu",
            compute_type=self.precision,
            inter_threads=1,
            intra_threads=request["threads"],
        )
        self.load_s = time.perf_counter() - started - spent

    def batch(self, prompts, count, callback=None):
        made = self.generator.generate_batch(
            [[str(i) for i in prompt] for prompt in prompts],
            max_length=count,
            end_token=[NEVER],
            include_prompt_in_result=False,
            beam_size=1,
            sampling_topk=1,
            callback=callback,
        )
        return [row.sequences_ids[0] for row in made]

    def decode(self, prompt, count, on_first):
        def step(made):
            if made.step == 0:
                on_first()
            return False  # do not stop

        return self.batch([prompt], count, step)[0]

    def prefill(self, prompt):
        return self.batch([prompt], 1)[0][0]

    def logits(self, prompt):
        import numpy as np

        rows = self.generator.forward_batch([[str(i) for i in prompt]])
        return np.array(rows.to(self.ctranslate2.DataType.float32))[0, -1].astype("<f4").tobytes()


def convert(folder, path, precision):
    with packages("torch transformers ctranslate2 safetensors"):
        import ctranslate2_ids
    ctranslate2_ids.transformers.utils.logging.disable_progress_bar()
    ctranslate2_ids.convert(Path(folder), path, precision)


if __name__ == "__main__":
    serve(CTranslate2)
