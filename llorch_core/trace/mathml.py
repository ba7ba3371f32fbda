"""Equations as mathematics: from the syntax tree of the equation language to MathML.

What is written is what is computed, in the same order: two equations look alike only where their trees
are alike. A product of elements has a dot, a matrix product has none; brackets stand only where a tree
needs them.
"""

from __future__ import annotations

import ast
import html
from typing import NamedTuple

from llorch_core.spec.language import Equation

# How tightly a part holds together: an operand that holds less than its operator asks for is bracketed.
CASES, COMPARISON, SUM, PRODUCT, MATRIX, SIGN, POWER, CALL, ATOM = range(9)
LONG, SHORT = 72, 16  # characters of a sum that is written one term below the other, and of each term

LETTERS = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ"},
    **{"kappa": "κ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω"},
    "inf": "∞",
}
FUNCTIONS = {"maximum": "max", "minimum": "min"}  # of two numbers; those of one axis have one argument
SIGNS: dict[type[ast.AST], str] = {
    **{ast.Add: "+", ast.Sub: "−", ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥"},
    **{ast.Eq: "=", ast.NotEq: "≠", ast.USub: "−", ast.UAdd: "+"},
}
TIMES, NOTHING, BESIDE = "<mo>·</mo>", "<mo>\u2062</mo>", '<mo lspace="0.18em" rspace="0.18em">\u2062</mo>'


class Part(NamedTuple):
    """A piece of mathematics. begins: number, letter, sign, bracket, fraction, or nothing special."""

    markup: str
    level: int = ATOM
    begins: str = ""


def mathml(text: str, name: str = "") -> str:
    """Return an equation as a `math` element that carries its plain text as an annotation.

    name  what it defines: written before it, with =

    Raises SpecError where the text is not an equation.
    """
    Equation(text)  # refuses what is not one
    tree = ast.parse(text.strip(), mode="eval").body
    left = f"{_name(name).markup}<mo>=</mo>" if name else ""
    terms = _terms(tree)
    if len(text) > LONG and len(terms) > 1 and min(len(ast.unparse(term)) for _, term in terms) >= SHORT:
        rows = "".join(
            f"<mtr><mtd>{'' if sign else left}</mtd><mtd>{sign}{_term(sign, term).markup}</mtd></mtr>"
            for sign, term in terms
        )
        shown = f'<mtable displaystyle="true" columnalign="left">{rows}</mtable>'
    else:
        shown = f"<mrow>{left}{_part(tree).markup}</mrow>"
    plain = html.escape(f"{name} = {text.strip()}" if name else text.strip(), quote=False)
    note = f'<annotation encoding="text/plain">{plain}</annotation>'
    return f'<math displaystyle="true"><semantics>{shown}{note}</semantics></math>'


def _terms(node: ast.expr) -> list[tuple[str, ast.expr]]:
    """Return the terms of a sum, each but the first with its sign."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return [*_terms(node.left), (_sign(node.op), node.right)]
    return [("", node)]


def _term(sign: str, node: ast.expr) -> Part:
    return _right(_part(node), SUM) if sign else _at_least(_part(node), SUM)


def _part(node: ast.expr) -> Part:
    match node:
        case ast.Constant():
            return _number(repr(node.value))
        case ast.Name():
            return _name(node.id)
        case ast.UnaryOp():
            return Part(_row(_sign(node.op), _right(_part(node.operand), SIGN - 1).markup), SIGN, "sign")
        case ast.BinOp(op=ast.Div()):
            over, under = _part(node.left).markup, _part(node.right).markup
            return Part(f"<mfrac>{over}{under}</mfrac>", POWER, "fraction")
        case ast.BinOp(op=ast.Pow()):
            base = _at_least(_part(node.left), ATOM)
            return Part(f"<msup>{base.markup}{_part(node.right).markup}</msup>", POWER, base.begins)
        case ast.BinOp(op=ast.Mult()):
            left, right = _at_least(_part(node.left), PRODUCT), _right(_part(node.right), PRODUCT)
            joined = isinstance(node.left, ast.Constant) and left.level == ATOM
            times = NOTHING if joined and right.begins in ("letter", "bracket") else TIMES
            return Part(_row(left.markup, times, right.markup), PRODUCT, left.begins)
        case ast.BinOp(op=ast.MatMult()):
            left, right = _at_least(_part(node.left), MATRIX), _right(_part(node.right), MATRIX)
            return Part(_row(left.markup, BESIDE, right.markup), MATRIX, left.begins)
        case ast.BinOp():
            left, right = _at_least(_part(node.left), SUM), _right(_part(node.right), SUM)
            return Part(_row(left.markup, _sign(node.op), right.markup), SUM, left.begins)
        case ast.Compare():
            left, right = (_at_least(_part(side), SUM) for side in (node.left, node.comparators[0]))
            return Part(_row(left.markup, _sign(node.ops[0]), right.markup), COMPARISON, left.begins)
        case ast.Subscript():
            base = _at_least(_part(node.value), CALL)
            return Part(f"<msub>{base.markup}{_row(_index(node.slice))}</msub>", ATOM, base.begins)
        case ast.Call(func=ast.Name(id=name)):
            return _call(name, node.args)
    raise AssertionError(f"{type(node).__name__} was let through")


def _call(name: str, arguments: list[ast.expr]) -> Part:
    match name, arguments:
        case "abs", [x]:
            return Part(_row("<mo>|</mo>", _part(x).markup, "<mo>|</mo>"), ATOM, "bracket")
        case "sqrt", [x]:
            return Part(f"<msqrt>{_part(x).markup}</msqrt>", CALL, "bracket")
        case "transpose", [x]:
            return Part(f"<msup>{_at_least(_part(x), ATOM).markup}<mo>⊤</mo></msup>", POWER)
        case "where", [_, _, _]:
            rows = "".join(_cases(arguments))
            return Part(
                f'<mrow><mo>{{</mo><mtable displaystyle="true" columnalign="left">{rows}</mtable></mrow>',
                CASES,
            )
    inside = "<mo>,</mo>".join(_part(argument).markup for argument in arguments)
    word = f"<mi>{html.escape(FUNCTIONS.get(name, name))}</mi>"
    return Part(_row(word, "<mo>\u2061</mo>", _brackets(inside)), CALL)


def _cases(arguments: list[ast.expr]) -> list[str]:
    """Return the rows of `where`; one in the place of its last argument goes on with the same brace."""
    condition, yes, no = arguments
    when = f"<mtd><mtext>if\u00a0</mtext>{_part(condition).markup}</mtd>"
    first = f"<mtr><mtd>{_part(yes).markup}</mtd>{when}</mtr>"
    match no:
        case ast.Call(func=ast.Name(id="where"), args=[_, _, _] as more):
            return [first, *_cases(more)]
    return [first, f"<mtr><mtd>{_part(no).markup}</mtd><mtd><mtext>otherwise</mtext></mtd></mtr>"]


def _index(node: ast.expr) -> str:
    match node:
        case ast.Tuple():
            return "<mo>,</mo>".join(map(_index, node.elts))
        case ast.Slice():
            edges = [node.lower, node.upper] + ([node.step] if node.step else [])
            return "<mo>:</mo>".join(_part(edge).markup if edge else "" for edge in edges)
    return _part(node).markup


def _number(text: str) -> Part:
    digits, _, exponent = text.partition("e")
    if not exponent:
        return Part("<mn>∞</mn>" if text == "inf" else f"<mn>{text}</mn>", ATOM, "number")
    sign, size = "<mo>−</mo>" * (int(exponent) < 0), abs(int(exponent))
    power = f"<msup><mn>10</mn><mrow>{sign}<mn>{size}</mn></mrow></msup>"
    if digits == "1":
        return Part(power, POWER, "number")
    return Part(_row(f"<mn>{digits}</mn>", "<mo>·</mo>", power), PRODUCT, "number")


def _name(name: str) -> Part:
    """One letter is slanted, a word is upright, a count such as n_embd is an n with its word below."""
    if name.startswith("n_") and name != "n_":
        return Part(f"<msub><mi>n</mi><mi>{html.escape(name[2:])}</mi></msub>", ATOM, "letter")
    letter = LETTERS.get(name, name)
    return Part(f"<mi>{html.escape(letter)}</mi>", ATOM, "letter" if len(letter) == 1 else "")


def _sign(operator: ast.AST) -> str:
    return f"<mo>{html.escape(SIGNS[type(operator)])}</mo>"


def _at_least(part: Part, level: int) -> Part:
    return part if part.level >= level else Part(_brackets(part.markup), ATOM, "bracket")


def _right(part: Part, level: int) -> Part:
    """Return the operand on the right: brackets for what is not tighter, and for a second sign."""
    return _at_least(part, ATOM + 1 if part.begins == "sign" else level + 1)


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _brackets(inside: str) -> str:
    return _row("<mo>(</mo>", inside, "<mo>)</mo>")
