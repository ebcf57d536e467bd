"""The limit of stage ``costs``: usage by customer and day, joined to segments, and the bill shared out by it.

Left out: membership over time, whole micros that add up, reconciliation, findings, pools by a catalog.
"""

from importlib.resources import files

from benchmarks.limits.scratch import find_customer, newest_version, open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.warehouse import Connection

_CARRIED = {
    "events": "user_id email device_id anonymous_id",
    "requests": "user_id",
    "orders": "source_customer_id user_id email phone",
}


def run_limit(settings: Settings, run: Run) -> None:
    """Compute drivers by day and segment, and share the bill out by them."""
    names = {
        "orders_now": newest_version("orders", "order_id", "ordered_at <= $as_of"),
        "charges_now": newest_version("charges", "charge_id", "charge_period_start < $as_of"),
    }
    for name, columns in _CARRIED.items():
        names[f"{name}_customer"], names[f"{name}_joins"] = find_customer(columns)
    text = files("benchmarks.limits").joinpath("costs.sql").read_text(encoding="utf-8").format(**names)
    with open_scratch(settings) as con:
        for statement in filter(str.strip, text.split(";\n")):
            con.execute(statement, {"as_of": run.as_of} if "$as_of" in statement else None)


def agreement(con: Connection) -> dict[str, int]:
    """Return the usage of the costing group's segments as the limit and as the stage count it."""
    found = {}
    for driver in ("requests", "events", "orders"):
        found[f"limit_{driver}"] = con.execute(
            "select sum(quantity)::bigint from drivers_daily where allocation_view = 'exclusive' and driver_key = ?",
            [driver],
        ).fetchall()[0][0]
        found[f"stage_{driver}"] = con.execute(
            "select sum(quantity)::bigint from house.costs.drivers_daily "
            "where allocation_view = 'exclusive' and driver_key = ?",
            [driver],
        ).fetchall()[0][0]
    return found
