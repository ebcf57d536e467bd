"""Who is to be forgotten: every id, identifier and raw value of one customer, as temporary tables.

Belongs here: gathering what the customer consists of, while it is still known. Does not belong here: deleting it
(`source_rows.py`, `derived_rows.py`). The whole customer goes, because its identifiers are one person's as far as
anybody can tell; identifiers that several people share belong to no customer, so they stay.
"""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.email_providers import mailbox_expression
from segmentation.identity.normalise import normalise_email
from segmentation.identity.values import known_values
from segmentation.pseudonyms import PseudonymKey
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, count, literal

#: Between the parts of a text that is hashed; no identifier holds it, because normal forms hold no controls.
_BETWEEN = "chr(31)"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the customer; the temporary tables hold the rest.

    Attributes:
        customer_id: The active id.
        former_ids: Ids that were merged into it.
        n_identifiers: Identifiers it consists of.
    """

    customer_id: str
    former_ids: tuple[str, ...]
    n_identifiers: int


def gather(con: Connection, rules: IdentifierRules, customer_id: str) -> Subject:
    """Write temporary tables about a customer.

    * ``erased_customers(customer_id)``: the id and those merged into it;
    * ``erased_nodes(node_id, id_type, id_namespace, id_value)``: its identifiers, and what their values stood for under
      other rules of the catalog, as long as it is nobody's: a mailbox whose provider was named, the addresses before;
    * ``erased_values(id_type, id_namespace, raw_value, is_certain)``: every spelling that a source has sent and the
      normal form, under the source that owns the id. A phone number without a country is uncertain where the
      same digits, read in another country, are somebody else's.
    """
    con.execute(
        "create or replace temp table erased_customers as select $customer_id as customer_id union "
        "select old_customer_id from identity.customer_aliases where customer_id = $customer_id union "
        "select customer_id from identity.customers where merged_into = $customer_id",
        {"customer_id": customer_id},
    )
    con.execute(
        "create or replace temp table erased_nodes as select r.node_id, r.id_type, r.id_namespace, r.id_value "
        "from identity.registry as r semi join (select node_id from identity.identifier_map where customer_id = ?) "
        "using (node_id)",
        [customer_id],
    )
    identifiers = count(con, "erased_nodes")
    _add_former_addresses(con, rules)
    _add_former_nodes(con)
    con.execute(
        "create or replace temp table erased_values "
        "(id_type varchar, id_namespace varchar, raw_value varchar, is_certain boolean)"
    )
    for name in IDENTITY_COLUMNS:
        _gather_values(con, rules, name)
    former = con.execute(
        "select customer_id from erased_customers where customer_id <> ? order by customer_id", [customer_id]
    ).fetchall()
    return Subject(customer_id, tuple(row[0] for row in former), identifiers)


def _add_former_addresses(con: Connection, rules: IdentifierRules) -> None:
    if rules.email_providers:
        con.execute(
            "insert into erased_nodes select node_id, id_type, id_namespace, id_value from identity.registry "
            f"where id_type = 'email' and {mailbox_expression('id_value', rules.email_providers)} in "
            "(select id_value from erased_nodes where id_type = 'email') "
            "and node_id not in (select node_id from erased_nodes)"
        )


def _add_former_nodes(con: Connection) -> None:
    """Add the identifiers that values of these were, or are since the last publication, and that nobody has now."""
    con.execute(
        "insert into erased_nodes with recursive pairs as (select node_id, former_node_id as other "
        "from identity.former_nodes union select former_node_id, node_id from identity.former_nodes), "
        "reached as (select node_id from erased_nodes union select p.other as node_id from reached as r "
        # What is in identity.identifiers is somebody's, or several people's.
        "join pairs as p using (node_id) where p.other not in (select node_id from identity.identifiers)) "
        "select r.node_id, r.id_type, r.id_namespace, r.id_value from identity.registry as r semi join reached "
        "using (node_id) anti join erased_nodes using (node_id)"
    )


def _gather_values(con: Connection, rules: IdentifierRules, id_type: str) -> None:
    kind = literal(id_type)
    con.execute(
        "insert into erased_values with mine as (select node_id, id_namespace, id_value from erased_nodes "
        f"where id_type = {kind}), known as materialized ({known_values(id_type)}), "
        "spelled as (select raw_value from known semi join mine using (node_id) union select id_value from mine), "
        f"readings as (select {owner_expression(rules, 'id_namespace')} as id_namespace, raw_value, node_id "
        "from known semi join spelled using (raw_value) union select id_namespace, id_value, node_id from mine) "
        f"select {kind}, id_namespace, raw_value, bool_and(coalesce(node_id in (select node_id from mine), false)) "
        "from readings group by id_namespace, raw_value "
        "having bool_or(coalesce(node_id in (select node_id from mine), false))"
    )


def owner_expression(rules: IdentifierRules, source: str) -> str:
    """Return the SQL for the source that owns the ids of ``source``."""
    shared = sorted(rules.shared_namespaces.items())
    if not shared:
        return source
    whens = " ".join(f"when {literal(one)} then {literal(owner)}" for one, owner in shared)
    return f"case {source} {whens} else {source} end"


def suppressed_hash(key: PseudonymKey, id_type: str, id_namespace: str, id_value: str) -> str:
    """Return the SQL for the hash by which an identifier is recognised, from SQL for its three parts."""
    return key.expression(f"{id_type} || {_BETWEEN} || {id_namespace} || {_BETWEEN} || {id_value}")


def suppress(con: Connection, key: PseudonymKey, erasure_id: str, reason: str, at: datetime) -> None:
    """Keep of each identifier in ``erased_nodes`` what recognises it, in ``identity.suppressions``.

    Of addresses also what recognises each spelling in ``erased_values`` by itself: the catalog may cease to know the
    provider that makes them one mailbox, or name the mailbox by another domain.
    """
    con.register("erased_addresses", pa.table({"id_value": pa.array(_addresses(con), pa.string())}))
    con.execute(
        "insert into identity.suppressions (value_hmac, id_type, key_id, reason, erasure_id, suppressed_at) "
        f"select {suppressed_hash(key, 'id_type', 'id_namespace', 'id_value')} as value_hmac, id_type, ?, ?, ?, ? "
        "from (select id_type, id_namespace, id_value from erased_nodes union "
        "select 'email', '', id_value from erased_addresses)",
        [key.key_id, reason, erasure_id, at],
    )
    con.unregister("erased_addresses")


def _addresses(con: Connection) -> list[str]:
    """Return the normal forms of the erased spellings of addresses, whatever their providers ignore."""
    rows = con.execute("select raw_value from erased_values where id_type = 'email' and is_certain").fetchall()
    found = {normalise_email(raw).id_value for (raw,) in rows}
    return sorted(address for address in found if address is not None)
