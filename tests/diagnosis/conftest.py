"""Diagnoses made by hand: what is told of them is a function of the object alone."""

import numpy as np
import pytest

from llorch_core.check.compare import Comparison
from llorch_core.diagnosis.lookup import block
from llorch_core.diagnosis.result import CONFORMS, DIVERGES, UNDECIDED, Cause, Diagnosis, Divergence

IDS = (((5, 9, 5), (7,)),)


def compared(what, step=0, share=0.25, outside=0, **more):
    entries = {"elements": 6, "index": (1, 2), "got": 1.5, "wanted": 1.25, **more}
    return Comparison(what, step, outside=outside, share=share, **entries)


def caused(mistake="mlp.erf_gelu", **more):
    entries = {"amount": 1.0004, "standard_error": 0.0021, "explains": 0.99996, "confirmed": True, **more}
    return Cause(mistake, text="off by up to 4.7e-4", seen_in=("microsoft/onnxruntime#2270",), **entries)


def wrong(what="h.1.mlp.act", step=0, share=312.0, causes=None, component="mlp", **more):
    fields = {
        k: more.pop(k) for k in ("elements", "index", "got", "wanted", "outside", "shapes") if k in more
    }
    c = compared(what, step, share, **{"outside": 4, **fields})
    return Divergence(c, component, block(what), causes=(caused(),) if causes is None else causes, **more)


def diagnosis(*divergences, verdict=None, right=("embed", "h.0.mlp.act", "h.1.mlp.fc", "logits"), **more):
    """A diagnosis where `right` conforms at step 0, and the divergences stand behind that."""
    comparisons = (*(compared(what) for what in right), *(d.comparison for d in divergences))
    entries = {
        "engine": "my_dump.safetensors",
        "model": "gpt2",
        "precision": "float32",
        "reading": IDS,
        **more,
    }
    return Diagnosis(
        verdict or (DIVERGES if divergences else CONFORMS),
        "nothing was recorded" if verdict == UNDECIDED else "",
        comparisons=comparisons,
        divergences=divergences,
        **entries,
    )


@pytest.fixture
def shown():
    """shown(shape): the tensors of a divergence; [1, 2] (of head 0) is 4 tolerances away, all else right."""

    def make(shape=(3, 5), away=4.0):
        wanted = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
        got, bound = wanted.copy(), np.full(shape, 0.5)
        got[(0,) * (len(shape) - 2) + (1, 2)] += away * 0.5
        return {"got": got, "wanted": wanted, "bound": bound, "suspected": got + 0.05}

    return make
