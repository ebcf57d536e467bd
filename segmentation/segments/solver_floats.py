"""Floats for the solver: exact numbers, and what is known of them once they are rounded to 64 bits.

Belongs here: the bounds of IEEE 754's rounding to the nearest, as facts between real numbers. The solver has floats of
its own, which take it seconds where these take milliseconds. Does not belong here: what is computed
(``solver_encoding.py``).
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import z3

#: Whole numbers up to here are floats without loss.
EXACT = 2**53
#: Largest relative error of one rounding.
_ROUNDING = Fraction(1, EXACT)
#: More than the error of a product or quotient that is all but zero.
_TINY = Fraction(1, 10**30)
_LARGEST = Fraction(2) ** 1023 * (2 - Fraction(1, 2**52))


def real(number: Fraction) -> Any:
    """Return an exact number as the solver reads it."""
    return z3.Q(number.numerator, number.denominator)


def rounds_to(exact: Any, value: Any, *, is_whole: bool, is_sum: bool, unsure: Sequence[Any]) -> Any:
    """Return what holds where ``value`` is the float that an exact number is rounded to.

    Args:
        exact: The number.
        value: Its float.
        is_whole: Whether it has no fraction, so that small ones are not rounded at all.
        is_sum: Whether it is a sum, a difference or a value, which lose nothing near zero.
        unsure: Operands that may be infinite, of which nothing is known then.
    """
    more, less, around = real(1 + _ROUNDING), real(1 - _ROUNDING), real(Fraction(0) if is_sum else _TINY)
    near = z3.If(
        exact >= 0,
        z3.And(value >= exact * less - around, value <= exact * more + around),
        z3.And(value >= exact * more - around, value <= exact * less + around),
    )
    if is_whole:
        near = z3.If(_is_within(exact, Fraction(EXACT)), value == exact, near)
    else:
        near = z3.And(near, z3.Implies(exact == 0, value == 0))
    largest = real(_LARGEST)
    overflow = z3.Or(z3.And(exact > largest, value >= largest), z3.And(exact < -largest, value <= -largest))
    return z3.Or(near, overflow, *(z3.Not(_is_within(side, _LARGEST)) for side in unsure))


def _is_within(value: Any, bound: Fraction) -> Any:
    return z3.And(value <= real(bound), value >= real(-bound))
