"""The effective state: what one consent view says about every customer in it.

Belongs here: who is in a view, and the value that a destination of that view should hold for them. Does not
belong here: what changed since the last run (``candidate.py``).

A value is the customer's whole state, so that applying it twice or skipping an older one does no harm:
``{"segments":{"vip":3},"groups":{"tier":"vip"}}``; segments with their versions, and the effective segment of
each exclusive group. A merged id holds ``{"merged_into":"c_…"}``; ``#segments`` holds the view's segments.
"""

from collections.abc import Collection, Iterable

from segmentation.segments.rivalry import ranks_sql
from segmentation.sync.stores.contract import SEGMENTS_KEY
from segmentation.sync.views import View
from segmentation.warehouse import Connection, count, literal, table_exists

#: Memberships per machine word; the sign bit stays free.
_WORD_BITS = 63

# Active, and seen by the segment rules. Whoever is not here is unknown to every destination.
_POPULATION = """
create or replace temp table sync_population as
select customers.customer_id
from identity.customers as customers
where customers.status = 'active' and ({seen})
"""

# What a segment may need consent for. One that left the catalog is still held until the next full delivery: what it
# needed last is in its newest version.
_NEEDED = """
create or replace temp table sync_needed as
select distinct segment_key, purpose
from (
    select segment_key, unnest(purposes) as purpose from segments.catalog
    union all
    select segment_key, unnest(from_json(definition -> '$.consent.purposes', '["varchar"]'))
    from (
        select segment_key, arg_max(definition, segment_version) as definition from segments.versions
        where segment_key not in (select segment_key from segments.catalog)
        group by segment_key
    )
)
where purpose not in (select unnest($unconditional::varchar[]))
"""

# No row means no; two rows that contradict each other mean no.
_CONSENTS = """
create or replace temp table sync_consents as
select customer_id, purpose
from identity.customer_consents
where purpose in (select unnest($purposes::varchar[])) or purpose in (select purpose from sync_needed)
group by customer_id, purpose
having bool_and(is_allowed)
"""

_PERMITTED = """
create or replace temp table sync_permitted as
select population.customer_id
from sync_population as population
where {condition}
"""

# All purposes of the view that need consent must be allowed.
_CONSENTING = """{person} in (
    select customer_id from sync_consents where purpose in ({purposes}) group by customer_id having count(*) = {count}
)"""

# What a segment itself asks consent for is asked again here: the last moment before it leaves.
_REFUSED = """
create or replace temp table sync_refused as
select distinct membership.customer_id, membership.segment_key
from segments.membership as membership
join sync_needed as needed on needed.segment_key = membership.segment_key
left join sync_consents as consents
    on consents.customer_id = membership.customer_id and consents.purpose = needed.purpose
where consents.customer_id is null
"""

# Every segment and version that anybody is in, numbered; a customer's memberships are then a set of bits.
_ENTRIES = """
create or replace temp table sync_entries as
select *, (row_number() over (order by segment_key, segment_version) - 1)::integer as place
from (
    select distinct
        membership.segment_key, membership.segment_version, coalesce(ranked.groups, []) as groups,
        catalog.segment_key is not null as is_listed
    from segments.membership as membership
    left join segments.catalog as catalog on catalog.segment_key = membership.segment_key
    left join (
        select segment_key, list(group_key order by group_key) as groups from {ranks} group by segment_key
    ) as ranked on ranked.segment_key = membership.segment_key
    where {listed}
)
"""

_STATES = """
create or replace temp table sync_states as
select membership.customer_id, {words}
from segments.membership as membership
join sync_permitted as permitted on permitted.customer_id = membership.customer_id
join sync_entries as entries
    on entries.segment_key = membership.segment_key and entries.segment_version = membership.segment_version
left join sync_refused as refused
    on refused.customer_id = membership.customer_id and refused.segment_key = membership.segment_key
where refused.customer_id is null
group by membership.customer_id
"""

# Customers are many, sets of segments few: the text is written once per set.
_SETS = """
create or replace temp table sync_sets as
with sets as (
    select {names}, count(*) as customers from sync_states group by {names}
)

select
    {names}, any_value(sets.customers) as customers, count(*) as memberships,
    len(flatten(list(entries.groups))) > len(list_distinct(flatten(list(entries.groups))))
        or count(*) > count(distinct entries.segment_key) as has_conflict,
    string_agg(
        to_json(entries.segment_key)::varchar || ':' || entries.segment_version, ',' order by entries.segment_key
    ) as segments,
    -- In the order of the groups: no character of a key comes before the quote that ends it.
    array_to_string(
        list_sort(flatten(list(list_transform(
            entries.groups,
            lambda one: to_json(one)::varchar || ':' || to_json(entries.segment_key)::varchar
        )))), ','
    ) as groups
from sets
join sync_entries as entries on {contains}
group by {names}
"""

_VALUES = """
insert into sync.candidate_values
select
    {view}, permitted.customer_id,
    '{{"segments":{{' || coalesce(sets.segments, '') || '}},"groups":{{' || coalesce(sets.groups, '') || '}}}}',
    'customer'
from sync_permitted as permitted
left join sync_states as states on states.customer_id = permitted.customer_id
left join sync_sets as sets on {same}
union all
select
    {view}, aliases.old_customer_id, '{{"merged_into":' || to_json(aliases.customer_id)::varchar || '}}', 'alias'
from identity.customer_aliases as aliases
join sync_permitted as permitted on permitted.customer_id = aliases.customer_id
where aliases.old_customer_id not in (select customer_id from sync_population)
union all
select
    {view}, {segments_key},
    '{{"segments":{{' || coalesce(string_agg(
        to_json(catalog.segment_key)::varchar || ':{{' || case
            when len(ranked.groups) = 1 then '"group":' || to_json(ranked.groups[1])::varchar || ','
            when len(ranked.groups) > 1 then '"groups":' || to_json(ranked.groups)::varchar || ','
            else ''
        end || '"version":' || catalog.segment_version || '}}', ',' order by catalog.segment_key
    ), '') || '}}}}',
    'segments'
from segments.catalog as catalog
left join (
    select segment_key, list(group_key order by group_key) as groups from {ranks} group by segment_key
) as ranked on ranked.segment_key = catalog.segment_key
where coalesce(catalog.is_evaluated, true) and {listed_in_catalog}
"""


def find_population(con: Connection, views: Iterable[View], unconditional_purposes: Collection[str]) -> None:
    """Write the temporary tables that all views share: who is known, and what they allow.

    ``unconditional_purposes`` are those whose lawful basis is not consent.
    """
    seen = ["customers.customer_id in (select customer_id from segments.membership)"]
    if table_exists(con, "features", "customer_features"):
        seen.append("customers.customer_id in (select customer_id from features.customer_features)")
    con.execute(_POPULATION.format(seen=" or ".join(seen)))
    find_consents(con, views, unconditional_purposes)
    con.execute(_REFUSED)


def find_consents(con: Connection, views: Iterable[View], unconditional_purposes: Collection[str]) -> None:
    """Write ``sync_needed``, what segments need consent for, and ``sync_consents``, who allows what."""
    unconditional = sorted(unconditional_purposes)
    asked = sorted({purpose for view in views for purpose in view.purposes} - set(unconditional))
    con.execute(_NEEDED, {"unconditional": unconditional})
    con.execute(_CONSENTS, {"purposes": asked})


def consenting(person: str, conditional_purposes: tuple[str, ...]) -> str:
    """Return the SQL condition that the customer ``person`` allows all of the purposes; true for none."""
    if not conditional_purposes:
        return "true"
    return _CONSENTING.format(person=person, purposes=_literals(conditional_purposes), count=len(conditional_purposes))


def residing(person: str, regions: tuple[str, ...]) -> str:
    """Return the SQL condition that the customer ``person`` is known to reside in one of the regions; true for none.

    Asked of the profile and not of features: it holds as soon as identity is published.
    """
    if not regions:
        return "true"
    return f"{person} in (select customer_id from identity.profiles where residency_region in ({_literals(regions)}))"


def listed_in(view: View, table: str) -> str:
    """Return the SQL condition that a segment of ``table`` may leave for the view."""
    conditions = ["true"]
    if view.segments is not None:
        conditions.append(f"{table}.segment_key in ({_literals(view.segments)})")
    if view.withheld:
        conditions.append(f"{table}.segment_key not in ({_literals(view.withheld)})")
    return " and ".join(conditions)


def compute_values(con: Connection, view: View, conditional_purposes: tuple[str, ...]) -> None:
    """Append the view's values to ``sync.candidate_values``, and write ``sync_states`` and ``sync_sets`` beside them.

    ``conditional_purposes`` are those of the view that need consent.
    """
    allowed = consenting("population.customer_id", conditional_purposes)
    resident = residing("population.customer_id", view.regions)
    con.execute(_PERMITTED.format(condition=f"{str(view.has_customers).lower()} and {allowed} and {resident}"))
    con.execute(_ENTRIES.format(ranks=ranks_sql("segments.catalog"), listed=listed_in(view, "membership")))
    words = range(max(-(-count(con, "sync_entries") // _WORD_BITS), 1))
    names = [f"word_{word}" for word in words]
    con.execute(_STATES.format(words=", ".join(_word(word) for word in words)))
    con.execute(_SETS.format(names=", ".join(names), contains=contains_entry(con)))
    con.execute(
        _VALUES.format(
            view=literal(view.view_id),
            segments_key=literal(SEGMENTS_KEY),
            ranks=ranks_sql("segments.catalog"),
            listed_in_catalog=listed_in(view, "catalog"),
            same=" and ".join(f"sets.{name} = states.{name}" for name in names),
        )
    )


def contains_entry(con: Connection) -> str:
    """Return the SQL condition that a row of ``sync_states`` or ``sync_sets`` contains one of ``sync_entries``."""
    columns = con.execute(
        "select column_name from duckdb_columns() where table_name = 'sync_states' "
        "and starts_with(column_name, 'word_')"
    ).fetchall()
    words = " ".join(f"when {name.removeprefix('word_')} then {name}" for (name,) in columns)
    return f"(case entries.place // {_WORD_BITS} {words} end & (1::bigint << (entries.place % {_WORD_BITS}))) <> 0"


def _word(word: int) -> str:
    bit = f"1::bigint << (entries.place % {_WORD_BITS})"
    return f"bit_or(case when entries.place // {_WORD_BITS} = {word} then {bit} else 0 end) as word_{word}"


def _literals(names: tuple[str, ...]) -> str:
    return ", ".join(literal(name) for name in names)
