"""How a source's row finds its customer: raw values as they stand, and SQL that looks them up.

Belongs here: `identity.identifier_lookup` and attribution of rows by their best identifier (R6). Does not
belong here: which values are left out (`guards.py`).
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.observations import namespace_expression
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal

LOOKUP = "identity.candidate_identifier_lookup"


def write_lookup(con: Connection) -> None:
    """Fill the candidate lookup: each raw value of an identifier that has a customer, once.

    A phone number without a country can be two numbers in two countries; such a raw value says nothing by
    itself and is left out.
    """
    con.execute(
        f"insert into {LOOKUP} by name with numbers as ("
        # A value in normal form names its country.
        "select id_namespace, raw_value, min(node_id) as node_id from identity.normalised_values "
        "where id_type = 'phone' group by all having count(distinct coalesce(node_id, -1)) = 1) "
        "select v.id_type, v.id_namespace, v.raw_value, v.node_id, m.customer_id from ("
        "select id_type, id_namespace, id_value as raw_value, node_id from identity.registry where is_raw union all "
        "select id_type, id_namespace, raw_value, node_id from identity.normalised_values where id_type <> 'phone' "
        "union all select 'phone', id_namespace, raw_value, node_id from numbers) as v "
        "join identity.candidate_identifier_map as m using (node_id)"
    )


def filled_columns(con: Connection, table: str) -> list[str]:
    """Return the identity columns of ``table`` that hold anything at all, in canonical order."""
    filled = con.execute(
        f"select {', '.join(f'count({name}) > 0' for name in IDENTITY_COLUMNS)} from {table}"
    ).fetchall()[0]
    return [name for name, has_values in zip(IDENTITY_COLUMNS, filled, strict=True) if has_values]


def attribute_rows(con: Connection, rules: IdentifierRules, table: str) -> None:
    """Write temporary table ``attributed(row_number, customer_id)``: the customer of each row that has one.

    A row belongs to the customer of its best identifier that has one. Types are looked up one after the
    other, each only for the rows that are still without a customer.

    Args:
        con: The warehouse, with the candidate lookup filled.
        rules: Give the order of the types and their namespaces.
        table: A temporary table with ``row_number``, ``source`` and the identity columns.
    """
    con.execute("create or replace temp table attributed (row_number bigint, customer_id varchar)")
    filled = filled_columns(con, table)
    for name in rules.types_by_priority:
        if name in filled:
            con.execute(
                f"insert into attributed select r.row_number, l.customer_id from {table} as r "
                f"join (from {LOOKUP} where id_type = {literal(name)}) as l on l.raw_value = r.{name} "
                f"and l.id_namespace = {namespace_expression(rules, name, 'r.source')} "
                f"where r.{name} is not null and r.row_number not in (select row_number from attributed)"
            )
