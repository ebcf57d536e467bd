"""What customers used, by day and by the state they were in: requests, compute time, orders, events.

Belongs here: adding up usage per identifier first, then finding its customer, then its segments, so that no
join is larger than it must be (rule C7). Does not belong here: membership (`memberships.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from segmentation.costs.epochs import epoch_sql, stage_epochs
from segmentation.costs.memberships import word_names
from segmentation.costs.pools import NO_SEGMENT, UNATTRIBUTED
from segmentation.run import Run
from segmentation.segments.masks import has_bit_sql
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.warehouse import Connection, count, literal, table_exists


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

#: Rows of a key that was stated more than once share a hash, and lie side by side in its order; only they need the
#: exact look.
_REPEATED = """
create or replace temp table costs_work_repeated as
select distinct key_hash
from (
    select key_hash, lag(key_hash) over (order by key_hash) as previous_hash
    from (select hash({key}) as key_hash from sources.{entity})
) where key_hash = previous_hash
"""

_NEWEST = """
create or replace temp table costs_work_newest_usage as
select {columns} from sources.{entity}
where hash({key}) not in (select key_hash from costs_work_repeated)
union all
select {columns} from (
    select * from sources.{entity}
    where hash({key}) in (select key_hash from costs_work_repeated)
    qualify row_number() over (partition by {key} order by file_id desc, line desc) = 1
)
"""

_RAW_USAGE = """
create or replace temp table costs_work_raw_usage as
select d.driver_date, {epoch} as epoch, {identity}, {measures}
from {rows} as r
inner join costs_work_epoch_days as d on cast(r.{at} as date) = d.driver_date
where r.{at} <= $as_of
group by all
"""

#: By trajectory, not by customer: customers who were always in the same segments are added up at once.
_USAGE = """
create or replace temp table costs_work_usage as
with found as (
    select u.driver_date, u.epoch, {customer} as customer_id, {drivers}
    from costs_work_raw_usage as u
    {lookups}
)
select f.driver_date, f.epoch, f.customer_id is null as is_unknown, t.trajectory, {sums}
from found as f
left join costs_work_trajectories as t on f.customer_id = t.customer_id
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
create or replace temp table costs_work_placed as
with stayed as (
    select
        v.allocation_view,
        u.driver_date,
        u.is_unknown,
        {words},
        case when v.allocation_view = 'fractional' then s.memberships else 1 end as share_count,
        {sums}
    from costs_work_usage as u
    cross join costs_work_views as v
    left join costs_work_spans as s
        on v.scope = s.scope and u.trajectory = s.trajectory and s.first_epoch <= u.epoch and u.epoch < s.end_epoch
    group by all
)
select s.allocation_view, s.driver_date, p.segment_key, s.share_count, {drivers}
from stayed as s
inner join costs_work_places as p on {has_place}
union all
select
    s.allocation_view,
    s.driver_date,
    case when s.is_unknown then {unattributed} else {no_segment} end,
    1,
    {drivers}
from stayed as s
where s.word_0 is null
"""

_QUANTITIES = """
insert into costs_work_drivers
select
    p.driver_date,
    {driver_name},
    p.allocation_view,
    p.segment_key,
    cast(sum(p.quantity * v.parts // p.share_count) as bigint),
    cast(sum(p.filled * v.parts // p.share_count) as bigint)
from (
    select driver_date, allocation_view, segment_key, share_count,
        sum({driver}) as quantity, sum({driver}_filled) as filled
    from costs_work_placed group by all
) as p
inner join costs_work_views as v on p.allocation_view = v.allocation_view
group by all
having sum(p.quantity) > 0
"""


def stage_usage(con: Connection, run: Run, drivers: Iterable[str]) -> None:
    """Add the named usage drivers to ``costs_work_drivers``, and what they must add up to to ``costs_work_totals``.

    A row is its best known identifier's customer's; one that names no known person but an account is the
    account's owner's, or the first customer's of an account without an owner.

    Args:
        con: The warehouse.
        run: Usage after its ``as_of`` is not seen.
        drivers: Keys of ``DRIVERS``.
    """
    stage_epochs(con)
    con.execute(_OWNERS, [run.as_of, run.as_of])
    needed = [key for key in drivers if DRIVERS[key].entity]
    for entity in dict.fromkeys(DRIVERS[key].entity for key in needed):
        if table_exists(con, "sources", entity):
            of_entity = [key for key in needed if DRIVERS[key].entity == entity]
            _add_up(con, run, entity, of_entity)
            _place(con, of_entity)


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
    counts = con.execute(f"select {', '.join(f'count({name})' for name in known)} from {rows}").fetchall()[0]
    used = [name for name, found in zip(known, counts, strict=True) if found]
    if count(con, "costs_work_repeated"):
        names = ", ".join(("source", at, *used, *(("compute_ms",) if entity == "requests" else ())))
        con.execute(_NEWEST.format(columns=names, entity=entity, key=key))
        rows = "costs_work_newest_usage"
    measures = {driver: DRIVERS[driver].measure for driver in drivers}
    con.execute(
        _RAW_USAGE.format(
            rows=rows,
            at=at,
            epoch=epoch_sql(con, f"r.{at}"),
            identity=", ".join(f"r.{name}" for name in ("source", *used)),
            measures=", ".join(f"sum({measure}) as {driver}" for driver, measure in measures.items()),
        ),
        {"as_of": run.as_of},
    )
    con.execute(
        _USAGE.format(
            customer=f"coalesce({', '.join(f'by_{name}.customer_id' for name in used)})" if used else "null::varchar",
            drivers=", ".join(f"u.{driver}" for driver in drivers),
            sums=", ".join(f"sum(f.{driver}) as {driver}" for driver in drivers),
            lookups="\n".join(_lookup_sql(name) for name in used),
        )
    )
    for driver, measure in measures.items():
        totals = _TOTALS.format(rows=rows, at=at, driver=literal(driver), measure=measure)
        con.execute(totals, {"as_of": run.as_of})


def _place(con: Connection, drivers: list[str]) -> None:
    words = [f"s.{word}" for word in word_names(con)]
    filled = "coalesce(sum(u.{0}) filter (where u.epoch < s.known_epoch), 0) as {0}_filled"
    con.execute(
        _PLACED.format(
            words=", ".join(words),
            has_place=has_bit_sql(words, "p"),
            unattributed=literal(UNATTRIBUTED),
            no_segment=literal(NO_SEGMENT),
            sums=", ".join(f"sum(u.{driver}) as {driver}, {filled.format(driver)}" for driver in drivers),
            drivers=", ".join(f"s.{driver}, s.{driver}_filled" for driver in drivers),
        )
    )
    for driver in drivers:
        con.execute(_QUANTITIES.format(driver=driver, driver_name=literal(driver)))


def _lookup_sql(name: str) -> str:
    if name == "account_id":
        return "left join costs_work_owners as by_account_id on u.account_id = by_account_id.account_id"
    namespace = "u.source" if name == "source_customer_id" else "''"
    return (
        f"left join identity.identifier_lookup as by_{name} on by_{name}.id_type = {literal(name)} "
        f"and by_{name}.id_namespace = {namespace} and by_{name}.raw_value = u.{name}"
    )
