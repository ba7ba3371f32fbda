"""The equation language: one Python expression over tensors, and nothing else that Python can do.

An equation is parsed with `ast` and accepted node by node: names, numbers, arithmetic, comparisons,
`@`, subscripts, and calls to the functions of one fixed table. There are no attributes, no strings,
no builtins and no imports, and every result is bounded in size: a spec from a stranger can only
compute. All numbers are float64. Reductions run over the last axis and keep it.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch_core.spec.arithmetic import current
from llorch_core.spec.errors import SpecError

Tensor = NDArray[np.float64]
Environment = Mapping[str, Any]
Functions = Mapping[str, Callable[..., Any]]
Computed = Callable[[Environment, Functions], Any]

MOST_CHARACTERS = 2_000
MOST_NODES = 400
MOST_ELEMENTS = 2**28
_most_elements = ContextVar("_most_elements", default=MOST_ELEMENTS)


@contextmanager
def at_most(elements: int) -> Iterator[None]:
    """Bound every tensor that equations make to `elements`, instead of to MOST_ELEMENTS."""
    token = _most_elements.set(elements)
    try:
        yield
    finally:
        _most_elements.reset(token)


def _integer(value: Any, what: str) -> int:
    if type(value) is int:
        return value
    if np.ndim(value) != 0 or not float(value).is_integer():
        raise SpecError(f"{what} must be a whole number, got {value}.")
    return int(value)


def _count(value: Any, what: str) -> int:
    n = _integer(value, what)
    if n < 0:
        raise SpecError(f"{what} must be 0 or more, got {n}.")
    return n


def bounded_shape(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the shape in whole numbers. Raises SpecError where it has none, or is too large."""
    shape = tuple(_count(size, "a size") for size in sizes)
    _bounded(shape)
    return shape


def _bounded(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > _most_elements.get():
        raise SpecError(f"a tensor of shape {list(shape)} is larger than {_most_elements.get():,} elements.")


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    if a.ndim and b.ndim > 1:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        _bounded((*batch, *a.shape[-2:-1], b.shape[-1]))
    if (arithmetic := current()) is not None and a.ndim > 1 and b.ndim > 1:
        return arithmetic.product(a, b)
    product: Tensor = np.matmul(a, b)
    return product


def _bounded_operator(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(a: Any, b: Any) -> Any:
        if (left := getattr(a, "shape", ())) and (right := getattr(b, "shape", ())):
            _bounded(left if left == right else np.broadcast_shapes(left, right))
        return function(a, b)

    return apply


def _where(condition: Any, yes: Any, no: Any) -> Tensor:
    _bounded(np.broadcast_shapes(np.shape(condition), np.shape(yes), np.shape(no)))
    chosen: Tensor = np.where(condition, yes, no)
    return chosen


def _arange(count: Any) -> Tensor:
    n = _count(count, "arange")
    _bounded((n,))
    return np.arange(n, dtype=np.float64)


def _causal(n_new: Any, n_seen: Any) -> Tensor:
    """[T, S]: 1 in the lower triangle counted from the lower right corner."""
    t, s = _count(n_new, "causal's T"), _count(n_seen, "causal's S")
    _bounded((t, s))
    return (np.arange(s) <= np.arange(s - t, s)[:, None]).astype(np.float64)


def _split(x: Tensor, parts: Any, index: Any) -> Tensor:
    n, i = _integer(parts, "split's parts"), _integer(index, "split's index")
    if n < 1 or not 0 <= i < n or x.shape[-1] % n:
        raise SpecError(f"cannot take part {i} of {n} from a last axis of {x.shape[-1]}.")
    width = x.shape[-1] // n
    part: Tensor = x[..., i * width : (i + 1) * width]
    return part


def _reshape(x: Tensor, *sizes: Any) -> Tensor:
    shape = tuple(_integer(size, "reshape's size") for size in sizes)
    if any(size < 0 for size in shape) or math.prod(shape) != x.size:
        raise SpecError(f"cannot reshape {list(x.shape)} to {list(shape)}.")
    return x.reshape(shape)


def _permute(x: Tensor, *axes: Any) -> Tensor:
    order = tuple(_integer(axis, "permute's axis") for axis in axes)
    if sorted(order) != list(range(x.ndim)):
        raise SpecError(f"permute wants each axis of {list(x.shape)} once, got {list(order)}.")
    return x.transpose(order)


def _heads(x: Tensor, n_head: Any) -> Tensor:
    n = _integer(n_head, "heads' n_head")
    if x.ndim != 2 or n < 1 or x.shape[1] % n:
        raise SpecError(f"cannot cut {list(x.shape)} into {n} heads.")
    return x.reshape(x.shape[0], n, x.shape[1] // n).transpose(1, 0, 2)


def _merge(x: Tensor) -> Tensor:
    if x.ndim != 3:
        raise SpecError(f"merge wants [n_head, T, head_dim], got {list(x.shape)}.")
    return x.transpose(1, 0, 2).reshape(x.shape[1], x.shape[0] * x.shape[2])


def _concat(a: Tensor, b: Tensor) -> Tensor:
    _bounded((a.size + b.size,))
    return np.concatenate([a, b], axis=-2)


def _occurs(ids: Tensor, count: Any) -> Tensor:
    n = _count(count, "occurs' count")
    _bounded((n,))
    found = np.zeros(n)
    found[_indices(ids, len(found))] = 1.0
    return found


def _rank(x: Tensor) -> Tensor:
    """How many entries of the last axis come before each: larger ones, and equal ones of lower index."""
    order = np.argsort(-x, axis=-1, kind="stable")
    return np.argsort(order, axis=-1, kind="stable").astype(np.float64)


def _dropout(x: Tensor) -> Tensor:
    """As in training: a tenth of the elements becomes 0, others at each call; the rest makes up for it."""
    return x * (np.random.default_rng().random(x.shape) >= 0.1) / 0.9


def _take(x: Tensor, index: Tensor) -> Tensor:
    return np.take_along_axis(x, _indices(index, x.shape[-1]), axis=-1)


def _sum(x: Tensor) -> Tensor:
    if (arithmetic := current()) is not None:
        return arithmetic.total(x)
    total: Tensor = np.sum(x, axis=-1, keepdims=True)
    return total


def _mean(x: Tensor) -> Tensor:
    average: Tensor = _sum(x) / x.shape[-1]  # NaN for no numbers, without NumPy's warning
    return average


def _erf(x: Tensor) -> Tensor:
    return np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


def _indices(index: Any, size: int) -> NDArray[np.int64]:
    whole = np.asarray(index).astype(np.int64)
    if np.any(whole != index) or np.any(whole < 0) or np.any(whole >= size):
        raise SpecError(f"an index is not a whole number from 0 to {size - 1}.")
    return whole


def _last_axis(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: function(x, axis=-1, keepdims=True)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    # name: (number of arguments, or -1 for any; function)
    "mean": (1, _mean),
    "sum": (1, _sum),
    "max": (1, _last_axis(np.max)),
    "min": (1, _last_axis(np.min)),
    "argmax": (1, lambda x: np.argmax(x, axis=-1, keepdims=True).astype(np.float64)),
    "cumsum": (1, lambda x: np.cumsum(x, axis=-1)),
    "sort": (1, lambda x: -np.sort(-x, axis=-1)),
    "rank": (1, _rank),
    "take": (2, _take),
    "occurs": (2, _occurs),
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "tanh": (1, np.tanh),
    "sigmoid": (1, lambda x: 1.0 / (1.0 + np.exp(-x))),
    "erf": (1, _erf),
    "maximum": (2, _bounded_operator(np.maximum)),
    "minimum": (2, _bounded_operator(np.minimum)),
    "where": (3, _where),
    "concat": (2, _concat),
    "split": (3, _split),
    "heads": (2, _heads),
    "merge": (1, _merge),
    "transpose": (1, lambda x: np.swapaxes(x, -1, -2)),
    "reshape": (-1, _reshape),
    "permute": (-1, _permute),
    "causal": (2, _causal),
    "arange": (1, _arange),
    "dropout": (1, _dropout),
}
CONSTANTS = {"pi": math.pi, "inf": math.inf}

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _bounded_operator(operator.add),
    ast.Sub: _bounded_operator(operator.sub),
    ast.Mult: _bounded_operator(operator.mul),
    ast.Div: _bounded_operator(np.divide),
    ast.Pow: _bounded_operator(np.power),
    ast.MatMult: _matmul,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: _bounded_operator(operator.lt),
    ast.LtE: _bounded_operator(operator.le),
    ast.Gt: _bounded_operator(operator.gt),
    ast.GtE: _bounded_operator(operator.ge),
    ast.Eq: _bounded_operator(operator.eq),
    ast.NotEq: _bounded_operator(operator.ne),
}


def _rounded(x: Any) -> Any:
    """Return a result as the arithmetic that is asked for has it."""
    arithmetic = current()
    return x if arithmetic is None else arithmetic.round(x)


def _function(node: ast.expr) -> Computed:
    """Return the function of names and functions that a node is, once it was checked."""
    match node:
        case ast.Constant(value=int() | float() as value):
            number = np.float64(value)
            return lambda names, functions: number
        case ast.Name(id=name) if name in CONSTANTS:
            constant = np.float64(CONSTANTS[name])
            return lambda names, functions: constant
        case ast.Name(id=name):
            return partial(_read, name)
        case ast.BinOp():
            operate, a, b = _BINARY[type(node.op)], _function(node.left), _function(node.right)
            return lambda names, functions: _rounded(operate(a(names, functions), b(names, functions)))
        case ast.UnaryOp(op=ast.USub()):
            operand = _function(node.operand)
            return lambda names, functions: -operand(names, functions)
        case ast.UnaryOp():
            return _function(node.operand)
        case ast.Compare():
            compare = _COMPARE[type(node.ops[0])]
            a, b = _function(node.left), _function(node.comparators[0])
            return lambda names, functions: compare(a(names, functions), b(names, functions)) * 1.0
        case ast.Call(func=ast.Name(id=name)):
            return partial(_call, name, [_function(argument) for argument in node.args])
        case ast.Subscript():
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return partial(_cut, _function(node.value), [_index(part) for part in parts])
        case ast.List():
            items = [_function(item) for item in node.elts]
            return lambda names, functions: np.array([item(names, functions) for item in items], np.float64)
    raise AssertionError(f"{type(node).__name__} was let through")


def _read(name: str, names: Environment, functions: Functions) -> Any:
    if name not in names:
        raise SpecError(f"{name} is not defined. Known here: {', '.join(sorted(names))}.")
    return names[name]


def _call(name: str, arguments: list[Computed], names: Environment, functions: Functions) -> Any:
    values = [argument(names, functions) for argument in arguments]
    if name in functions:
        return functions[name](*values)
    if name not in FUNCTIONS:
        raise SpecError(f"{name} is not a function. There are: {', '.join(sorted(FUNCTIONS))}.")
    return _rounded(FUNCTIONS[name][1](*(np.asarray(value, np.float64) for value in values)))


def _index(node: ast.expr) -> Computed | tuple[Computed | None, ...]:
    """Return an index, or the edges and the step of a slice."""
    if not isinstance(node, ast.Slice):
        return _function(node)
    return tuple(None if edge is None else _function(edge) for edge in (node.lower, node.upper, node.step))


def _cut(
    of: Computed,
    indices: list[Computed | tuple[Computed | None, ...]],
    names: Environment,
    functions: Functions,
) -> Tensor:
    def part(index: Computed | tuple[Computed | None, ...], size: int) -> slice | int | NDArray[np.int64]:
        if not isinstance(index, tuple):
            picked = _indices(index(names, functions), size)
            return picked if picked.ndim else int(picked)
        edges = [None if edge is None else _count(edge(names, functions), "a slice") for edge in index]
        if any(edge is not None and edge > size for edge in edges[:2]):
            raise SpecError(f"a slice goes past the size {size}.")
        return slice(*edges)

    x = of(names, functions)
    if len(indices) > np.ndim(x):
        raise SpecError(f"{len(indices)} indices are too many for {list(np.shape(x))}.")
    parts = [part(index, size) for index, size in zip(indices, x.shape, strict=False)]
    picked = np.broadcast_shapes(*(np.shape(p) for p in parts if not isinstance(p, slice)))
    kept = [size for i, size in enumerate(x.shape) if i >= len(parts) or isinstance(parts[i], slice)]
    _bounded((*picked, *kept))
    cut: Tensor = x[tuple(parts)]
    return cut


@dataclass(frozen=True)
class Equation:
    """One expression, checked when it is made; `Equation(text).run(names)` computes it."""

    text: str
    lists: bool = False  # examples may write tensors as lists of numbers

    def __post_init__(self) -> None:
        for node in ast.walk(self._tree):
            self._check(node)

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > MOST_CHARACTERS:
            raise SpecError(
                f"an equation has {len(self.text):,} characters; {MOST_CHARACTERS:,} are allowed."
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what Python only warns of is no equation either
                tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
            raise SpecError(f"{self.text!r} is not an equation: {reason}.") from error
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise SpecError(f"{self.text[:40]!r}… has more than {MOST_NODES} parts. Name some of them.")
        return tree

    @cached_property
    def _computed(self) -> Computed:
        return _function(self._tree)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that the equation reads, without the functions that it calls."""
        calls = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        names = {n.id for n in ast.walk(self._tree) if isinstance(n, ast.Name) and id(n) not in calls}
        return frozenset(names - CONSTANTS.keys())

    @cached_property
    def calls(self) -> frozenset[str]:
        """The functions that the equation calls."""
        return frozenset(
            node.func.id
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        )

    def run(self, names: Environment, functions: Functions | None = None) -> Any:
        """Compute the equation in float64.

        names      the tensors and numbers that it may read
        functions  components that it may call, beside the table

        Returns a float64 tensor, or a number. Raises SpecError where the shapes do not fit.
        """
        with np.errstate(all="ignore"):
            try:
                result = self._computed(names, functions or {})
            except SpecError as error:
                raise SpecError(f"in {self.text!r}: {error}") from error
            except (ValueError, IndexError, TypeError, OverflowError, RecursionError) as error:
                reason = str(error).rstrip(".")
                raise SpecError(f"{self.text!r} cannot be computed: {reason}.") from error
        return np.asarray(result, np.float64)

    def _check(self, node: ast.AST) -> None:
        match node:
            case ast.Constant(value=bool() | None) | ast.Constant(value=str() | bytes() | complex()):
                pass
            case ast.Constant(value=int() | float()):
                return
            case ast.Name() | ast.Load() | ast.Slice() | ast.Subscript():
                return
            case ast.Tuple() if any(
                isinstance(n, ast.Subscript) and n.slice is node for n in ast.walk(self._tree)
            ):
                return
            case ast.BinOp() if type(node.op) in _BINARY:
                return
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return
            case ast.Compare() if len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
                return
            case ast.operator() | ast.unaryop() | ast.cmpop():
                return  # judged with the node that holds it
            case ast.List() if self.lists:
                return
            case ast.Call(func=ast.Name(id=name), keywords=[]) if not any(
                isinstance(argument, ast.Starred) for argument in node.args
            ):
                wanted = FUNCTIONS.get(name, (-1, None))[0]
                if wanted not in (-1, len(node.args)):
                    raise SpecError(
                        f"{name} in {self.text!r} wants {wanted} arguments, got {len(node.args)}."
                    )
                return
        part = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        raise SpecError(
            f"{part} in {self.text!r} is not allowed. An equation has names, numbers, arithmetic, "
            "comparisons, @, subscripts and calls."
        )
