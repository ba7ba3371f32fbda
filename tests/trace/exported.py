"""A small trace, worked out by hand: a rule and a scenario of every kind that exports must keep apart."""

from typing import Any

RULES = [  # id, what it says, status, why it is not proved
    ("layer_norm.population_variance", "Divide the sum of squares by n_embd.", "proved", ""),
    ("layer_norm.epsilon_inside_root", 'Add epsilon <before> the root, "not" after & never twice.', "failed",
     "1 of 1 scenario fails"),
    ("mlp.activation_of_the_config", "Use the activation that the config names.", "stub",
     "its scenario compares nothing"),
    ("mlp.hidden_size", "n_inner is four times n_embd.", "untested", "no scenario has its tag"),
    ("text.of_openai", "Encode as OpenAI did.", "not run", "needs the real GPT-2"),
]  # fmt: skip
SCENARIOS = [  # line, title, rules, status, message, elements
    (5, "The variance of a row is over all of it", ["layer_norm.population_variance"], "passed", "", 4),
    (11, "Epsilon damps a small row", ["layer_norm.epsilon_inside_root"], "failed",
     "h.0.ln_1 [1, 2]: got 2.5 & wanted <1.25>\n\x1b[31m188 tolerances\x1b[0m away\x00\ud800\r", 6),
    (17, "Epsilon damps a small row", ["layer_norm.epsilon_inside_root"], "error",
     "no step for: When it rains", 0),
    (4, "GELU is the one of the config", ["mlp.activation_of_the_config", "layer_norm.population_variance"],
     "stub", "Then it conforms: compared nothing", 0),
    (9, "An old name", ["mlp.gone"], "passed", "", 2),
    (7, "The text of the real model", ["text.of_openai"], "not run", "the real GPT-2 (LLORCH_GPT2)", 0),
]  # fmt: skip
FEATURES = ["layer_norm"] * 3 + ["mlp"] * 2 + ["text"]
TITLES = {"layer_norm": "Layer normalisation", "mlp": "Feed-forward network", "text": "Text to token ids"}
LAYERS = '''"""The parts."""

EPSILON = 1e-5


def layer_norm(x):
    centred = x - mean(x)
    return centred


class Cache:
    def extend(self, keys):
        def joined():
            return keys

        return joined()


def dead(x):
    return x
'''.splitlines()


def comparison(elements: int) -> dict[str, Any]:
    """Return the evidence of one comparison."""
    return {
        "checkpoint": "h.0.ln_1", "step": 0, "elements": elements, "of": elements, "outside": 0,
        "error": 0.25, "tolerance": 1.0, "share": 0.25, "margin": 0.75, "index": [0], "got": 1.25,
        "wanted": 1.0, "shapes": "", "digests": {"got": "a" * 64, "wanted": "b" * 64},
    }  # fmt: skip


def rule(id: str, says: str | None, status: str, why: str) -> dict[str, Any]:
    """Return one rule; its scenarios are those that name it."""
    component = id.partition(".")[0]
    known = says is not None
    return {
        "rule": id, "component": component, "says": says, "level": "must" if known else None,
        "source": "Ba et al. 2016" if known else None, "digest": "c" * 64 if known else None,
        "file": f"specs/components/{component}.yaml" if known else None, "line": 40 if known else None,
        "status": status, "why": why, "elements": 4, "of": 4, "worst": comparison(4) if known else None,
        "scenarios": [s["id"] for s in scenarios() if id in s["rules"]], "mistakes": [], "lines": {},
        "lost": None,
    }  # fmt: skip


def scenarios() -> list[dict[str, Any]]:
    """Return the scenarios, those of a feature together."""
    result = []
    for feature, (line, title, rules, status, message, elements) in zip(FEATURES, SCENARIOS, strict=True):
        file = f"features/components/{feature}.feature"
        evidence = [comparison(elements)] if elements else []
        result.append({
            "id": f"{file}:{line}", "title": title, "feature": TITLES[feature], "file": file, "line": line,
            "rules": rules, "status": status, "message": message,
            "text": f"Scenario: {title}\n  When x is [1, 2]\n  Then it conforms", "seconds": 0.25,
            "elements": elements, "of": elements, "evidence": evidence, "lines": {},
        })  # fmt: skip
    return result


def trace() -> dict[str, Any]:
    """Return the whole trace, as fresh objects."""
    rules = [rule(*row) for row in RULES] + [rule("mlp.gone", None, "orphaned", "a tag without a rule")]
    statuses = {r["status"]: sum(r["status"] == other["status"] for other in rules) for r in rules}
    component = {
        "id": "layer_norm", "kind": "arithmetic", "title": "Layer normalisation",
        "purpose": "Scale each row.", "source": ["Ba et al. 2016"],
        "file": "specs/components/layer_norm.yaml", "inputs": [], "constants": {}, "equations": {"out": "x"},
        "data": {}, "tolerance": None, "window": None, "appears_as": ["h.N.ln_1"], "mistakes": [],
        "rules": [row[0] for row in RULES[:2]], "errors": [],
    }  # fmt: skip
    behaviour = component | {"kind": "behaviour", "equations": {}, "appears_as": []}
    return {
        "llorch_trace": "1", "engine": "numpy", "model": "shakespeare", "precision": "float32",
        "made": {
            "at": "2025-03-01T12:00:00+00:00", "seconds": 9.5, "commands": ["llorch verify -o proof/"],
            "commit": "d" * 40, "dirty": False, "digest": "e" * 64, "versions": {"llorch": "0.1.0"},
            "machine": "x86_64",
        },
        "totals": {
            "rules": len(rules), "scenarios": len(SCENARIOS), "comparisons": 3, "elements": 12, "of": 12,
            "mistakes": 0, "tried": 0, "caught": 0, "lines": 7, "lines_run": 4, "statuses": statuses,
        },
        "components": [
            component,
            behaviour | {"id": "mlp", "title": "Feed-forward network", "rules": [r[0] for r in RULES[2:4]]},
            behaviour | {"id": "text", "title": "Text", "rules": [RULES[4][0]]},
        ],
        "rules": rules,
        "scenarios": scenarios(),
        "code": [
            {
                "file": "llorch_core/engine/layers.py", "text": LAYERS,
                "statements": [3, 6, 7, 8, 11, 12, 13, 14, 16, 19, 20],
                "run": {"7": [0, 1], "8": [0, 1], "13": [2, 4], "14": [4], "16": [2, 4]}, "missed": [20],
                "excused": [3, 6, 11, 12, 19],
            },
            {
                "file": "kernels/gelu.cu", "text": ["__global__ void gelu(float *x) {", "}"],
                "statements": [1], "run": {"1": [2]}, "missed": [], "excused": [],
            },
        ],
        "problems": [],
    }  # fmt: skip
