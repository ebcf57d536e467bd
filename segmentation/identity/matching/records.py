"""Records of the warehouse as matching compares them: one per identifier, with its newest values.

Belongs here: reading entities into one table of records. Does not belong here: what is made of an attribute
(`kinds.py`), or other tables of people (`profile.py`).
"""

from collections.abc import Mapping

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.matching.catalog import RECORD_TYPES, MatchingDefinition
from segmentation.identity.values import known_values
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES
from segmentation.warehouse import Connection, quote, table_exists

#: A record with fewer values than this could be anybody's.
LEAST_VALUES = 2

#: Identifiers that link nobody, outside of a run.
PUBLISHED_EXCLUDED = "(select node_id from identity.identifiers where status <> 'active')"


def write_records(
    con: Connection,
    run: Run,
    rules: IdentifierRules,
    definition: MatchingDefinition,
    target: str,
    *,
    excluded: str = PUBLISHED_EXCLUDED,
    wanted: str = "",
) -> None:
    """Write temporary table ``target``: ``record_id`` (a node id) and one text column per attribute.

    A row belongs to its best identifier that may link; per attribute the newest value counts, of several at one moment
    that of the highest source and key.

    Args:
        con: The warehouse; entities without a table hold nobody.
        run: Rows after its ``as_of`` are not seen.
        rules: Give the order of the types and their namespaces.
        definition: Says which attributes are read where.
        target: Table to write.
        excluded: Relation with the ``node_id`` of identifiers that link nobody.
        wanted: Relation with the ``node_id`` of the only records to write; all where it is left out.
    """
    names = list(definition.attributes)
    parts = [
        _rows_of(con, run, rules, entity, columns, names, excluded)
        for entity, columns in definition.records.items()
        if table_exists(con, "sources", entity)
    ]
    columns = ", ".join(f"{quote(name)} varchar" for name in names)
    if not parts:
        con.execute(f"create or replace temp table {target} (record_id bigint, {columns})")
        return
    newest = ", ".join(
        f"arg_max({quote(name)}, (moment, tie)) filter ({quote(name)} is not null) as {quote(name)}" for name in names
    )
    filled = " + ".join(f"({quote(name)} is not null)::integer" for name in names)
    among = f"and record_id in (select node_id from {wanted})" if wanted else ""
    con.execute(
        f"create or replace temp table {target} as select * from (select record_id, {newest} "
        f"from ({' union all '.join(parts)}) where record_id is not null {among} group by record_id) "
        f"where {filled} >= {LEAST_VALUES}"
    )
    for entity in definition.records:
        con.execute(f"drop table if exists superseded_{entity}")


def _rows_of(
    con: Connection,
    run: Run,
    rules: IdentifierRules,
    entity: str,
    columns: Mapping[str, str],
    names: list[str],
    excluded: str,
) -> str:
    """Return the SQL for an entity's current rows: record, moment, tie and attributes."""
    shape = ENTITIES[entity]
    current = superseded_rows(con, run, entity, shape.key[0], shape.event_time)
    values = [
        f"nullif(trim(r.{quote(columns[name])}::varchar), '') as {quote(name)}"
        if name in columns
        else f"null::varchar as {quote(name)}"
        for name in names
    ]
    nodes, joins = [], []
    for name in (one for one in rules.types_by_priority if one in RECORD_TYPES):
        namespace = f"and by_{name}.id_namespace = r.source" if rules.identifiers[name].scope == "source" else ""
        joins.append(
            f"left join (select id_namespace, raw_value, node_id from ({known_values(name)}) where node_id is not null "
            f"and node_id not in {excluded}) as by_{name} on by_{name}.raw_value = r.{name} {namespace}"
        )
        nodes.append(f"by_{name}.node_id")
    seen = f"{shape.event_time} <= '{run.as_of}'::timestamp"
    return (
        f"select coalesce({', '.join(nodes)}) as record_id, r.{shape.event_time} as moment, "
        f"concat_ws('/', r.source, r.{shape.key[0]}) as tie, {', '.join(values)} "
        f"from (select * from sources.{entity} where {seen} and {current}) as r "
        f"{' '.join(joins)}"
    )
