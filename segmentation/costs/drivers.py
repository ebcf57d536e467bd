"""Drivers: how much of what each segment used or was on each day that a charge needs.

Belongs here: which days and which drivers are needed, and whether what was counted adds up. Does not belong
here: how usage (`usage.py`) and members (`members.py`) are counted.
"""

from segmentation.costs.members import FRACTION_PARTS, stage_members
from segmentation.costs.memberships import SCOPES, stage_memberships
from segmentation.costs.pools import CostPools
from segmentation.costs.usage import DRIVERS, count_negative, stage_usage
from segmentation.run import Run
from segmentation.warehouse import Connection, count

#: Counted whether or not a pool needs them: unit costs are also given per order and per 1,000 requests.
UNIT_DRIVERS: tuple[str, ...] = ("orders", "requests")

_DAYS = """
create or replace temp table costs_work_days as
select distinct cast(day as date) as driver_date
from (
    select unnest(generate_series(
        cast(incurred_date as timestamp), cast(period_last_date as timestamp), interval 1 day
    )) as day
    from (select distinct incurred_date, period_last_date from costs_work_charges)
)
where day < ?
"""

_MISMATCHES = """
insert into costs_work_findings
select 'driver_mismatch', driver_key, driver_date, coalesce(t.quantity, 0), coalesce(d.quantity, 0)
from costs_work_totals as t
full join (
    select driver_date, driver_key, sum(quantity) as quantity
    from costs_work_drivers where allocation_view = 'exclusive' and driver_key <> 'members' group by all
) as d using (driver_date, driver_key)
where coalesce(t.quantity, 0) <> coalesce(d.quantity, 0)
"""


def stage_drivers(con: Connection, run: Run, pools: CostPools, costing_group: str) -> None:
    """Write temp tables ``costs_work_drivers`` and ``costs_work_findings`` for the charges that are staged.

    A quantity counts once in view ``exclusive``, once per membership in ``full``, and in parts of
    1/``FRACTION_PARTS`` in ``fractional``. Where the exclusive quantities do not add up to the source's,
    the finding ``driver_mismatch`` says so.
    """
    views: dict[str, int] = {view: FRACTION_PARTS if view == "fractional" else 1 for view in pools.views}
    con.execute(_DAYS, [run.as_of])
    con.execute("create or replace temp table costs_work_views (allocation_view varchar, scope varchar, parts bigint)")
    con.executemany(
        "insert into costs_work_views values (?, ?, ?)", [[view, SCOPES[view], parts] for view, parts in views.items()]
    )
    con.execute(
        "create or replace temp table costs_work_drivers (driver_date date, driver_key varchar, "
        "allocation_view varchar, segment_key varchar, quantity bigint, backfilled_quantity bigint)"
    )
    con.execute(
        "create or replace temp table costs_work_totals (driver_date date, driver_key varchar, quantity hugeint)"
    )
    con.execute(
        "create or replace temp table costs_work_findings (finding varchar, subject varchar, finding_date date, "
        "expected_quantity bigint, found_quantity bigint)"
    )
    con.execute("create or replace temp table costs_work_units (driver_key varchar, driver_unit varchar, scale bigint)")
    con.executemany(
        "insert into costs_work_units values (?, ?, ?)",
        [[key, driver.unit, driver.scale] for key, driver in DRIVERS.items()],
    )
    stage_memberships(con, run, pools, costing_group)
    stage_members(con)
    if count(con, "costs_work_days"):
        stage_usage(con, run, sorted({*pools.drivers, *UNIT_DRIVERS}))
    con.execute(_MISMATCHES)
    if "compute_ms" in pools.drivers:
        for day, rows in count_negative(con):
            con.execute(
                "insert into costs_work_findings values ('negative_driver', 'compute_ms', ?, 0, ?)", [day, rows]
            )
