"""The weights of a GPT-2 under their GPT-2 names: every tensor in the files is used, or listed as ignored.

Spec: weight_file.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llorch_core.engine.config import Config, check_folder, read_json
from llorch_core.engine.errors import ModelError
from llorch_core.engine.safetensors_file import FLOATS, Entry, map_file, read_header, read_tensor

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PREFIX, HEAD = "transformer.", "lm_head.weight"
CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # fullmatch: "attn.bias" also ends c_attn.bias
PLAIN_NAME = re.compile(r"[^/\\:\0]*\.safetensors")  # a file of this folder
SHOWN = 5  # problems listed in one message
MISSING = 100  # layers that a file may lack before that alone is the problem


@dataclass(frozen=True, eq=False)
class LayerNorm:
    weight: Array  # [n_embd] gain
    bias: Array  # [n_embd]


@dataclass(frozen=True, eq=False)
class Conv1D:
    """y = x @ weight + bias. As GPT-2 stores it: [in, out], the transpose of nn.Linear."""

    weight: Array  # [in, out]
    bias: Array  # [out]


@dataclass(frozen=True, eq=False)
class Attention:
    c_attn: Conv1D  # [n_embd, 3 * n_embd]: q, k, v side by side
    c_proj: Conv1D  # [n_embd, n_embd]


@dataclass(frozen=True, eq=False)
class MLP:
    c_fc: Conv1D  # [n_embd, n_inner]
    c_proj: Conv1D  # [n_inner, n_embd]


@dataclass(frozen=True, eq=False)
class Block:
    ln_1: LayerNorm
    attn: Attention
    ln_2: LayerNorm
    mlp: MLP

    @property
    def convs(self) -> dict[str, Conv1D]:
        """The four matrices with their biases, by name, in the order of the data flow."""
        attn, mlp = self.attn, self.mlp
        return {
            "attn.c_attn": attn.c_attn,
            "attn.c_proj": attn.c_proj,
            "mlp.c_fc": mlp.c_fc,
            "mlp.c_proj": mlp.c_proj,
        }


@dataclass(frozen=True, eq=False)
class Weights:
    wte: Array  # [n_vocab, n_embd] token embedding
    wpe: Array  # [n_ctx, n_embd] position embedding
    h: tuple[Block, ...]  # n_layer blocks
    ln_f: LayerNorm
    lm_head: Array  # [n_vocab, n_embd]; the very array wte where the two are tied
    ignored: tuple[str, ...]  # tensors of the files that are no weights: causal masks
    tied: bool


def expected_shapes(config: Config) -> dict[str, Shape]:
    """Name to shape of every tensor the files must hold, without the prefix `transformer.`."""
    n_embd, n_inner = config.n_embd, config.n_inner
    shapes: dict[str, Shape] = {"wte.weight": (config.n_vocab, n_embd), "wpe.weight": (config.n_ctx, n_embd)}
    for layer in range(config.n_layer):
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{norm}.weight": (n_embd,), f"h.{layer}.{norm}.bias": (n_embd,)}
        for conv, n_in, n_out in (
            ("attn.c_attn", n_embd, 3 * n_embd),
            ("attn.c_proj", n_embd, n_embd),
            ("mlp.c_fc", n_embd, n_inner),
            ("mlp.c_proj", n_inner, n_embd),
        ):
            shapes |= {f"h.{layer}.{conv}.weight": (n_in, n_out), f"h.{layer}.{conv}.bias": (n_out,)}
    shapes |= {"ln_f.weight": (n_embd,), "ln_f.bias": (n_embd,)}
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.n_vocab, n_embd)
    return shapes


def load_weights(folder: Path, config: Config) -> Weights:
    """Load the weights of a model folder; all names, shapes and dtypes are checked before any tensor is read.

    Reads model.safetensors, and the shards of model.safetensors.index.json only where there is no such file,
    as Hugging Face does. F32 is used in place from a read-only map of the file; F16, BF16 and F64 become
    float32. Names may all carry the prefix `transformer.`, or all not. A transposed square matrix
    (attn.c_proj) has the right shape and cannot be seen here.

    Raises ModelError for a tensor that is missing, misshaped, of another dtype, unexpected or there twice,
    and for a tied model whose lm_head.weight is not its wte.weight.
    """
    check_folder(folder)
    source, stored = _stored_tensors(folder)
    if config.n_layer > len(stored) + MISSING:  # before twelve names are made for each of them
        raise ModelError(
            f"{folder / 'config.json'}: n_layer is {config.n_layer} (wanted twelve tensors for each layer, "
            f"got {len(stored)} in all of {source}).\nIs it the config that came with these weights?"
        )
    wanted = expected_shapes(config)
    if HEAD in stored:
        wanted[HEAD] = (config.n_vocab, config.n_embd)
    found = _without_prefix(stored, wanted, source)
    ignored = tuple(name for name in found if CAUSAL_MASK.fullmatch(name))
    _check_tensors({name: found[name] for name in found if name not in ignored}, wanted, source)

    buffers = {file: map_file(folder / file) for file in {found[name].file for name in wanted}}

    def read(name: str) -> Array:
        return read_tensor(buffers[found[name].file], found[name])

    wte = read("wte.weight")
    lm_head = read(HEAD) if HEAD in wanted else wte
    if config.tie_word_embeddings:
        _check_tied(lm_head, wte, source)
        lm_head = wte
    return Weights(
        wte=wte,
        wpe=read("wpe.weight"),
        h=tuple(read_block(f"h.{layer}", read) for layer in range(config.n_layer)),
        ln_f=LayerNorm(read("ln_f.weight"), read("ln_f.bias")),
        lm_head=lm_head,
        ignored=ignored,
        tied=config.tie_word_embeddings,
    )


def read_block(h: str, read: Callable[[str], Array]) -> Block:
    """Return the block of the name `h`; `read` gives a tensor by its GPT-2 name."""

    def norm(name: str) -> LayerNorm:
        return LayerNorm(read(f"{h}.{name}.weight"), read(f"{h}.{name}.bias"))

    def conv(name: str) -> Conv1D:
        return Conv1D(read(f"{h}.{name}.weight"), read(f"{h}.{name}.bias"))

    return Block(
        ln_1=norm("ln_1"),
        attn=Attention(conv("attn.c_attn"), conv("attn.c_proj")),
        ln_2=norm("ln_2"),
        mlp=MLP(conv("mlp.c_fc"), conv("mlp.c_proj")),
    )


def _stored_tensors(folder: Path) -> tuple[str, dict[str, Entry]]:
    """The file that speaks for the weights, and every tensor by its name in the files."""
    if (folder / FILE).exists():
        return FILE, read_header(folder / FILE)
    if not (folder / INDEX).exists():
        raise ModelError(
            f"{folder} holds no weights (wanted {FILE}, or {INDEX} and its shards).\n"
            "Is the download complete? `save_pretrained(..., safe_serialization=True)` writes the file."
        )
    return INDEX, _sharded_tensors(folder)


def _sharded_tensors(folder: Path) -> dict[str, Entry]:
    """The tensors of all shards; the index and the shards must agree about every one of them."""
    weight_map = _weight_map(folder / INDEX)
    holders: dict[str, list[Entry]] = {name: [] for name in weight_map}
    for shard in sorted(set(weight_map.values())):
        for name, entry in read_header(folder / shard).items():
            holders.setdefault(name, []).append(entry)
    for name, entries in holders.items():
        wanted, got = weight_map.get(name), [entry.file for entry in entries]
        if got != [wanted]:
            place = f"in {wanted} alone, as {INDEX} says" if wanted else f"a place for it in {INDEX}"
            raise ModelError(
                f"{name!r} is in {' and in '.join(got) or 'no shard'} (wanted {place}).\n"
                "The index and the shards are not of one checkpoint. Download or save them again, together."
            )
    return {name: entry for name, (entry,) in holders.items()}


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor name to shard. A shard is a plain file name: an index cannot reach out of its folder."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ModelError(
            f"{index}: weight_map is a {type(weight_map).__name__} (wanted an object of name to shard).\n"
            "Is the download complete? Save the model again, or put one model.safetensors in its place."
        )
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not PLAIN_NAME.fullmatch(shard):
            raise ModelError(
                f"{index}: {name!r} is placed in {shard!r} (wanted the name of a .safetensors file).\n"
                "An index names files of its own folder. Where does this one come from?"
            )
    return weight_map


def _without_prefix(stored: dict[str, Entry], wanted: Iterable[str], source: str) -> dict[str, Entry]:
    """Rename transformer.h.0… to h.0…; names that are not GPT-2's stay as they are, to be refused by name."""
    bare_names = frozenset(wanted) - {HEAD}  # the head never has the prefix
    known = [
        name
        for name in stored
        if (bare := name.removeprefix(PREFIX)) in bare_names or CAUSAL_MASK.fullmatch(bare)
    ]
    with_prefix = [name for name in known if name.startswith(PREFIX)]
    without = [name for name in known if not name.startswith(PREFIX)]
    if with_prefix and without:
        raise ModelError(
            f"{source} holds {without[0]} and {with_prefix[0]} (wanted all names with {PREFIX!r}, or none).\n"
            "Two namings in one checkpoint: which tensor is meant? Save the model again."
        )
    renamed = {name: name.removeprefix(PREFIX) for name in with_prefix}
    return {renamed.get(name, name): entry for name, entry in stored.items()}


def _check_tensors(found: dict[str, Entry], wanted: dict[str, Shape], source: str) -> None:
    """Compare all tensors with what config.json promises; raise one ModelError for all that is wrong."""
    problems = [_problem(name, found.get(name), shape, source) for name, shape in wanted.items()]
    problems += [_unexpected(found[name]) for name in found if name not in wanted]
    wrong = [problem for problem in problems if problem]
    if not wrong:
        return
    lines = [line for line, _ in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        lines.append(f"… and {len(wrong) - SHOWN} more: {len(wrong)} tensors are wrong.")
    hints = dict.fromkeys(hint for _, hint in wrong)  # each once, in order
    raise ModelError("\n".join([*lines, *hints]))


def _problem(name: str, entry: Entry | None, shape: Shape, source: str) -> tuple[str, str] | None:
    """What is wrong with a tensor and what to do next, or None."""
    wanted = f"wanted float32 {list(shape)}"
    if entry is None:
        return f"{name} is missing from {source} ({wanted}).", (
            "llorch never fills in zeros for a tensor it cannot find. Is this a GPT-2 checkpoint? "
            "`llorch spec weights` lists the names."
        )
    if entry.dtype not in FLOATS:
        return f"{name} in {entry.file} is {entry.dtype} ({wanted}, or one of {' '.join(FLOATS)}).", (
            "Weights are floating point. Was the model quantized by another tool? Save it as F32."
        )
    if entry.shape == shape:
        return None
    line = f"{name} in {entry.file} has shape {list(entry.shape)} ({wanted})."
    if ".c_" in name and entry.shape == shape[::-1]:
        return line, "This looks like an nn.Linear layout [out, in]. GPT-2 stores [in, out]: transpose it."
    return line, "The shapes follow from config.json. Is it the one that came with these weights?"


def _unexpected(entry: Entry) -> tuple[str, str]:
    got = f"got {entry.dtype} {list(entry.shape)}"
    return (
        f"{entry.name!r} in {entry.file} is no tensor of this model ({got}).",
        "llorch leaves no weight unused (wanted only the names that `llorch spec weights` lists).",
    )


def _check_tied(lm_head: Array, wte: Array, source: str) -> None:
    if lm_head is wte or np.array_equal(lm_head, wte, equal_nan=True):
        return
    differ = np.argwhere(lm_head != wte)
    first = tuple(differ[0])
    raise ModelError(
        f"{HEAD} in {source} differs from wte.weight at {len(differ)} of {wte.size} values (first at "
        f"{differ[0].tolist()}: wanted {wte[first]}, got {lm_head[first]}), but config.json ties the two.\n"
        "Which one is meant? Set tie_word_embeddings to false to use the head, or remove it from the file."
    )
