"""Small model folders, written by hand: no code under test has a part in what a test expects of it."""

import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coverage import Coverage

# A worker of pytest-xdist is traced by now. To trace the processes that tests start, too, takes half of their
# time; only in tests/cli and tests/subject do they run what no test runs in its own process.
HERE = Path(__file__).resolve().parent
if "PYTEST_XDIST_WORKER" in os.environ and "COVERAGE_PROCESS_CONFIG" in os.environ:
    os.environ["LLORCH_TRACED"] = os.environ.pop("COVERAGE_PROCESS_CONFIG")

# The cache of the user is left alone. Workers have the environment of the process that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = os.environ["LOCALAPPDATA"] = tempfile.mkdtemp(prefix="llorch-cache-")

TINY_CONFIG = {
    "model_type": "gpt2",
    "vocab_size": 300,
    "n_positions": 16,
    "n_embd": 12,
    "n_head": 2,
    "n_layer": 2,
    "n_inner": 20,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 299,
    "eos_token_id": 299,
}
DTYPES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def config_of(overrides: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**TINY_CONFIG, **overrides}.items() if value is not ...}


def tensors_of(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded weights by GPT-2 name, [in, out] as GPT-2 stores them. Gains are not 1, biases not 0."""
    n_embd = config["n_embd"]
    n_inner = config.get("n_inner") or 4 * n_embd
    shapes = {"wte.weight": [config["vocab_size"], n_embd], "wpe.weight": [config["n_positions"], n_embd]}
    for i in range(config["n_layer"]):
        shapes |= {f"h.{i}.ln_1.weight": [n_embd], f"h.{i}.ln_1.bias": [n_embd]}
        shapes |= {f"h.{i}.attn.c_attn.weight": [n_embd, 3 * n_embd], f"h.{i}.attn.c_attn.bias": [3 * n_embd]}
        shapes |= {f"h.{i}.attn.c_proj.weight": [n_embd, n_embd], f"h.{i}.attn.c_proj.bias": [n_embd]}
        shapes |= {f"h.{i}.ln_2.weight": [n_embd], f"h.{i}.ln_2.bias": [n_embd]}
        shapes |= {f"h.{i}.mlp.c_fc.weight": [n_embd, n_inner], f"h.{i}.mlp.c_fc.bias": [n_inner]}
        shapes |= {f"h.{i}.mlp.c_proj.weight": [n_inner, n_embd], f"h.{i}.mlp.c_proj.bias": [n_embd]}
    shapes |= {"ln_f.weight": [n_embd], "ln_f.bias": [n_embd]}
    if not config.get("tie_word_embeddings", True):
        shapes["lm_head.weight"] = [config["vocab_size"], n_embd]
    random = np.random.default_rng(seed)
    tensors = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in tensors:
        if "ln_" in name and name.endswith("weight"):
            tensors[name] += 1
    return tensors


def _parts(tensor: np.ndarray) -> tuple[str, list[int], bytes]:
    little = tensor.astype(tensor.dtype.newbyteorder("<"))
    return DTYPES[tensor.dtype.name], list(tensor.shape), little.tobytes()


def safetensors_bytes(tensors: Mapping[str, Any], *, metadata: Any = None, pad: int = 0) -> bytes:
    """A safetensors file. A tensor is an array, or (dtype, shape, bytes) for dtypes that NumPy lacks."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, tensor in tensors.items():
        dtype, shape, raw = _parts(tensor) if isinstance(tensor, np.ndarray) else tensor
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + pad)
    return struct.pack("<Q", len(text)) + text + data


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have one process more than there are cores: some wait for servers, or for processes of their own."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have coverage wait while a test that is marked `untraced` runs."""
    tracing = Coverage.current() if item.get_closest_marker("untraced") else None
    if tracing:
        tracing.stop()
    try:
        return (yield)
    finally:
        if tracing:
            tracing.start()


@pytest.fixture(autouse=True)
def traced_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processes of a test count, coverage traces them."""
    wanted = request.path.parent.name in ("cli", "subject") and not request.node.get_closest_marker(
        "untraced"
    )
    if "LLORCH_TRACED" in os.environ and wanted:
        monkeypatch.setenv("COVERAGE_PROCESS_START", str(HERE / "processes.coveragerc"))
        monkeypatch.setenv("COVERAGE_FILE", str(HERE.parent / ".coverage"))


@pytest.fixture(scope="session")
def copy_house() -> Callable[..., Path]:
    """copy_house(folder, leave_out="") -> folder, with a copy of what a run needs, in which a test may plant.

    leave_out  a pattern of features that are not copied: features/behaviour/server_*
    """

    def copy(folder: Path, leave_out: str = "") -> Path:
        for part in ("features", "steps", "specs", "llorch_core"):
            shutil.copytree(
                HERE.parent / part,
                folder / part,
                ignore=shutil.ignore_patterns("*.nb*", "*.pyc.*"),
                dirs_exist_ok=True,
            )
        shutil.copy(HERE.parent / "environment.py", folder)
        for feature in folder.glob(leave_out) if leave_out else ():
            feature.unlink()
        return folder

    return copy


@pytest.fixture
def on_terminal() -> Callable[..., subprocess.CompletedProcess[str]]:
    """on_terminal(*arguments, stdout=…, **environment) -> how llorch ended; its stdout is what is shown.

    The terminal has 120 columns, and shows standard output, too, unless that goes elsewhere.
    """

    def run(
        *arguments: str, stdout: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llorch_core", *arguments]
        import pty  # which Windows lacks

        told = {"TERM": "xterm-256color", "COLUMNS": "120", **environment}
        reader, writer = pty.openpty()
        running = subprocess.Popen(
            command,
            stdin=writer,
            stdout=writer if stdout is None else stdout,
            stderr=writer,
            cwd=HERE.parent,
            env={**os.environ, **told},
        )
        os.close(writer)
        shown = b""
        while True:
            try:
                chunk = os.read(reader, 65536)
            except OSError:  # the other end was closed
                break
            if not chunk:
                break
            shown += chunk
        os.close(reader)
        return subprocess.CompletedProcess(command, running.wait(timeout=60), shown.decode())

    return run


@pytest.fixture
def write_safetensors() -> Callable[..., Path]:
    """write_safetensors(path, tensors, metadata=None, pad=0) -> path; `pad` spoils the alignment."""

    def write(path: Path, tensors: Mapping[str, Any], **options: Any) -> Path:
        path.write_bytes(safetensors_bytes(tensors, **options))
        return path

    return write


@pytest.fixture
def tiny_config() -> Callable[..., dict[str, Any]]:
    """tiny_config(**overrides) -> the dict for config.json; the value ... leaves a key out."""
    return lambda **overrides: config_of(overrides)


@pytest.fixture
def tiny_tensors() -> Callable[..., dict[str, np.ndarray]]:
    """tiny_tensors(**overrides) -> float32 arrays by name without prefix, for tiny_config(**overrides)."""
    return lambda seed=0, **overrides: tensors_of(config_of(overrides), seed)


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Callable[..., Path]:
    """tiny_folder(tensors=None, prefix="transformer.", shards=1, **overrides) -> a new model folder.

    2 layers, 2 heads of 6, n_inner 20 (not 4 * 12), 300 tokens, 16 positions, tied. `tensors` (by bare name)
    replaces the seeded ones; `overrides` go into config.json. With two shards or more an index is written.
    """

    def write(
        tensors: Mapping[str, Any] | None = None,
        *,
        prefix: str = "transformer.",
        shards: int = 1,
        **overrides: Any,
    ) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="model_", dir=tmp_path))
        config = config_of(overrides)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        bare = tensors_of(config) if tensors is None else tensors
        named = {name if name == "lm_head.weight" else prefix + name: bare[name] for name in bare}
        if shards == 1:
            (folder / "model.safetensors").write_bytes(safetensors_bytes(named, metadata={"format": "pt"}))
            return folder
        weight_map = {}
        names, each = list(named), math.ceil(len(named) / shards)
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = {name: named[name] for name in names[i * each : (i + 1) * each]}
            (folder / file).write_bytes(safetensors_bytes(part, metadata={"format": "pt"}))
            weight_map |= dict.fromkeys(part, file)
        index = json.dumps({"metadata": {}, "weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def shared_models() -> Path:
    """The models of ../shared/data; the test is skipped, with the folder's name, where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "models"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder
