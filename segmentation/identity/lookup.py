"""How a source's row finds its customer: raw values as they stand, and SQL that looks them up.

Belongs here: `identity.identifier_lookup` and attribution of rows by their best identifier (R6). Does not
belong here: which values are left out (`guards.py`).
"""

import numpy as np
import pyarrow as pa

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import fetch_integers
from segmentation.identity.differences import propose_difference
from segmentation.identity.observations import filled_columns
from segmentation.identity.touched import is_partial
from segmentation.warehouse import Connection, literal

LOOKUP = "identity.candidate_identifier_lookup"

#: Raw phone numbers by how many identifiers they can be; a value in normal form names its country.
_NUMBERS = (
    "select id_namespace, raw_value, min(node_id) as node_id from identity.normalised_values "
    "where id_type = 'phone' group by all having count(distinct coalesce(node_id, -1)) {}"
)


def write_lookup(con: Connection) -> None:
    """Fill the candidate lookup: each raw value of an identifier that has a customer, once.

    A phone number without a country can be two numbers in two countries; such a raw value says nothing by
    itself and is left out. Where only what was touched has been solved, the candidate is a difference.
    """
    partial = is_partial(con)
    near = ""
    if partial:
        _find_rewritten(con)
        near = "semi join rewritten using (node_id) "
    con.execute(
        f"insert into {LOOKUP} by name with numbers as ({_NUMBERS.format('= 1')}) "
        "select v.id_type, v.id_namespace, v.raw_value, v.node_id, m.customer_id from ("
        "select id_type, id_namespace, id_value as raw_value, node_id from identity.registry where is_raw union all "
        "select id_type, id_namespace, raw_value, node_id from identity.normalised_values where id_type <> 'phone' "
        "union all select 'phone', id_namespace, raw_value, node_id from numbers) as v "
        f"join (from identity.candidate_identifier_map {near}) as m using (node_id)"
    )
    if partial:
        propose_difference(con, "identifier_lookup", "select node_id from rewritten")
        con.execute("drop table rewritten")


def _find_rewritten(con: Connection) -> None:
    """Write temporary table ``rewritten(node_id)``: identifiers that others look up now, or by other raw values.

    Raw values are only ever added while the rules that read them stand, so an identifier with as many as before has the
    same; but for phone numbers that have become ambiguous.
    """
    now = (
        "select node_id from identity.registry where is_raw union all select node_id from identity.normalised_values "
        f"where id_type <> 'phone' and node_id is not null union all select node_id from ({_NUMBERS.format('= 1')}) "
        "where node_id is not null"
    )
    named, known, members = (
        fetch_integers(con, query)["node_id"]
        for query in (now, "select node_id from identity.identifier_lookup", "select node_id from components")
    )
    size = 1 + max(int(nodes.max(initial=-1)) for nodes in (named, known, members))
    counts = np.bincount(named, minlength=size)
    has_customer = np.zeros(size, dtype=np.bool_)
    has_customer[members] = True
    counts[~has_customer] = 0
    con.register("respelled", pa.table({"node_id": np.flatnonzero(counts != np.bincount(known, minlength=size))}))
    con.execute(
        "create or replace temp table rewritten as select node_id from respelled union "
        "select node_id from (from identity.identifier_map semi join touched_nodes using (node_id)) as o "
        "full join (from identity.candidate_identifier_map semi join touched_nodes using (node_id)) as n "
        "using (node_id) where o.customer_id is distinct from n.customer_id union "
        "select v.node_id from identity.normalised_values as v "
        f"semi join ({_NUMBERS.format('> 1')}) using (id_namespace, raw_value) "
        "where v.id_type = 'phone' and v.node_id is not null"
    )
    con.unregister("respelled")


def attribution(con: Connection, rules: IdentifierRules, table: str, *, lookup: str = LOOKUP) -> tuple[str, str]:
    """Return the SQL that finds whose a row is: the node of its best identifier that has a customer, and joins.

    The joins follow ``table as r`` in a statement; a type is looked up only for rows whose better identifiers
    have no customer.

    Args:
        con: The warehouse, with the candidate lookup filled.
        rules: Give the order of the types and their namespaces.
        table: A table with ``source`` and the identity columns.
        lookup: The look-up to ask; the candidate's where not said otherwise.
    """
    filled = filled_columns(con, table)
    found: list[str] = []
    joins: list[str] = []
    for name in rules.types_by_priority:
        if name in filled:
            value = f"case when coalesce({', '.join(found)}) is null then r.{name} end" if found else f"r.{name}"
            known = known_customers(rules, name, lookup=lookup)
            joins.append(f"left join ({known}) as by_{name} on by_{name}.raw_value = {value}")
            if rules.identifiers[name].scope == "source":
                joins.append(f"and by_{name}.id_namespace = r.source")
            found.append(f"by_{name}.node_id")
    return f"coalesce({', '.join(found)})" if found else "null::bigint", " ".join(joins)


def known_customers(rules: IdentifierRules, id_type: str, *, lookup: str = LOOKUP) -> str:
    """Return the SQL for the raw values of a type that have a customer: namespace, raw value, node id."""
    scope = "" if rules.identifiers[id_type].scope == "source" else "and id_namespace = ''"
    return f"select id_namespace, raw_value, node_id from {lookup} where id_type = {literal(id_type)} {scope}"
