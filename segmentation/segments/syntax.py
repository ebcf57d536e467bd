"""Which syntax a rule may use, how large it may be, and where in it a fault stands.

Belongs here: the list of allowed syntax nodes and the limits. Does not belong here: what a node means
(``parser.py``). Anything that is not allowed here by name, down to each node's arguments, is refused: that is
what makes a rule safe to run.
"""

import re
import unicodedata

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.parser import Parser
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

#: Tokens that no rule has, and that the parser would follow as deep, or try in as many ways, as there are of them.
_FOREIGN = {
    TokenType.L_BRACKET,
    TokenType.L_BRACE,
    TokenType.CASE,
    TokenType.INTERVAL,
    TokenType.PARAMETER,
    TokenType.ARROW,
    TokenType.DARROW,
}
#: Names of types; with parentheses after them the parser tries each as a type and as a function, again within each.
_TYPES = frozenset(Parser.TYPE_TOKENS)
_NESTED_TYPES = frozenset(Parser.NESTED_TYPE_TOKENS)

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
    before: TokenType | None = None
    for token in sqlglot.tokenize(text, dialect="duckdb"):
        if token.token_type is TokenType.SEMICOLON:
            raise RuleError([fault_at(text, token.start, "a rule is one expression, without semicolon")])
        opened = (before in _TYPES and token.token_type is TokenType.L_PAREN) or (
            before in _NESTED_TYPES and token.token_type is TokenType.LT
        )
        if token.token_type in _FOREIGN or opened:
            raise RuleError([fault_at(text, token.start, f"{token.text} is not part of the rule language here")])
        before = token.token_type
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        row = row + 1 if token.token_type in _SIGNS else 0
        if max(depth, row) > MAX_DEPTH:
            raise too_deep(text, token.start)


def too_deep(text: str, offset: int = 0) -> RuleError:
    """Return the refusal of a rule that is nested too deeply, from a character of it on."""
    return RuleError(
        [
            fault_at(
                text,
                offset,
                "the rule is nested too deeply",
                expected=f"at most {MAX_DEPTH} levels, and as many + - * / in one value",
                repair="take it apart: a feature for the value, a segment for the condition",
            )
        ]
    )


def shortened(text: str, length: int = 60) -> str:
    """Return a text as messages show it, cut where it goes on and on."""
    return text if len(text) <= length else text[: length - 1] + "…"


def look_alikes(name: str) -> str:
    """Say which characters of a name are none of those that features and keys are written in."""
    strange = list(dict.fromkeys(char for char in name if not char.isascii() or not char.isprintable()))[:3]
    named = ", ".join(f"U+{ord(char):04X} {unicodedata.name(char, 'control character').lower()}" for char in strange)
    return f": it has the character {named}" if named else ""


def syntax_fault(error: SqlglotError) -> Fault:
    """Return a complaint of the parser as a fault, without the names of its classes."""
    details = (getattr(error, "errors", None) or [{}])[0]
    # What the parser could not read may be the whole rule.
    said = re.sub(r"<class '[\w.]*\.(\w+)'>", r"\1", str(details.get("description") or error)).split("\n")[0]
    return Fault(
        f"the rule can't be read: {shortened(said, 120)}",
        line=details.get("line"),
        column=details.get("col"),
        expected="an SQL expression such as: orders_90d >= 3 and not is_known",
    )
