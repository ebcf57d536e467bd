"""Which syntax a rule may use, how large it may be, and where in it a fault stands.

Belongs here: the list of allowed syntax nodes and the limits. Does not belong here: what a node means
(``parser.py``). Anything that is not allowed here by name, down to each node's arguments, is refused: that is
what makes a rule safe to run.
"""

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType

from segmentation.segments.faults import Fault, RuleError

#: Longest rule, in characters. Longer ones belong into a list file or several segments.
MAX_LENGTH = 20_000
#: Deepest nesting of parentheses, and longest row of signs or ``not``.
MAX_DEPTH = 50

FUNCTIONS = ("days_since", "has_purpose", "in_segment", "list_contains")

#: Syntax node to the arguments it may carry. ``typed`` and ``safe`` are marks that the parser sets itself.
ALLOWED: dict[type, frozenset[str]] = {
    exp.Paren: frozenset({"this"}),
    exp.Not: frozenset({"this"}),
    exp.Column: frozenset({"this"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Boolean: frozenset({"this"}),
    exp.Neg: frozenset({"this"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.ArrayContains: frozenset({"this", "expression"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "field"}),
    exp.Is: frozenset({"this", "expression"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.Div: frozenset({"this", "expression", "typed", "safe"}),
    exp.Cast: frozenset({"this", "to"}),
    **dict.fromkeys(
        (exp.And, exp.Or, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Add, exp.Sub, exp.Mul),
        frozenset({"this", "expression"}),
    ),
}

#: Functions and words that ask for the present moment.
CLOCKS = ("now", "current_date", "current_timestamp", "currentdate", "currenttimestamp", "today", "getdate")

_SIGNS = {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE}


def fault_at(text: str, offset: int, what: str, expected: str = "", repair: str = "") -> Fault:
    """Return a fault at a character of the text, as line and column."""
    before = text[:offset]
    column = offset - (before.rfind("\n") + 1) + 1
    return Fault(what, line=before.count("\n") + 1, column=column, expected=expected, repair=repair)


def check_limits(text: str) -> None:
    """Refuse what is too long or too deep before it is parsed: the parser recurses.

    Raises:
        RuleError: A limit is passed, or the text has a semicolon.
    """
    if len(text) > MAX_LENGTH:
        fault = Fault(
            f"the rule has {len(text):,} characters",
            expected=f"at most {MAX_LENGTH:,}",
            repair="put long lists of customers into a list file, or split the rule into segments",
        )
        raise RuleError([fault])
    depth = row = 0
    for token in sqlglot.tokenize(text, dialect="duckdb"):
        if token.token_type is TokenType.SEMICOLON:
            raise RuleError([fault_at(text, token.start, "a rule is one expression, without semicolon")])
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        row = row + 1 if token.token_type in _SIGNS else 0
        if max(depth, row) > MAX_DEPTH:
            raise RuleError(
                [fault_at(text, token.start, "the rule is nested too deeply", expected=f"depth {MAX_DEPTH}")]
            )


def syntax_fault(error: SqlglotError) -> Fault:
    """Return a complaint of the parser as a fault, without the names of its classes."""
    details = (getattr(error, "errors", None) or [{}])[0]
    said = re.sub(r"<class '[\w.]*\.(\w+)'>", r"\1", str(details.get("description") or error)).split("\n")[0]
    return Fault(
        f"the rule can't be read: {said}",
        line=details.get("line"),
        column=details.get("col"),
        expected="an SQL expression such as: orders_90d >= 3 and not is_known",
    )
