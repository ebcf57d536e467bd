"""Pairs as people look at them: the queue, and both records side by side.

Belongs here: reading pairs with what people need to decide, values masked unless asked for. Does not belong here: what
they decide (`labels.py`), or the screen.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.email_providers import Providers
from segmentation.identity.matching.catalog import MatchingDefinition
from segmentation.identity.matching.labels import Pair
from segmentation.identity.matching.read_now import read_labels, read_samples
from segmentation.identity.matching.records import write_records
from segmentation.run import Run
from segmentation.warehouse import Connection, quote

#: Orders that pairs are listed in, by name.
ORDERS = {
    "doubt": "c.match_probability, c.node_a, c.node_b",
    "strongest": "c.match_weight desc, c.node_a, c.node_b",
}

_WORD = re.compile(r"\w+")
_DOT = "•"


@dataclass(frozen=True, slots=True)
class Part:
    """What one attribute adds to the weight of a pair."""

    attribute: str
    level: str
    bits: float


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a pair.

    Attributes:
        node_id: The identifier that it stands for.
        id_type: Its type.
        source: Who gave it; empty for types that mean the same everywhere.
        customer_id: Whose it is as published; ``None`` for nobody's.
        values: By attribute; masked unless somebody asked for them.
    """

    node_id: int
    id_type: str
    source: str
    customer_id: str | None
    values: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Match:
    """A pair of records with what is known of it.

    Attributes:
        pair: By its nodes.
        weight: Bits.
        probability: That both are one person's.
        model_version: Of the model that says so.
        state: ``evident``, ``review``, ``automatic``, ``match`` or ``no_match``.
        drawn: Whether it was drawn into a sample.
        refused: Rule that refuses its link, where one does.
        author: Who labelled it.
        reason: Why.
        records: Both of them.
        parts: What the weight is the sum of.
    """

    pair: str
    weight: float
    probability: float
    model_version: int
    state: str
    drawn: bool
    refused: str | None
    author: str | None
    reason: str | None
    records: tuple[Record, Record]
    parts: tuple[Part, ...]


def read_matches(
    con: Connection,
    *,
    pairs: Sequence[Pair] = (),
    state: str = "review",
    drawn: bool = False,
    order: str = "strongest",
    limit: int = 20,
    providers: Providers = (),
) -> list[Match]:
    """Return pairs without values.

    Args:
        con: The warehouse.
        pairs: These, whatever their state; otherwise those of ``state``.
        state: What came of them; ``all`` for any.
        drawn: Only those of a sample that nobody labelled.
        order: A name in `ORDERS`.
        limit: How many at most.
        providers: Of addresses, as the catalog knows them.
    """
    conditions = ["true"]
    if pairs:
        named = ", ".join(f"({one.node_a}, {one.node_b})" for one in pairs)
        conditions = [f"(c.node_a, c.node_b) in ({named})"]
    elif drawn:
        conditions = ["s.node_a is not null and l.verdict is null"]
    elif state != "all":
        conditions = [f"c.state = '{state}'"]
    rows = con.execute(
        "select c.node_a, c.node_b, c.match_weight, c.match_probability, c.model_version, c.state, "
        "s.node_a is not null, e.reject_rule, l.author, l.reason, c.parts from identity.match_candidates as c "
        f"left join (select distinct node_a, node_b from {read_samples(providers)}) as s using (node_a, node_b) "
        f"left join {read_labels(providers)} as l using (node_a, node_b) "
        "left join (select node_a, node_b, any_value(reject_rule) as reject_rule from identity.edges "
        "where source = 'matching' and not admitted group by all) as e using (node_a, node_b) "
        f"where {' and '.join(conditions)} order by {ORDERS[order]} limit {int(limit)}"
    ).fetchall()
    records = _read_records(con, {node for row in rows for node in row[:2]})
    return [
        Match(
            pair=f"{a}-{b}",
            weight=weight,
            probability=probability,
            model_version=version,
            state=state_,
            drawn=drawn_,
            refused=refused,
            author=author,
            reason=reason,
            records=(records[a], records[b]),
            parts=tuple(Part(**one) for one in parts),
        )
        for a, b, weight, probability, version, state_, drawn_, refused, author, reason, parts in rows
    ]


def _read_records(con: Connection, nodes: set[int]) -> dict[int, Record]:
    if not nodes:
        return {}
    rows = con.execute(
        "select r.node_id, r.id_type, r.id_namespace, m.customer_id from identity.registry as r "
        "left join identity.identifier_map as m using (node_id) "
        f"where r.node_id in ({', '.join(map(str, sorted(nodes)))})"
    ).fetchall()
    return {node: Record(node, id_type, namespace, customer, {}) for node, id_type, namespace, customer in rows}


def with_values(
    con: Connection,
    run: Run,
    rules: IdentifierRules,
    definition: MatchingDefinition,
    matches: Sequence[Match],
    *,
    reveal: bool,
) -> list[Match]:
    """Return pairs with their records' values as sources have them now, masked unless ``reveal``."""
    nodes = sorted({record.node_id for match in matches for record in match.records})
    if not nodes:
        return []
    listed = "(select unnest([" + ", ".join(map(str, nodes)) + "]) as node_id)"
    write_records(con, run, rules, definition, "match_shown", wanted=listed)
    names = list(definition.attributes)
    rows = con.execute(f"select record_id, {', '.join(map(quote, names))} from match_shown").fetchall()
    con.execute("drop table match_shown")
    found = {
        node: {
            name: value if reveal or value is None else mask(value) for name, value in zip(names, values, strict=True)
        }
        for node, *values in rows
    }

    def filled(record: Record) -> Record:
        return replace(record, values=found.get(record.node_id, {}))

    return [replace(one, records=(filled(one.records[0]), filled(one.records[1]))) for one in matches]


def mask(value: str) -> str:
    """Return a value's shape: the first letter of each word, and no digit."""
    return _WORD.sub(_mask_word, value)


def _mask_word(match: re.Match[str]) -> str:
    word = match[0]
    return _DOT * len(word) if word[0].isdigit() else word[0] + _DOT * (len(word) - 1)
