"""Equations as mathematics: what is written is what is computed."""

import ast
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch_core.spec.component import Component
from llorch_core.spec.errors import SpecError
from llorch_core.spec.language import Equation
from llorch_core.spec.suite import load_specs
from llorch_core.trace.mathml import FUNCTIONS, LETTERS, LONG, mathml

SHOWN = {  # equation: its presentation, as one would write it by hand; rows are as deep as they must be
    "x": "<mi>x</mi>",
    "n_embd": "<msub><mi>n</mi><mi>embd</mi></msub>",
    "past_keys": "<mi>past_keys</mi>",
    "epsilon + pi": "<mi>ε</mi><mo>+</mo><mi>π</mi>",
    "-inf": "<mo>−</mo><mi>∞</mi>",
    "1.0e-5": "<msup><mn>10</mn><mo>−</mo><mn>5</mn></msup>",
    "2.5e-7": "<mn>2.5</mn><mo>·</mo><msup><mn>10</mn><mo>−</mo><mn>7</mn></msup>",
    "a / (b * c)": "<mfrac><mi>a</mi><mi>b</mi><mo>·</mo><mi>c</mi></mfrac>",
    "a / b * c": "<mfrac><mi>a</mi><mi>b</mi></mfrac><mo>·</mo><mi>c</mi>",
    "0.5 * x": "<mn>0.5</mn><mo>\u2062</mo><mi>x</mi>",
    "2 * (1 / 2)": "<mn>2</mn><mo>·</mo><mfrac><mn>1</mn><mn>2</mn></mfrac>",
    "a * (b + c)": "<mi>a</mi><mo>·</mo><mo>(</mo><mi>b</mi><mo>+</mo><mi>c</mi><mo>)</mo>",
    "a * b + c": "<mi>a</mi><mo>·</mo><mi>b</mi><mo>+</mo><mi>c</mi>",
    "a - (b - c)": "<mi>a</mi><mo>−</mo><mo>(</mo><mi>b</mi><mo>−</mo><mi>c</mi><mo>)</mo>",
    "a - b - c": "<mi>a</mi><mo>−</mo><mi>b</mi><mo>−</mo><mi>c</mi>",
    "-x**2": "<mo>−</mo><msup><mi>x</mi><mn>2</mn></msup>",
    "(-x)**2": "<msup><mo>(</mo><mo>−</mo><mi>x</mi><mo>)</mo><mn>2</mn></msup>",
    "a + (-b) * c": "<mi>a</mi><mo>+</mo><mo>(</mo><mo>−</mo><mi>b</mi><mo>·</mo><mi>c</mi><mo>)</mo>",
    "sqrt(x)": "<msqrt><mi>x</mi></msqrt>",
    "abs(x)": "<mo>|</mo><mi>x</mi><mo>|</mo>",
    "mean(x)": "<mi>mean</mi><mo>\u2061</mo><mo>(</mo><mi>x</mi><mo>)</mo>",
    "maximum(x, 0)": "<mi>max</mi><mo>\u2061</mo><mo>(</mo><mi>x</mi><mo>,</mo><mn>0</mn><mo>)</mo>",
    "transpose(x)": "<msup><mi>x</mi><mo>⊤</mo></msup>",
    "x[0:n, 1]": "<msub><mi>x</mi><mn>0</mn><mo>:</mo><mi>n</mi><mo>,</mo><mn>1</mn></msub>",
    "(a <= b) + (c == 0)": "<mo>(</mo><mi>a</mi><mo>≤</mo><mi>b</mi><mo>)</mo><mo>+</mo>"
    "<mo>(</mo><mi>c</mi><mo>=</mo><mn>0</mn><mo>)</mo>",
}


def presentation(text, name=""):
    """Return the first child of `semantics`, and the annotation."""
    (semantics,) = ET.fromstring(mathml(text, name))
    shown, note = semantics
    assert (semantics.tag, note.tag, note.get("encoding")) == ("semantics", "annotation", "text/plain")
    return shown, note.text


def bare(element):
    """Return markup without rows and attributes: what is seen."""
    inside = "".join(map(bare, element)) + (element.text or "")
    return inside if element.tag == "mrow" else f"<{element.tag}>{inside}</{element.tag}>"


@pytest.mark.parametrize("text", SHOWN)
def test_an_equation_is_written_as_by_hand(text):
    shown, note = presentation(text)
    assert bare(shown) == SHOWN[text]
    assert note == text


def test_a_product_of_matrices_has_no_dot_and_a_gap():
    shown, _ = presentation("x @ weight")
    (gap,) = shown.iter("mo")
    assert gap.text == "\u2062"
    assert gap.get("lspace") == gap.get("rspace") == "0.18em"


def test_where_is_written_as_cases_and_one_in_its_last_place_goes_on():
    shown, _ = presentation("where(a < 0, b, where(c, d, e))")
    (table,) = shown.iter("mtable")
    rows = ["".join("".join(cell.itertext()) for cell in row) for row in table]
    assert rows == ["bif\u00a0a<0", "dif\u00a0c", "eotherwise"]


def test_a_name_is_put_before_it():
    shown, note = presentation("mean(x)", "centre")
    assert "".join(shown.itertext()) == "centre=mean\u2061(x)"
    assert note == "centre = mean(x)"


def test_a_long_sum_is_written_one_term_below_the_other():
    terms = ["abs(first_very_very_long_name)", "abs(second_long_name)", "abs(third_long_name)"]
    shown, _ = presentation(" - ".join(terms), "out")
    assert len(" - ".join(terms)) > LONG
    assert shown.tag == "mtable"
    rows = [["".join(cell.itertext()) for cell in row] for row in shown]
    assert rows == [
        ["out=", "|first_very_very_long_name|"],
        ["", "−|second_long_name|"],
        ["", "−|third_long_name|"],
    ]
    with_a_short_one, _ = presentation(" - ".join([*terms, "x"]), "out")
    assert with_a_short_one.tag == "mrow"


def test_a_term_of_a_long_sum_is_bracketed_as_in_a_short_one():
    text = (
        "(first_long_name < second_name) + (-third_long_name * fourth_name) - (fifth_long_name - sixth_name)"
    )
    shown, _ = presentation(text)
    assert shown.tag == "mtable"
    assert ast.dump(read(shown)) == ast.dump(tree(text))


@pytest.mark.parametrize("text", ["", "x.y", "config.layer", "<b>", "__import__('os')", "x +"])
def test_what_is_no_equation_is_refused(text):
    with pytest.raises(SpecError):
        mathml(text)


def equations():
    """Return every equation, bound and mistake of the specs, with where it is."""
    found = {}
    for component in load_specs().components.values():
        assert isinstance(component, Component)
        found |= {f"{component.id}.{name}": eq.text for name, eq in component.equations.items()}
        found |= {f"{component.id} bound {name}": eq.text for name, eq in component.bounds.items()}
        for mistake in component.mistakes.values():
            for name, wrong in mistake.instead.items():
                found[f"{mistake.id} {name}"] = wrong.text if isinstance(wrong, Equation) else str(wrong)
    return found


def test_every_equation_bound_and_mistake_of_the_specs_reads_back_as_what_is_computed():
    found = equations()
    assert len(found) > 150
    for where, text in found.items():
        shown, note = presentation(text)
        assert note == text
        assert ast.dump(read(shown)) == ast.dump(tree(text)), where


# Reading mathematics back, by what is seen: rows without brackets group nothing


def tree(text):
    return ast.parse(text, mode="eval").body


def name(id):
    return ast.Name(id, ast.Load())


def call(id, *arguments):
    return ast.Call(name(id), list(arguments), [])


def read(*elements):
    """Return the syntax tree of mathematics."""
    tokens = [token for element in elements for token in flat(element)]
    found = comparison(tokens)
    assert tokens == [], "something is left over"
    return found


def flat(element):
    if element.tag == "mtable":  # a long sum
        return [token for row in element for cell in row for token in flat(cell)]
    children = list(element)
    bars = [child.text for child in children] if element.tag == "mrow" else []
    if len(bars) == 3 and bars[0] == bars[2] == "|":
        return [call("abs", read(children[1]))]
    if len(bars) == 2 and bars[0] == "{":
        return [cases(children[1])]
    if element.tag in ("mrow", "mtd"):
        return [token for child in children for token in flat(child)]
    return [leaf(element)]


def cases(table):
    *conditions, (last, _) = table
    found = read(*last)
    for yes, condition in reversed(conditions):
        found = call("where", read(*list(condition)[1:]), read(*yes), found)
    return found


def one(element):
    """Return what a power or an index is put on; it must be one thing to the eye."""
    tokens = flat(element)
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token == "(") - (token == ")")
        assert len(tokens) == 1 or depth > 0 or i == len(tokens) - 1 or tokens[i + 1] in ("\u2061", "("), (
            "no brackets"
        )
    return read(element)


def leaf(element):
    match element.tag:
        case "mo":
            return "gap" if element.get("lspace") else element.text
        case "mn":
            return ast.Constant(ast.literal_eval(element.text))
        case "mi":
            letters = {letter: word for word, letter in LETTERS.items()}
            return name(letters.get(element.text, element.text))
        case "mfrac":
            return ast.BinOp(read(element[0]), ast.Div(), read(element[1]))
        case "msqrt":
            return call("sqrt", read(*element))
        case "msup" if element[1].text == "⊤":
            return call("transpose", one(element[0]))
        case "msup":
            base, exponent = one(element[0]), read(element[1])
            if ast.dump(base) == "Constant(value=10)" and isinstance(exponent, ast.UnaryOp):
                return ast.Constant(float(f"1e-{exponent.operand.value}"))
            return ast.BinOp(base, ast.Pow(), exponent)
        case "msub" if element[1].tag == "mi":
            return name(f"{element[0].text}_{element[1].text}")
        case "msub":
            tokens = flat(element[1])
            indices = [index(tokens)]
            while tokens:
                assert tokens.pop(0) == ","
                indices.append(index(tokens))
            where = indices[0] if len(indices) == 1 else ast.Tuple(indices, ast.Load())
            return ast.Subscript(one(element[0]), where, ast.Load())
    raise AssertionError(element.tag)


def index(tokens):
    low = None if tokens[0] == ":" else comparison(tokens)
    if tokens[:1] != [":"]:
        return low
    tokens.pop(0)
    return ast.Slice(low, comparison(tokens) if tokens and tokens[0] != "," else None)


def chain(tokens, operators, operand):
    found = operand(tokens)
    while tokens and isinstance(tokens[0], str) and tokens[0] in operators:
        operator = operators[tokens.pop(0)]
        found = ast.BinOp(found, operator, operand(tokens))
    return found


def comparison(tokens):
    signs = {"<": ast.Lt(), "≤": ast.LtE(), ">": ast.Gt(), "≥": ast.GtE(), "=": ast.Eq(), "≠": ast.NotEq()}
    left = sums(tokens)
    if tokens and isinstance(tokens[0], str) and tokens[0] in signs:
        return ast.Compare(left, [signs[tokens.pop(0)]], [sums(tokens)])
    return left


def sums(tokens):
    return chain(tokens, {"+": ast.Add(), "−": ast.Sub()}, products)


def products(tokens):
    return chain(tokens, {"·": ast.Mult(), "\u2062": ast.Mult()}, matrices)


def matrices(tokens):
    return chain(tokens, {"gap": ast.MatMult()}, signed)


def signed(tokens):
    if tokens[0] == "−":
        tokens.pop(0)
        return ast.UnaryOp(ast.USub(), signed(tokens))
    return atom(tokens)


def atom(tokens):
    first = tokens.pop(0)
    if first == "(":
        found = comparison(tokens)
        assert tokens.pop(0) == ")"
        return found
    assert isinstance(first, ast.AST), f"{first} is no operand"
    if tokens[:2] == ["\u2061", "("]:
        del tokens[:2]
        arguments = [comparison(tokens)]
        while tokens.pop(0) == ",":
            arguments.append(comparison(tokens))
        words = {shown: word for word, shown in FUNCTIONS.items()} if len(arguments) == 2 else {}
        return call(words.get(first.id, first.id), *arguments)
    return first


def grow(parts):
    two = st.tuples(parts, parts)
    return st.one_of(
        st.tuples(parts, SIGNS, parts).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        parts.map(lambda p: f"-({p})"),
        st.tuples(CALLED, parts).map(lambda p: f"{p[0]}({p[1]})"),
        two.map(lambda p: f"maximum({p[0]}, {p[1]})"),
        st.tuples(parts, parts, parts).map(lambda p: f"where({p[0]}, {p[1]}, {p[2]})"),
        two.map(lambda p: f"({p[0]})[{p[1]}]"),
        two.map(lambda p: f"({p[0]})[0:{p[1]}, 1]"),
    )


SIGNS = st.sampled_from(["+", "-", "*", "/", "@", "**", "<", "=="])
CALLED = st.sampled_from(["mean", "abs", "sqrt", "transpose", "max"])
LEAVES = st.sampled_from(
    ["x", "a_name_of_some_length", "n_embd", "epsilon", "past_keys", "0", "2", "0.044715"]
)


@settings(max_examples=500, deadline=None)
@given(st.recursive(LEAVES, grow, max_leaves=9))
def test_any_equation_reads_back_as_its_own_tree(text):
    shown, _ = presentation(text)
    assert ast.dump(read(shown)) == ast.dump(tree(text))
