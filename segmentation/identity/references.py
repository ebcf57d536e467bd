"""From an identifier that a person names to its node id.

Belongs here: looking identifiers up, in the registry or in what is published. Does not belong here: how catalogs write
them (`decisions.py`), or which customer they belong to (`explain.py`).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.decisions import Reference, read_reference
from segmentation.identity.email_providers import normalisers
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection

_CUSTOMER_ID = re.compile(r"c_[0-9a-hjkmnp-tv-z]{10}")
_TYPED = re.compile(rf"(node|{'|'.join(IDENTITY_COLUMNS)})(@[^:]+)?:")


class AmbiguousIdentifierError(StrataError):
    """A value that several identifiers have."""


class Book(NamedTuple):
    """Where to look: a table of identifiers by their normal form, and one by raw value."""

    identifiers: str
    raw_values: str


#: Every identifier that any run met; only the live warehouse has it.
REGISTRY = Book("identity.registry", "identity.normalised_values")
#: What is published; also in the readers' copy.
PUBLISHED = Book("identity.identifiers", "identity.identifier_lookup")


class _Wanted(NamedTuple):
    position: int
    id_type: str
    id_namespace: str | None
    id_value: str | None
    raw_value: str


def is_typed(text: str) -> bool:
    """Say whether a text names an identifier with its type: ``email:ann@shop.com``, ``node:17``."""
    return _TYPED.match(text) is not None


def find_nodes(
    con: Connection, rules: IdentifierRules, named: Sequence[tuple[str, str]], book: Book = REGISTRY
) -> list[int]:
    """Return the node id of each identifier, in one pass over the identifiers.

    Args:
        con: A connection to the tables of ``book``, and to ``identity.customers``.
        rules: Give the country of phone numbers and the namespaces that sources share.
        named: What was named, with where, for messages: an identifier as `decisions.read_reference` takes it; a
            value alone, where only one identifier has it; or a customer id, which stands for the customer's anchor.
        book: Where to look.

    Raises:
        NotFoundError: One of them is unknown. The message says where it was named, not its value.
        AmbiguousIdentifierError: Several identifiers have the value.
    """
    wanted = [one for position, (text, _) in enumerate(named) for one in _readings(rules, position, text)]
    con.execute(
        "create or replace temp table wanted_identifiers (position integer, id_type varchar, id_namespace varchar, "
        "id_value varchar, raw_value varchar)"
    )
    if wanted:
        con.executemany("insert into wanted_identifiers values (?, ?, ?, ?, ?)", [list(one) for one in wanted])
    rows = con.execute(
        f"select w.position, r.node_id from wanted_identifiers as w join {book.identifiers} as r "
        "on r.id_type = w.id_type and r.id_value = w.id_value "
        "and (w.id_namespace is null or r.id_namespace = w.id_namespace) "
        f"union select w.position, r.node_id from wanted_identifiers as w join {book.identifiers} as r "
        "on w.id_type = 'node' and r.node_id = try_cast(w.raw_value as bigint) "
        "union select w.position, k.anchor_node_id from wanted_identifiers as w join identity.customers as k "
        "on w.id_type = 'customer' and k.customer_id = w.raw_value and k.status <> 'erased' "
        # A number without country, as its source writes it: whatever it was read as.
        f"union select w.position, v.node_id from wanted_identifiers as w join {book.raw_values} as v "
        "on v.id_type = w.id_type and v.raw_value = w.raw_value and v.node_id is not null "
        "and (w.id_namespace is null or v.id_namespace = w.id_namespace)"
    ).fetchall()
    con.execute("drop table wanted_identifiers")
    found: dict[int, set[int]] = defaultdict(set)
    for position, node in rows:
        found[position].add(node)
    return [_only(found[position], text, where) for position, (text, where) in enumerate(named)]


def _readings(rules: IdentifierRules, position: int, text: str) -> Iterator[_Wanted]:
    """Yield each identifier that a text may mean."""
    if _CUSTOMER_ID.fullmatch(text.strip()):
        yield _Wanted(position, "customer", None, None, text.strip())
    if _TYPED.match(text):
        references = [read_reference(text)]
    else:
        references = [Reference(id_type, None, text) for id_type in IDENTITY_COLUMNS]
    for id_type, namespace, value in references:
        if id_type == "node":
            yield _Wanted(position, id_type, None, None, value)
            continue
        owner = None if namespace is None else rules.shared_namespaces.get(namespace, namespace)
        normal = normalisers(rules.email_providers)[id_type](value, rules.default_region).id_value
        # A placeholder is an identifier under its own text, whatever form its type has.
        yield _Wanted(position, id_type, owner, normal or value.strip().lower(), value)


def _only(nodes: set[int], text: str, where: str) -> int:
    typed = _TYPED.match(text)
    kind = typed[1] if typed else "identifier"
    if not nodes:
        raise NotFoundError(
            f"no run ever met this {kind}",
            where=where,
            expected="a customer id, or an identifier that a source has sent; also a blocked or a shared one",
            repair="check the spelling, and the type; what has not come yet can be blocked by a pattern",
        )
    if len(nodes) > 1:
        raise AmbiguousIdentifierError(
            f"{len(nodes)} identifiers have this value: {', '.join(f'node:{node}' for node in sorted(nodes))}",
            where=where,
            expected="TYPE:VALUE, TYPE@SOURCE:VALUE or node:NUMBER",
            repair="name the type, the source or the node",
        )
    return next(iter(nodes))
