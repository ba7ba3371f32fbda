"""The real GPT-2 where its weights are, and a model of its shape where there is time for it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from behave import given, then, when
from safetensors.numpy import load_file, save_file

from llorch_core.check.compare import compare, compare_text
from llorch_core.engine.model import load
from llorch_core.engine.sampling import Sampling
from llorch_core.subject.numpy_engine import NumpyEngine
from llorch_core.trace.session import NotHereError, Session

SHAPE = {
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
}
MEASURE = """
import sys
from llorch_core import Sampling, load
model = load(sys.argv[1])
made = model.generate([1, 2, 3], Sampling(temperature=0), max_tokens=8, stop_at_end_of_text=False)
assert len(made.ids) == 8
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak)  # of this program alone; ru_maxrss would count what started it
"""


@given("the real weights of {name}")
def real_weights(context, name):
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
    spec, rng = context.session.spec, np.random.default_rng(124)
    place = tempfile.TemporaryDirectory()
    context.add_cleanup(place.cleanup)
    context.folder = Path(place.name)
    (context.folder / "config.json").write_text(json.dumps(SHAPE))
    tensors = {}
    for name, shape in spec.weight_shapes(spec.read_config(SHAPE)).items():
        if name not in spec.tied:
            gain = len(shape) == 1 and name.endswith("weight")
            tensors[name] = (
                rng.standard_normal(shape, np.float32) * np.float32(0.02 if len(shape) > 1 else 0.1) + gain
            )
    save_file(
        {name: x.astype(np.float32) for name, x in tensors.items()}, context.folder / "model.safetensors"
    )


@when("that model reads a prompt, and two tokens one by one")
def full_size_reads(context):
    context.full = Session(NumpyEngine(context.folder), context.session.spec)
    context.full.__dict__["chunks"] = [context.full.ids(6), [11], [7]]
    with context.session.trial():
        context.record = context.full.record


@then("every element keeps to the equations")
def full_size_follows(context):
    context.session.note(context.full.local)


@when("that model generates 8 tokens in a process of its own")
def full_size_generates(context):
    command = [sys.executable, "-c", MEASURE, str(context.folder)]
    with context.session.trial():
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    context.peak = int(ran.stdout) / 1024
    context.parameters = sum(x.size for x in load_file(context.folder / "model.safetensors").values())


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
