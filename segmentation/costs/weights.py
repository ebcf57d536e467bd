"""Weights: by which whole numbers the charges of one rule and period are shared out.

Belongs here: rules C3 and C4, one set of weights for all charges that share it. Does not belong here: the
arithmetic of sharing out (`allocate.py`) or where driver quantities come from (`drivers.py`).

A row's share is ``weight / total``. In view ``full`` the weights of a set add up to more than its total,
because a customer counts in every segment it is in while the total counts it once.
"""

from segmentation.costs.pools import IDLE, SHARE_DECIMALS, SPECIAL_ROWS, UNATTRIBUTED, CostPools
from segmentation.errors import StrataError
from segmentation.warehouse import Connection, literal

#: Largest weight for which BIGINT amount × weight still fits a HUGEINT: 2^127 / 2^63.
MAX_WEIGHT = 2**64 - 1

_SETS = """
create or replace temp table costs_work_sets as
select distinct weight_set, method, target, reason, rule_id, incurred_date, period_last_date
from costs_work_charges
qualify row_number() over (partition by weight_set order by incurred_date, period_last_date) = 1
"""

_WEIGHTS = """
create or replace temp table costs_work_weights (
    weight_set varchar, allocation_view varchar, segment_key varchar, weight hugeint, total hugeint,
    driver_unit varchar, driver_quantity bigint, reason varchar
)
"""

_TARGETS = """
insert into costs_work_weights
select s.weight_set, v.allocation_view, s.target, 1, 1, null, null, s.reason
from costs_work_sets as s cross join costs_work_views as v
where s.target is not null
"""

_FIXED = """
insert into costs_work_weights
select s.weight_set, v.allocation_view, f.segment_key, f.weight, sum(f.weight) over same_set, null, null, null
from costs_work_sets as s
inner join costs_work_fixed as f on s.rule_id = f.rule_id
cross join costs_work_views as v
where s.target is null and s.method = 'fixed' and f.weight > 0
window same_set as (partition by s.weight_set, v.allocation_view)
"""

_EVEN = """
insert into costs_work_weights
with active as (
    select s.weight_set, d.allocation_view, d.segment_key
    from costs_work_sets as s
    inner join costs_work_drivers as d on s.incurred_date = d.driver_date
    where
        s.target is null and s.method = 'even' and d.driver_key = 'members' and d.quantity > 0
        and d.segment_key not in ({special})
)
select
    weight_set, allocation_view, segment_key, 1, count(*) over (partition by weight_set, allocation_view),
    'segments', 1, null
from active
union all
select s.weight_set, v.allocation_view, {unattributed}, 1, 1, 'segments', 0, 'no_active_segment'
from costs_work_sets as s
cross join costs_work_views as v
where
    s.target is null and s.method = 'even'
    and not exists (
        select 1 from active as a
        where a.weight_set = s.weight_set and a.allocation_view = v.allocation_view
    )
"""

_QUANTITIES = """
create or replace temp table costs_work_quantities as
select s.weight_set, d.allocation_view, d.segment_key, cast(sum(d.quantity) as hugeint) as quantity
from costs_work_sets as s
inner join costs_work_rules as r on s.rule_id = r.rule_id
inner join costs_work_drivers as d
    on
        r.driver_key = d.driver_key
        and d.driver_date between s.incurred_date and s.period_last_date
where s.target is null and s.method = 'proportional'
group by all
having sum(d.quantity) > 0
"""

#: Per set and view: all that was used, counted once, and all that was there to be used.
_BASES = """
create or replace temp table costs_work_bases as
with used as (
    select
        weight_set,
        allocation_view,
        sum(quantity) as quantity
    from costs_work_quantities group by all
)
select
    s.weight_set,
    v.allocation_view,
    s.rule_id,
    s.incurred_date,
    r.pool_key,
    u.driver_unit,
    cast(r.idle_numerator as hugeint) as idle_numerator,
    cast(r.idle_denominator as hugeint) as idle_denominator,
    cast(coalesce(q.quantity, 0) as hugeint) as used,
    cast(r.capacity_per_day as hugeint) * u.scale * v.parts * (
        select count(*) from costs_work_days as d
        where d.driver_date between s.incurred_date and s.period_last_date
    ) as capacity
from costs_work_sets as s
inner join costs_work_rules as r on s.rule_id = r.rule_id
inner join costs_work_units as u on r.driver_key = u.driver_key
cross join costs_work_views as v
left join used as q
    on
        s.weight_set = q.weight_set
        and q.allocation_view = case when v.allocation_view = 'full' then 'exclusive' else v.allocation_view end
where s.target is null and s.method = 'proportional'
"""

_PROPORTIONAL = """
insert into costs_work_weights
with bases as (
    select
        *,
        case
            when capacity is not null then greatest(capacity - used, 0)
            else greatest(used, 1) * idle_numerator
        end as idle_weight,
        idle_denominator - idle_numerator as used_factor,
        used = 0 and capacity is null as has_no_driver
    from costs_work_bases
),
rows as (
    select b.weight_set, b.allocation_view, q.segment_key, q.quantity * b.used_factor as weight, q.quantity,
        case when q.segment_key = {unattributed} then 'unknown_customer' end as reason
    from bases as b
    inner join costs_work_quantities as q
        on b.weight_set = q.weight_set and b.allocation_view = q.allocation_view
    union all
    select weight_set, allocation_view, {idle}, idle_weight,
        case when capacity is not null then idle_weight end, 'idle'
    from bases
    union all
    select weight_set, allocation_view, {unattributed}, used_factor, 0, 'no_driver'
    from bases where has_no_driver
)
select
    r.weight_set,
    r.allocation_view,
    r.segment_key,
    r.weight,
    case
        when b.has_no_driver then b.idle_denominator
        else b.used * b.used_factor + b.idle_weight
    end,
    b.driver_unit,
    cast(r.quantity as bigint),
    r.reason
from rows as r
inner join bases as b on r.weight_set = b.weight_set and r.allocation_view = b.allocation_view
where r.weight > 0
"""

#: More used than was there: idle is 0, and the sources disagree, which nobody must miss.
_NEGATIVE_IDLE = """
insert into costs_work_findings
select 'negative_idle', pool_key, incurred_date, cast(capacity as bigint), cast(used as bigint)
from costs_work_bases
where allocation_view = 'exclusive' and used > capacity
"""


def stage_weights(con: Connection, pools: CostPools) -> None:
    """Write temp table ``costs_work_weights`` for the charges and drivers that are staged.

    Raises:
        StrataError: A driver's quantities are too large to be multiplied exactly.
    """
    special = ", ".join(map(literal, SPECIAL_ROWS))
    names = {"special": special, "unattributed": literal(UNATTRIBUTED), "idle": literal(IDLE)}
    con.execute(_SETS)
    con.execute(_WEIGHTS)
    con.execute("create or replace temp table costs_work_fixed (rule_id integer, segment_key varchar, weight bigint)")
    for position, pool in enumerate(pools.pools):
        for segment, share in (pool.weights or {}).items():
            con.execute(
                "insert into costs_work_fixed values (?, ?, ?)",
                [position, segment, int(share.scaleb(SHARE_DECIMALS))],
            )
    con.execute(_TARGETS)
    con.execute(_FIXED)
    con.execute(_EVEN.format(**names))
    con.execute(_QUANTITIES)
    con.execute(_BASES)
    con.execute(_PROPORTIONAL.format(**names))
    con.execute(_NEGATIVE_IDLE)
    check_weights(con)


def check_weights(con: Connection) -> None:
    """Check that no weight can overflow the exact arithmetic of `allocate.py`.

    Raises:
        StrataError: One would.
    """
    rows = con.execute(
        "select weight_set, allocation_view, driver_unit from costs_work_weights group by all "
        "having greatest(max(total), sum(weight)) > cast(? as hugeint) order by weight_set limit 1",
        [MAX_WEIGHT],
    ).fetchall()
    if rows:
        weight_set, view, unit = rows[0]
        raise StrataError(
            f"the {unit} of {weight_set} add up to more than {MAX_WEIGHT}",
            where=f"weights of view {view}",
            expected="driver quantities that can be multiplied with money without loss",
            repair="correct the usage that was landed, or use a coarser driver in catalog/cost_pools.yml",
        )
