"""A small GPT-2 in NumPy that leaves a dump of every checkpoint for llorch.

    python dump.py FOLDER_OF_THE_MODEL out.safetensors 15496 11 995
    llorch diagnose out.safetensors --model FOLDER_OF_THE_MODEL

It reads the ids in one forward call, chooses the next token, and reads that one in a second call. Needs
numpy and safetensors, a model in float32 with gelu_new, and nothing of llorch. What your engine needs is
`record`, wherever it has a tensor in its hands, and `save_file` at the end.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

recorded = {}


def record(call, name, x):
    """Keep a copy of a tensor, as checkpoint `name` of forward call `call`; give the tensor back."""
    recorded[f"step.{call}/{name}"] = np.array(x, order="C")
    return x


def layer_norm(x, weight, bias, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * weight + bias


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + 0.044715 * x**3)))


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def forward(ids, weights, config, cache, call):
    """Read ids [T] behind what `cache` holds; return logits [T, n_vocab]."""
    past = cache[0][0].shape[1] if cache else 0
    n_head, epsilon = config["n_head"], config.get("layer_norm_epsilon", 1e-5)

    def heads(x):  # [T, n_embd] to [n_head, T, head_dim]
        return x.reshape(len(x), n_head, -1).transpose(1, 0, 2)

    record(call, "ids", np.array(ids, np.int64))
    x = record(call, "embed", weights["wte.weight"][ids] + weights["wpe.weight"][past : past + len(ids)])
    for i in range(config["n_layer"]):
        block = f"h.{i}"

        def weight(name, block=block):
            return weights[f"{block}.{name}.weight"], weights[f"{block}.{name}.bias"]

        def linear(x, name, weight=weight):
            w, b = weight(name)
            return x @ w + b

        def keep(name, x, block=block):
            return record(call, f"{block}.{name}", x)

        a = keep("ln_1", layer_norm(x, *weight("ln_1"), epsilon))
        thirds = np.split(linear(a, "attn.c_attn"), 3, axis=-1)
        q, k, v = (keep(f"attn.{n}", heads(part)) for n, part in zip("qkv", thirds, strict=True))
        if len(cache) > i:
            k, v = np.concatenate([cache[i][0], k], 1), np.concatenate([cache[i][1], v], 1)
        cache[i : i + 1] = [(keep("attn.keys", k), keep("attn.values", v))]
        hidden = np.triu(np.ones((len(ids), past + len(ids)), bool), past + 1)
        scores = np.where(hidden, -np.inf, q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1])))
        probs = keep("attn.probs", softmax(keep("attn.scores", scores.astype(np.float32))))
        context = keep("attn.context", (probs @ v).transpose(1, 0, 2).reshape(a.shape))
        x = keep("mid", x + keep("attn.out", linear(context, "attn.c_proj")))
        m = keep("ln_2", layer_norm(x, *weight("ln_2"), epsilon))
        act = keep("mlp.act", gelu(keep("mlp.fc", linear(m, "mlp.c_fc"))))
        x = keep("out", x + keep("mlp.out", linear(act, "mlp.c_proj")))
    x = record(call, "ln_f", layer_norm(x, weights["ln_f.weight"], weights["ln_f.bias"], epsilon))
    return record(call, "logits", x @ weights.get("lm_head.weight", weights["wte.weight"]).T)


def main(folder, out, *ids):
    config = json.loads((Path(folder) / "config.json").read_text())
    tensors = load_file(Path(folder) / "model.safetensors")
    weights = {name.removeprefix("transformer."): x for name, x in tensors.items()}
    cache = []
    logits = forward([int(i) for i in ids], weights, config, cache, call=0)
    forward([int(logits[-1].argmax())], weights, config, cache, call=1)
    metadata = {"llorch_dump": "1", "engine": "dump.py", "dtype": "float32"}
    save_file(recorded, out, metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
