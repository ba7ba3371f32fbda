"""Measure `llorch diagnose` on engines whose mistakes are known; docs/diagnosis.md has the figures.

    export OPENBLAS_NUM_THREADS=1
    python tools/measure_diagnosis.py [--part mistakes] [--seed 0] [--workers 2] [--json out.json] [--quick]

An engine here is the equations of the specs, computed in float32 (sums by the linear algebra library of
NumPy), with every checkpoint rounded to a precision and the next one computed from the rounded ones; in 16
bits the weights are rounded, too. It makes a mistake of the catalogue, two, or one that nobody listed. What
it records goes into a dump, and the dump to the command, as its users call it.

mistakes  every mistake that the oracle can make, on every model and in every precision
honest    engines without a mistake: ours, transformers, other orders of summation, 16 bits
pairs     two mistakes at once, anywhere, and in one checkpoint
unlisted  wrong numbers that no spec lists
size      time and peak memory for the shape of GPT-2 (124M)

A checkpoint is *broken* where the engine's equations and the right ones, both in float64 and both applied to
what the engine recorded, differ by more than the rounding of float64. It is broken *clearly* where an element
differs by more than a tolerance. A mistake *shows* if a checkpoint is broken clearly, is *hidden* if only all
elements together could tell, and else changes nothing on that model. It is *located* if the first divergence
that the command names is broken, and nothing before it is broken clearly.

Exit code 0: what issue "Diagnosis" demands is met; 1: it is not.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from safetensors.numpy import save_file

from llorch_core.cli import main as llorch
from llorch_core.cli.console import console as plain_console
from llorch_core.spec.arithmetic import FLOAT32, Arithmetic, Tensor, computed_in, to_float32
from llorch_core.spec.difference import shares
from llorch_core.spec.errors import SpecError
from llorch_core.spec.oracle import Oracle, Step, read_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.spec.window import ROUND
from llorch_core.subject.dump import write_dump
from llorch_core.subject.engines import put_on_trial

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("mistakes", "honest", "pairs", "unlisted", "size")
PRECISIONS = ("float32", "float16", "bfloat16")
SHARED = ROOT.parent / "shared" / "data" / "models"
SMALL = 2000  # tokens of a vocabulary; orders of summation are slow for a larger one
CLEARLY = 1.0  # tolerances
NOTHING = 1e-6  # tolerances: less is the rounding of float64
EVERY = 25  # so many cases, and one of them is diagnosed by a process of its own as well
GPT2 = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
MADE = {  # models that need nothing but this file
    "made_plain": {"vocab_size": 301, "n_positions": 48, "n_embd": 40, "n_head": 4, "n_layer": 3},
    "made_odd": {
        **{"vocab_size": 97, "n_positions": 40, "n_embd": 36, "n_head": 3, "n_layer": 2, "n_inner": 50},
        **{"activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True},
        **{"tie_word_embeddings": False, "layer_norm_epsilon": 1e-6},
    },
}

At = tuple[int, str]
"""Forward call and checkpoint."""


@dataclass(frozen=True)
class Case:
    """One engine, what it reads, and the model."""

    part: str
    model: str
    precision: str
    calls: tuple[int, ...]
    seed: int
    engine: str = "equations"
    mistakes: tuple[str, ...] = ()
    unlisted: str = ""
    near: bool = False  # a pair of one component, in one checkpoint
    by_process: bool = False


# Models.


def make_model(folder: Path, config: Mapping[str, Any], seed: int, deviation: float | None = None) -> Path:
    """Write a model of random weights: gains away from 1, biases away from 0.

    deviation  of the entries of matrices; None: 1 / sqrt(n_in)
    """
    spec, rng = load_specs(), np.random.default_rng(seed)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **config}))
    tensors = {}
    for name, shape in spec.weight_shapes(read := spec.read_config(config)).items():
        if name not in spec.tied or not read["tie_word_embeddings"]:
            scale = (deviation or shape[0] ** -0.5) if len(shape) > 1 else 0.1 if deviation else 0.3
            gain = len(shape) == 1 and name.endswith("weight")
            tensors[name] = rng.standard_normal(shape, np.float32) * np.float32(scale) + np.float32(gain)
    save_file(tensors, folder / "model.safetensors")
    return folder


def models(folder: Path, quick: bool) -> list[Path]:
    """Return the models: the embedded one, those of this tool, and those beside the repository."""
    made = [make_model(folder / name, config, seed) for seed, (name, config) in enumerate(MADE.items())]
    if quick:
        return made[1:]
    shared = [path for path in sorted(SHARED.glob("*")) if (path / "config.json").is_file()]
    return [ROOT / "llorch_core" / "models" / "shakespeare", *made, *shared]


@lru_cache(maxsize=4)
def oracle_of(folder: str) -> Oracle:
    return read_oracle(load_specs(), Path(folder))


# Engines.


@dataclass(frozen=True)
class Linear(Arithmetic):
    """float32, with the products of matrices by the linear algebra library, as engines compute them."""

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64)


LINEAR = Linear("float32", to_float32, FLOAT32[0].total)
EACH = "each operation rounded"
ARITHMETICS = {a.name: a for a in FLOAT32}
ARITHMETICS |= {f"{p}, {EACH}": Linear(p, ROUND[p], FLOAT32[0].total) for p in ("float16", "bfloat16")}


@dataclass(frozen=True)
class Site:
    """A checkpoint that is being computed: where it is, and what the engine recorded so far."""

    at: At
    layer: int | None
    oracle: Oracle
    record: Sequence[Step]
    precision: str

    def read(self, name: str) -> Tensor:
        """Return a checkpoint of the same call and block."""
        return np.asarray(self.record[self.at[0]][f"h.{self.layer}.{name}"], np.float64)

    def weight(self, name: str) -> Tensor:
        whole = name if self.layer is None else f"h.{self.layer}.{name}"
        return np.asarray(self.oracle.weights[whole], np.float64)

    @property
    def stream(self) -> Tensor:
        """What a norm reads, or the stream that a residual adds to."""
        step, kind = self.record[self.at[0]], self.at[1].rpartition(".")[2]
        if self.layer is None or kind in ("ln_2", "out"):
            last = self.oracle.config["n_layer"] - 1
            name = f"h.{last}.out" if self.layer is None else f"h.{self.layer}.mid"
        else:
            name = f"h.{self.layer - 1}.out" if self.layer else "embed"
        return np.asarray(step[name], np.float64)


Wrong = Callable[[Site, Tensor], Tensor]
"""Makes the wrong tensor of the right one; the same one where it changes nothing there."""


def kept(oracle: Oracle, precision: str) -> Oracle:
    """Return the oracle with the weights that an engine of that precision keeps."""
    if precision not in ("float16", "bfloat16"):
        return oracle
    cache: dict[str, Oracle] = oracle.__dict__.setdefault("_kept", {})
    if precision not in cache:
        rounded = {name: ROUND[precision](oracle.weights[name]) for name in oracle.weights}
        cache[precision] = replace(oracle, weights=rounded)
    return cache[precision]


def run_equations(
    oracle: Oracle,
    chunks: Sequence[Sequence[int]],
    precision: str,
    arithmetic: Arithmetic | None = LINEAR,
    wrong: Wrong = lambda site, x: x,
) -> list[Step]:
    """Return what an engine of these equations records, each checkpoint rounded to the precision.

    oracle  with the mistake, if it is one of the catalogue; `wrong` makes others
    """
    record = replace(oracle, mistake=None).run(chunks)  # for the shapes: every tensor is written anew
    dtype = {"float16": np.float16, "float64": np.float64}.get(precision, np.float32)
    with computed_in(arithmetic) if arithmetic else nullcontext():
        for made in oracle.local(record, precision):
            site = Site((made.step, made.checkpoint), layer_of(made.checkpoint), oracle, record, precision)
            value = wrong(site, made.value)
            rounded = value if precision == "float64" else ROUND[precision](value)
            with np.errstate(over="ignore"):
                record[made.step][made.checkpoint] = rounded.astype(dtype)
    return record


def layer_of(checkpoint: str) -> int | None:
    return int(checkpoint.split(".")[1]) if checkpoint.startswith("h.") else None


Broken = tuple[At, float]
"""A broken checkpoint, and by how many tolerances the two differ at worst."""


def broken(record: Sequence[Step], one: Oracle, right: Oracle, precision: str) -> Iterator[Broken]:
    """Yield the checkpoints where the equations of two oracles differ."""
    for a, b in zip(one.local(record, precision), right.local(record, precision), strict=True):
        share = float(shares(a.value, b.value, b.bound).max(initial=0.0))
        if share > NOTHING:
            yield (b.step, b.checkpoint), share


def tampered(record: Sequence[Step], oracle: Oracle, wrong: Wrong, precision: str) -> Iterator[Broken]:
    """Yield the same for a mistake that is not of the catalogue."""
    for w in oracle.local(record, precision):
        at = (w.step, w.checkpoint)
        value = wrong(Site(at, layer_of(w.checkpoint), oracle, record, precision), w.value)
        share = float(shares(value, w.value, w.bound).max(initial=0.0))
        if share > NOTHING:
            yield at, share


def until_clear(found: Iterator[Broken]) -> list[Broken]:
    """Return what is broken up to the first that is broken clearly, and that one."""
    kept = []
    for at, share in found:
        kept.append((at, share))
        if share > CLEARLY:
            break
    return kept


# Mistakes that nobody listed.


def _in(*names: str, layer: int | None = None, step: int | None = None) -> Callable[[Wrong], Wrong]:
    """Let a mistake act on some checkpoints only: h.N.… by their end, others by their name."""

    def only(wrong: Wrong) -> Wrong:
        def act(site: Site, x: Tensor) -> Tensor:
            k, name = site.at
            short = name if site.layer is None else name.split(".", 2)[2]
            here = short in names and layer in (None, site.layer) and step in (None, k)
            return wrong(site, x) if here else x

        return act

    return only


NORMS = ("ln_1", "ln_2", "ln_f")


def _norm(site: Site, epsilon: float = 1e-5, short: int = 0, least: float = 0.0) -> Tensor:
    x, name = site.stream, site.at[1].rpartition(".")[2]
    centred = x - x.sum(-1, keepdims=True) / (x.shape[-1] - short)
    variance = np.maximum((centred**2).mean(-1, keepdims=True), least)
    return centred / np.sqrt(variance + epsilon) * site.weight(f"{name}.weight") + site.weight(f"{name}.bias")


def _softmax(x: Tensor) -> Tensor:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _gelu(x: Tensor, cube: float) -> Tensor:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + cube * x**3)))


def _row(x: Tensor, row: int, new: Tensor | float) -> Tensor:
    """Return x with another row; the first axis counts."""
    return np.concatenate([x[:row], np.broadcast_to(new, x[:1].shape), x[row + 1 :]]) if len(x) > row else x


def _where(site: Site) -> Tensor:
    """The positions of the rows."""
    past = sum(len(step["ids"]) for step in site.record[: site.at[0]])
    return past + np.arange(len(site.record[site.at[0]]["ids"]))


def _moved(site: Site, x: Tensor, by: int) -> Tensor:
    wpe, at = np.asarray(site.oracle.weights["wpe.weight"], np.float64), _where(site)
    return x - wpe[at] + wpe[(at + by) % len(wpe)]


def _neighbour(site: Site, x: Tensor) -> Tensor:
    wte, ids = np.asarray(site.oracle.weights["wte.weight"], np.float64), site.record[site.at[0]]["ids"]
    return _row(x, 1, x[1] - wte[ids[1]] + wte[(ids[1] + 1) % len(wte)]) if len(x) > 1 else x


def _coarse(x: Tensor) -> Tensor:
    """Round to 3 bits of mantissa, as float8 e4m3 has."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 16) / 16, exponent)


def _rotated(site: Site, x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    angle = _where(site)[:, None] / 10000 ** (np.arange(half) / half)
    a, b = x[..., :half], x[..., half : 2 * half]
    turned = [a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)]
    return np.concatenate([*turned, x[..., 2 * half :]], -1)


def _seen(site: Site, x: Tensor) -> Tensor:
    """How many positions behind each key is, [T, S]."""
    return _where(site)[:, None] - np.arange(x.shape[-1])


def _signed(x: Tensor) -> Tensor:
    worst = np.unravel_index(np.argmax(np.abs(x)), x.shape)
    x = x.copy()
    x[worst] *= -1
    return x


UNLISTED: dict[str, Wrong] = {
    "gelu with 0.05 for 0.044715": _in("mlp.act")(lambda s, x: _gelu(s.read("mlp.fc"), 0.05)),
    "epsilon of 3e-4": _in(*NORMS)(lambda s, x: _norm(s, epsilon=3e-4)),
    "mean over n_embd - 1": _in(*NORMS)(lambda s, x: _norm(s, short=1)),
    "variance of at least 1": _in(*NORMS)(lambda s, x: _norm(s, least=1.0)),
    "gain squared": _in("ln_1", "ln_2")(
        lambda s, x: (
            (x - (b := s.weight(f"{s.at[1].rpartition('.')[2]}.bias")))
            * s.weight(f"{s.at[1].rpartition('.')[2]}.weight")
            + b
        )
    ),
    "last norm centred twice": _in("ln_f")(lambda s, x: x - x.mean(-1, keepdims=True)),
    "values of a head rolled by one": _in("attn.v")(lambda s, x: _row(x, 0, np.roll(x[:1], 1, -1))),
    "two heads of keys exchanged in the last block": _in("attn.k")(
        lambda s, x: x[[1, 0, *range(2, len(x))]] if s.layer == s.oracle.config["n_layer"] - 1 else x
    ),
    "values of a head times 1.25": _in("attn.v")(lambda s, x: _row(x, 0, 1.25 * x[:1])),
    "queries rotated": _in("attn.q")(_rotated),
    "newest key is that before it": _in("attn.keys")(
        lambda s, x: np.concatenate([x[:, :-1], x[:, -2:-1]], 1) if s.at[0] > 1 else x
    ),
    "scores clipped at 1": _in("attn.scores")(lambda s, x: np.where(np.isneginf(x), x, np.clip(x, -1, 1))),
    "a window of four keys": _in("attn.scores")(lambda s, x: np.where(_seen(s, x) < 4, x, -np.inf)),
    "distance taken from scores": _in("attn.scores")(lambda s, x: x - 0.1 * _seen(s, x)),
    "softmax at temperature 1.1": _in("attn.probs")(lambda s, x: _softmax(s.read("attn.scores") / 1.1)),
    "weights squared": _in("attn.probs")(lambda s, x: x**2),
    "own weight halved": _in("attn.probs")(lambda s, x: np.where(_seen(s, x) == 0, x / 2, x)),
    "softmax with 1 more in the sum": _in("attn.probs")(
        lambda s, x: (e := np.exp(s.read("attn.scores"))) / (1 + e.sum(-1, keepdims=True))
    ),
    "bias of c_proj added twice": _in("attn.out")(lambda s, x: x + s.weight("attn.c_proj.bias")),
    "stream times 0.99": _in("mid")(lambda s, x: x - 0.01 * s.stream),
    "last row of the stream added twice": _in("out")(lambda s, x: _row(x, len(x) - 1, x[-1] + s.stream[-1])),
    "a row of c_fc is zero": _in("mlp.fc")(
        lambda s, x: x - s.read("ln_2")[:, 3:4] * s.weight("mlp.c_fc.weight")[3]
    ),
    "last column of the MLP dropped": _in("mlp.out")(
        lambda s, x: x - s.read("mlp.act")[:, -1:] * s.weight("mlp.c_proj.weight")[-1]
    ),
    "activation cut off at 0.5": _in("mlp.act")(lambda s, x: np.minimum(x, 0.5)),
    "a sign flipped in one element": _in("mlp.out", layer=0, step=0)(lambda s, x: _signed(x)),
    "one tensor kept in 8 bits": _in("mid", layer=0)(lambda s, x: _coarse(x)),
    "noise of one percent": _in("mlp.out")(
        lambda s, x: x * (1 + 0.01 * np.random.default_rng(0).standard_normal(x.shape))
    ),
    "positions off by two": _in("embed")(lambda s, x: _moved(s, x, 2)),
    "neighbour of one token": _in("embed", step=0)(_neighbour),
    "logits bent at 5": _in("logits")(lambda s, x: 5 * np.tanh(x / 5)),
    "one token favoured": _in("logits")(lambda s, x: x + (np.arange(x.shape[-1]) == 7)),
}


# One case.


def diagnose(dump: Path, model: str, by_process: bool = False) -> dict[str, Any]:
    """Run the command, and return its JSON, with the exit code and the time in seconds."""
    words = ["diagnose", str(dump), "--model", model, "--json"]
    started = time.perf_counter()
    if by_process:
        done = subprocess.run([*command(), *words], capture_output=True, text=True, cwd=ROOT, check=False)
        code, text, said = done.returncode, done.stdout, done.stderr
    else:
        out, err, argv = io.StringIO(), io.StringIO(), sys.argv
        try:
            sys.argv = ["llorch", *words]
            with redirect_stdout(out), redirect_stderr(err):
                llorch()
        except SystemExit as end:
            code = end.code
        except Exception as error:  # a traceback would reach the user: that is an error of the command
            code, err = 1, io.StringIO(f"{type(error).__name__}: {error}")
        finally:
            sys.argv = argv
        text, said = out.getvalue(), err.getvalue()
    found = json.loads(text) if text else {"verdict": "error", "reason": said}
    return {**found, "exit_code": code, "seconds": time.perf_counter() - started}


def command() -> list[str]:
    """Return the words that call llorch in a process of its own."""
    beside = Path(sys.executable).with_name("llorch")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "llorch_core"]


def reads(case: Case) -> list[list[int]]:
    """Return the ids of each call."""
    ids = np.random.default_rng(case.seed).integers(
        0, oracle_of(case.model).config["n_vocab"], sum(case.calls)
    )
    ends = np.cumsum(case.calls)
    return [ids[end - n : end].tolist() for n, end in zip(case.calls, ends, strict=True)]


def record(case: Case) -> tuple[Case, list[Step], list[Broken]]:
    """Let the engine read; returns the case (a pair is drawn here), the record, and what is broken."""
    right, chunks = oracle_of(case.model), reads(case)
    if case.engine.startswith(("numpy", "transformers")):
        return case, put_on_trial(case.engine, Path(case.model)).record(chunks), []
    right = kept(right, case.precision) if not case.engine.endswith("stored weights") else right
    if case.unlisted:
        wrong = UNLISTED[case.unlisted]
        steps = run_equations(right, chunks, case.precision, wrong=wrong)
        return case, steps, until_clear(tampered(steps, right, wrong, case.precision))
    if case.part == "pairs" and not case.mistakes:
        return draw_pair(case, right, chunks)
    engine = replace(right, mistake=" + ".join(case.mistakes) or None)
    arithmetic = None if case.precision == "float64" else ARITHMETICS.get(case.engine, LINEAR)
    steps = run_equations(engine, chunks, case.precision, arithmetic)
    found = until_clear(broken(steps, engine, right, case.precision)) if case.mistakes else []
    return case, steps, found


def draw_pair(
    case: Case, right: Oracle, chunks: Sequence[Sequence[int]]
) -> tuple[Case, list[Step], list[Broken]]:
    """Draw two mistakes until they can be made together, and each shows beside the other."""
    rng, listed = np.random.default_rng(case.seed), catalogue()
    while True:
        pair = tuple(str(m) for m in rng.choice(listed, 2, replace=False))
        if case.near and len({m.partition(".")[0] for m in pair}) > 1:
            continue
        one, other = (replace(right, mistake=m) for m in pair)
        try:
            both = replace(right, mistake=" + ".join(pair))
            steps = run_equations(both, chunks, case.precision)
        except SpecError:
            continue
        found = [until_clear(broken(steps, both, alone, case.precision)) for alone in (one, other)]
        if case.near and len({shown[0][0] for shown in found if shown}) > 1:
            continue
        if all(shown and shown[-1][1] > CLEARLY for shown in found):
            return (
                replace(case, mistakes=pair),
                steps,
                until_clear(broken(steps, both, right, case.precision)),
            )


def run(case: Case) -> dict[str, Any]:
    """Record, diagnose, and return all that is known of the case."""
    case, steps, found = record(case)
    row = {**asdict(case), "model": Path(case.model).name, "broken": found}
    if case.part != "honest" and not found:
        return {**row, "verdict": "nothing to see"}
    with tempfile.TemporaryDirectory(prefix="measure_") as folder:
        dump = Path(folder) / "dump.safetensors"
        write_dump(dump, steps, "an engine", case.precision)
        answer = diagnose(dump, case.model)
        if case.by_process:
            again = diagnose(dump, case.model, by_process=True)
            row["same"] = {**answer, "seconds": 0} == {**again, "seconds": 0}
    return {**row, **summary(answer)}


def summary(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is judged of the JSON of the command."""
    first = answer.get("first_divergence") or {}
    divergences = [d for d in (first, *answer.get("others", ())) if d]
    causes = first.get("causes", ())
    return {
        "verdict": answer["verdict"],
        "reason": answer["reason"][:300],
        "exit_code": answer["exit_code"],
        "seconds": answer["seconds"],
        "at": (first["step"], first["checkpoint"]) if first else None,
        "by_all_elements": first.get("hidden", False),
        "causes": [(c["mistake"], c["amount"], c["explains"], c["confirmed"]) for c in causes],
        "same_numbers": [m for c in causes for m in c["same_numbers"]],
        "anywhere": sorted(
            {m for d in divergences for c in d["causes"] for m in (c["mistake"], *c["same_numbers"])}
        ),
    }


# Judging.


def shows(row: Mapping[str, Any]) -> bool:
    """Whether an element of the record is off by more than its tolerance."""
    return bool(row["broken"]) and row["broken"][-1][1] > CLEARLY


def outcome(row: Mapping[str, Any]) -> str:
    """Return located, elsewhere, missed, undecided or error; false alarm and right for an honest engine."""
    if row["verdict"] in ("error", "nothing to see"):
        return row["verdict"]
    if row["part"] == "honest":
        return "right" if row["verdict"] == "conforms" else "false alarm"
    if row["verdict"] != "diverges":
        return "missed" if row["verdict"] == "conforms" else "undecided"
    return "located" if tuple(row["at"]) in {tuple(at) for at, _ in row["broken"]} else "elsewhere"


def named(row: Mapping[str, Any]) -> str:
    """Return how the mistakes are named.

    One   first; same numbers: it stands beside the first, of which it cannot be told; not
    Two   both, one, none: in any divergence
    None  by none; signature; a mistake of the catalogue
    """
    causes, mistakes = [cause[0] for cause in row.get("causes", ())], row["mistakes"]
    if row["unlisted"]:
        listed = [m for m in row.get("anywhere", ()) if not m.startswith("signature.")]
        return "listed" if listed else "signature" if causes else "unlike anything"
    if len(mistakes) == 2:
        return ("none", "one", "both")[sum(m in row.get("anywhere", ()) for m in mistakes)]
    if causes[:1] == list(mistakes):
        return "first"
    return "same numbers" if {*mistakes} & {*row.get("same_numbers", ())} else "not"


def catalogue() -> list[str]:
    """Return the mistakes that the oracle can make in tensors: of equations, wirings, and weights."""
    spec, found = load_specs(), []
    shown = {name for name, part in spec.components.items() if part.appears_as}
    shown |= {name for part in spec.components.values() if part.appears_as for name in part.uses}
    for part in spec.parts():
        for name, mistake in part.mistakes.items():
            if part is spec:
                acts = not spec.mistakes[name].policy
            else:
                acts = part.id in shown or getattr(mistake, "shows_as", None) is not None
            if acts:
                found.append(mistake.id)
    return found


# Cases.


def usual(n_ctx: int) -> tuple[int, ...]:
    """Half of a prompt, the rest, and two single tokens: 24 in all, or as many as the model has."""
    n = min(24, n_ctx)
    return (n // 2, n - n // 2 - 2, 1, 1)


def cases(part: str, folders: Sequence[Path], seed: int, quick: bool) -> list[Case]:
    """Return the cases of a part; the same for the same seed."""

    def case(folder: Path, precision: str, number: int, **more: Any) -> Case:
        calls = more.pop("calls", usual(oracle_of(str(folder)).config["n_ctx"]))
        return Case(part, str(folder), precision, calls, 1000 * seed + number, **more)

    if part == "mistakes":
        found = [
            case(folder, precision, 1, mistakes=(mistake,))
            for folder in folders
            for precision in PRECISIONS
            for mistake in catalogue()
        ]
    elif part == "honest":
        found = list(honest(case, folders))
    elif part == "pairs":
        small = [f for f in folders if oracle_of(str(f)).config["n_vocab"] < SMALL]
        found = [case(small[i % len(small)], "float32", i) for i in range(120)]
        found += [case(small[i % len(small)], "bfloat16", i) for i in range(120, 180)]
        found += [case(small[i % len(small)], "float32", i, near=True) for i in range(200, 260)]
    else:
        usable = [f for f in folders if oracle_of(str(f)).config["n_vocab"] < SMALL and (quick or _tanh(f))][
            :3
        ]
        found = [
            case(folder, precision, 1, unlisted=name)
            for folder in usable
            for precision in ("float32", "bfloat16")
            for name in UNLISTED
        ]
    found = found[::73] if quick else found
    return [replace(one, by_process=i % EVERY == 0) for i, one in enumerate(found)]


def _tanh(folder: Path) -> bool:
    """Whether the model has the activation and the heads that UNLISTED is about."""
    config = oracle_of(str(folder)).config
    return config["activation_function"] == "gelu_new" and config["n_head"] > 1


def honest(case: Callable[..., Case], folders: Sequence[Path]) -> Iterator[Case]:
    """Yield engines without a mistake, on several prompts, cut in several ways."""
    dtypes = ("float64", "float32", "float16", "bfloat16")
    for folder in folders:
        n = min(24, oracle_of(str(folder)).config["n_ctx"])
        cuts = [(n,), usual(n), (1,) * 6, (n - 3, 1, 1, 1)]
        for i, calls in enumerate(cuts):
            yield case(folder, "float32", i, engine="numpy", calls=calls)
        for i, calls in enumerate(cuts[:2] if find_spec("transformers") and find_spec("torch") else ()):
            for dtype in dtypes:
                yield case(folder, dtype, 10 + i, engine=f"transformers:{dtype}", calls=calls)
        for i, calls in enumerate(cuts[1:3]):
            yield case(folder, "float64", 20 + i, calls=calls)
            for precision in ("float16", "bfloat16"):
                yield case(folder, precision, 20 + i, calls=calls)
                yield case(folder, precision, 20 + i, engine="equations, stored weights", calls=calls)
                yield case(folder, precision, 20 + i, engine=f"{precision}, {EACH}", calls=calls)
        if oracle_of(str(folder)).config["n_vocab"] < SMALL:
            for i, (order, calls) in enumerate(zip(FLOAT32, [*cuts, cuts[1]], strict=True)):
                yield case(folder, "float32", 30 + i, engine=order.name, calls=calls)


# Size.


def measure_size(repeat: int, shape: Mapping[str, int] = GPT2, tokens: int = 64) -> list[dict[str, Any]]:
    """Diagnose dumps of a large model, each in a process of its own; returns time and peak memory."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="measure_") as name:
        right = make_model(Path(name) / "model", shape, 124, 0.02)
        other = Path(name) / "erf"  # the same weights, and the form of GELU that GPT-2 does not have
        other.mkdir()
        (other / "model.safetensors").symlink_to(right / "model.safetensors")
        (other / "config.json").write_text(
            json.dumps({"model_type": "gpt2", **shape, "activation_function": "gelu"})
        )
        ids = np.random.default_rng(0).integers(0, shape["vocab_size"], tokens)
        for engine, folder in (("right", right), ("mlp.erf_gelu in every block", other)):
            dump = Path(name) / f"{folder.name}.safetensors"
            words = ["record", "--model", str(folder), "--ids", ",".join(map(str, ids)), "-o", str(dump)]
            subprocess.run([*command(), *words], check=True, capture_output=True, cwd=ROOT)
            runs = [_timed(dump, right) for _ in range(repeat)]
            rows.append(
                {
                    "engine": engine,
                    "seconds": statistics.median(r["seconds"] for r in runs),
                    "cpu_seconds": statistics.median(r["cpu_seconds"] for r in runs),
                    "runs": [round(r["seconds"], 2) for r in runs],
                    "peak_mib": max(r["peak_mib"] for r in runs),
                    **{key: runs[0][key] for key in ("verdict", "causes", "divergences")},
                }
            )
    return rows


TIMED = """import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
found = {"cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": round(used.ru_maxrss / 1024)}
print(json.dumps({"seconds": seconds, **found, "text": done.stdout}))
"""  # a small process of its own: its only child is the command


def _timed(dump: Path, model: Path) -> dict[str, Any]:
    words = [sys.executable, "-c", TIMED, *command(), "diagnose", str(dump), "--model", str(model), "--json"]
    run = json.loads(subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
    answer = json.loads(run.pop("text"))
    causes = sorted({c["mistake"] for c in answer["causes"]})
    found = len(answer["others"]) + (answer["first_divergence"] is not None)
    return {**run, "verdict": answer["verdict"], "causes": causes, "divergences": found}


def machine() -> str:
    """Return what this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    if find_spec("torch") and find_spec("transformers"):
        from importlib.metadata import version

        versions += [f"PyTorch {version('torch')}", f"transformers {version('transformers')}"]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    return f"{cpu}, {os.cpu_count()} cores; {', '.join(versions)}; OPENBLAS_NUM_THREADS={threads}"


# Tables.


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Return a table; the first column is text, the others are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(head):
        made.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def of(n: int, total: int) -> str:
    return f"{n} of {total} ({100 * n / total:.1f} %)" if total else "-"


def grouped(rows: Sequence[Mapping[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


TITLES = {"mistakes": "One mistake", "pairs": "Two mistakes", "unlisted": "A mistake that is not listed"}
WAYS = {
    "mistakes": ("first", "same numbers", "not"),
    "pairs": ("both", "one", "none"),
    "unlisted": ("unlike anything", "signature", "listed"),
}
ENDS = ("located", "elsewhere", "undecided", "missed", "error")


def tables_of(part: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Yield the tables of a part: mistakes that elements show, and those that are hidden in rounding."""
    if part == "honest":
        yield table_of_honest(rows)
        return
    dark = [row for row in rows if row["broken"] and not shows(row)]
    yield table_of(part, TITLES[part], [row for row in rows if row not in dark and not row["near"]])
    if near := [row for row in rows if row["near"]]:
        yield table_of(part, f"{TITLES[part]} in one checkpoint", near)
    if dark:
        yield table_of(part, f"{TITLES[part]}, and no element is off by more than its tolerance", dark)


def table_of(part: str, title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table: by model and precision where the mistakes are located, and how they are named there."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = grouped(rows, "precision", "model")
    groups |= {(precision[0], "all"): g for precision, g in grouped(rows, "precision").items()}
    body = []
    for (precision, model), g in sorted(groups.items(), key=lambda item: PRECISIONS.index(item[0][0])):
        ends = Counter(outcome(row) for row in g)
        ways = Counter(named(row) for row in g if outcome(row) == "located")
        able = len(g) - ends["nothing to see"]
        located = f"{ends['located']} of {able}"
        numbers = (*(ends[end] for end in ENDS[1:]), *(ways[way] for way in WAYS[part]))
        body.append((f"{precision} {model}", ends["nothing to see"], located, *numbers))
    return table(title, ("", "no effect", *ENDS, *WAYS[part]), body)


def table_of_honest(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return how many runs of which engine did not conform."""
    body = [
        (f"{engine}" + (f" {precision}" if precision not in engine else ""), *_numbers(g))
        for (engine, precision), g in grouped(rows, "engine", "precision").items()
    ]
    body.append(("all", *_numbers(rows)))
    return table("Honest engines", ("engine", "models", "runs", "false alarms", "seconds"), body)


def _numbers(rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    seconds = statistics.median(row["seconds"] for row in rows)
    return len({row["model"] for row in rows}), len(rows), alarms(rows), f"{seconds:.2f}"


def alarms(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(outcome(row) != "right" for row in rows)


GOOD = ("first", "same numbers", "both", "signature", "unlike anything")


def failures(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what did not come out as it should, a line for each."""
    for row in rows:
        end = outcome(row)
        if end in ("right", "nothing to see") or (end == "located" and named(row) in GOOD):
            continue
        at = "{} {}".format(*row["at"]) if row.get("at") else "nothing"
        what = " + ".join(row["mistakes"]) or row["unlisted"] or row["engine"]
        line = f"{what}, {row['model']} {row['precision']}, seed {row['seed']}: {end}, {at}"
        if row["broken"]:
            first, last = row["broken"][0][0], row["broken"][-1]
            line += (
                f"; broken from {'{} {}'.format(*first)}, up to {last[1]:.2g} at {'{} {}'.format(*last[0])}"
            )
        way = [] if row["part"] == "honest" else [f"{named(row)} named"]
        causes = [f"{m} (amount {a:.3g}, explains {e:.4g})" for m, a, e, _ in row.get("causes", ())]
        same = [f"as {m}" for m in row.get("same_numbers", ())]
        reason = " ".join(row.get("reason", "").split())
        yield "; ".join(part for part in (line, *way, *causes, *same, reason) if part)


def unshown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the mistakes that change nothing, with the models where they do not."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row["verdict"] == "nothing to see":
            found.setdefault(" + ".join(row["mistakes"]) or row["unlisted"], set()).add(row["model"])
    everywhere = {row["model"] for row in rows}
    return [f"{m}: {'every model' if on == everywhere else ', '.join(sorted(on))}" for m, on in found.items()]


def met(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, bool]:
    """Return what issue "Diagnosis" demands, and whether it is met, of the parts that were run."""
    told = {}

    def clear(part: str) -> list[Mapping[str, Any]]:
        return [row for row in results.get(part, ()) if shows(row) and row["precision"] == "float32"]

    def share(rows: Sequence[Any], good: Callable[[Any], bool]) -> float:
        return sum(map(good, rows)) / len(rows) if rows else 0.0

    if one := clear("mistakes"):
        told["one mistake: located 100 % in float32"] = share(one, lambda r: outcome(r) == "located") == 1
        told["one mistake: named 95 % in float32"] = share(one, lambda r: named(r) != "not") >= 0.95
    if two := clear("pairs"):
        told["two mistakes: located 100 %"] = share(two, lambda r: outcome(r) == "located") == 1
        told["two mistakes: both named 80 %"] = share(two, lambda r: named(r) == "both") >= 0.8
    if other := clear("unlisted"):
        told["not listed: located 100 %"] = share(other, lambda r: outcome(r) == "located") == 1
        told["not listed: nothing of the catalogue named"] = all(
            named(r) != "listed" for r in results["unlisted"]
        )
    if results.get("honest"):
        told["no false alarm"] = not alarms(results["honest"])
    if size := results.get("size"):
        told["124M: under 20 s and 2 GiB"] = all(r["seconds"] < 20 and r["peak_mib"] < 2048 for r in size)
    return told


# The run.


def run_all(todo: Sequence[Case], workers: int, talk: Console) -> list[dict[str, Any]]:
    """Run every case, in the order of the cases; without workers in this process."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal)
    if not workers:
        return [run(case) for case in todo]
    load_specs()  # once, before the workers are forked
    rows: dict[int, dict[str, Any]] = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        jobs = {pool.submit(run, case): i for i, case in enumerate(todo)}
        with bar as progress:
            task = progress.add_task(todo[0].part if todo else "", total=len(todo))
            for done in as_completed(jobs):
                rows[jobs[done]] = done.result()
                progress.advance(task)
    return [rows[i] for i in range(len(todo))]


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Default: all of them.")
@click.option("--model", "only", multiple=True, help="Names of models; default: every model that is here.")
@click.option("--seed", default=0, show_default=True, help="Of prompts, and of pairs.")
@click.option("--workers", default=2, show_default=True, help="Processes; 0: all in this one.")
@click.option("--quick", is_flag=True, help="A few cases of each part, on one tiny model.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write every result to this file.")
def main(
    parts: tuple[str, ...], only: tuple[str, ...], seed: int, workers: int, quick: bool, out: Path | None
) -> None:
    """Measure `llorch diagnose` on engines whose mistakes are known."""
    console = plain_console()
    console.print(machine(), soft_wrap=True)
    results: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="measure_") as name:
        folders = [f for f in models(Path(name), quick) if f.name in only or not only]
        for part in parts or PARTS:
            if part == "size":
                continue
            rows = run_all(cases(part, folders, seed, quick), workers, Console(stderr=True))
            results[part] = rows
            for made in tables_of(part, rows):
                console.print(made)
            for line in failures(rows):
                console.print(line, markup=False, soft_wrap=True)
            if hide := unshown(rows):
                console.print(f"nothing changes by: {'; '.join(hide)}", markup=False, soft_wrap=True)
            twice = [row["same"] for row in rows if "same" in row]
            console.print(f"by a process of its own the same answer: {of(sum(twice), len(twice))}\n")
    if "size" in (parts or PARTS):
        shape = MADE["made_plain"] if quick else GPT2
        results["size"] = measure_size(1 if quick else 3, shape, 16 if quick else 64)
        head = {"engine": "engine", "seconds": "seconds", "runs": "of", "cpu_seconds": "of the processor"}
        head |= {
            "peak_mib": "peak MiB",
            "verdict": "verdict",
            "divergences": "divergences",
            "causes": "named",
        }
        body = [[f"{r[k]:.2f}" if "seconds" in k else r[k] for k in head] for r in results["size"]]
        console.print(table("Size of GPT-2 (124M), 64 tokens", [*head.values()], body))
    if out:
        out.write_text(json.dumps({"machine": machine(), "seed": seed, **results}, indent=1))
    told = met(results)
    for demand, good in told.items():
        console.print(f"{'met    ' if good else 'not met'}  {demand}", markup=False, soft_wrap=True)
    sys.exit(0 if all(told.values()) else 1)


if __name__ == "__main__":
    main()
