"""What every engine is asked in a round: one request for each measure, cut to what the model has room for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llorch_core.bench import sizes
from llorch_core.bench.protocol import Answer
from llorch_core.engine.config import Config

PROMPT, DECODED, PREFILLED, BATCHED, BEHIND_CONTEXT = 32, 128, 512, 64, 16  # tokens
BATCHES, FULL_BATCHES = (8,), (8, 32)
CONTEXTS = (32, 128, 256, 512, 1024)  # positions when the last token is chosen
SEED = 20191105  # of the prompts


@dataclass(frozen=True)
class Job:
    """One request, and the measure that its answer gives, in tokens a second."""

    measure: str
    request: Mapping[str, Any]

    def rows(self, answer: Answer) -> list[list[int]]:
        """Return the ids of an answer, a row for each prompt."""
        if self.request["do"] == "prefill":
            return [[answer["id"]]]
        rows: list[list[int]] = [answer["ids"]] if self.request["do"] == "decode" else answer["ids"]
        return rows

    def prompts(self) -> list[list[int]]:
        """Return the prompt of each row."""
        one: list[list[int]] = self.request.get("prompts") or [self.request["prompt"]]
        return one

    def speed(self, answer: Mapping[str, float]) -> float:
        """Return tokens a second: read of a prompt, or made of all sequences; decoding without the first."""
        if self.request["do"] == "prefill":
            return len(self.request["prompt"]) / max(answer["seconds"], 1e-9)
        count = int(self.request["count"])
        if self.request["do"] == "decode":
            return (count - 1) / max(answer["rest_s"], 1e-9)
        return len(self.request["prompts"]) * count / max(answer["seconds"], 1e-9)


@dataclass(frozen=True)
class Plan:
    """The jobs of a round, in order; the first is `decode`, whose prompt is judged by logits, too."""

    jobs: tuple[Job, ...]

    @property
    def prompt(self) -> list[int]:
        """The prompt whose row of logits is compared."""
        return self.jobs[0].prompts()[0]

    @property
    def positions(self) -> int:
        """Most positions that any job has in all caches at once."""
        return max(
            len(job.prompts()) * (len(job.prompts()[0]) + int(job.request.get("count", 1)) - 1)
            for job in self.jobs
        )


def plan_for(config: Config, full: bool = False) -> Plan:
    """Return what a model of this shape is asked. full: larger batches and contexts, too."""
    random = np.random.default_rng(SEED)

    def ids(n: int) -> list[int]:
        found: list[int] = random.integers(0, config.n_vocab, n).tolist()
        return found

    prompt = max(1, min(PROMPT, config.n_ctx // 4))
    room = config.n_ctx - prompt
    decoded, batched = min(DECODED, room), min(BATCHED, room)
    jobs = [
        Job("decode", {"do": "decode", "prompt": ids(prompt), "count": decoded}),
        Job("prefill", {"do": "prefill", "prompt": ids(min(PREFILLED, config.n_ctx))}),
    ]
    for n in FULL_BATCHES if full else BATCHES:
        request = {"do": "batch", "prompts": [ids(prompt) for _ in range(n)], "count": batched}
        jobs.append(Job(f"batch {n}", request))
    for n in CONTEXTS if full else ():
        if BEHIND_CONTEXT < n <= config.n_ctx:
            request = {"do": "decode", "prompt": ids(n - BEHIND_CONTEXT), "count": BEHIND_CONTEXT}
            jobs.append(Job(f"context {n}", request))
    return Plan(tuple(jobs))


def limit(job: Job, config: Config, precision: str, read: float, rate: float) -> float:
    """Return the tokens a second of a job that the machine's limits allow, attention left out.

    read  bytes a second; rate: float32 operations a second, which is no limit of an int8 or bfloat16 product
    """
    size, flops = sizes.token_bytes(config, precision), sizes.token_flops(config)
    if job.request["do"] == "decode":
        return read / size
    if job.request["do"] == "prefill":
        n = len(job.request["prompt"])
        return n / (sizes.prompt_flops(config, n) / rate)
    n = len(job.request["prompts"])
    return min(n * read / size, rate / flops)
