"""The real GPT-2 where its weights are, and a model of its shape where there is time for it."""

import atexit
import json
import math
import os
import subprocess
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from behave import given, then, when
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from llorch_core.check.compare import compare, compare_text
from llorch_core.engine.model import load
from llorch_core.engine.sampling import Sampling
from llorch_core.spec.suite import load_specs
from llorch_core.subject.engines import put_on_trial
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.session import NotHereError, Session

SHAPE = {
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}
MEASURE = """
import sys
from llorch_core import Sampling, load
model = load(sys.argv[1])
count = int(sys.argv[2])
made = model.generate([1, 2, 3], Sampling(temperature=0), max_tokens=count, stop_at_end_of_text=False)
assert len(made.ids) == count
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak)  # of this program alone; ru_maxrss would count what started it
"""


@given("the real weights of {name}")
def real_weights(context, name):
    subject = context.session.subject
    if not isinstance(subject, NumpyEngine):
        raise NotHereError(f"an engine that generates text ({subject.name} is asked for tensors)")
    folder = Path(os.environ.get("LLORCH_GPT2", "nowhere")) / name
    if not folder.is_dir():
        raise NotHereError(f"the real weights of {name} (set LLORCH_GPT2 to the folder that holds {name}/)")
    context.model = load(folder)


@when('"{prompt}" is continued greedily by {count:d} tokens')
def continued(context, prompt, count):
    with context.session.trial():
        made = context.model.generate(prompt, Sampling(temperature=0), max_tokens=count)
    context.text = prompt + made.text


@then('the whole text is "{text}"')
def whole_text(context, text):
    context.session.note([compare_text("text", context.text, text.replace("\\n", "\n"))])


@given("random weights of the shape of GPT-2 (124M)")
def random_weights(context):
    if not os.environ.get("LLORCH_FULL_SIZE"):
        raise NotHereError("the minutes that a model of full size takes (set LLORCH_FULL_SIZE=1)")
    run, folder = context.session, random_model()
    with run.trial():
        full = at_full_size(run.subject, folder)
    full.watched_like(run)  # its evidence is evidence of this run
    context.session = full  # until the scenario ends: every step now is about this model


@cache
def random_model():
    """Write a model of the shape of GPT-2 (124M) with random weights; return its folder.

    Weights begin as GPT-2's did before its training: 0.02, and less where a branch is added to the stream.
    Gains are not 1 and biases not 0, which would hide that they are left out. When the process ends, the
    folder goes.
    """
    place = tempfile.TemporaryDirectory(prefix="llorch_")
    atexit.register(place.cleanup)
    spec, rng = load_specs(), np.random.default_rng(124)
    tensors = {}
    for name, shape in spec.weight_shapes(spec.read_config(SHAPE)).items():
        if name in spec.tied:
            continue
        spread, mean = (0.02, 0) if len(shape) > 1 else (0.1, name.endswith("weight"))
        if name.endswith("c_proj.weight"):
            spread /= np.sqrt(2 * SHAPE["n_layer"])
        tensors[name] = rng.standard_normal(shape, np.float32) * np.float32(spread) + np.float32(mean)
    folder = Path(place.name)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    save_file(tensors, folder / "model.safetensors")
    return folder


@lru_cache(maxsize=1)  # the oracle holds a gigabyte
def at_full_size(subject, folder):
    """Return a session of the engine on trial, with its mistake if it has one, on the model in `folder`."""
    if subject.name.partition(":")[0] not in ("numpy", "spec", "transformers", "python"):
        raise NotHereError(f"{subject.name} with another model")
    return Session(put_on_trial(subject.name, folder))


@then("each call shows these checkpoints in these shapes, and no others")
def shows_shapes(context):
    blocks = range(context.session.subject.config["n_layer"])
    for call, step in enumerate(context.steps):
        wanted = {
            name.replace("h.N.", f"h.{n}."): json.loads(shapes[call])
            for name, *shapes in context.table
            for n in (blocks if "h.N." in name else (0,))
        }
        names = compare_text(f"checkpoints of call {call}", " ".join(sorted(step)), " ".join(sorted(wanted)))
        context.session.note([names])
        context.session.note(
            compare(f"shape of {name}", step[name].shape, shape, 0, call) for name, shape in wanted.items()
        )


@then("every element keeps to the equations")
def all_follow(context):
    context.session.note(context.reading.local)


@then("every row of logits from that token on changes")
def later_rows_change(context):
    before = context.before["logits"]
    same = [np.all(after["logits"] == before, axis=-1)[j:].sum() for j, after in enumerate(context.after)]
    context.session.note([compare("rows of logits that stay, for each token", same, [0] * len(same))])


@when("the model generates {count:d} tokens in a process of its own")
def generates_alone(context, count):
    folder = context.session.subject.folder
    if not isinstance(context.session.subject, NumpyEngine):
        raise NotHereError(f"{context.session.subject.name} in a process of its own")
    command = [sys.executable, "-c", MEASURE, str(folder), str(count)]
    with context.session.trial():
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    context.peak = int(ran.stdout) / 1024
    with safe_open(folder / "model.safetensors", "numpy") as file:
        context.parameters = sum(math.prod(x.get_shape()) for x in map(file.get_slice, file.keys()))


@then("it has {count:d} parameters, and {mebibytes:d} MiB were enough")
def small_enough(context, count, mebibytes):
    context.session.note(
        [
            compare("parameters", [context.parameters], [count]),
            compare("peak memory in MiB", [context.peak], [0], mebibytes),
        ]
    )


@when("they are laid beside the other recordings of the same ids")
def laid_beside(context):
    path = context.session.subject.folder / "logits.safetensors"
    if not path.is_file():
        raise NotHereError(f"a second recording of this model ({path.name} in its folder)")
    prompts = load_file(path)
    ids = context.golden[0]["ids"].tolist()
    context.others = [
        prompts[name.replace("ids", "logits")]
        for name in prompts
        if name.endswith("/ids") and prompts[name].tolist() == ids
    ]


@then("no two of them are further apart than rounding")
def none_apart(context):
    first = context.golden[0]["logits"]
    bound = 1e-9 * np.abs(first).max()
    context.session.note(compare("logits", other, first, bound) for other in context.others)
