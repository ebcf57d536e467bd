"""A small company written straight into the tables that the stage reads."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from segmentation import contracts
from segmentation.costs.candidate import build_candidate
from segmentation.costs.pools import CostPools, load_pools
from segmentation.run import Run, StageReport
from segmentation.sources.tables import ensure_entity_tables
from segmentation.warehouse import Connection

DAY = datetime(2026, 10, 5)
GROUP = "tier"
FILLERS: dict[str, Any] = {"VARCHAR": "x", "TIMESTAMP": DAY, "JSON": "{}", "BOOLEAN": False}
OWNED = {"description": "for a test", "owner": "team:test"}


class Company:
    """Writes rows with as few words as a test needs."""

    def __init__(self, con: Connection, run: Run, folder: Path) -> None:
        self.con = con
        self.run = run
        self.folder = folder
        self.lines = 0
        self.required: dict[str, dict[str, str]] = {}
        for stage in ("sources", "identity", "segments", "costs"):
            contracts.ensure_schema(con, stage)
        ensure_entity_tables(con)

    def insert(self, table: str, **values: Any) -> None:
        """Insert a row; required columns that the test does not care about get a filler."""
        self.lines += 1
        for name, kind in self._required(table).items():
            values.setdefault(name, FILLERS.get(kind, self.lines))
        names = ", ".join(values)
        marks = ", ".join("?" for _ in values)
        self.con.execute(f"insert into {table} ({names}) values ({marks})", list(values.values()))

    def _required(self, table: str) -> dict[str, str]:
        if table not in self.required:
            columns = self.con.execute(f"describe {table}").fetchall()
            self.required[table] = {name: kind for name, kind, null, *_ in columns if null == "NO"}
        return self.required[table]

    def segment(self, key: str, group: str | None = GROUP) -> None:
        self.insert("segments.catalog", segment_key=key, lifecycle="active", group_key=group, precedence=1)

    def customer(self, key: str, created_at: datetime = DAY, first_seen_at: datetime | None = None) -> None:
        self.insert(
            "identity.customers",
            customer_id=key,
            status="active",
            created_at=created_at,
            first_seen_at=first_seen_at or created_at,
        )
        self.identifier("user_id", key, key)

    def identifier(self, id_type: str, value: str, customer: str, namespace: str = "") -> None:
        self.insert(
            "identity.identifier_lookup",
            id_type=id_type,
            id_namespace=namespace,
            raw_value=value,
            customer_id=customer,
        )

    def judged(self, moment: datetime) -> None:
        """Segments were published as of ``moment``."""
        run = Run(f"segments-{moment.isoformat()}", moment, moment)
        contracts.stamp_candidate(self.con, "segments", run)
        contracts.mark_published(self.con, "segments", run)

    def member(self, customer: str, segment: str, start: datetime = DAY, end: datetime | None = None) -> None:
        self.insert(
            "segments.membership_history",
            customer_id=customer,
            segment_key=segment,
            valid_from=start,
            valid_to=end,
        )

    def people(self, **sizes: int) -> None:
        """Customers ``vip_0…``, each in the segment that it is named after, from the start of ``DAY``."""
        for segment, size in sizes.items():
            for number in range(size):
                self.customer(f"{segment}_{number}")
                self.member(f"{segment}_{number}", segment)

    def request(self, moment: datetime = DAY, times: int = 1, **values: Any) -> None:
        for _ in range(times):
            self.lines += 1
            row = {
                "request_id": f"q{self.lines}", "occurred_at": moment, "service": "api", "status_code": 200,
                "source": "gateway", "file_id": 1, "line": self.lines,
            }  # fmt: skip
            self.insert("sources.requests", **(row | values))

    def charge(self, key: str, cost: str, start: datetime = DAY, days: int = 1, **values: Any) -> None:
        self.lines += 1
        row = {
            "charge_id": key, "billing_period_start": start.replace(day=1),
            "billing_period_end": (start.replace(day=1) + timedelta(days=32)).replace(day=1),
            "charge_period_start": start, "charge_period_end": start + timedelta(days=days),
            "charge_category": "Usage", "billed_cost": Decimal(cost), "effective_cost": Decimal(cost),
            "billing_currency": "USD", "source": "cloud", "file_id": 1, "line": self.lines,
        }  # fmt: skip
        self.insert("sources.charges", **(row | values))

    def pools(self, *pools: dict[str, Any], **settings: Any) -> CostPools:
        """Pools from a file, as a user would write them; each takes the service of its own name if it says none."""
        file = self.folder / "cost_pools.yml"
        complete = [{**OWNED, "match": {"service_name": pool["pool"]}, **pool} for pool in pools]
        content = {
            "rule_version": "v1",
            "reporting_currency": "USD",
            "pools": complete,
            "default_pool": {"pool": "unmatched", **OWNED},
        }
        # A copy by value: what two pools share would be written as an anchor, which catalog files must not have.
        content = json.loads(json.dumps(content | settings, default=str))
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_pools(file)

    def build(self, pools: CostPools, run: Run | None = None) -> StageReport:
        return build_candidate(self.con, run or self.run, pools, GROUP)

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return self.con.execute(sql, list(parameters)).fetchall()

    def allocated(
        self, charge: str | None = None, view: str = "exclusive", amount: str = "effective"
    ) -> dict[str, int]:
        """Micros by row of the candidate."""
        return dict(
            self.rows(
                f"select segment_key, sum(allocated_{amount}_micros)::bigint from costs.candidate_allocations "
                "where allocation_view = ? and (origin_charge_id = ? or ? is null) group by 1 order by 1",
                [view, charge, charge],
            )
        )

    def summary(self) -> dict[str, Any]:
        cursor = self.con.execute("select * from costs.candidate")
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchall()[0], strict=True))


@pytest.fixture
def con() -> Iterator[Connection]:
    """A warehouse in memory, set as `Warehouse` sets its file: most tests here need no file."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")
        yield connection


@pytest.fixture(scope="session")
def new_company() -> type[Company]:
    """Make companies in a warehouse of their own."""
    return Company


@pytest.fixture
def company(con: Connection, run: Run, tmp_path: Path) -> Company:
    return Company(con, run, tmp_path)
