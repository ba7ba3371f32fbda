"""Weight files and configs, written by hand: nothing of the engine has a part in what is expected of it."""

import json
import struct
import tempfile
from pathlib import Path

import numpy as np
from behave import given, then, when
from safetensors import deserialize

from llorch_core.check.compare import compare, compare_text

BYTES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
PARTS = {
    "ln_1": ("n_embd",),
    "attn.c_attn": ("n_embd", "3 * n_embd"),
    "attn.c_proj": ("n_embd", "n_embd"),
    "ln_2": ("n_embd",),
    "mlp.c_fc": ("n_embd", "n_inner"),
    "mlp.c_proj": ("n_inner", "n_embd"),
}
SIZES = {"n_embd": 4, "3 * n_embd": 12, "n_inner": 6}


def numbers(n, shape):
    """Element i of tensor n: ((7 n + 3 i) mod 256 - 45) / 16."""
    i = np.arange(np.prod(shape, dtype=int))
    return (((7 * n + 3 * i) % 256 - 45) / 16).reshape(shape)


def as_bytes(x, dtype):
    """Encode numbers as a dtype; BF16 is the upper half of a float32, which is exact for ours."""
    if dtype == "BF16":
        return (x.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return x.astype(BYTES.get(dtype, "<i2")).tobytes()


def from_bytes(raw, dtype):
    """Decode numbers; None where they are no floating point numbers."""
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(raw, BYTES[dtype]) if dtype in BYTES else None


def by_library(path):
    """Return every tensor of a file as float32, cut out by the safetensors library; a mask is none."""
    tensors = {}
    for name, entry in sorted(deserialize(path.read_bytes())):  # the library gives them in any order
        x = from_bytes(bytes(entry["data"]), entry["dtype"])
        if x is not None:
            tensors[name] = x.astype(np.float32).reshape(entry["shape"])
    return tensors


def is_mask(name):
    return name.endswith((".attn.bias", ".attn.masked_bias"))


def measure(tensors):
    """Return what the numbers of a weight file are like, for the conditions of its rules."""
    squares = [x for name, x in tensors.items() if name.endswith("attn.c_proj.weight")]
    gains = [x for name, x in tensors.items() if "ln_" in name and name.endswith(".weight")]
    return {
        "zero_tensors": sum(not x.any() for x in tensors.values()),
        "twins": len(tensors) - len({(x.shape, x.tobytes()) for x in tensors.values()}),
        "asymmetry": min((np.abs(x - x.T).max() for x in squares), default=0),
        "gain_distance": min((abs(x.mean(dtype=np.float64) - 1) for x in gains), default=0),
    }


class Draft:
    """A model folder before it is written: a GPT-2 with 5 tokens, 4 positions, n_embd 4, n_inner 6."""

    def __init__(self, n_layer, tied=True):
        self.config = {
            **{"vocab_size": 5, "n_positions": 4, "n_embd": 4, "n_head": 2, "n_layer": n_layer, "n_inner": 6},
            "tie_word_embeddings": tied,
        }
        shapes = {"wte.weight": (5, 4), "wpe.weight": (4, 4)}
        for place, of in [(f"h.{n}.{p}", s) for n in range(n_layer) for p, s in PARTS.items()]:
            shape = tuple(SIZES[size] for size in of)
            shapes |= {f"{place}.weight": shape, f"{place}.bias": shape[-1:]}
        shapes |= {"ln_f.weight": (4,), "ln_f.bias": (4,)} | ({} if tied else {"lm_head.weight": (5, 4)})
        self.wanted = {name: numbers(n, shape) for n, (name, shape) in enumerate(shapes.items())}
        self.tensors = dict(self.wanted)
        self.dtypes = {}
        self.dtype, self.prefix, self.shards, self.missing, self.more, self.shared = "F32", "", 1, 0, 0, False

    def file(self, names):
        """Return the bytes of a safetensors file with these tensors."""
        header, data = {}, b""
        for name in names:
            dtype = self.dtype_of(name)
            raw = as_bytes(self.tensors[name], dtype)
            at = 0 if self.shared and name == names[-1] else len(data)
            entry = {"dtype": dtype, "shape": self.tensors[name].shape, "data_offsets": [at, at + len(raw)]}
            header[self.named(name)] = entry
            data += b"" if self.shared and name == names[-1] else raw
        text = json.dumps(header).encode()
        data = data[: len(data) - self.missing] + b"\1" * self.more
        return struct.pack("<Q", len(text)) + text + data

    def named(self, name):
        return name if name == "lm_head.weight" else self.prefix + name

    def dtype_of(self, name):
        return self.dtypes.get(name, self.dtype)

    def measure(self):
        """Return what this folder is like, for the conditions of the rules."""
        masks = [name for name in self.tensors if is_mask(name)]
        tensors = {name: x for name, x in self.tensors.items() if name not in masks}
        decoded = {name: from_bytes(as_bytes(x, self.dtype_of(name)), self.dtype_of(name))
                   for name, x in tensors.items()}  # fmt: skip
        floats = {name: x for name, x in decoded.items() if x is not None}
        faults = [
            *(self.wanted.keys() ^ tensors.keys()),
            *(name for name in self.wanted.keys() & tensors.keys()
              if self.wanted[name].shape != tensors[name].shape),
            *(tensors.keys() - floats.keys()),
            *(fault for fault in (self.missing, self.more, self.shared) if fault),
        ]  # fmt: skip
        tied = self.config["tie_word_embeddings"]
        head = tensors.get("lm_head.weight", tensors.get("wte.weight"))
        return {
            **measure(tensors),
            "blocks": self.config["n_layer"],
            "shards": min(self.shards, len(self.tensors)),
            "masks": len(masks),
            "tied": tied,
            "head_distance": 0 if tied else np.abs(head - tensors["wte.weight"]).max(),
            "rounding": max(np.abs(tensors[name].ravel() - x).max() for name, x in floats.items()),
            "faults": len(faults),
        }

    def write(self, folder):
        """Write the folder; tensors go to the shards in turn."""
        (folder / "config.json").write_text(json.dumps(self.config))
        names = list(self.tensors)
        if self.shards == 1:
            (folder / "model.safetensors").write_bytes(self.file(names))
            return
        homes = {}
        for shard in range(self.shards):
            file = f"model-{shard + 1:05}-of-{self.shards:05}.safetensors"
            (folder / file).write_bytes(self.file(names[shard :: self.shards]))
            homes |= {self.named(name): file for name in names[shard :: self.shards]}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))


def new_folder(context):
    """Return a folder that is gone when the scenario ends."""
    folder = tempfile.TemporaryDirectory()
    context.add_cleanup(folder.cleanup)
    return Path(folder.name)


def ask(context, part, question, *arguments):
    """Ask a part of the engine; what it refuses is an answer, and kept as such."""
    context.answer, context.refusal, context.message = None, "none", ""
    with context.session.trial():
        asked = getattr(context.session.behaviour(part), question)
        try:
            context.answer = asked(*arguments)
        except ValueError as error:
            if type(error).__name__ not in ("ModelError", "UsageError"):
                raise
            context.refusal, context.message = type(error).__name__, str(error)


def refused(context, names):
    """Compare the kind of a refusal, and whether its message has the names."""
    said = [name if name in context.message else context.message for name in names]
    kind = compare_text("refusal", context.refusal, "ModelError")
    named = [compare_text("message of the refusal", got, name) for got, name in zip(said, names, strict=True)]
    context.session.note([kind, *named])


def hold_tensors(context, wanted):
    """Compare names and every element of every tensor in memory with those of the file."""
    got = context.answer or {}
    names = compare_text("names of the tensors", " ".join(sorted(got)), " ".join(sorted(wanted)))
    context.session.note([compare_text("refusal", context.refusal, "none"), names])
    context.session.note(compare(name, got[name], x) for name, x in wanted.items())


@given("a weight file of {count:d} blocks")
def weight_file(context, count):
    context.draft = Draft(count)


@given("a weight file of {count:d} blocks with a head of its own")
def untied_file(context, count):
    context.draft = Draft(count, tied=False)


@given('all names of the file begin with "{prefix}"')
def names_begin(context, prefix):
    context.draft.prefix = prefix


@given("all numbers of the file are stored as {dtype}")
def stored_as(context, dtype):
    context.draft.dtype = dtype


@given("{name} of the file is stored as {dtype}")
def one_stored_as(context, name, dtype):
    context.draft.dtypes[name] = dtype


@given("the tensors of the file lie in {count:d} shards in turn")
def in_shards(context, count):
    context.draft.shards = count


@given("{name} of the file is left out")
def left_out(context, name):
    del context.draft.tensors[name]


@given("{name} of the file is stored with its rows as columns")
def turned(context, name):
    context.draft.tensors[name] = context.draft.tensors[name].T


@given("the file also holds {name} with {count:d} rows of {width:d} numbers")
def also_holds(context, name, count, width):
    context.draft.tensors[name] = numbers(len(context.draft.tensors), (count, width))


@given("the file also holds a lm_head.weight that is wte.weight with one other number")
def other_head(context):
    context.draft.tensors["lm_head.weight"] = context.draft.tensors["wte.weight"].copy()
    context.draft.tensors["lm_head.weight"][4, 3] += 1


@given("wte.weight of the file has {count:d} rows more than the config has tokens")
def padded(context, count):
    rows = context.draft.config["vocab_size"] + count
    context.draft.tensors["wte.weight"] = numbers(0, (rows, 4))


@given("the file also holds the masks of each block")
def masks(context):
    for n in range(context.draft.config["n_layer"]):
        context.draft.tensors[f"h.{n}.attn.bias"] = np.tril(np.ones((1, 1, 4, 4)))
        context.draft.tensors[f"h.{n}.attn.masked_bias"] = np.array(-10000.0)


@given("the last {count:d} bytes of the file are missing")
def missing_bytes(context, count):
    context.draft.missing = count


@given("the file goes on for {count:d} bytes behind its last tensor")
def trailing_bytes(context, count):
    context.draft.more = count


@given("the last tensor of the file lies over the first")
def over_the_first(context):
    context.draft.shared = True


@when("the weight file is loaded")
def loaded(context):
    folder = new_folder(context)
    context.draft.write(folder)
    context.session.facts(**context.draft.measure())
    ask(context, "weight_file", "load", folder)


@when("the tensors of the model on trial are taken from its memory")
def in_memory(context):
    ask(context, "weight_file", "in_memory")


@then("every element of every tensor in memory is that of the file")
def as_drafted(context):
    head = context.draft.wanted.get("lm_head.weight", context.draft.wanted["wte.weight"])
    hold_tensors(context, {**context.draft.wanted, "lm_head.weight": head})


@then("every element of every tensor in memory is what the safetensors library finds in its files")
def as_library(context):
    folder = context.session.subject.folder
    whole = folder / "model.safetensors"
    paths = [whole] if whole.exists() else sorted(folder.glob("model-*.safetensors"))
    found = {name.removeprefix("transformer."): x for path in paths for name, x in by_library(path).items()}
    tied = context.session.oracle.config["tie_word_embeddings"]
    head = found.pop("lm_head.weight", None)
    stored = {name: x for name, x in found.items() if not is_mask(name)}
    context.session.facts_of_model(**measure(stored if tied else {**stored, "lm_head.weight": head}))
    hold_tensors(context, {**stored, "lm_head.weight": stored["wte.weight"] if tied else head})


@then("the weight file is refused, and the message names {name}")
def file_refused(context, name):
    refused(context, [name])


# Configs

DEFAULTS = {  # transformers, GPT2Config
    **{"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_inner": None},
    **{"layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "tie_word_embeddings": True},
    **{"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
}
FIVE = ("vocab_size", "n_positions", "n_embd", "n_head", "n_layer")


def measure_config(values):
    """Return what a config is like, for the conditions of the rules."""
    named = {("n_positions" if key == "n_ctx" else key): value for key, value in values.items()}
    context = [values[key] for key in ("n_ctx", "n_positions") if key in values]
    return {
        "sizes_given": sum(key in named for key in FIVE),
        "sizes_of_gpt2_small": sum(named.get(key) == DEFAULTS[key] for key in FIVE),
        "older_names": int("n_ctx" in values),
        "context_names": len(context),
        "context_lengths": len(set(context)),
        "n_embd": named.get("n_embd", 0),
        "n_inner": named.get("n_inner") or 0,
        "own_values": sum(named[key] != DEFAULTS[key] for key in DEFAULTS.keys() & named.keys()),
        "optional_given": len(DEFAULTS.keys() & named.keys() - set(FIVE)),
    }


@given("a config.json with")
def config_with(context):
    context.values = {row["key"]: json.loads(row["value"]) for row in context.table}


@given("the config.json says {key} = {value}")
def config_says(context, key, value):
    context.values[key] = json.loads(value)


@given("the config.json says nothing of {key}")
def config_lacks(context, key):
    context.values.pop(key, None)


@when("the config.json is read")
def config_read(context):
    folder = new_folder(context)
    (folder / "config.json").write_text(json.dumps(context.values))
    context.session.facts(**measure_config(context.values))
    ask(context, "configuration", "read", folder)


@when("the model on trial is asked for its config")
def config_in_force(context):
    text = (context.session.subject.folder / "config.json").read_text(encoding="utf-8")
    context.session.facts_of_model(**measure_config(json.loads(text)))
    ask(context, "configuration", "in_force")


def hold_settings(context, wanted):
    """Compare settings with what they should be: texts as texts, all others as numbers."""
    context.session.note([compare_text("refusal", context.refusal, "none")])
    for name, value in wanted.items():
        got = getattr(context.answer, name)
        if isinstance(value, str):
            context.session.note([compare_text(name, got, value)])
        else:
            context.session.note([compare(name, got, value)])


@then("the config has")
def config_has(context):
    hold_settings(context, {row["setting"]: json.loads(row["value"]) for row in context.table})


@then("the config has {setting:Name} = {value}")
def config_has_one(context, setting, value):
    hold_settings(context, {setting: json.loads(value)})


@then("each setting is what the specs make of its config.json")
def config_as_specs(context):
    wanted = context.session.oracle.config
    hold_settings(context, {name: wanted[name] for name in context.session.spec.config})


@then("the config.json is refused, and the message names {key}")
def config_refused(context, key):
    refused(context, [key])
