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
        f"insert into {LOOKUP} by name select v.id_type, v.id_namespace, v.raw_value, v.node_id, m.customer_id "
        "from identity.normalised_values as v join identity.candidate_identifier_map as m using (node_id) "
        "where v.id_type <> 'phone'"
    )
    con.execute(
        f"insert into {LOOKUP} by name with numbers as ("
        "select id_namespace, raw_value, min(node_id) as node_id from identity.normalised_values "
        "where id_type = 'phone' group by all having count(distinct coalesce(node_id, -1)) = 1) "
        "select 'phone' as id_type, n.id_namespace, n.raw_value, n.node_id, m.customer_id "
        "from numbers as n join identity.candidate_identifier_map as m using (node_id)"
    )


class Attribution:
    """SQL that gives each row of a table with identity columns its customer.

    Args:
        con: Used to find out which identity columns hold anything at all.
        rules: Give the order of the types and their namespaces.
        table: A table or parenthesised query with ``source`` and the identity columns.
        alias: Name under which the caller reads it.
    """

    def __init__(self, con: Connection, rules: IdentifierRules, table: str, alias: str) -> None:
        filled = con.execute(
            f"select {', '.join(f'count({name}) > 0' for name in IDENTITY_COLUMNS)} from {table}"
        ).fetchall()[0]
        present = {name for name, has_values in zip(IDENTITY_COLUMNS, filled, strict=True) if has_values}
        self._types = [name for name in rules.types_by_priority if name in present]
        self._rules = rules
        self._alias = alias

    @property
    def joins(self) -> str:
        """Left joins to the lookup, one per type of identifier that occurs."""
        return " ".join(
            f"left join (select id_namespace, raw_value, customer_id from {LOOKUP} where id_type = {literal(name)}) "
            f"as at_{name} on at_{name}.raw_value = {self._alias}.{name} "
            f"and at_{name}.id_namespace = {namespace_expression(self._rules, name, f'{self._alias}.source')}"
            for name in self._types
        )

    @property
    def customer_id(self) -> str:
        """The row's customer: that of its best identifier that has one; null where none has."""
        return f"coalesce({', '.join([f'at_{name}.customer_id' for name in self._types] + ['null'])})"
