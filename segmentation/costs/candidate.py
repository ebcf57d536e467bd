"""The costs candidate: everything that this run says the segments cost, for the gate to judge.

Belongs here: the order of the steps, the candidate tables and their summary. Does not belong here: the steps
themselves (`charges.py`, `drivers.py`, `weights.py`, `allocate.py`) or publishing (`publish.py`).
"""

from importlib.resources import files

from segmentation import contracts
from segmentation.costs.allocate import stage_allocations
from segmentation.costs.charges import stage_charges
from segmentation.costs.drivers import stage_drivers
from segmentation.costs.pools import UNATTRIBUTED, CostPools, check_segments
from segmentation.costs.weights import stage_weights
from segmentation.errors import CatalogError
from segmentation.run import Run, StageReport
from segmentation.warehouse import Connection, count, literal, transaction

#: Tables that are published; each has a candidate of the same shape.
TABLES: tuple[str, ...] = ("charges", "drivers_daily", "allocations", "reconciliation", "findings")

_CHARGES = """
insert into costs.candidate_charges
select
    source, origin_charge_id, charge_version, incurred_date, period_last_date, billing_period_start,
    is_correction, charge_category, service_name, effective_micros, billed_micros, residual_effective,
    residual_billed, billing_currency, 1, pool_key, commitment_discount_status, tag_value, ?, ?
from costs_work_charges
"""

_DRIVERS = """
insert into costs.candidate_drivers_daily
select
    d.driver_date, d.driver_key,
    u.driver_unit || case when d.allocation_view = 'fractional' then ' / ' || v.parts else '' end,
    d.allocation_view, d.segment_key, d.quantity, d.backfilled_quantity, ?, ?
from costs_work_drivers as d
inner join costs_work_units as u on d.driver_key = u.driver_key
inner join costs_work_views as v on d.allocation_view = v.allocation_view
"""

_ALLOCATIONS = """
insert into costs.candidate_allocations
select
    a.source, a.origin_charge_id, c.charge_version, c.incurred_date, c.pool_key, a.allocation_view,
    a.segment_key, c.method, a.allocated_ratio, a.driver_unit, a.driver_quantity, a.effective_micros,
    a.billed_micros, a.allocation_view = 'exclusive', a.reason, c.rule_version, ?, ?
from costs_work_allocations as a
inner join costs_work_charges as c on a.source = c.source and a.origin_charge_id = c.origin_charge_id
"""

#: From the tables that are judged, not from the working ones: a row lost on the way shows here.
_RECONCILIATION = """
insert into costs.candidate_reconciliation
with allocated as (
    select
        source, origin_charge_id, charge_version, allocation_view,
        sum(allocated_effective_micros) as effective_micros,
        sum(allocated_billed_micros) as billed_micros
    from costs.candidate_allocations group by all
)
select
    c.source,
    c.origin_charge_id,
    c.charge_version,
    v.allocation_view,
    v.allocation_view = 'exclusive',
    c.effective_micros,
    coalesce(a.effective_micros, 0),
    coalesce(a.effective_micros, 0) - c.effective_micros,
    c.billed_micros,
    coalesce(a.billed_micros, 0),
    coalesce(a.billed_micros, 0) - c.billed_micros,
    ?,
    ?
from costs.candidate_charges as c
cross join costs_work_views as v
left join allocated as a
    on
        c.source = a.source
        and c.origin_charge_id = a.origin_charge_id
        and c.charge_version = a.charge_version
        and v.allocation_view = a.allocation_view
"""

_FINDINGS = "insert into costs.candidate_findings select *, ?, ? from costs_work_findings"

#: One row: what the gate and the summary look at. Shares are by absolute spend, null where there is none.
_SUMMARY = """
create or replace table costs.candidate as
with charged as (
    select
        count(*) as charges,
        coalesce(sum(effective_micros), 0) as effective_micros,
        coalesce(sum(billed_micros), 0) as billed_micros,
        coalesce(sum(residual_effective), 0) as residual_effective,
        coalesce(sum(residual_billed), 0) as residual_billed,
        coalesce(sum(abs(cast(effective_micros as hugeint))), 0) as spend
    from costs.candidate_charges
),
allocated as (
    select
        count(*) as allocations,
        coalesce(sum(allocated_effective_micros) filter (where is_additive), 0) as effective_micros,
        coalesce(sum(allocated_billed_micros) filter (where is_additive), 0) as billed_micros,
        coalesce(
            sum(abs(cast(allocated_effective_micros as hugeint)))
                filter (where is_additive and segment_key = {unattributed}),
            0
        ) as unattributed
    from costs.candidate_allocations
),
differences as (
    select
        coalesce(
            max(greatest(
                abs(cast(difference_effective_micros as hugeint)), abs(cast(difference_billed_micros as hugeint))
            )),
            0
        ) as largest
    from costs.candidate_reconciliation where is_additive
),
found as (
    select
        count(*) filter (where finding = 'negative_idle') as negative_idle,
        count(*) filter (where finding = 'driver_mismatch') as driver_mismatches,
        count(*) filter (where finding = 'negative_driver') as negative_drivers
    from costs.candidate_findings
)
select
    c.charges,
    a.allocations,
    cast(c.effective_micros as hugeint) as charged_effective_micros,
    cast(a.effective_micros as hugeint) as allocated_effective_micros,
    cast(c.billed_micros as hugeint) as charged_billed_micros,
    cast(a.billed_micros as hugeint) as allocated_billed_micros,
    c.residual_effective,
    c.residual_billed,
    cast(d.largest as hugeint) as max_abs_difference_micros,
    a.unattributed / nullif(c.spend, 0) as unattributed_ratio,
    1 - a.unattributed / nullif(c.spend, 0) as allocation_coverage,
    cast($warn_below as double) as coverage_warn_below,
    cast($fail_below as double) as coverage_fail_below,
    f.negative_idle as negative_idle_findings,
    f.driver_mismatches as driver_mismatch_findings,
    f.negative_drivers as negative_driver_findings,
    cast($currency as varchar) as reporting_currency,
    cast($group as varchar) as costing_group,
    cast($rule_version as varchar) as rule_version,
    cast($run_id as varchar) as run_id,
    cast($recorded_at as timestamp) as recorded_at
from charged as c cross join allocated as a cross join differences as d cross join found as f
"""


def build_candidate(con: Connection, run: Run, pools: CostPools, costing_group: str | None = None) -> StageReport:
    """Allocate the bill and write the candidate tables, in one transaction.

    Args:
        con: The warehouse, open for writing.
        run: Charges whose period begins at or after its ``as_of``, and usage after it, are not seen.
        pools: What `pools.load_pools` read.
        costing_group: Exclusive group whose segments carry cost in the additive view; where left out, the
            group that ``segments.groups`` marks as costing.

    Raises:
        CatalogError: A pool names a segment that does not exist, or the costing group is not clear.
        SourceError: A charge is in another currency, or too large.
    """
    for stage in ("sources", "identity", "segments", "costs"):
        contracts.ensure_schema(con, stage)
    known = con.execute("select segment_key from segments.catalog union select segment_key from segments.versions")
    segments = {str(row[0]) for row in known.fetchall()}
    check_segments(pools, segments)
    group = costing_group or _costing_group(con)
    with transaction(con):
        stage_charges(con, run, pools, segments)
        stage_drivers(con, run, pools, group)
        stage_weights(con, pools)
        stage_allocations(con)
        _create_tables(con)
        for statement in (_CHARGES, _DRIVERS, _ALLOCATIONS, _RECONCILIATION, _FINDINGS):
            con.execute(statement, [run.run_id, run.recorded_at])
        con.execute(
            _SUMMARY.format(unattributed=literal(UNATTRIBUTED)),
            {
                "warn_below": pools.coverage.warn_below,
                "fail_below": pools.coverage.fail_below,
                "currency": pools.reporting_currency,
                "group": group,
                "rule_version": pools.rule_version,
                "run_id": run.run_id,
                "recorded_at": run.recorded_at,
            },
        )
        _drop_work_tables(con)
        candidate_id = contracts.stamp_candidate(con, "costs", run)
    return StageReport(candidate_id, _row_counts(con), _facts(con))


def _costing_group(con: Connection) -> str:
    """Return the group that the segment catalog marks as the one that splits costs; none without groups."""
    rows = con.execute("select group_key from segments.groups where is_costing order by group_key").fetchall()
    if len(rows) != 1 and count(con, "segments.groups"):
        raise CatalogError(
            f"{len(rows)} exclusive groups are marked as the one that splits costs",
            where="catalog/groups.yml",
            expected="costing: true on exactly one group",
            repair="correct the groups, then: strata validate",
        )
    return str(rows[0][0]) if rows else ""


def _create_tables(con: Connection) -> None:
    """Create the candidate tables empty, from the one text that says the shape of the published ones."""
    shape = files("segmentation.costs").joinpath("schema.sql").read_text(encoding="utf-8")
    for table in TABLES:
        is_view = con.execute(
            "select 1 from information_schema.tables "
            "where table_schema = 'costs' and table_name = ? and table_type = 'VIEW'",
            [f"candidate_{table}"],
        ).fetchall()
        con.execute(f"drop {'view' if is_view else 'table'} if exists costs.candidate_{table}")
        shape = shape.replace(f"costs.{table} (", f"costs.candidate_{table} (")
    con.execute(shape)


def _drop_work_tables(con: Connection) -> None:
    con.execute("drop view temp.costs_work_stays")
    names = con.execute(
        "select table_name from duckdb_tables() where temporary and starts_with(table_name, 'costs_work_') order by 1"
    ).fetchall()
    for (name,) in names:
        con.execute(f"drop table temp.{name}")


def _row_counts(con: Connection) -> dict[str, int]:
    return {table: count(con, f"costs.candidate_{table}") for table in TABLES}


def _facts(con: Connection) -> dict[str, object]:
    cursor = con.execute(
        "select charged_effective_micros, charged_billed_micros, allocation_coverage, unattributed_ratio, "
        "max_abs_difference_micros, negative_idle_findings, driver_mismatch_findings, negative_driver_findings, "
        "reporting_currency from costs.candidate"
    )
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchall()[0], strict=True))
