"""From what a person names to the rule that is meant: a link, a separation, a block, a limit.

Belongs here: looking up what was named, and the short texts that `strata identity plan` takes. Does not belong here:
whether the rule may stand (`rule_book.py`).
"""

import shlex
from collections import defaultdict
from collections.abc import Sequence

from segmentation.errors import StrataError, did_you_mean
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.explain import resolve_customer
from segmentation.identity.references import find_nodes
from segmentation.identity.rule_book import Draft
from segmentation.warehouse import Connection, scalar

#: The one limit that is of no type.
MAX_NODES = "max_nodes"

_FORMS = {
    "link": "link A B",
    "split": "split CUSTOMER --away X [--keep Y]",
    "block": "block A, or block --type TYPE --pattern PATTERN",
    "limit": "limit TYPE NUMBER [--per TYPE], or limit max_nodes NUMBER",
    "undo": "undo RULE_ID",
}
_OPTIONS = {"split": {"--away", "--keep"}, "block": {"--type", "--pattern"}, "limit": {"--per"}}


def draft_link(con: Connection, rules: IdentifierRules, identifiers: Sequence[str]) -> Draft:
    """Return the link of two or more identifiers; a customer id stands for the customer's anchor.

    Raises:
        StrataError: There is only one, or one of them is not known.
    """
    if len(identifiers) == 1:
        raise StrataError(
            "one identifier can't be linked", expected="two or more", repair=f"strata identity {_FORMS['link']}"
        )
    return Draft("must_link", nodes=tuple(find_nodes(con, rules, _named(identifiers, "argument"))))


def draft_split(
    con: Connection, rules: IdentifierRules, customer: str, away: Sequence[str], keep: Sequence[str] = ()
) -> Draft:
    """Return the separation of identifiers of one customer from others of it, by default from its anchor.

    Raises:
        NotFoundError: Something that was named is not known.
        StrataError: An identifier is not the customer's.
    """
    customer_id = resolve_customer(con, customer, providers=rules.email_providers)
    kept = find_nodes(con, rules, _named(keep or [customer_id], "--keep"))
    taken = find_nodes(con, rules, _named(away, "--away"))
    _require_members(con, customer_id, [*kept, *taken])
    return Draft("must_not_link", nodes=tuple(kept), other_nodes=tuple(taken))


def draft_block(
    con: Connection, rules: IdentifierRules, identifiers: Sequence[str], id_type: str | None, pattern: str | None
) -> Draft:
    """Return the block of identifiers, or of what matches a pattern.

    Raises:
        NotFoundError: An identifier is not known.
        StrataError: Neither or both were named, or there is no such type.
    """
    if bool(identifiers) == bool(pattern) or bool(pattern) != bool(id_type):
        raise StrataError(
            "a block is of identifiers, or of a pattern and the type it is about",
            expected="strata identity block email:info@shop.com, or --type email --pattern '^info@'",
            repair="strata identity block --help",
        )
    if identifiers:
        return Draft("block_value", nodes=tuple(find_nodes(con, rules, _named(identifiers, "argument"))))
    return Draft("block_pattern", id_type=_known_type(rules, str(id_type)), pattern=pattern)


def draft_limit(rules: IdentifierRules, what: str, value: int, per: str | None) -> Draft:
    """Return the limit of a type per customer, or per value of another type, or of all identifiers per customer.

    Raises:
        StrataError: There is no such type.
    """
    if what == MAX_NODES:
        return Draft("max_nodes", limit_value=value)
    other = _known_type(rules, what)
    if per:
        return Draft("degree_limit", id_type=_known_type(rules, per), other_type=other, limit_value=value)
    return Draft("max_per_customer", id_type=other, limit_value=value)


def read_draft(con: Connection, rules: IdentifierRules, text: str) -> Draft | str:
    """Read a decision written as its command: ``link A B``; for ``undo r7``, return the rule's name.

    Raises:
        StrataError: It is no decision, or names what is not known.
    """
    try:
        word, *words = shlex.split(text)
        options = _options(word, words)
    except ValueError:
        word, words, options = "", [], {}
    match word, words:
        case "link", _:
            return draft_link(con, rules, words)
        case "split", [customer] if "--away" in options:
            return draft_split(con, rules, customer, options["--away"], options.get("--keep", ()))
        case "block", _:
            return draft_block(con, rules, words, _last(options, "--type"), _last(options, "--pattern"))
        case "limit", [what, value] if value.isdigit():
            return draft_limit(rules, what, int(value), _last(options, "--per"))
        case "undo", [rule_id]:
            return rule_id
    raise StrataError(
        f"{text!r} is no decision{did_you_mean(word, _FORMS)}",
        where="--with-rule",
        expected="; ".join(_FORMS.values()),
        repair="write it as the command, without strata identity",
    )


def _options(word: str, words: list[str]) -> dict[str, list[str]]:
    """Take the options and their values out of ``words``."""
    found: dict[str, list[str]] = defaultdict(list)
    plain = []
    rest = iter(words)
    for one in rest:
        if one in _OPTIONS.get(word, ()):
            found[one].append(next(rest, ""))
        elif one.startswith("--"):
            raise ValueError(one)
        else:
            plain.append(one)
    words[:] = plain
    return dict(found)


def _last(options: dict[str, list[str]], name: str) -> str | None:
    return options[name][-1] if name in options else None


def _named(texts: Sequence[str], where: str) -> list[tuple[str, str]]:
    return [(text, f"{where} {position}") for position, text in enumerate(texts, start=1)]


def _known_type(rules: IdentifierRules, name: str) -> str:
    if name not in rules.identifiers:
        raise StrataError(
            f"{name} is not a type of identifier{did_you_mean(name, rules.identifiers)}",
            expected=", ".join([*rules.identifiers, MAX_NODES]),
            repair="strata identity limit --help",
        )
    return name


def _require_members(con: Connection, customer_id: str, nodes: Sequence[int]) -> None:
    for node in nodes:
        owner = scalar(con, "select customer_id from identity.identifier_map where node_id = ?", [node])
        if owner != customer_id:
            raise StrataError(
                f"node:{node} is not an identifier of {customer_id}: it belongs to {owner or 'nobody'}",
                where="identity.identifier_map",
                expected=f"identifiers of {customer_id}, or former ids that were merged into it",
                repair=f"strata identity show {customer_id}",
            )
