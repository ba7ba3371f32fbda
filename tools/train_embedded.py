"""Train the embedded model: a small GPT-2 that writes in the manner of Shakespeare.

    pip install -e '.[train]'
    python tools/train_embedded.py tinyshakespeare.txt llorch_core/models/shakespeare

The text is the public-domain collection of karpathy/char-rnn (1,115,394 bytes). A byte-level BPE
with GPT-2's pre-tokenizer is learned from its first nine tenths, then a GPT-2 of transformers is
trained on them; the last tenth is never trained on, and the weights with the lowest loss on it are
kept. Everything random comes from --seed. The folder gets the ordinary Hugging Face layout and a
README.md, the model card, with the figures that this run measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers.implementations import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

END_OF_TEXT = "<|endoftext|>"
HELD_OUT = 0.1  # the last tenth of the text is only ever used to measure

CARD = """# Shakespeare, the embedded model

A GPT-2 with {n_layer} layers, {n_head} heads, {n_embd} wide, {n_ctx} positions and a byte-level BPE of
{n_vocab} tokens: {parameters:,} parameters in float32. It writes in the manner of Shakespeare, and
means nothing by it. It is here so that llorch has a trained model to verify without a download.

| | |
|---|---|
| text | tinyshakespeare (public domain), {n_bytes:,} bytes, sha256 `{sha256}` |
| tokens | {n_train:,} to train, {n_valid:,} held out (the last tenth of the text) |
| training | {steps:,} steps of {batch} x {n_ctx} tokens, AdamW, peak learning rate {rate}, seed {seed} |
| loss, held-out text | **{loss:.4f}** nats a token ({per_byte:.4f} a byte), lowest at step {best_step:,} |
| loss, training text | {train_loss:.4f} nats a token at that step |
| made with | torch {torch}, transformers {transformers}, tokenizers {tokenizers}, in {minutes:.0f} minutes |
| command | `python tools/train_embedded.py tinyshakespeare.txt llorch_core/models/shakespeare` |
| licence | that of llorch; the text is in the public domain |

`{end_of_text}` is the last token of the vocabulary. It never occurs in the training text.
"""


def learn_tokens(text: str, folder: Path, n_vocab: int) -> list[int]:
    """Learn the BPE from `text`, write vocab.json and merges.txt, return the ids of `text`."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([text], vocab_size=n_vocab - 1, min_frequency=2, show_progress=False)
    tokenizer.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary[END_OF_TEXT] = len(vocabulary)  # as in GPT-2: after the last merge
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    return tokenizer.encode(text).ids


@torch.no_grad()
def mean_loss(model: GPT2LMHeadModel, ids: torch.Tensor, n_ctx: int) -> float:
    """Mean cross-entropy in nats a token over consecutive windows of `n_ctx` + 1 ids."""
    model.eval()
    windows = ids[: (len(ids) - 1) // n_ctx * n_ctx + 1].unfold(0, n_ctx + 1, n_ctx)
    losses = [model(w[:, :-1]).logits.transpose(1, 2) for w in windows.split(32)]
    total = sum(
        torch.nn.functional.cross_entropy(logits, w[:, 1:], reduction="sum").item()
        for logits, w in zip(losses, windows.split(32), strict=True)
    )
    model.train()
    return total / (len(windows) * n_ctx)


def learning_rate(step: int, steps: int, peak: float, warm_up: int = 100) -> float:
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / (steps - warm_up)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1616)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--vocab", type=int, default=1024)
    options = parser.parse_args()

    started = time.monotonic()
    torch.manual_seed(options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    raw = options.text.read_bytes()
    text = raw.decode()
    cut = text.rfind("\n\n", 0, int(len(text) * (1 - HELD_OUT))) + 2  # between two speeches
    train_ids = learn_tokens(text[:cut], options.folder, options.vocab)
    tokenizer = ByteLevelBPETokenizer(str(options.folder / "vocab.json"), str(options.folder / "merges.txt"))
    train = torch.tensor(train_ids)
    valid = torch.tensor(tokenizer.encode(text[cut:]).ids)

    shape = {"n_layer": 4, "n_head": 4, "n_embd": 128, "n_ctx": 256}
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **shape,
        "n_positions": shape["n_ctx"],
        "vocab_size": options.vocab,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
        "bos_token_id": options.vocab - 1,
        "eos_token_id": options.vocab - 1,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "torch_dtype": "float32",
    }
    (options.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = GPT2LMHeadModel(GPT2Config(**{k: v for k, v in config.items() if k != "n_ctx"}))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=options.rate,
        betas=(0.9, 0.95),
    )

    best: tuple[float, int, float] = (math.inf, 0, math.inf)
    weights: dict[str, torch.Tensor] = {}
    running = math.inf
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.rate)
        starts = torch.randint(len(train) - shape["n_ctx"] - 1, (options.batch,))
        windows = torch.stack([train[s : s + shape["n_ctx"] + 1] for s in starts])
        logits = model(windows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), windows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if math.isinf(running) else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % 200 == 0 or step + 1 == options.steps:
            held_out = mean_loss(model, valid, shape["n_ctx"])
            print(
                f"step {step + 1:5d}  train {running:.4f}  held out {held_out:.4f}",
                flush=True,
            )
            if held_out < best[0]:
                best = held_out, step + 1, running
                weights = {
                    name: tensor.detach().clone().contiguous()
                    for name, tensor in model.state_dict().items()
                    if name != "lm_head.weight"  # tied to wte
                }

    save_file(weights, options.folder / "model.safetensors", metadata={"format": "pt"})
    held_out, best_step, train_loss = best
    card = CARD.format(
        **shape,
        n_vocab=options.vocab,
        parameters=sum(t.numel() for t in weights.values()),
        n_bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        n_train=len(train),
        n_valid=len(valid),
        steps=options.steps,
        batch=options.batch,
        rate=options.rate,
        seed=options.seed,
        loss=held_out,
        per_byte=held_out * len(valid) / len(text[cut:].encode()),
        best_step=best_step,
        train_loss=train_loss,
        torch=torch.__version__,
        transformers=transformers.__version__,
        tokenizers=tokenizers.__version__,
        minutes=(time.monotonic() - started) / 60,
        end_of_text=END_OF_TEXT,
    )
    (options.folder / "README.md").write_text(card)


if __name__ == "__main__":
    main()
