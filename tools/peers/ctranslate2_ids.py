"""CTranslate2 on trial: the tokens that it chooses greedily, and with --dump its logits.

    pip install torch transformers ctranslate2 safetensors
    python tools/peers/ctranslate2_ids.py MODEL_FOLDER --ids 5,3,8 [--count 24] [--compute float32]
        [--dump OUT.safetensors]
    llorch diagnose --tokens "$(python tools/peers/ctranslate2_ids.py …)" --ids 5,3,8 --model MODEL_FOLDER

CTranslate2's own converter reads the folder through transformers. It wants a vocabulary of texts; token i is
called `i` here, so that no tokenizer stands between. The ids go to standard output, scores to standard error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import ctranslate2
import numpy as np
import transformers
from ctranslate2.converters import transformers as converters
from safetensors.numpy import save_file


def convert(folder, out, quantization="float32"):
    """Write the model in CTranslate2's form, with weights of that kind."""
    gpt2 = transformers.GPT2LMHeadModel.from_pretrained(folder)
    loader = converters.GPT2Loader()
    spec = loader.get_model_spec(gpt2)
    spec.register_vocabulary([str(i) for i in range(gpt2.config.vocab_size)])
    end = gpt2.config.eos_token_id
    spec.config.eos_token = str(gpt2.config.vocab_size - 1 if end is None else end)
    spec.config.bos_token = spec.config.unk_token = spec.config.eos_token
    spec.validate()
    spec.optimize(quantization)
    Path(out).mkdir()
    spec.save(out)
    return gpt2.config


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--ids", required=True)
    parser.add_argument(
        "--count", type=int, default=24, help="tokens to choose, at most; the end of the text is the last"
    )
    parser.add_argument("--compute", default="float32", help="float32, int8, int8_float32 …")
    parser.add_argument("--dump", type=Path, help="write the logits of the prompt as a dump, too")
    given = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    ids = [int(i) for i in given.ids.split(",")]
    prompt = [str(i) for i in ids]
    with tempfile.TemporaryDirectory() as folder:
        config = convert(given.model, f"{folder}/ct2")
        engine = ctranslate2.Generator(
            f"{folder}/ct2", device="cpu", compute_type=given.compute, intra_threads=1
        )
        count = min(given.count, config.n_positions - len(ids) + 1)
        (made,) = engine.generate_batch(
            [prompt],
            max_length=count,  # and no min_length: CTranslate2 would keep the end of text from being chosen
            return_end_token=True,
            sampling_topk=1,
            include_prompt_in_result=False,
            return_scores=True,
        )
        name = f"CTranslate2 {ctranslate2.__version__}, {engine.compute_type}"
        if given.dump:
            logits = np.array(engine.forward_batch([prompt]).to(ctranslate2.DataType.float32))
            metadata = {"llorch_dump": "1", "engine": name, "dtype": "float32"}
            save_file({"ids": np.array(ids, np.int64), "logits": logits}, given.dump, metadata)
    print(f"{name}: {len(made.sequences_ids[0])} tokens, score {made.scores[0]:.7g}", file=sys.stderr)
    print(",".join(map(str, made.sequences_ids[0])))


if __name__ == "__main__":
    main()
