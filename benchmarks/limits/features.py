"""The limit of stage ``features``: one hand-written statement from sources and identity to the wide table.

Left out: dbt, tables between the steps, data tests, freshness, the measured candidate and its swap. It uses what a
person knows of the sample: which identifiers a source has, and that each entity has one source.
"""

from importlib.resources import files

from benchmarks.limits.scratch import find_customer, newest_version, open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.warehouse import Connection

#: Identifiers of the rows of each entity, best first.
_CARRIED = {
    "events": "user_id email device_id anonymous_id",
    "requests": "user_id",
    "orders": "source_customer_id user_id email phone",
    "tickets": "user_id email",
    "members": "user_id email",
    "forms": "email anonymous_id",
}


def run_limit(settings: Settings, run: Run) -> None:
    """Compute the feature table in one statement."""
    text = files("benchmarks.limits").joinpath("features.sql").read_text(encoding="utf-8")
    names = {
        "orders_now": newest_version("orders", "order_id", "coalesce(updated_at, ordered_at) <= $as_of"),
        "lines_now": newest_version("order_lines", "order_id, order_line_id", "ordered_at <= $as_of"),
        "tickets_now": newest_version("tickets", "ticket_id", "updated_at <= $as_of"),
        "subscriptions_now": newest_version("subscriptions", "subscription_id", "updated_at <= $as_of"),
        "invoices_now": newest_version("invoices", "invoice_id", "updated_at <= $as_of"),
        "accounts_now": newest_version("accounts", "account_id", "updated_at <= $as_of"),
    }
    for name, columns in _CARRIED.items():
        names[f"{name}_customer"], names[f"{name}_joins"] = find_customer(columns)
    with open_scratch(settings) as con:
        con.execute(text.format(**names), {"as_of": run.as_of})


def agreement(con: Connection) -> dict[str, int]:
    """Return how many rows of the stage the limit lacks or states otherwise."""
    columns = ", ".join(
        row[0] for row in con.execute("describe select * from house.features.customer_features").fetchall()
    )
    theirs = f"select {columns} from house.features.customer_features"
    return {
        "stage_rows": con.execute("select count(*) from house.features.customer_features").fetchall()[0][0],
        "missing": con.execute(
            f"select count(*) from ({theirs} except select {columns} from customer_features)"
        ).fetchall()[0][0],
    }
