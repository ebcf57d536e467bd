"""What the decisions of people mean for the landed rows: which are dropped, and which lose a value.

Belongs here: judging the rows of one entity, and taking out what may not be kept. Does not belong here: what people
decided (`timelines.py`), or counting for the ledger (`screening.py`).

A refusal of anybody whom a row names counts. A grant counts when it is of the customer that the row belongs to: that of
its best identifier that is known, by a customer or by a decision of its own.
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.observations import filled_columns, namespace_expression, region_expression
from segmentation.run import Run
from segmentation.sources.entities import Entity
from segmentation.sources.tables import candidate_of
from segmentation.warehouse import Connection, count, literal, quote

#: Entities whose rows say how things stand, not what happened: their moment is the last change of anything in them.
_STATE_MOMENT = "updated_at"

# Of each combination of subjects: what is so over time.
_COMBINED = """
create or replace temp table combined_spells as
with turned as (
    select
        m.combination, s.since, m.is_best, s.is_refused, s.is_granted,
        coalesce(lag(s.is_refused) over before_it, false) as was_refused,
        coalesce(lag(s.is_granted) over before_it, false) as was_granted
    from combined_members as m join consent_spells as s on s.subject = m.subject and s.asked = $purpose
    window before_it as (partition by m.combination, m.subject order by s.since)
),

summed as (
    select
        combination, since, sum(is_refused::integer - was_refused::integer) as more_refusals,
        coalesce(sum(is_granted::integer - was_granted::integer) filter (is_best), 0) as more_grants
    from turned group by all
)

select
    combination, since,
    sum(more_refusals) over moments > 0 as is_refused, sum(more_grants) over moments > 0 as is_granted
from summed window moments as (partition by combination order by since)
"""

_COMBINED_NOW = """
create or replace temp table combined_now as
select
    m.combination, bool_or(n.is_refused) as is_refused, bool_or(n.is_granted and m.is_best) as is_granted
from combined_members as m join consent_now as n on n.subject = m.subject and n.asked = $purpose
group by m.combination
"""

# What is refused now comes first: it is what a person can be told.
_FAILING = """
insert into failing
select judged.row_number, judged.file_id, a.field, a.place, a.purpose, case
    when judged.is_refused then 'refused'
    when judged.was_refused then 'refused_then'
    when not judged.is_granted then 'undecided'
    else 'undecided_then'
end as reason
from (
    select
        r.row_number, r.file_id,
        coalesce(n.is_refused, false) as is_refused, coalesce(n.is_granted, false) as is_granted,
        {was_refused} as was_refused, {was_granted} as was_granted
    from named_rows as r
    left join combined_now as n on n.combination = r.combination
    {then}
) as judged
join asks as a on a.file_id = judged.file_id and a.entity = {entity} and a.purpose = $purpose
where
    judged.is_refused or judged.was_refused
    or (not a.loads_undecided and not (judged.is_granted and judged.was_granted))
"""


def withhold(con: Connection, run: Run, rules: IdentifierRules, entity: Entity) -> None:
    """Drop and strip what may not be kept of an entity's candidate, and count it in ``sources.candidate_withheld``.

    Reads ``asks``, ``spoken``, ``subjects``, ``consent_spells`` and ``consent_now``. Rows of which something else
    hangs are noted in temporary table ``withheld_wholes(entity, source, part_of)``.
    """
    con.execute(
        "create or replace temp table failing (row_number bigint, file_id bigint, field varchar, place integer, "
        "purpose varchar, reason varchar)"
    )
    _combine(con, rules, entity)
    has_moment = entity.event_time != _STATE_MOMENT
    asked = "select distinct purpose from asks where entity = ? order by 1"
    for (purpose,) in con.execute(asked, [entity.name]).fetchall():
        con.execute(_COMBINED_NOW, {"purpose": purpose})
        then = {"was_refused": "n.is_refused is true", "was_granted": "n.is_granted is true", "then": ""}
        if has_moment:
            con.execute(_COMBINED, {"purpose": purpose})
            then = {
                "was_refused": "coalesce(t.is_refused, false)",
                "was_granted": "coalesce(t.is_granted, false)",
                "then": "asof left join combined_spells as t on r.combination = t.combination and r.moment >= t.since",
            }
        con.execute(_FAILING.format(entity=literal(entity.name), **then), {"purpose": purpose})
    for table in ("named_rows", "combined_members", "combined_now", "combined_spells"):
        con.execute(f"drop table if exists {table}")
    _take_out(con, run, entity)
    con.execute("drop table failing")


def _combine(con: Connection, rules: IdentifierRules, entity: Entity) -> None:
    """Write ``named_rows(row_number, file_id, moment, combination)`` and ``combined_members``.

    ``combined_members(combination, subject, is_best)``: rows that name the same subjects are judged together.
    """
    table = candidate_of(entity)
    files = f"(select distinct file_id from asks where entity = {literal(entity.name)})"
    filled = filled_columns(con, f"{table} semi join {files} as f using (file_id)")
    names = [name for name in rules.types_by_priority if name in filled]
    con.execute(
        "create or replace temp table numbered as select row_number() over () as number, s.subject, s.may_grant and ("
        "s.customer_id is not null or s.subject in (select subject from consent_spells where is_granted or is_refused)"
        ") as is_known from subjects as s"
    )
    joins, numbers = [], []
    for name in names:
        region = "and v_phone.region = " + region_expression(rules, entity) if name == "phone" else ""
        joins.append(
            f"left join (select v.id_namespace, v.region, v.raw_value, n.number from spoken as v join numbered as n "
            f"using (subject) where v.id_type = {literal(name)}) as v_{name} on v_{name}.raw_value = r.{name} "
            f"and v_{name}.id_namespace = {namespace_expression(rules, name, 'r.source')} {region}"
        )
        numbers.append(f"coalesce(v_{name}.number, 0)")
    con.execute(
        f"create or replace temp table named_rows as select r.rowid as row_number, r.file_id, "
        f"r.{entity.event_time} as moment, [{', '.join(numbers) or '0'}] as combination "
        f"from {table} as r semi join {files} as f using (file_id) {' '.join(joins)}"
    )
    con.execute(
        "create or replace temp table combined_members as with members as ("
        "select combination, unnest(combination) as number, generate_subscripts(combination, 1) as place "
        "from (select distinct combination from named_rows)), "
        "known as (select m.*, n.subject, n.is_known from members as m join numbered as n using (number)), "
        "best as (select combination, arg_min(number, place) as number from known where is_known group by combination) "
        "select k.combination, k.subject, bool_or(coalesce(b.number = k.number, false)) as is_best "
        "from known as k left join best as b using (combination) group by k.combination, k.subject"
    )
    con.execute("drop table numbered")


def _take_out(con: Connection, run: Run, entity: Entity) -> None:
    table = candidate_of(entity)
    con.execute(
        "create or replace temp table withheld_rows as select row_number, any_value(file_id) as file_id, "
        "arg_min(purpose, place) as purpose, arg_min(reason, place) as reason from failing where field = '' "
        "group by row_number"
    )
    fields = con.execute("select distinct field from failing where field <> '' order by 1").fetchall()
    for (field,) in fields:
        con.execute(
            "create or replace temp table withheld_values as select f.row_number, any_value(f.file_id) as file_id, "
            "arg_min(f.purpose, f.place) as purpose, arg_min(f.reason, f.place) as reason from failing as f "
            f"join {table} as r on r.rowid = f.row_number where f.field = ? and r.{quote(field)} is not null "
            "and f.row_number not in (select row_number from withheld_rows) group by f.row_number",
            [field],
        )
        note(con, run, entity.name, field, "withheld_values")
        con.execute(f"update {table} set {quote(field)} = null where rowid in (select row_number from withheld_values)")
        con.execute("drop table withheld_values")
    if count(con, "withheld_rows"):
        con.execute(
            f"insert into withheld_wholes select {literal(entity.name)}, r.source, r.{quote(entity.key[0])} "
            f"from {table} as r where r.rowid in (select row_number from withheld_rows)"
        )
        note(con, run, entity.name, "", "withheld_rows")
        con.execute(f"delete from {table} where rowid in (select row_number from withheld_rows)")
    con.execute("drop table withheld_rows")


def note(con: Connection, run: Run, entity: str, field: str, rows: str) -> None:
    """Count ``rows(file_id, purpose, reason)`` in ``sources.candidate_withheld``."""
    con.execute(
        "insert into sources.candidate_withheld by name select w.file_id, f.source, $entity as entity, "
        "$field as field, w.purpose, w.reason, count(*) as n_rows, $run_id as run_id, $recorded_at as recorded_at "
        f"from {rows} as w join (select file_id, source from sources.candidate_files where entity = $entity) as f "
        "using (file_id) group by all",
        {"entity": entity, "field": field, "run_id": run.run_id, "recorded_at": run.recorded_at},
    )
