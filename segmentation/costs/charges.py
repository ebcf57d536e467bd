"""Charges: the newest statement of every line of the bill, in whole micros, each in one pool.

Belongs here: choosing the version, quantising (rule C1), refusing other currencies, finding the pool. Does
not belong here: whom a charge is shared out to (`weights.py`). Source of the columns: FOCUS, where the
effective cost is amortised and the billed cost is cash.
"""

from segmentation.costs.matching import DEFAULT_RULE, rule_sql, tag_sql
from segmentation.costs.pools import IDLE, UNATTRIBUTED, CostPools
from segmentation.errors import SourceError
from segmentation.run import Run
from segmentation.warehouse import Connection, literal, table_exists

#: Whole units of a currency whose micros still fit a BIGINT.
MAX_UNITS = 9_223_372_036_854

_NEWEST = """
create or replace temp table costs_work_newest as
select
    *,
    cast(charge_period_start as date) as incurred_date,
    greatest(
        cast(charge_period_start as date),
        cast(charge_period_end - interval 1 microsecond as date)
    ) as period_last_date
from (
    select *, count(*) over (partition by source, charge_id) as charge_version
    from sources.charges
    qualify row_number() over (partition by source, charge_id order by file_id desc, line desc) = 1
)
where charge_period_start < ?
"""

_RULES = """
create or replace temp table costs_work_rules (
    rule_id integer, pool_key varchar, method varchar, driver_key varchar, target varchar, reason varchar,
    idle_numerator bigint, idle_denominator bigint, capacity_per_day bigint, idles_unused boolean,
    rule_version varchar
)
"""

_TAG_VALUES = """
create or replace temp table costs_work_tag_values (rule_id integer, tag_value varchar, segment_key varchar)
"""


def quantise_sql(cost: str) -> str:
    """Return an expression for the whole micros of a decimal cost, halves to even, exactly."""
    scaled = f"({cost} * 1000000)"
    rest = f"({scaled} - floor({scaled}))"
    up = f"{rest} > 0.5 or ({rest} = 0.5 and floor({scaled}) % 2 <> 0)"
    return f"cast(floor({scaled}) + case when {up} then 1 else 0 end as bigint)"


def residual_sql(cost: str, micros: str) -> str:
    """Return an expression for what quantising left of a cost, in units of the currency."""
    return f"cast({cost} - {micros} * cast(0.000001 as decimal(7, 6)) as decimal(38, 12))"


def stage_charges(con: Connection, run: Run, pools: CostPools, known_segments: set[str]) -> None:
    """Write temp tables ``costs_work_rules`` and ``costs_work_charges``.

    A charge is there in its newest version, if its period begins before the run's ``as_of``; the number of
    versions seen is its version. ``weight_set`` names the weights it is shared out by.

    Raises:
        SourceError: A charge is in another currency than the reporting currency (rule C9), or too large.
    """
    _write_rules(con, pools)
    if table_exists(con, "sources", "charges"):
        con.execute(_NEWEST, [run.as_of])
    else:
        con.execute(_EMPTY)
    _check_currency(con, pools)
    _check_size(con)
    con.execute("create or replace temp table costs_work_segments (segment_key varchar)")
    if known_segments:
        con.executemany("insert into costs_work_segments values (?)", [[key] for key in sorted(known_segments)])
    con.execute(_charges_sql(pools))


def _write_rules(con: Connection, pools: CostPools) -> None:
    rows: list[list[object]] = [
        [DEFAULT_RULE, pools.default_pool.pool, "direct", None, UNATTRIBUTED, "no_pool", 0, 1, None, True,
         pools.rule_version]
    ]  # fmt: skip
    for position, pool in enumerate(pools.pools):
        ratio = pool.idle.ratio if pool.idle else None
        numerator, denominator = ratio.as_integer_ratio() if ratio is not None else (0, 1)
        rows.append(
            [position, pool.pool, pool.method, pool.driver, pool.segment, None, numerator, denominator,
             pool.idle.capacity if pool.idle else None, pool.unused_commitment == "idle",
             pool.rule_version or pools.rule_version]
        )  # fmt: skip
    con.execute(_RULES)
    con.executemany("insert into costs_work_rules values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    con.execute(_TAG_VALUES)
    for position, pool in enumerate(pools.pools):
        for value, segment in (pool.tag_values or {}).items():
            con.execute("insert into costs_work_tag_values values (?, lower(trim(?)), ?)", [position, value, segment])


def _charges_sql(pools: CostPools) -> str:
    effective, billed = quantise_sql("effective_cost"), quantise_sql("billed_cost")
    return f"""
create or replace temp table costs_work_charges as
with matched as (
    select *, {rule_sql(pools)} as rule_id from costs_work_newest
),
tagged as (
    select *, {tag_sql(pools)} as tag_value, {effective} as effective_micros, {billed} as billed_micros
    from matched
),
targeted as (
    select
        c.*,
        r.pool_key,
        r.method,
        r.rule_version,
        case
            when r.idles_unused and lower(c.commitment_discount_status) = 'unused' then {literal(IDLE)}
            when r.method <> 'direct' then null
            when r.target is not null then r.target
            else coalesce(t.segment_key, s.segment_key, {literal(UNATTRIBUTED)})
        end as target,
        case
            when r.idles_unused and lower(c.commitment_discount_status) = 'unused' then 'unused_commitment'
            when r.method <> 'direct' or coalesce(t.segment_key, s.segment_key) is not null then null
            when r.target is not null then r.reason
            when c.tag_value is null then 'no_tag'
            else 'unknown_tag'
        end as reason
    from tagged as c
    inner join costs_work_rules as r on c.rule_id = r.rule_id
    left join costs_work_segments as s on lower(c.tag_value) = s.segment_key
    left join costs_work_tag_values as t on c.rule_id = t.rule_id and lower(c.tag_value) = t.tag_value
)
select
    source,
    charge_id as origin_charge_id,
    cast(charge_version as integer) as charge_version,
    incurred_date,
    period_last_date,
    cast(billing_period_start as date) as billing_period_start,
    coalesce(lower(charge_class) = 'correction', false) as is_correction,
    charge_category,
    service_name,
    effective_micros,
    billed_micros,
    {residual_sql("effective_cost", "effective_micros")} as residual_effective,
    {residual_sql("billed_cost", "billed_micros")} as residual_billed,
    billing_currency,
    pool_key,
    commitment_discount_status,
    tag_value,
    rule_id,
    method,
    rule_version,
    target,
    reason,
    case
        when target is not null then 'target:' || target || ':' || coalesce(reason, '')
        when method = 'fixed' then 'fixed:' || rule_id
        when method = 'even' then 'even:' || incurred_date
        else 'driver:' || rule_id || ':' || incurred_date || ':' || period_last_date
    end as weight_set
from targeted
"""


#: What a warehouse without any bill has.
_EMPTY = """
create or replace temp table costs_work_newest (
    source varchar, charge_id varchar, charge_version bigint, incurred_date date, period_last_date date,
    billing_period_start timestamp, charge_category varchar, charge_class varchar, provider_name varchar,
    service_category varchar, service_name varchar, billed_cost decimal(38, 12),
    effective_cost decimal(38, 12), billing_currency varchar, commitment_discount_status varchar, tags json,
    file_id bigint, line bigint
)
"""


def _place(con: Connection, file_id: int, line: int) -> str:
    paths = con.execute("select path from sources.files where file_id = ?", [file_id]).fetchall()
    return f"{paths[0][0] if paths else f'sources.charges, file {file_id}'}:{line}"


def _check_currency(con: Connection, pools: CostPools) -> None:
    foreign = con.execute(
        "select billing_currency, file_id, line, count(*) over () from costs_work_newest "
        "where billing_currency <> ? order by file_id, line limit 1",
        [pools.reporting_currency],
    ).fetchall()
    if foreign:
        currency, file_id, line, total = foreign[0]
        raise SourceError(
            f"{total} charges are not in the reporting currency; the first is in {currency}",
            where=_place(con, file_id, line),
            expected=f"charges in {pools.reporting_currency} ({pools.where(('reporting_currency',)) or 'cost pools'})",
            repair=f"set reporting_currency to {currency}, or convert the costs in the source's mapping",
        )


def _check_size(con: Connection) -> None:
    huge = con.execute(
        "select charge_id, file_id, line from costs_work_newest "
        "where abs(effective_cost) > ? or abs(billed_cost) > ? order by file_id, line limit 1",
        [MAX_UNITS, MAX_UNITS],
    ).fetchall()
    if huge:
        charge_id, file_id, line = huge[0]
        raise SourceError(
            f"the charge {charge_id} is too large to be held in micros",
            where=_place(con, file_id, line),
            expected=f"costs of at most {MAX_UNITS} units of the currency",
            repair="correct the bill, or its mapping, and land it again",
        )
