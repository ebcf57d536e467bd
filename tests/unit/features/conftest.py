"""A warehouse in which dbt has just built the feature table, without dbt."""

from collections.abc import Callable
from pathlib import Path

import pytest

from segmentation.contracts import ensure_schema
from segmentation.features.contract import FeatureContract, load_contract
from segmentation.warehouse import Connection

ROOT = Path(__file__).resolve().parents[3]

#: Fills the candidate with these customers, as of a moment.
Build = Callable[..., None]


@pytest.fixture(scope="session")
def contract() -> FeatureContract:
    return load_contract(ROOT / "dbt_project")


@pytest.fixture
def build(con: Connection, contract: FeatureContract) -> Build:
    """Stand in for dbt: build the candidate with the contract's columns, and the freshness of each concern."""
    ensure_schema(con, "identity")
    ensure_schema(con, "features")
    con.execute("create schema intermediate")
    con.execute("create table intermediate.int_features__freshness (concern varchar, max_event_at timestamp)")
    con.execute("insert into intermediate.int_features__freshness values ('orders', timestamp '2026-10-31')")
    con.execute("insert into intermediate.int_features__freshness values ('support', timestamp '2026-01-01')")

    def build(*customers: str, **features: object) -> None:
        for name, kind in con.execute(
            "select table_name, replace(table_type, 'BASE ', '') from information_schema.tables "
            "where table_schema = 'features' and table_name in "
            "('candidate_customer_features', 'candidate_account_features')"
        ).fetchall():
            con.execute(f"drop {kind} features.{name}")
        assert contract.accounts
        of_accounts = ", ".join(f"{name} {type_}" for name, type_ in contract.accounts.types.items())
        con.execute(f"create table features.candidate_account_features ({of_accounts})")
        columns = ", ".join(f"{name} {type_}" for name, type_ in contract.types.items())
        con.execute(f"create table features.candidate_customer_features ({columns})")
        for customer_id in customers:
            row = {"customer_id": customer_id, "as_of": "2026-11-01", "orders_total": 0} | features
            con.execute(
                f"insert into features.candidate_customer_features ({', '.join(row)}) "
                f"values ({', '.join('?' * len(row))})",
                list(row.values()),
            )

    return build


@pytest.fixture
def know(con: Connection) -> Callable[..., None]:
    """Make customers known to identity."""

    def know(*customers: str, status: str = "active") -> None:
        required = {
            name: {"VARCHAR": "'-'", "TIMESTAMP": "timestamp '2026-01-01'"}.get(type_, "0")
            for name, type_, nullable, *_ in con.execute("describe identity.customers").fetchall()
            if nullable == "NO"
        }
        for customer_id in customers:
            row = required | {"customer_id": f"'{customer_id}'", "status": f"'{status}'"}
            con.execute(f"insert into identity.customers ({', '.join(row)}) values ({', '.join(row.values())})")

    return know
