"""The sizes and switches of a GPT-2 model, read from the config.json beside its weights.

Spec: configuration.
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from llorch_core.engine.errors import ModelError

ACTIVATIONS = ("gelu_new", "gelu", "gelu_fast", "quick_gelu", "relu", "silu", "tanh")
MOST = 2**31  # no size of a real GPT-2 comes near
MOST_LAYERS = 10_000  # every layer costs twelve names before a single weight is read


MOST_JSON = 4_000_000  # bytes: read, JSON takes up to 27 times as much memory


@dataclass(frozen=True)
class Config:
    """What the weights alone do not tell. Names are OpenAI's; the rest keep Hugging Face's."""

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_head: int
    n_layer: int
    n_inner: int
    activation_function: str
    layer_norm_epsilon: float
    scale_attn_weights: bool
    scale_attn_by_inverse_layer_idx: bool
    tie_word_embeddings: bool
    eos_token_id: int | None
    bos_token_id: int | None

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head


def read_config(folder: Path) -> Config:
    """Read FOLDER/config.json as Hugging Face's GPT2Config means it.

    The five sizes (vocab_size, n_positions, n_embd, n_head, n_layer) are never guessed; what else is absent
    takes the default of GPT2Config. Keys that change no number (dropout, summary_*, task settings) are
    ignored.

    Raises ModelError for a config that is missing, broken, or describes something other than GPT-2.
    """
    check_folder(folder)
    path = folder / "config.json"
    file = _ConfigFile(path, read_json(path))
    file.refuse_what_is_not_gpt2()
    n_vocab, n_embd, n_head = file.size("vocab_size"), file.size("n_embd"), file.size("n_head")
    if n_embd % n_head:
        raise ModelError(
            f"{path}: n_embd is {n_embd} and n_head is {n_head} (wanted n_embd divisible by n_head).\n"
            "The heads share n_embd equally. Is this the config that came with the weights?"
        )
    return Config(
        n_vocab=n_vocab,
        n_ctx=file.n_ctx(),
        n_embd=n_embd,
        n_head=n_head,
        n_layer=file.size("n_layer", most=MOST_LAYERS),
        n_inner=4 * n_embd if file.values.get("n_inner") is None else file.size("n_inner"),
        activation_function=file.activation(),
        layer_norm_epsilon=file.epsilon(),
        scale_attn_weights=file.flag("scale_attn_weights", default=True),
        scale_attn_by_inverse_layer_idx=file.flag("scale_attn_by_inverse_layer_idx", default=False),
        tie_word_embeddings=file.flag("tie_word_embeddings", default=True),
        eos_token_id=file.token("eos_token_id", n_vocab),
        bos_token_id=file.token("bos_token_id", n_vocab),
    )


@dataclass(frozen=True)
class _ConfigFile:
    """The object in config.json, asked for one value at a time."""

    path: Path
    values: dict[str, object]

    def wrong(self, key: str, wanted: str, next_step: str = "") -> ModelError:
        got = f"is {self.values[key]!r}" if key in self.values else "is missing"
        hint = next_step or "llorch never guesses. Copy config.json from where the weights came from."
        return ModelError(f"{self.path}: {key} {got} (wanted {wanted}).\n{hint}")

    def refuse_what_is_not_gpt2(self) -> None:
        if self.values.get("model_type", "gpt2") != "gpt2":
            raise self.wrong("model_type", '"gpt2"', "llorch computes GPT-2 and nothing else.")
        if self.flag("add_cross_attention", default=False):
            raise self.wrong("add_cross_attention", "false", "llorch has no encoder to attend to.")

    def size(self, key: str, most: int = MOST) -> int:
        value = self.values.get(key)
        if type(value) is not int or not 1 <= value <= most:  # type(): JSON's true is no size
            raise self.wrong(key, f"a whole number from 1 to {most}")
        return value

    def n_ctx(self) -> int:
        """n_positions; older files call it n_ctx, and many write both."""
        if "n_ctx" not in self.values:
            return self.size("n_positions")
        n_ctx = self.size("n_ctx")
        if "n_positions" in self.values and self.size("n_positions") != n_ctx:
            raise self.wrong(
                "n_positions", f"{n_ctx}, as n_ctx", "Remove the one that is not the rows of wpe."
            )
        return n_ctx

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def activation(self) -> str:
        value = self.values.get("activation_function", "gelu_new")
        if value == "swish":  # an older name, the same function in Hugging Face's ACT2FN
            return "silu"
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.wrong("activation_function", f"one of {' '.join(ACTIVATIONS)}")
        return value

    def epsilon(self) -> float:
        value = self.values.get("layer_norm_epsilon", 1e-5)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value <= sys.float_info.max
        ):
            return float(value)  # neither NaN nor an int beyond float comes here
        raise self.wrong("layer_norm_epsilon", "a finite number, 0 or more")

    def token(self, key: str, n_vocab: int) -> int | None:
        """A token id; null is none. Absent is GPT2Config's 50256, none in a vocabulary too small."""
        if key not in self.values:
            return 50256 if n_vocab > 50256 else None
        value = self.values[key]
        if value is None:
            return None
        if isinstance(value, list):
            raise self.wrong(
                key, "one id or null", "llorch takes one id, not a list. Keep the one that ends a text."
            )
        if type(value) is not int or not 0 <= value < n_vocab:
            raise self.wrong(key, f"null or an id from 0 to {n_vocab - 1}, inside the vocabulary")
        return value


def check_folder(folder: Path) -> None:
    """Refuse a path that is no folder, and a folder whose only weights are a pickle."""
    try:
        got = "" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
    except OSError as error:  # a name too long, a folder that may not be entered
        got = f"cannot be read: {error.strerror}"
    if got:
        raise ModelError(
            f"{folder} {got} (wanted a model folder).\n"
            "A model folder holds config.json and model.safetensors."
        )
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if pickles and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds its weights only as {pickles[0].name} (wanted model.safetensors).\n"
            "That is a pickle: reading one runs code, so llorch never does. If you trust it, convert it:\n"
            "`from transformers import GPT2LMHeadModel as M; "
            f"M.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r}, safe_serialization=True)`"
        )


def read_json(path: Path) -> dict[str, object]:
    """The JSON object in a file of the model folder; ModelError where there is none."""
    try:
        if not path.is_file():
            raise ModelError(
                f"{path} is missing, or is not a file (wanted a JSON object).\n"
                "A model folder holds config.json and model.safetensors, as save_pretrained writes them."
            )
        if (size := path.stat().st_size) > MOST_JSON:
            raise ModelError(
                f"{path} has {size} bytes (wanted a JSON object of at most {MOST_JSON}).\n"
                "The file of a GPT-2 is a thousandth of that. Is it the right one?"
            )
        return parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.\nMay you read that file?") from error


def parse_json(data: bytes, where: str) -> dict[str, object]:
    """The JSON object in `data`: UTF-8, and no key twice, since a reader would choose one silently."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            [(twice, _)] = Counter(keys).most_common(1)
            raise ModelError(
                f"{where} has the key {twice!r} twice (wanted every key once).\nRemove one of them."
            )
        return dict(pairs)

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except ModelError:
        raise
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{where} is not JSON (wanted a JSON object in UTF-8, got: {error}).\n"
            "Is the download complete? An unfetched Git LFS file is a short text that names a digest."
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{where} holds a JSON {type(value).__name__} (wanted an object).\n"
            "Is this the file it claims to be?"
        )
    return value
