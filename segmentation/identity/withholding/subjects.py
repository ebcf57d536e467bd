"""Whom the landed rows name, before identity has looked at them: customers, or identifiers of nobody yet.

Belongs here: from raw values of the candidate of sources to subjects, whose decisions count together. Does not belong
here: their decisions (`timelines.py`). Values are read as identity will read them, and nothing is registered.
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.guards import block_conditions
from segmentation.identity.observations import filled_columns, namespace_expression, region_expression
from segmentation.identity.values import known_values, read_values
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.sources.tables import candidate_of
from segmentation.warehouse import Connection, literal

#: Decisions that identity has not read yet: of the candidate, and published ones that came since it last looked.
UNREAD = "unread_decisions"

_UNREAD = """
create or replace temp table unread_decisions as
select * from sources.candidate_consent_events
union all by name
select * from sources.consent_events
where
    file_id > coalesce((select max(file_id) from identity.readings where entity = 'consent_events'), -1)
    or occurred_at > coalesce((select max(as_of) from identity.readings where entity = 'consent_events'), occurred_at)
"""


def find_subjects(con: Connection, rules: IdentifierRules) -> None:
    """Write temporary tables ``spoken``, ``subjects`` and `UNREAD`, for the rows of files in ``asks``.

    ``spoken(id_type, id_namespace, region, raw_value, speaker, subject, may_grant)`` says of each raw value which
    identifier it is (``speaker``), whose decisions count with its own, and whether a grant under it counts: not where
    it is blocked or shared, because whoever granted may be somebody else. ``subjects(subject, customer_id, may_grant)``
    holds each subject once; ``customer_id`` is null for identifiers that belong to no customer.
    """
    con.execute(_UNREAD)
    _write_raw_values(con, rules)
    read_values(con, rules, IDENTITY_COLUMNS)
    con.execute(
        "create or replace temp table spoken (id_type varchar, id_namespace varchar, region varchar, "
        "raw_value varchar, speaker varchar, subject varchar, may_grant boolean)"
    )
    for id_type in IDENTITY_COLUMNS:
        _place(con, rules, id_type)
    con.execute("drop table raw_values; drop table values_read")
    con.execute(
        "create or replace temp table subjects as select subject, any_value(m.customer_id) as customer_id, "
        "bool_and(may_grant) as may_grant from spoken left join "
        "(select distinct customer_id from identity.identifier_map) as m on m.customer_id = subject group by subject"
    )


def _write_raw_values(con: Connection, rules: IdentifierRules) -> None:
    asked = [str(name) for (name,) in con.execute("select distinct entity from asks order by 1").fetchall()]
    places = []
    for name in asked:
        files = f"(from asks where entity = {literal(name)})"
        places.append((ENTITIES[name], f"{candidate_of(ENTITIES[name])} semi join {files} using (file_id)"))
    places.append((ENTITIES["consent_events"], UNREAD))
    parts = [
        f"select {literal(name)} as id_type, {namespace_expression(rules, name)} as id_namespace, "
        f"{region_expression(rules, entity) if name == 'phone' else literal('')} as region, {name} as raw_value "
        f"from {rows} where strlen({name}) between 1 and {rules.max_value_bytes}"
        for entity, rows in places
        for name in filled_columns(con, rows)
    ]
    nothing = "select null::varchar as id_type, null::varchar as id_namespace, null::varchar as region, "
    parts.append(f"{nothing} null::varchar as raw_value where false")
    con.execute(f"create or replace temp table raw_values as select distinct * from ({' union all '.join(parts)})")


def _place(con: Connection, rules: IdentifierRules, id_type: str) -> None:
    kind = literal(id_type)
    blocked = " or ".join(condition for condition, _ in block_conditions(rules, id_type, "v.id_value")) or "false"
    con.execute(
        "insert into spoken with met as ("
        "select v.id_namespace, v.region, v.raw_value, k.node_id, null::varchar as id_value, '' as owner "
        f"from (from raw_values where id_type = {kind}) as v "
        f"join ({known_values(id_type)}) as k using (id_namespace, region, raw_value) where k.node_id is not null "
        "union all select f.id_namespace, f.region, f.raw_value, r.node_id, f.id_value, f.owner_namespace "
        f"from (from values_read where id_type = {kind}) as f "
        f"left join (from identity.registry where id_type = {kind}) as r "
        "on r.id_namespace = f.owner_namespace and r.id_value = f.id_value) "
        f"select {kind}, v.id_namespace, v.region, v.raw_value, {_SPEAKER.format(kind=kind)} as speaker, "
        "coalesce(m.customer_id, speaker) as subject, "
        f"coalesce(i.status = 'active', not coalesce({blocked}, false)) as may_grant from met as v "
        "left join identity.identifier_map as m using (node_id) left join identity.identifiers as i using (node_id)"
    )


#: An identifier by its number, or by what it is where it has none yet.
_SPEAKER = "coalesce('node ' || v.node_id, to_json([{kind}, v.owner, v.id_value])::varchar)"
