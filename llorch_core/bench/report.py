"""What a run found, as one object: table, page, picture and --json are made of it and of nothing else.

Its form is `specs/schema/bench.schema.json`. Speeds are tokens a second, times seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llorch_core.bench import sizes
from llorch_core.bench.machine import describe
from llorch_core.bench.ratios import MEMORY, against_peers, judged, paired, spread
from llorch_core.bench.run import Machine, Result, Setting

Report = dict[str, Any]
EXACT = 6  # digits that are kept


def report(setting: Setting, results: Sequence[Result], machine: Machine, command: str, title: str) -> Report:
    """Return everything that a run found.

    command  how it was called; title: what the model is
    """
    config, plan = setting.config, setting.plan
    measures = [job.measure for job in plan.jobs]
    found: Report = {
        "verdict": "wrong" if any(r.status == "wrong" for r in results) else "right",
        "command": command,
        "machine": describe(setting.threads),
        "model": {
            "title": title,
            "weights": sizes.matrix_weights(config),
            "bytes": {p: sizes.token_bytes(config, p) for p in sizes.WIDTHS},
            "flops": sizes.token_flops(config),
        },
        "rounds": setting.rounds,
        "jobs": [
            {
                "measure": job.measure,
                "rows": len(job.prompts()),
                "prompt": len(job.prompts()[0]),
                "count": job.request.get("count", 1),
            }
            for job in plan.jobs
        ],
        "limits": {
            "read": {p: spread(values) for p, values in machine.read.items()},
            "rate": spread(machine.rate),
        },
        "engines": [_engine(setting, result) for result in results],
        "against_peers": against_peers(results, measures),
        "targets": judged(results),
        "memory_target": MEMORY,
    }
    rounded: Report = _rounded(found)
    return rounded


def _engine(setting: Setting, result: Result) -> Report:
    engine = result.engine
    needed = sizes.weight_bytes(setting.config, engine.precision) + sizes.cache_bytes(
        setting.config, setting.plan.positions
    )
    memory = result.samples.get("memory", {})
    share = {turn: value / needed for turn, value in memory.items() if value}
    return {
        "engine": engine.label,
        "title": result.title or engine.name,
        "version": result.version,
        "precision": engine.precision,
        "ours": engine.ours,
        "status": result.status,
        "reason": result.reason,
        "error": result.error,
        "agreed": result.agreed,
        "of": result.of,
        "measures": {name: spread([*values.values()]) for name, values in result.samples.items()},
        "of_limit": {
            name: ratio
            for name, values in result.limits.items()
            if (ratio := paired(result.samples.get(name, {}), values))
        },
        "needed": needed,
        "memory_share": spread([*share.values()]) if share else None,
        "unable": result.unable,
    }


def _rounded(value: Any) -> Any:
    """Return numbers with the digits that a measurement can have."""
    if isinstance(value, float):
        return float(f"{value:.{EXACT}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
