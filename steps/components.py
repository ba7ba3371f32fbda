"""Components on their own, on numbers that a person can check."""

import re

import parse
from behave import register_type, then, when

from llorch_core.spec.language import Equation


@parse.with_pattern(r"[a-z_]+")
def name(text):
    """The name of a component, an input or an output."""
    return text


register_type(Name=name)


def number(text):
    """Return a number or a tensor written in the equation language, or a word as it is."""
    return text if re.fullmatch(r"[a-z_]+", text) else Equation(text, lists=True).run({})


def rounding(text):
    """Return half a unit of the last place of numbers with six decimals or more; shorter ones are exact."""
    decimals = [len(d) for d in re.findall(r"\.(\d{6,})", text)]
    return 0.5 * 10.0 ** -max(decimals) if decimals else 0.0


@when("{component:Name} is given {name:Name} = {value}")
def given_one(context, component, name, value):
    context.example = context.session.example(component, {name: number(value)})


@when("{component:Name} is given")
def given_table(context, component):
    context.example = context.session.example(
        component, {row["input"]: number(row["value"]) for row in context.table}
    )


@then("it returns {value}")
def returns(context, value):
    context.session.note([context.example.compare(None, number(value), rounding(value))])


@then("{output:Name} is {value}")
def output_is(context, output, value):
    context.session.note([context.example.compare(output, number(value), rounding(value))])
