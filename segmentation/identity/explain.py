"""Answers about one customer: who it is, and what it consists of.

Belongs here: questions people ask about published identity. Does not belong here: why a customer is in a
segment (stage segments).
"""

from dataclasses import dataclass
from datetime import datetime

from segmentation.errors import NotFoundError
from segmentation.identity.email_providers import Providers, normalisers
from segmentation.identity.profile_rules import ATTRIBUTES
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection


@dataclass(frozen=True, slots=True)
class CustomerIdentifier:
    """One identifier of a customer, with the evidence that put it there.

    Attributes:
        id_type: Type of identifier.
        id_namespace: Source that gave it, for types whose values mean something in one source alone.
        id_value: Normal form.
        is_anchor: The customer's id goes where this identifier goes.
        first_seen_at: Earliest sighting, UTC.
        last_seen_at: Latest sighting, UTC.
        evidence: Admitted edges at this identifier, strongest first, those of one kind together: ``source: kind
            (tier n, m times)``, or with the number of identifiers that it is linked to where there are several.
    """

    id_type: str
    id_namespace: str
    id_value: str
    is_anchor: bool
    first_seen_at: datetime
    last_seen_at: datetime
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatedValue:
    """One value that sources state of a customer's attribute.

    Attributes:
        attribute: Which one.
        value: The value.
        stated_by: Who stated it, as ``source/entity``; ``None`` in a profile that an older version published.
        seen_at: When they did, UTC; ``None`` likewise.
        is_golden: Whether it stands in the profile; the others contradict it.
        n_obs: Current rows that state it; ``None`` where nothing contradicts it.
    """

    attribute: str
    value: str
    stated_by: str | None
    seen_at: datetime | None
    is_golden: bool
    n_obs: int | None


def stated_values(con: Connection, customer_id: str) -> list[StatedValue]:
    """Return the values of a customer's profile, each followed by those that contradict it, the better first."""
    columns = ", ".join(f"{name}, {name}_source, {name}_at" for name in ATTRIBUTES)
    rows = con.execute(f"select {columns} from identity.profiles where customer_id = ?", [customer_id]).fetchall()
    conflicts = con.execute(
        "select attribute, value, source || '/' || entity, seen_at, value_rank = 1, n_obs "
        "from identity.profile_conflicts where customer_id = ? order by attribute, value_rank",
        [customer_id],
    ).fetchall()
    contradicted = {attribute for attribute, *_ in conflicts}
    found = [StatedValue(*row) for row in conflicts]
    for row in rows:
        for name, value, source, moment in zip(ATTRIBUTES, row[::3], row[1::3], row[2::3], strict=True):
            if value is not None and name not in contradicted:
                found.append(StatedValue(name, value, source, moment, True, None))
    return sorted(found, key=lambda one: ATTRIBUTES.index(one.attribute))


def customer_identifiers(con: Connection, customer_id: str) -> list[CustomerIdentifier]:
    """Return a customer's identifiers, in the canonical order of types, then by value.

    Args:
        con: A connection to published tables.
        customer_id: An active customer's id; see `resolve_customer` for anything else.

    Raises:
        NotFoundError: There is no such active customer.
    """
    rows = con.execute(
        "with mine as (select node_id from identity.identifier_map where customer_id = $customer_id), "
        "links as (select node_a as node_id, e.* from identity.edges as e where e.admitted and node_a in (from mine) "
        "union all select node_b, e.* from identity.edges as e where e.admitted and node_b in (from mine)), "
        "kinds as (select node_id, source, evidence, tier, count(*) as n_links, sum(n_obs) as n_times, "
        "min(first_seen_at) as since from links group by node_id, source, evidence, tier), "
        "told as (select node_id, list(concat(source, ': ', evidence, ' (tier ', tier, ', ', "
        "case when n_links > 1 then concat(n_links, ' links, ') end, n_times, "
        "case when n_times = 1 then ' time)' else ' times)' end) order by tier, since, source, evidence) as evidence "
        "from kinds group by node_id) "
        "select i.id_type, i.id_namespace, i.id_value, i.node_id = k.anchor_node_id, i.first_seen_at, i.last_seen_at, "
        "coalesce(t.evidence, []) "
        "from identity.customers as k join identity.identifier_map as m using (customer_id) "
        "join identity.identifiers as i using (node_id) left join told as t using (node_id) "
        "where k.customer_id = $customer_id and k.status = 'active'",
        {"customer_id": customer_id},
    ).fetchall()
    if not rows:
        raise _unknown(customer_id)
    found = [
        CustomerIdentifier(id_type, namespace, value, is_anchor, first, last, tuple(evidence))
        for id_type, namespace, value, is_anchor, first, last, evidence in rows
    ]
    return sorted(found, key=lambda one: (IDENTITY_COLUMNS.index(one.id_type), one.id_namespace, one.id_value))


def resolve_customer(con: Connection, text: str, *, providers: Providers = ()) -> str:
    """Return the active customer that ``text`` names.

    Args:
        con: A connection to published tables.
        text: A customer id, also one that gave way in a merge, or any identifier's value: as a source has
            it, or in normal form. A value of several types is taken as the best type.
        providers: Of the catalog: which addresses are one mailbox's.

    Raises:
        NotFoundError: Nobody is known by it.
    """
    wanted = text.strip()
    queries = (
        ("select customer_id from identity.customers where customer_id = ? and status = 'active'", wanted),
        ("select customer_id from identity.customer_aliases where old_customer_id = ?", wanted),
        (f"select customer_id from identity.identifier_lookup where raw_value = ? order by {_RANK} limit 1", text),
    )
    for query, value in queries:
        if rows := con.execute(query, [value]).fetchall():
            return str(rows[0][0])
    normalise = normalisers(providers)
    for id_type in IDENTITY_COLUMNS:
        normal = normalise[id_type](text, "").id_value
        rows = con.execute(
            "select customer_id from identity.identifiers join identity.identifier_map using (node_id) "
            "where id_type = ? and id_value = ? order by id_namespace limit 1",
            [id_type, normal],
        ).fetchall()
        if rows:
            return str(rows[0][0])
    raise _unknown(text)


def find_owner(con: Connection, node_id: int, text: str) -> str:
    """Return the active customer that an identifier belongs to.

    Args:
        con: A connection to published tables.
        node_id: The identifier.
        text: How it was named, for the message.

    Raises:
        NotFoundError: It belongs to nobody.
    """
    rows = con.execute("select customer_id from identity.identifier_map where node_id = ?", [node_id]).fetchall()
    if not rows:
        raise _unknown(text)
    return str(rows[0][0])


_RANK = (
    "case id_type "
    + " ".join(f"when '{name}' then {rank}" for rank, name in enumerate(IDENTITY_COLUMNS))
    + " end, id_namespace, customer_id"
)


def _unknown(text: str) -> NotFoundError:
    return NotFoundError(
        f"no customer is known by {text[:80]!r}",
        where="identity.customers, identity.customer_aliases, identity.identifier_lookup",
        expected="a customer id, an id that was merged into one, or a value of one of its identifiers",
        repair="check the spelling; blocked and shared values belong to nobody",
    )
