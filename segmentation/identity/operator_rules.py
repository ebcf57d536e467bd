"""What people decided (rule R2), made ready for a run: links, separations, blocks and limits by node id.

Belongs here: which rules are in force at a moment, and the temporary tables that the steps of a run read. Does not
belong here: writing decisions (`rule_book.py`), how they are spelled (`decisions.py`), or what came of them
(`rule_effects.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from segmentation.contracts import latest_candidate
from segmentation.errors import StrataError
from segmentation.identity.catalog import IDENTIFIERS_FILE, IdentifierRules
from segmentation.identity.contradictions import require_consistent
from segmentation.identity.decisions import (
    ALWAYS,
    BlockPattern,
    BlockValue,
    CatalogDecision,
    DegreeLimit,
    MaxNodes,
    MaxPerCustomer,
    MustLink,
    MustNotLink,
)
from segmentation.identity.email_providers import find_mailbox
from segmentation.identity.references import find_nodes
from segmentation.run import Run
from segmentation.warehouse import Connection, literal

#: Evidence of a must-link, stronger than any that a source gives.
STEWARD, LINKED, TIER = "steward", "must_link", 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One decision, as ``identity.rules`` holds it.

    Attributes:
        rule_id: Its name.
        decision_seq: Rises with every decision of a command, also with the end of one; 0 for the catalog's.
        origin: ``catalog`` or ``steward``.
        kind: As in `decisions.CatalogDecision`.
        id_type: Type that a block pattern or a limit is about.
        other_type: Neighbours that a degree limit counts.
        nodes: Identifiers of a link or a block, or those on one side of a separation.
        other_nodes: Those on the other side.
        pattern: Of a block.
        limit_value: Of a limit.
        author: Who decided.
        reason: Why.
        valid_from: First moment at which it holds.
        valid_to: First moment at which it no longer does.
        ended_by: Who took it back.
        ended_reason: Why.
        recorded_at: When it was written.
    """

    rule_id: str
    decision_seq: int
    origin: str
    kind: str
    id_type: str | None = None
    other_type: str | None = None
    nodes: tuple[int, ...] = ()
    other_nodes: tuple[int, ...] = ()
    pattern: str | None = None
    limit_value: int | None = None
    author: str
    reason: str
    valid_from: datetime
    valid_to: datetime | None = None
    ended_by: str | None = None
    ended_reason: str | None = None
    recorded_at: datetime

    def holds_at(self, moment: datetime) -> bool:
        """Whether the rule is in force at a moment."""
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)


#: Columns of ``identity.rules``, in the order of the fields.
RULE_COLUMNS = tuple(field.name for field in fields(Rule))


def read_rules(con: Connection, table: str = "identity.rules") -> list[Rule]:
    """Return all rules of a table, past and future ones too, in the order of decisions."""
    rows = con.execute(f"select {', '.join(RULE_COLUMNS)} from {table} order by decision_seq, rule_id").fetchall()
    found = [dict(zip(RULE_COLUMNS, row, strict=True)) for row in rows]
    lists = ("nodes", "other_nodes")
    return [Rule(**one | {name: tuple(one[name] or ()) for name in lists}) for one in found]


def published_moment(con: Connection) -> datetime:
    """Return the moment that published identity describes; before the first publication, the beginning of time."""
    served = latest_candidate(con, "identity", published=True)
    return served.as_of if served else ALWAYS


def newest_decision(con: Connection) -> int:
    """Return the number of the newest decision of a command, 0 where there is none."""
    return int(con.execute("select coalesce(max(decision_seq), 0) from identity.rules").fetchall()[0][0])


def write_rules(con: Connection, rules: Iterable[Rule], table: str) -> None:
    """Add rules to a table."""
    marks = ", ".join("?" for _ in RULE_COLUMNS)
    for rule in rules:
        values = [list(value) if isinstance(value, tuple) else value for value in astuple(rule)]
        con.execute(f"insert into {table} ({', '.join(RULE_COLUMNS)}) values ({marks})", values)


def catalog_rules(con: Connection, rules: IdentifierRules, recorded_at: datetime) -> list[Rule]:
    """Return the decisions of the catalog with their identifiers looked up.

    Raises:
        NotFoundError: A decision names an identifier that no run ever met.
    """
    named = [
        (text, f"{IDENTIFIERS_FILE}, decision {one.rule_id}, {key}[{index}]")
        for one in rules.decisions
        for key in ("identifiers", "apart_from")
        for index, text in enumerate(getattr(one, key, ()))
    ]
    nodes = iter(find_nodes(con, rules, named)) if named else iter(())
    return [_resolved(one, [next(nodes) for _ in _texts(one)], recorded_at) for one in rules.decisions]


def _texts(one: CatalogDecision) -> list[str]:
    return [text for key in ("identifiers", "apart_from") for text in getattr(one, key, ())]


def _resolved(one: CatalogDecision, nodes: Sequence[int], recorded_at: datetime) -> Rule:
    facts: dict[str, Any] = {}
    match one:
        case MustLink() | BlockValue():
            facts["nodes"] = tuple(sorted(set(nodes)))
        case MustNotLink():
            cut = len(one.identifiers)
            facts |= {"nodes": tuple(sorted(set(nodes[:cut]))), "other_nodes": tuple(sorted(set(nodes[cut:])))}
        case BlockPattern():
            facts |= {"id_type": one.id_type, "pattern": one.pattern}
        case MaxPerCustomer():
            facts |= {"id_type": one.id_type, "limit_value": one.limit}
        case DegreeLimit():
            facts |= {"id_type": one.id_type, "other_type": one.neighbours, "limit_value": one.limit}
        case MaxNodes():
            facts["limit_value"] = one.limit
    facts |= {name: getattr(one, name) for name in ("rule_id", "kind", "author", "reason", "valid_from", "valid_to")}
    return Rule(decision_seq=0, origin="catalog", recorded_at=recorded_at, **facts)


def prepare_rules(con: Connection, run: Run, rules: IdentifierRules) -> IdentifierRules:
    """Write what is in force at ``run.as_of`` for the steps of the run; return the rules with people's limits.

    Reads ``identity.rules``, the catalog's decisions, and temporary table ``nodes``; call it once identifiers are
    registered. Writes ``identity.candidate_rules``, which publishing keeps, and the temporary tables
    ``operator_links`` and ``operator_bars`` (``node_a``, ``node_b``, ``rule_id``) and ``operator_blocks``
    (``node_id``, ``status_rule``).

    Raises:
        NotFoundError: The catalog names an identifier that no run ever met.
        ContradictionError: Rules can't all hold.
        StrataError: A command and the catalog use one name.
    """
    known = [one for one in read_rules(con) if one.origin != "catalog"]
    written = catalog_rules(con, rules, run.recorded_at)
    if twice := sorted({one.rule_id for one in known} & {one.rule_id for one in written}):
        raise StrataError(
            f"two rules are called {twice[0]}",
            where=f"identity.rules and {IDENTIFIERS_FILE}",
            expected="one rule per name",
            repair=f"give the decision in {IDENTIFIERS_FILE} another rule_id",
        )
    # Catalog first: where two rules set one limit and begin together, a command's is the later decision.
    in_force = [one for one in (*written, *known) if one.holds_at(run.as_of)]
    write_rules(con, in_force, "identity.candidate_rules")
    meant = _as_read_now(con, rules, in_force)
    named = {node for one in meant for node in (*one.nodes, *one.other_nodes)}
    require_consistent(meant, node_types(con, named), f"identity.rules, {IDENTIFIERS_FILE}")
    _write_pairs(con, meant)
    _write_blocks(con, meant)
    return with_limits(rules, in_force)


def _as_read_now(con: Connection, rules: IdentifierRules, in_force: Sequence[Rule]) -> list[Rule]:
    """Return the rules about the mailboxes that their addresses reach by the providers known now.

    A decision that was taken before the catalog named a provider would be about an address that nothing is read as any
    more. A link whose addresses are one mailbox now says nothing.
    """
    named = {node for one in in_force for node in (*one.nodes, *one.other_nodes)}
    if not named or not rules.email_providers:
        return list(in_force)
    chosen = ", ".join(map(str, sorted(named)))
    addresses = con.execute(
        f"select node_id, id_value from identity.registry where id_type = 'email' and node_id in ({chosen})"
    ).fetchall()
    mailboxes = {node: find_mailbox(address, rules.email_providers) for node, address in addresses}
    values = ", ".join(literal(mailbox) for mailbox in sorted(set(mailboxes.values()))) or "null"
    registered = dict(
        con.execute(
            f"select id_value, node_id from identity.registry where id_type = 'email' and id_value in ({values})"
        ).fetchall()
    )
    now = {node: registered.get(mailbox, node) for node, mailbox in mailboxes.items()}
    meant = [
        replace(
            one,
            nodes=tuple(sorted({now.get(node, node) for node in one.nodes})),
            other_nodes=tuple(sorted({now.get(node, node) for node in one.other_nodes})),
        )
        for one in in_force
    ]
    return [one for one in meant if one.kind != "must_link" or len(one.nodes) > 1]


def with_limits(rules: IdentifierRules, in_force: Sequence[Rule]) -> IdentifierRules:
    """Return the catalog's rules with the limits that people set since; of two on one thing the newest holds."""
    max_nodes, kinds = rules.max_nodes, dict(rules.identifiers)
    for one in sorted(in_force, key=lambda rule: rule.valid_from):
        limit, kind = one.limit_value or 0, kinds.get(one.id_type or "")
        if one.kind == "max_nodes":
            max_nodes = limit
        elif one.kind == "max_per_customer" and kind:
            kinds[str(one.id_type)] = kind.model_copy(update={"max_per_customer": limit})
        elif one.kind == "degree_limit" and kind:
            degrees = {**kind.degree_limits, str(one.other_type): limit}
            kinds[str(one.id_type)] = kind.model_copy(update={"degree_limits": degrees})
    return rules.model_copy(update={"max_nodes": max_nodes, "identifiers": kinds})


def node_types(con: Connection, nodes: set[int], table: str = "identity.registry") -> dict[int, str]:
    """Return the type of identifier of each node that a table of identifiers knows."""
    if not nodes:
        return {}
    named = ", ".join(map(str, sorted(nodes)))
    rows = con.execute(f"select node_id, id_type from {table} where node_id in ({named})").fetchall()
    return dict(rows)


def _write_pairs(con: Connection, rules: Sequence[Rule]) -> None:
    # A star around the lowest node keeps n identifiers together by n - 1 links.
    links = [
        (min(rule.nodes), node, rule.rule_id)
        for rule in rules
        if rule.kind == "must_link"
        for node in sorted(set(rule.nodes))[1:]
    ]
    bars = [
        (min(a, b), max(a, b), rule.rule_id)
        for rule in rules
        if rule.kind == "must_not_link"
        for a in rule.nodes
        for b in rule.other_nodes
    ]
    for table, pairs in (("operator_links", links), ("operator_bars", bars)):
        schema = pa.schema([("node_a", pa.int64()), ("node_b", pa.int64()), ("rule_id", pa.string())])
        rows = [dict(zip(schema.names, pair, strict=True)) for pair in pairs]
        con.register("operator_pairs", pa.Table.from_pylist(rows, schema=schema))
        # Two rules on one pair: the first by name is told.
        con.execute(
            f"create or replace temp table {table} as select node_a, node_b, min(rule_id) as rule_id "
            "from operator_pairs group by node_a, node_b"
        )
        con.unregister("operator_pairs")


def _write_blocks(con: Connection, rules: Sequence[Rule]) -> None:
    con.execute("create or replace temp table operator_blocks (node_id bigint, status_rule varchar)")
    for rule in rules:
        if rule.kind == "block_value":
            condition = f"r.node_id in ({', '.join(map(str, rule.nodes))})"
        elif rule.kind == "block_pattern":
            condition = (
                f"r.id_type = {literal(str(rule.id_type))} and regexp_matches(r.id_value, {literal(str(rule.pattern))})"
            )
        else:
            continue
        con.execute(
            f"insert into operator_blocks select node_id, {literal(f'R2 blocked by {rule.rule_id}')} "
            f"from identity.registry as r semi join nodes using (node_id) where {condition} "
            "and node_id not in (select node_id from operator_blocks)"
        )
