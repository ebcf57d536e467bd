"""What customers used, by day and by the state they were in: requests, compute time, orders, events.

Belongs here: adding up usage per identifier first, then finding its customer, then its segments, so that no
join is larger than it must be (rule C7). Does not belong here: membership (`memberships.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from segmentation.costs.pools import NO_SEGMENT, UNATTRIBUTED
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.warehouse import Connection, count, literal, scalar, table_exists


@dataclass(frozen=True, slots=True)
class Driver:
    """Something that usage is measured by.

    Attributes:
        entity: Canonical entity whose rows are counted; empty for ``members``.
        unit: Unit of the quantities.
        scale: Units in one of what the catalog calls the driver (1,000 microseconds in a millisecond).
        measure: Integer quantity of one row; a row's fraction is lost before adding, never after.
    """

    entity: str
    unit: str
    scale: int = 1
    measure: str = "1"


_COMPUTE_US = "cast(round(coalesce(compute_ms, 0) * 1000) as bigint)"
DRIVERS: dict[str, Driver] = {
    "requests": Driver("requests", "requests"),
    "compute_ms": Driver("requests", "compute microseconds", 1000, f"greatest({_COMPUTE_US}, 0)"),
    "orders": Driver("orders", "orders"),
    "events": Driver("events", "events"),
    "members": Driver("", "members"),
}

_PERIODS = """
create or replace temp table costs_work_periods as
with cuts as (
    select distinct cut from (
        select effective_from as cut from costs_work_pieces
        union all select effective_to from costs_work_pieces
        union all select known_since from costs_work_pieces
    )
    where isfinite(cut)
),
starts as (
    select driver_date, cast(driver_date as timestamp) as starts_at from costs_work_days
    union
    select d.driver_date, c.cut
    from cuts as c inner join costs_work_days as d on cast(c.cut as date) = d.driver_date
)
select
    driver_date,
    starts_at,
    coalesce(
        lead(starts_at) over (partition by driver_date order by starts_at),
        cast(driver_date as timestamp) + interval 1 day
    ) as ends_at
from starts
"""

#: Rows of a key that was stated more than once share a hash; only they need the exact look.
_REPEATED = """
create or replace temp table costs_work_repeated as
select key_hash from (select hash({key}) as key_hash from sources.{entity})
group by key_hash having count(*) > 1
"""

_NEWEST = """
(
    select {columns} from sources.{entity}
    where hash({key}) not in (select key_hash from costs_work_repeated)
    union all
    select {columns} from (
        select * from sources.{entity}
        where hash({key}) in (select key_hash from costs_work_repeated)
        qualify row_number() over (partition by {key} order by file_id desc, line desc) = 1
    )
)
"""

_USAGE = """
create or replace temp table costs_work_usage as
select u.driver_date, u.starts_at, {customer} as customer_id, {sums}
from (
    select p.driver_date, p.starts_at, {identity}, {measures}
    from {rows} as r
    inner join costs_work_periods as p
        on
            cast(r.{at} as date) = p.driver_date
            and r.{at} >= p.starts_at
            and r.{at} < p.ends_at
    where r.{at} <= $as_of
    group by all
) as u
{lookups}
group by all
"""

#: Whose a request is that names an account and no person.
_OWNERS = """
create or replace temp table costs_work_owners as
select account_id, customer_id
from identity.customer_accounts
where valid_from <= ? and (valid_to is null or valid_to > ?)
qualify row_number() over (
    partition by account_id order by coalesce(lower(role) = 'owner', false) desc, customer_id
) = 1
"""

_TOTALS = """
insert into costs_work_totals
select cast(r.{at} as date), {driver}, sum({measure})
from {rows} as r
where r.{at} <= $as_of and cast(r.{at} as date) in (select driver_date from costs_work_days)
group by all
"""

_PLACED = """
insert into costs_work_drivers
with placed as (
    select
        u.driver_date,
        case
            when u.customer_id is null then {unattributed} else coalesce(p.segment_key, {no_segment})
        end as segment_key,
        coalesce(p.share_count, 1) as share_count,
        sum(u.{driver}) as quantity,
        coalesce(sum(u.{driver}) filter (where u.starts_at < p.known_since), 0) as filled
    from costs_work_usage as u
    left join costs_work_pieces as p
        on
            p.allocation_view = {view}
            and u.customer_id = p.customer_id
            and p.effective_from <= u.starts_at
            and u.starts_at < p.effective_to
    group by all
)
select
    driver_date,
    {driver_name},
    {view},
    segment_key,
    cast(sum(quantity * {parts} // share_count) as bigint),
    cast(sum(filled * {parts} // share_count) as bigint)
from placed
group by all
having sum(quantity) > 0
"""


def stage_usage(con: Connection, run: Run, drivers: Iterable[str], views: dict[str, int]) -> None:
    """Add the named usage drivers to ``costs_work_drivers``, and what they must add up to to ``costs_work_totals``.

    A row is its best known identifier's customer's; one that names no known person but an account is the
    account's owner's, or the first customer's of an account without an owner.

    Args:
        con: The warehouse.
        run: Usage after its ``as_of`` is not seen.
        drivers: Keys of ``DRIVERS``.
        views: Allocation views, each with the parts that its quantities are counted in.
    """
    con.execute(_PERIODS)
    con.execute(_OWNERS, [run.as_of, run.as_of])
    needed = [key for key in drivers if DRIVERS[key].entity]
    for entity in dict.fromkeys(DRIVERS[key].entity for key in needed):
        if not table_exists(con, "sources", entity):
            continue
        of_entity = [key for key in needed if DRIVERS[key].entity == entity]
        _add_up(con, run, entity, of_entity)
        for driver in of_entity:
            for view, parts in views.items():
                con.execute(
                    _PLACED.format(
                        driver=driver,
                        driver_name=literal(driver),
                        view=literal(view),
                        parts=parts,
                        unattributed=literal(UNATTRIBUTED),
                        no_segment=literal(NO_SEGMENT),
                    )
                )


def count_negative(con: Connection) -> list[tuple[object, int]]:
    """Return day and number of requests whose compute time is negative; they count as zero."""
    if not table_exists(con, "sources", "requests"):
        return []
    return con.execute(
        "select cast(occurred_at as date) as day, count(*) from sources.requests where compute_ms < 0 "
        "and cast(occurred_at as date) in (select driver_date from costs_work_days) group by day order by day"
    ).fetchall()


def _add_up(con: Connection, run: Run, entity: str, drivers: list[str]) -> None:
    described = ENTITIES[entity]
    at = described.event_time
    key = ", ".join(("source", *described.key))
    known = (*IDENTITY_COLUMNS, *(name for name in described.column_names if name == "account_id"))
    con.execute(_REPEATED.format(key=key, entity=entity))
    rows = f"sources.{entity}"
    if count(con, "costs_work_repeated"):
        names = ", ".join(("source", at, *known, *(("compute_ms",) if entity == "requests" else ())))
        rows = _NEWEST.format(columns=names, entity=entity, key=key)
    used = [name for name in known if scalar(con, f"select count({name}) from {rows} as r")]
    measures = {driver: DRIVERS[driver].measure for driver in drivers}
    con.execute(
        _USAGE.format(
            rows=rows,
            at=at,
            identity=", ".join(f"r.{name}" for name in ("source", *used)),
            measures=", ".join(f"sum({measure}) as {driver}" for driver, measure in measures.items()),
            sums=", ".join(f"cast(sum({driver}) as hugeint) as {driver}" for driver in drivers),
            customer=f"coalesce({', '.join(f'by_{name}.customer_id' for name in used)})" if used else "null::varchar",
            lookups="\n".join(_lookup_sql(name) for name in used),
        ),
        {"as_of": run.as_of},
    )
    for driver, measure in measures.items():
        totals = _TOTALS.format(rows=rows, at=at, driver=literal(driver), measure=measure)
        con.execute(totals, {"as_of": run.as_of})


def _lookup_sql(name: str) -> str:
    if name == "account_id":
        return "left join costs_work_owners as by_account_id on u.account_id = by_account_id.account_id"
    namespace = "u.source" if name == "source_customer_id" else "''"
    return (
        f"left join identity.identifier_lookup as by_{name} on by_{name}.id_type = {literal(name)} "
        f"and by_{name}.id_namespace = {namespace} and by_{name}.raw_value = u.{name}"
    )
