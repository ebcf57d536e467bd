"""Allocation by largest remainder, in integers.

Belongs here: rule C2, in SQL for charges and in Python for the few rows of a report. Does not belong here:
what the weights are (`weights.py`). Algorithm: Hamilton's method of apportionment: everybody gets the floor
of the exact share, and what is left over goes one unit each to the largest fractions, ties by key.
"""

from collections.abc import Mapping

from segmentation.warehouse import Connection

#: The sign is put back at the end, so that a credit is shared out exactly like a charge.
_ALLOCATE = """
create or replace temp table costs_work_allocations as
with weights as (
    select *, sum(weight) over (partition by weight_set, allocation_view) as all_weights
    from costs_work_weights
),
sized as (
    select
        c.source,
        c.origin_charge_id,
        w.allocation_view,
        w.segment_key,
        w.weight,
        w.total,
        w.all_weights,
        w.driver_unit,
        w.driver_quantity,
        w.reason,
        sign(c.effective_micros) as effective_sign,
        sign(c.billed_micros) as billed_sign,
        abs(cast(c.effective_micros as hugeint)) as effective,
        abs(cast(c.billed_micros as hugeint)) as billed
    from costs_work_charges as c
    inner join weights as w on c.weight_set = w.weight_set
),
floored as (
    select
        *,
        effective * weight // total as effective_floor,
        effective * weight % total as effective_rest,
        billed * weight // total as billed_floor,
        billed * weight % total as billed_rest,
        {effective_target} as effective_target,
        {billed_target} as billed_target
    from sized
),
ranked as (
    select
        *,
        effective_target - sum(effective_floor) over same_charge as effective_left,
        billed_target - sum(billed_floor) over same_charge as billed_left,
        row_number() over (same_charge order by effective_rest desc, segment_key) as effective_rank,
        row_number() over (same_charge order by billed_rest desc, segment_key) as billed_rank
    from floored
    window same_charge as (partition by source, origin_charge_id, allocation_view)
)
select
    source,
    origin_charge_id,
    allocation_view,
    segment_key,
    cast(weight as double) / cast(total as double) as allocated_ratio,
    driver_unit,
    driver_quantity,
    reason,
    cast(
        effective_sign * (effective_floor + case when effective_rank <= effective_left then 1 else 0 end) as bigint
    ) as effective_micros,
    cast(
        billed_sign * (billed_floor + case when billed_rank <= billed_left then 1 else 0 end) as bigint
    ) as billed_micros
from ranked
"""


def _target_sql(amount: str) -> str:
    """What the rows of a charge and view must add up to: the amount, or in view full its multiple."""
    whole, rest = f"{amount} * all_weights // total", f"{amount} * all_weights % total"
    return f"{whole} + case when {rest} >= total - {rest} then 1 else 0 end"


def stage_allocations(con: Connection) -> None:
    """Write temp table ``costs_work_allocations`` from staged charges and weights, both amounts alike."""
    con.execute(_ALLOCATE.format(effective_target=_target_sql("effective"), billed_target=_target_sql("billed")))


def apportion(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Share out a whole amount by whole weights, so that the parts add up to it.

    Args:
        amount: In any unit; a negative one is shared out like its opposite.
        weights: Not negative, and not all 0.

    Raises:
        ValueError: The weights are negative or all 0.
    """
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise ValueError("weights must not be negative, and not all 0")
    size, sign = abs(amount), -1 if amount < 0 else 1
    parts = {key: size * weight // total for key, weight in weights.items()}
    left = size - sum(parts.values())
    for key in sorted(weights, key=lambda key: (-(size * weights[key] % total), key))[:left]:
        parts[key] += 1
    return {key: sign * part for key, part in parts.items()}


def round_rows(micros: Mapping[str, int], unit: int) -> dict[str, int]:
    """Round the rows of a report to whole units, so that they add up to the rounded total.

    Args:
        micros: Amounts by row key; any sign.
        unit: Micros of one unit, 10,000 for cents.

    Returns:
        Units by row key: each the floor or the ceiling of its exact value, the largest fractions up.
    """
    floors = {key: amount // unit for key, amount in micros.items()}
    left = round_half_even(sum(micros.values()), unit) - sum(floors.values())
    for key in sorted(micros, key=lambda key: (-(micros[key] % unit), key))[:left]:
        floors[key] += 1
    return floors


def round_half_even(amount: int, unit: int) -> int:
    """Return ``amount / unit`` as a whole number, halves to even, exactly."""
    whole, rest = divmod(amount, unit)
    return whole + (1 if 2 * rest > unit or (2 * rest == unit and whole % 2) else 0)
