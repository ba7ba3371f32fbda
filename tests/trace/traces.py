"""A small trace made by hand, with every status, every kind of component, and what else a page must bear."""

import json
from pathlib import Path

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "specs" / "schema" / "trace.schema.json").read_text(encoding="utf-8")
)
HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x.png onerror=alert(1)>`|`" + "w" * 60
FEATURE = "features/norm.feature"
LAYERS = "engine/layers.py"


def comparison(checkpoint="h.0.ln_1", share=0.25, step=0, **more):
    outside = 0 if isinstance(share, float) and share <= 1 else 2
    return {
        **{"checkpoint": checkpoint, "step": step, "elements": 12, "of": 12, "outside": outside},
        **{"error": 2.5e-7, "tolerance": 1e-6, "share": share, "margin": 7.5e-7, "index": [1, 2]},
        **{"got": 1.5000002, "wanted": 1.5, "shapes": ""},
        "digests": {"got": "a" * 64, "wanted": "b" * 64},
        **more,
    }


def scenario(line, *rules, evidence=(), status="passed", **more):
    evidence = list(evidence)
    entries = {
        **{"id": f"{FEATURE}:{line}", "title": f"Scenario of line {line}", "feature": "Norms"},
        **{"file": FEATURE, "line": line, "rules": list(rules), "status": status, "message": ""},
        "text": 'Scenario: A norm\n  When norm is given x = [1, 3]\n  Then it returns\n    | a | "b" |',
        **{"seconds": 0.01, "elements": 12 * len(evidence), "of": 12 * len(evidence)},
        **{"evidence": evidence, "lines": {LAYERS: [4, 5]} if evidence else {}},
    }
    return {**entries, **more}


def trial(mistake="norm.wrong", status="caught", at=FEATURE + ":3", tolerances=188.0):
    return {
        **{"mistake": mistake, "status": status, "scenario": at},
        **{"checkpoint": "h.0.ln_1" if at else None, "tolerances": tolerances},
    }


def rule(id, status, *, why="", worst=None, scenarios=(), mistakes=(), **more):
    entries = {
        **{"rule": id, "component": id.partition(".")[0], "says": f"Do as {id} says.", "level": "must"},
        **{"source": "Ba et al. 2016, equation 3", "digest": "c" * 64, "file": "specs/norm.yaml", "line": 9},
        **{"status": status, "why": why, "elements": 12 if worst else 0, "of": 12 if worst else 0},
        **{"worst": worst, "scenarios": list(scenarios), "mistakes": list(mistakes)},
        **{"lines": {LAYERS: [4, 5]} if worst else {}, "lost": None},
    }
    return {**entries, **more}


def component(id, kind, **more):
    entries = {
        **{"id": id, "kind": kind, "title": f"The {id}", "purpose": "Does it.", "source": ["Ba 2016"]},
        **{"file": f"specs/{id}.yaml", "inputs": [], "constants": {}, "equations": {}, "data": {}},
        **{"tolerance": None, "window": None, "appears_as": [], "mistakes": [], "rules": [], "errors": []},
    }
    return {**entries, **more}


def mistake(id, **instead):
    return {
        **{"id": id, "symptom": "too small", "instead": instead},
        **{"seen_in": ["a/b#1"], "hidden_in": ["float16"]},
    }


def error(layer, share):
    return {"layer": layer, "share": share}


def problem(kind, what, line=9, next="Put it right."):
    return {"kind": kind, "what": what, "file": "specs/norm.yaml", "line": line, "says": "so", "next": next}


def link(kind, name, status=None, says=None, test=None):
    return {"kind": kind, "name": name, "says": says, "test": test, "status": status}


def lesson(id, status, *links, kind="guardrail", **more):
    entries = {
        **{"lesson": id, "kind": kind, "says": f"Lesson {id}.", "verdict": None, "happened": f"Story {id}."},
        **{"evidence": ["B1"], "status": status, "enforced_by": list(links), "apart_from": None},
        **{"not_enforced": None, "file": "specs/lessons/a.yaml", "line": 3},
    }
    return {**entries, **more}


def learned():
    """Lessons of every status, with links of every kind."""
    return [
        lesson("A1", "open", link("rule", "norm.root", "failed"), kind="assumption", verdict="wrong"),
        lesson("R1", "not enforced", kind="cause", not_enforced="No check sees the weather."),
        lesson(
            *("G-01", "proved", link("rule", "norm.centred", "proved", says="Centre.")),
            *(link("mistake", "file.skips", "missed"), link("mistake", "norm.wrong", "caught")),
            apart_from="The moon is left out.",
        ),
        lesson(
            *("G-02", "enforced", link("stub", "no check"), link("gate", "coverage.rules")),
            *(link("test", "tests/test_a.py::test_b"),),
            link("command", "llorch prove", test="tests/test_c.py::test_d"),
        ),
        lesson("G-03", "not asked", link("rule", "other.rule", "not asked")),
    ]


def whole():
    """Every status, an error without bound, a window without noise, lines of every kind."""
    first, third = f"{FEATURE}:3", f"{FEATURE}:40"
    many = [comparison(f"h.{layer}.ln_1", 0.1, step) for layer in range(3) for step in range(3)]
    scenarios = [
        scenario(3, "norm.centred", "file.read", evidence=[comparison(share=0.25)]),
        scenario(
            12, "norm.root", evidence=[comparison(share="inf", got="nan")], status="failed", message="no"
        ),
        scenario(20, "norm.stub", evidence=[comparison(share=0.0)], status="stub"),
        scenario(30, "file.rows", status="not run", message="the real weights"),
        scenario(40, "model.laws", evidence=[*many, comparison("ln_f", shapes="got [2], wanted [3]")]),
        scenario(50, "nobody.knows", evidence=[comparison("out", 0.5, None)]),
    ]
    rules = [
        rule("norm.centred", "proved", worst=comparison(), scenarios=[first], mistakes=[trial()]),
        rule("norm.root", "failed", why="2 of 12 outside", worst=comparison(share="inf")),
        rule("norm.stub", "stub", why="compares nothing", scenarios=[f"{FEATURE}:20"]),
        rule("norm.stale", "stale", why="its text changed", scenarios=["features/gone.feature:1"]),
        rule("file.read", "passed", why="1 missed", worst=comparison(share=0.0), scenarios=[first]),
        rule("file.rows", "not run", why="the real weights", scenarios=[f"{FEATURE}:30"]),
        rule("file.lost", "untested", why="no scenario has its tag"),
        rule(
            "model.laws", "error", why="ValueError in steps", worst=comparison(share=0.125), scenarios=[third]
        ),
        rule(
            "nobody.knows",
            "orphaned",
            why="no rule",
            says=None,
            level=None,
            source=None,
            file=None,
            line=None,
        ),
    ]
    rules[4]["mistakes"] = [
        trial("file.skips", "missed", None, None),
        trial("file.late", "not tried", None, None),
    ]
    lost = {"commit": "d" * 40, "date": "2026-01-02", "subject": "Tidy up", "file": "features/old.feature"}
    rules[6]["lost"] = lost
    norm = component(
        *("norm", "arithmetic"),
        inputs=[{"name": "x", "shape": "[T, n_embd]", "meaning": "stream"}],
        constants={"epsilon": "config.layer_norm_epsilon"},
        equations={"centre": "mean(x)", "out": "(x - centre) / sqrt(mean(x**2) + epsilon)"},
        tolerance={"bounds": {"out": "8 * eps * abs(out) + tiny"}, "why": "one mean and one root"},
        window={"noise": 0.125, "nearest": 35.5, "mistake": "norm.wrong"},
        appears_as=["h.N.ln_1", "ln_f"],
        mistakes=[mistake("norm.wrong", centre="0 * mean(x)", epsilon=1e-12)],
        errors=[
            {"checkpoint": "h.N.ln_1", "layers": [error(0, 0.1), error(1, 0.0), error(2, 3.0)]},
            {"checkpoint": "ln_f", "layers": [error(None, "inf")]},
        ],
    )
    exact = component("pick", "arithmetic", window={"noise": 0, "nearest": "inf", "mistake": "pick.last"})
    exact["tolerance"] = {"bounds": {"out": "0"}, "why": "an index is right or wrong"}
    file = component(
        "file", "behaviour", data={"order": {"is": ["a", "b"], "meaning": "of reading"}, "rows": 3}
    )
    file["mistakes"] = [mistake("file.skips", order=["b"]), mistake("file.late", rows=4)]
    wired = {"h.N.q": {"x": "h.N.in"}}
    model = component("model", "model", mistakes=[{**mistake("model.raw"), "instead": wired}])
    text = [
        "def norm(x):",
        '    """Norm."""',
        "",
        "    x = x - 1",
        "    y = x",
        "    if y:",
        "        raise y",
    ]
    code = {
        **{"file": LAYERS, "text": text, "statements": [1, 4, 5, 6, 7], "missed": [7], "excused": [1]},
        "run": {"4": [0, 7], "5": [0, 7], "6": [0, 1, 2, 3]},
    }
    statuses: dict[str, int] = {}
    for entry in rules:
        statuses[entry["status"]] = statuses.get(entry["status"], 0) + 1
    return {
        **{"llorch_trace": "1", "engine": "numpy", "model": "tiny", "precision": "float32"},
        "made": {
            **{"at": "2026-11-27T23:18:03.822Z", "seconds": 312.4, "commands": ["llorch verify -o proof"]},
            **{"commit": "e" * 40, "dirty": True, "digest": "f" * 64},
            **{"versions": {"python": "3.11.7"}, "machine": "Linux x86_64"},
        },
        "totals": {
            **{"rules": 8, "scenarios": 6, "comparisons": 14, "elements": 168, "of": 170},
            **{"mistakes": 4, "tried": 2, "caught": 1, "lines": 5, "lines_run": 3, "statuses": statuses},
        },
        "components": [norm, exact, file, model],
        "rules": rules,
        "scenarios": scenarios,
        "code": [code],
        "problems": [
            problem("error", "model.laws"),
            problem("failed", "norm.root", next="Look at the root."),
            problem("not run", "file.rows", next="Bring the weights."),
            *(problem("line without rule", LAYERS, 7, next="Write a scenario.") for _ in range(7)),
        ],
    }


def with_lessons():
    """The whole trace, of specs that have lessons."""
    return {**whole(), "lessons": learned()}


def sound():
    """A trace in which all is proved, but for one rule that was not run."""
    trace = whole()
    trace["rules"] = [trace["rules"][0], trace["rules"][5]]
    trace["problems"] = [trace["problems"][2]]
    trace["totals"] |= {"rules": 2, "statuses": {"proved": 1, "not run": 1}, "of": 168}
    trace["made"] |= {"dirty": False}
    return trace


NOT_TEXT = {
    *("status", "kind", "level", "precision", "llorch_trace", "verdict"),
    *("share", "error", "got", "wanted", "tolerances", "nearest", "margin", "tolerance"),
}
NAMED = {"equations", "instead", "bounds", "statuses", "run"}  # what their keys name is not text either


def hostile():
    """The whole trace, with every name and text that somebody else may have written made hostile."""

    def spoil(value, key=""):
        if isinstance(value, dict) and key not in NAMED:
            return {k + HOSTILE if key == "lines" else k: spoil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(entry, key) for entry in value]
        return value + HOSTILE if isinstance(value, str) and key not in NOT_TEXT else value

    spoiled = spoil(with_lessons())
    spoiled["components"][0]["equations"]["evil"] = HOSTILE
    return spoiled
