"""GPT-2 in NumPy, as somebody would write it: one file, and a dict of what it computes on its way.

llorch verify --engine python:examples/my_gpt2.py:MyGPT2
llorch verify --engine 'command: python examples/my_gpt2.py {model} {ids} {calls} {dump}'
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def layer_norm(x, w, name, eps):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(np.float32(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class MyGPT2:
    def __init__(self, folder):
        self.config = json.loads((Path(folder) / "config.json").read_text())
        stored = load_file(Path(folder) / "model.safetensors")
        self.w = {name.removeprefix("transformer."): x for name, x in stored.items()}

    def forward(self, ids, past):
        w, n_head, seen = self.w, self.config["n_head"], {}
        eps = np.float32(self.config["layer_norm_epsilon"])
        n_past = past[0][0].shape[1] if past else 0
        x = seen["embed"] = w["wte.weight"][ids] + w["wpe.weight"][n_past : n_past + len(ids)]
        present = []
        for n in range(self.config["n_layer"]):
            h = f"h.{n}"
            a = seen[f"{h}.ln_1"] = layer_norm(x, w, f"{h}.ln_1", eps)
            q, k, v = (
                part.reshape(len(ids), n_head, -1).transpose(1, 0, 2)
                for part in np.split(linear(a, w, f"{h}.attn.c_attn"), 3, axis=-1)
            )
            seen |= {f"{h}.attn.q": q, f"{h}.attn.k": k, f"{h}.attn.v": v}
            if past:
                k, v = (np.concatenate([old, new], axis=1) for old, new in zip(past[n], (k, v), strict=True))
            present.append((k, v))
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(np.float32(q.shape[-1]))
            hidden = np.triu(np.ones(scores.shape[1:], bool), 1 + n_past)
            scores = np.where(hidden, np.float32(-np.inf), scores)
            probs = softmax(scores)
            context = (probs @ v).transpose(1, 0, 2).reshape(len(ids), -1)
            out = linear(context, w, f"{h}.attn.c_proj")
            seen |= {f"{h}.attn.keys": k, f"{h}.attn.values": v, f"{h}.attn.scores": scores}
            seen |= {f"{h}.attn.probs": probs, f"{h}.attn.context": context, f"{h}.attn.out": out}
            x = seen[f"{h}.mid"] = x + out
            b = seen[f"{h}.ln_2"] = layer_norm(x, w, f"{h}.ln_2", eps)
            fc = seen[f"{h}.mlp.fc"] = linear(b, w, f"{h}.mlp.c_fc")
            act = seen[f"{h}.mlp.act"] = gelu(fc)
            mlp = seen[f"{h}.mlp.out"] = linear(act, w, f"{h}.mlp.c_proj")
            x = seen[f"{h}.out"] = x + mlp
        x = seen["ln_f"] = layer_norm(x, w, "ln_f", eps)
        seen["logits"] = x @ w["wte.weight"].T
        return seen, present


def main(folder, ids, calls, dump):
    """Read the ids, so many in each call, and write what was seen of call K under step.K/."""
    engine, past, tensors = MyGPT2(folder), None, {}
    ids = [int(i) for i in ids.split(",")]
    for k, count in enumerate(map(int, calls.split(","))):
        new, ids = ids[:count], ids[count:]
        seen, past = engine.forward(new, past)
        seen["ids"] = np.array(new)
        tensors |= {f"step.{k}/{name}": np.ascontiguousarray(x) for name, x in seen.items()}
    save_file(tensors, dump, metadata={"engine": "my_gpt2", "dtype": "float32"})


if __name__ == "__main__":
    main(*sys.argv[1:])
