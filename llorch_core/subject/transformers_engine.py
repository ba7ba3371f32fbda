"""transformers on trial: GPT2LMHeadModel, watched by hooks while it runs. Needs the extra `torch`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from llorch_core.engine.errors import UsageError
from llorch_core.spec.oracle import Step
from llorch_core.subject.foreign import ForeignEngine, as_array
from llorch_core.subject.protocol import Array, Chunks

try:
    import torch
    import transformers
    from torch.overrides import TorchFunctionMode
except ImportError as error:
    raise UsageError(
        f"transformers cannot be put on trial: {error} (wanted PyTorch and transformers).\n"
        "Install them with: pip install 'llorch[torch]'"
    ) from error

DTYPES = ("float32", "float16", "bfloat16", "float64")


class TransformersEngine(ForeignEngine):
    """GPT2LMHeadModel of transformers, with eager attention, in one precision.

    Every checkpoint is a tensor that the model made on its way; nothing of GPT-2 is written again here.

    embed, ln_1, attn.out, ln_2, mlp.fc, mlp.act, mlp.out, out, ln_f   outputs of the modules of that name
    mid, attn.context       inputs of ln_2 and of attn.c_proj
    attn.q .k .v            output of attn.c_attn, cut in three and dealt out to the heads
    attn.keys .values       the cache that the call returned
    attn.scores             what its attention hands to softmax; hidden by its smallest number: -inf
    attn.probs, logits      returned by the call

    Raises UsageError where PyTorch is not installed, or the folder does not fill the model.
    """

    aside = True

    def __init__(self, model: Path | None, dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise UsageError(f"there is no engine transformers:{dtype} (wanted one of {', '.join(DTYPES)}).")
        super().__init__("transformers" if dtype == "float32" else f"transformers:{dtype}", model, dtype)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.gpt2, found = transformers.GPT2LMHeadModel.from_pretrained(
            self.folder,
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
            **{_DTYPE: "auto"},  # as stored; `to` then rounds once, or not at all
        )
        tied = {"lm_head.weight"} if self.config["tie_word_embeddings"] else set()
        if lacking := sorted({*found["missing_keys"]} - tied):  # they would be random numbers
            raise UsageError(
                f"transformers finds no {', '.join(lacking)} in {self.folder} (wanted every tensor).\n"
                "`llorch spec weights` lists the names."
            )
        self.gpt2.to(getattr(torch, dtype)).eval()

    def record(self, chunks: Chunks) -> list[Step]:
        steps: list[Step] = []
        cache = None
        for ids in chunks:
            with torch.no_grad(), self._watched() as (seen, softmax):
                made = self.gpt2(
                    torch.tensor([ids]), past_key_values=cache, use_cache=True, output_attentions=True
                )
            cache = made.past_key_values
            seen["logits"] = made.logits
            for n in range(self.config["n_layer"]):
                cut = seen.pop(f"h.{n}.attn.qkv").split(self.config["n_embd"], dim=-1)
                seen |= {f"h.{n}.attn.{name}": self._heads(x) for name, x in zip("qkv", cut, strict=True)}
                seen[f"h.{n}.attn.keys"], seen[f"h.{n}.attn.values"] = rows(cache, n)
                seen[f"h.{n}.attn.probs"] = made.attentions[n]
                if len(softmax) == self.config["n_layer"]:  # another kind of attention calls no softmax
                    hidden = softmax[n] <= torch.finfo(softmax[n].dtype).min / 2
                    seen[f"h.{n}.attn.scores"] = softmax[n].masked_fill(hidden, -torch.inf)
            steps.append(self.step(ids, seen, self.name))  # copies: the cache may change what it has returned
        return steps

    def logits(self, chunks: Chunks) -> list[Array]:
        found, cache = [], None
        for ids in chunks:
            with torch.no_grad():
                made = self.gpt2(torch.tensor([ids]), past_key_values=cache, use_cache=True)
            cache = made.past_key_values
            found.append(as_array(made.logits[0])[0])
        return found

    def batch(self, prompts: Chunks) -> Array:
        """Read prompts side by side, filled up behind their end, where a mask hides it."""
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        with torch.no_grad():
            logits = self.gpt2(ids, attention_mask=torch.arange(longest) < lengths[:, None]).logits
        return as_array(logits[torch.arange(len(prompts)), lengths - 1])[0]

    @contextmanager
    def _watched(self) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Hook every module that makes a checkpoint; gives what they make, and what softmax is given."""
        seen: dict[str, Any] = {}
        with ExitStack() as hooks:

            def output(name: str, module: Any) -> None:
                def keep(_: Any, args: Any, made: Any) -> None:
                    seen[name] = (made[0] if isinstance(made, tuple) else made).clone()

                hooks.callback(module.register_forward_hook(keep).remove)

            def first_input(name: str, module: Any) -> None:
                def keep(_: Any, args: Any) -> None:
                    seen[name] = args[0].clone()

                hooks.callback(module.register_forward_pre_hook(keep).remove)

            parts = self.gpt2.transformer
            output("embed", parts.drop)
            for n, block in enumerate(parts.h):
                output(f"h.{n}.ln_1", block.ln_1)
                output(f"h.{n}.attn.qkv", block.attn.c_attn)
                first_input(f"h.{n}.attn.context", block.attn.c_proj)
                output(f"h.{n}.attn.out", block.attn.c_proj)
                first_input(f"h.{n}.mid", block.ln_2)
                output(f"h.{n}.ln_2", block.ln_2)
                output(f"h.{n}.mlp.fc", block.mlp.c_fc)
                output(f"h.{n}.mlp.act", block.mlp.act)
                output(f"h.{n}.mlp.out", block.mlp.c_proj)
                output(f"h.{n}.out", block)
            output("ln_f", parts.ln_f)
            yield seen, hooks.enter_context(SoftmaxInputs()).seen

    def _heads(self, x: Any) -> Any:
        """Return x (1, T, n_embd) as (1, n_head, T, head_dim)."""
        return x.view(*x.shape[:2], self.config["n_head"], -1).transpose(1, 2)


class SoftmaxInputs(TorchFunctionMode):
    """While it is entered, keeps what each call of torch's softmax is given. It changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.nn.functional.softmax:
            self.seen.append(args[0].clone())
        return function(*args, **(kwargs or {}))


def rows(cache: Any, n: int) -> tuple[Any, Any]:
    """Return the keys and values of block n, [1, n_head, S, head_dim], of any cache of transformers."""
    if hasattr(cache, "layers"):
        return cache.layers[n].keys, cache.layers[n].values
    keys, values = cache[n][:2]
    return keys, values


_DTYPE = "dtype" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 56) else "torch_dtype"
