"""A model with the backend and the precision that are asked for."""

from __future__ import annotations

from pathlib import Path

from llorch_core.engine.errors import UsageError
from llorch_core.engine.model import EMBEDDED, Model
from llorch_core.fast.files import METADATA, metadata_of
from llorch_core.fast.packed import KINDS
from llorch_core.fast.threads import cores, limit_blas

BACKENDS = ("auto", "numpy", "fast")
PRECISIONS = ("auto", *KINDS)


def load(
    folder: str | Path | None = None,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Model:
    """Load a GPT-2 from a folder in the Hugging Face layout; without one, the embedded model.

    backend    "numpy", "fast" (compiled kernels, of the extra of that name), or "auto": fast where another
               precision than float32 is asked for, else numpy
    precision  of the weights: "float32", "bfloat16", "int8", "int4"; "auto" is that of the file
    threads    of the kernels and of NumPy's products; the default is the number of cores

    Raises ModelError where the folder is not a GPT-2, before any tensor is read; UsageError where the backend
    does not have the precision, or cannot run here.
    """
    if backend not in BACKENDS or precision not in PRECISIONS:
        given, wanted = (backend, BACKENDS) if backend not in BACKENDS else (precision, PRECISIONS)
        raise UsageError(f"there is no {given} (wanted one of {', '.join(wanted)}).")
    path = EMBEDDED if folder is None else Path(folder)
    if told := metadata_of(path):
        return _load_packed(path, told[METADATA], backend, precision, threads or cores())
    limit_blas(threads)
    model = Model(path)
    if precision == "auto":
        precision = "float32"
    if backend == "auto":
        backend = "numpy" if precision == "float32" else "fast"
    if backend == "numpy":
        if precision != "float32":
            raise UsageError(
                f"the NumPy backend computes with float32 weights (got {precision}).\n"
                "Leave --precision out, or take --backend fast."
            )
        return model
    accelerate(model, precision, threads or cores())
    return model


def accelerate(model: Model, precision: str, threads: int) -> None:
    """Give a model the kernels' forward pass. Raises UsageError where numba is not installed."""
    _needs_numba()
    from llorch_core.fast.files import matrices_of
    from llorch_core.fast.forward import Forward
    from llorch_core.fast.packed import pack

    packed = {name: pack(weight, precision) for name, weight in matrices_of(model.weights).items()}
    model.forward = Forward(model.weights, model.config, packed, threads)


def _load_packed(folder: Path, kind: str, backend: str, precision: str, threads: int) -> Model:
    if backend == "numpy" or precision not in ("auto", kind):
        wanted = "the NumPy backend" if backend == "numpy" else precision
        raise UsageError(
            f"{folder} was quantised to {kind}, and {wanted} cannot read that (wanted --backend fast).\n"
            "Take the model that it was made from."
        )
    _needs_numba()
    from llorch_core.fast.forward import PackedModel

    return PackedModel(folder, threads)


def _needs_numba() -> None:
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the fast backend needs numba ({error}).\n"
            "Install it: pip install 'llorch[fast]'. The NumPy backend runs without."
        ) from error
