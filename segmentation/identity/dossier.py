"""Everything a steward looks at about one customer: identifiers, evidence, what was refused, history, rules.

Belongs here: collecting it from what is published. Does not belong here: paths between two identifiers
(`evidence_paths.py`), or why a customer is in a segment (stage segments).
"""

from dataclasses import dataclass
from datetime import datetime

from segmentation.identity.evidence_paths import Place, read_places
from segmentation.identity.explain import CustomerIdentifier, StatedValue, customer_identifiers, stated_values
from segmentation.identity.operator_rules import Rule, read_rules
from segmentation.identity.rule_words import explain_refusal
from segmentation.warehouse import Connection

#: Refused edges that are listed; a value that many people share has any number.
MAX_REFUSED = 50


@dataclass(frozen=True, slots=True)
class RefusedEdge:
    """Evidence at one of the customer's identifiers that joined nothing.

    Attributes:
        inside: The customer's identifier.
        outside: The other one.
        source: Who saw them together.
        evidence: In what.
        tier: How strong it is.
        reject_rule: The rule.
        reason: The rule, in words.
    """

    inside: Place
    outside: Place
    source: str
    evidence: str
    tier: int
    reject_rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """One event of ``identity.events`` that concerns the customer."""

    seq: int
    event: str
    customer_id: str
    other_customer_id: str | None
    n_nodes: int
    cause_rule: str | None
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class Dossier:
    """All about one customer.

    Attributes:
        customer_id: An active customer.
        match_basis: ``deterministic``, ``probabilistic`` or ``manual``: what holds it together.
        created_at: As of which run it got its id.
        former_ids: Ids that lead to it.
        identifiers: What it consists of.
        profile: What sources state of it: the values of its profile, and those that contradict them.
        refused: Evidence at its identifiers that joined nothing, the strongest first.
        refused_count: How many of those there are.
        events: What happened to its id, the newest first.
        rules: Decisions of people about its identifiers that have not ended.
    """

    customer_id: str
    match_basis: str
    created_at: datetime
    former_ids: tuple[str, ...]
    identifiers: tuple[CustomerIdentifier, ...]
    profile: tuple[StatedValue, ...]
    refused: tuple[RefusedEdge, ...]
    refused_count: int
    events: tuple[IdentityEvent, ...]
    rules: tuple[Rule, ...]


def open_dossier(con: Connection, customer_id: str) -> Dossier:
    """Collect all about an active customer (see `explain.resolve_customer`) from published tables.

    Raises:
        NotFoundError: There is no such active customer.
    """
    identifiers = tuple(customer_identifiers(con, customer_id))
    [(match_basis, created_at)] = con.execute(
        "select match_basis, created_at from identity.customers where customer_id = ?", [customer_id]
    ).fetchall()
    former = con.execute(
        "select old_customer_id from identity.customer_aliases where customer_id = ? order by 1", [customer_id]
    ).fetchall()
    events = con.execute(
        "select seq, event, customer_id, other_customer_id, n_nodes, cause_rule, effective_at from identity.events "
        "where customer_id = $id or other_customer_id = $id order by seq desc",
        {"id": customer_id},
    ).fetchall()
    members = con.execute("select node_id from identity.identifier_map where customer_id = ?", [customer_id]).fetchall()
    nodes = {int(node) for (node,) in members}
    rules = read_rules(con)
    about = [one for one in rules if one.ended_by is None and nodes & {*one.nodes, *one.other_nodes}]
    refused, refused_count = _read_refused(con, customer_id, {one.rule_id: one for one in rules})
    return Dossier(
        customer_id,
        str(match_basis),
        created_at,
        tuple(str(old) for (old,) in former),
        identifiers,
        tuple(stated_values(con, customer_id)),
        refused,
        refused_count,
        tuple(IdentityEvent(*row) for row in events),
        tuple(about),
    )


def _read_refused(con: Connection, customer_id: str, people: dict[str, Rule]) -> tuple[tuple[RefusedEdge, ...], int]:
    rows = con.execute(
        "with members as (select node_id from identity.identifier_map where customer_id = ?), "
        "refused as (select node_a as inside, node_b as outside, source, evidence, tier, reject_rule, first_seen_at "
        "from identity.edges where not admitted and node_a in (select node_id from members) union all "
        "select node_b, node_a, source, evidence, tier, reject_rule, first_seen_at "
        "from identity.edges where not admitted and node_b in (select node_id from members) "
        "and node_a not in (select node_id from members)) "
        "select inside, outside, source, evidence, tier, reject_rule, count(*) over () from refused "
        "order by tier, first_seen_at, inside, outside, source, evidence limit ?",
        [customer_id, MAX_REFUSED],
    ).fetchall()
    places = read_places(con, [node for row in rows for node in row[:2]], people)
    found = tuple(
        RefusedEdge(places[inside], places[outside], source, evidence, tier, rule, explain_refusal(rule, people))
        for inside, outside, source, evidence, tier, rule, _ in rows
    )
    return found, int(rows[0][-1]) if rows else 0
