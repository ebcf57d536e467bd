"""A small company: features that tests set by hand and a catalog that tests write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from segmentation import contracts
from segmentation.run import Run, StageReport
from segmentation.segments.candidate import build_candidate
from segmentation.segments.catalog import Catalog, load_catalog
from segmentation.segments.publish import publish
from segmentation.segments.rivalry import ranks_sql
from segmentation.warehouse import Connection

if TYPE_CHECKING:
    from .shop import Shop

TYPES = {
    "customer_id": "string",
    "as_of": "timestamp",
    "orders_90d": "bigint",
    "mrr_micros": "bigint",
    "csat_mean": "double",
    "plan": "string",
    "country": "string",
    "is_known": "boolean",
    "last_order_at": "timestamp",
    "signed_up_on": "date",
    "residency_region": "string",
    "consented_purposes": "varchar[]",
}
START = datetime(2026, 11, 1)


@dataclass
class Company:
    """The warehouse and the catalog of a test."""

    con: Connection
    folder: Path
    types: dict[str, str] = field(default_factory=lambda: dict(TYPES))
    runs: int = 0

    def write(self, key: str, rule: str | None = "true", **keys: Any) -> Path:
        """Write a segment's file; keys given as None are left out."""
        facts: dict[str, Any] = {
            "key": key,
            "name": key.title(),
            "description": "A segment of a test.",
            "owner": "{team: growth, contact: growth@strata.example}",
            "objective": "insight",
            "action": "look",
            "measure": "looks",
            "lifecycle": "active",
            "review_by": "2027-01-31",
            **keys,
        }
        lines = [f"{name}: {value}" for name, value in facts.items() if value is not None]
        if rule is not None:
            lines += ["rule: |", *("  " + line for line in rule.splitlines())]
        path = self.folder / "segments" / f"{key}.yml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def remove(self, key: str) -> None:
        """Delete a segment's file."""
        (self.folder / "segments" / f"{key}.yml").unlink()

    def write_groups(self, text: str) -> None:
        """Write groups.yml."""
        (self.folder / "groups.yml").write_text(text, encoding="utf-8")

    def write_list(self, name: str, text: str) -> None:
        """Write a list file."""
        (self.folder / "lists" / name).write_text(text, encoding="utf-8")

    def catalog(self) -> Catalog:
        """Load the catalog."""
        return load_catalog(self.folder, self.types)

    def features(self, *rows: dict[str, Any], as_of: datetime = START) -> None:
        """Replace the features: one row each, columns left out are null, purposes empty."""
        columns = ", ".join(f"{name} {kind.replace('string', 'varchar')}" for name, kind in self.types.items())
        self.con.execute("create schema if not exists features")
        self.con.execute(f"create or replace table features.customer_features ({columns})")
        for row in rows:
            full = {"as_of": as_of, "consented_purposes": [], **row}
            marks = ", ".join("?" * len(full))
            self.con.execute(
                f"insert into features.customer_features ({', '.join(full)}) values ({marks})", list(full.values())
            )

    def fill(self, table: str, **values: Any) -> None:
        """Insert a row of another stage's table; required columns that a test does not care for get something."""
        schema, name = table.split(".")
        columns = self.rows(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = ? and table_name = ? and is_nullable = 'NO'",
            schema,
            name,
        )
        something = {"VARCHAR": "x", "TIMESTAMP": START, "BOOLEAN": True}
        full = {column: something.get(kind, 1) for column, kind in columns} | values
        marks = ", ".join("?" * len(full))
        self.con.execute(f"insert into {table} ({', '.join(full)}) values ({marks})", list(full.values()))

    def alter(self, customer_id: str, **values: Any) -> None:
        """Change features of one customer."""
        for name, value in values.items():
            self.con.execute(
                f"update features.customer_features set {name} = ? where customer_id = ?", [value, customer_id]
            )

    def next_run(self, days: int = 0) -> Run:
        """Return a new run, some days after the start; the features move along."""
        self.runs += 1
        as_of = START + timedelta(days=days)
        self.con.execute("update features.customer_features set as_of = ?", [as_of])
        return Run(f"run-{self.runs}", as_of, as_of + timedelta(hours=5, minutes=self.runs))

    def build(self, days: int = 0) -> tuple[Run, StageReport]:
        """Build a candidate."""
        run = self.next_run(days)
        return run, build_candidate(self.con, run, self.catalog())

    def decide(self, days: int = 0, at_step: Callable[[str], None] | None = None) -> Run:
        """Build a candidate and publish it."""
        run, _ = self.build(days)
        publish(self.con, run, at_step)
        return run

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Query the warehouse."""
        return self.con.execute(sql, list(values)).fetchall()

    def members(self, key: str) -> set[str]:
        """Return the published members of a segment."""
        return {row[0] for row in self.rows("select customer_id from segments.membership where segment_key = ?", key)}

    def changes(self) -> list[tuple[str, str, str, str]]:
        """Return the log: customer, segment, change, cause."""
        return self.rows(
            "select customer_id, segment_key, change, cause from segments.membership_changes order by change_seq"
        )

    def folded(self) -> set[tuple[str, str]]:
        """Return the membership that the log adds up to, checking that it alternates."""
        members: set[tuple[str, str]] = set()
        for customer, segment, change, _ in self.changes():
            if change == "enter":
                assert (customer, segment) not in members
                members.add((customer, segment))
            else:
                members.remove((customer, segment))
        return members

    def check_consistency(self) -> None:
        """Check that log, membership, history and groups say the same."""
        members = set(self.rows("select customer_id, segment_key from segments.membership"))
        assert self.folded() == members
        assert set(self.rows("select customer_id, segment_key from segments.candidate_membership")) == members
        numbers = [row[0] for row in self.rows("select change_seq from segments.membership_changes order by 1")]
        assert numbers == list(range(1, len(numbers) + 1))
        known = "superseded_at is null"
        open_rows = self.rows(
            f"select customer_id, segment_key from segments.membership_history where {known} and valid_to is null"
        )
        assert sorted(open_rows) == sorted(members)
        overlaps = self.rows(
            f"""
            select a.customer_id from segments.membership_history as a join segments.membership_history as b
            on a.customer_id = b.customer_id and a.segment_key = b.segment_key and a.valid_from < b.valid_from
            where a.{known} and b.{known} and coalesce(a.valid_to, timestamp '2999-01-01') > b.valid_from
            """
        )
        assert overlaps == []
        assert self.rows("select * from segments.membership_history where valid_to <= valid_from") == []
        grouped = set(
            self.rows(
                "select m.customer_id, c.group_key, m.segment_key from segments.membership as m "
                f"join {ranks_sql('segments.catalog')} as c using (segment_key)"
            )
        )
        assert set(self.rows("select * from segments.effective")) == grouped
        assert len({(customer, group) for customer, group, _ in grouped}) == len(grouped)


class LateCompany(Company):
    """One that opens its warehouse when it is first asked for it: many tests read the catalog alone."""

    @property
    def con(self) -> Connection:
        """The warehouse."""
        if callable(self._con):
            self._con = self._con()
        return self._con

    @con.setter
    def con(self, con: Connection | Callable[[], Connection]) -> None:
        self._con = con


@pytest.fixture
def company(request: pytest.FixtureRequest, tmp_path: Path) -> Company:
    """An empty company with identity's tables."""
    folder = tmp_path / "catalog"
    (folder / "segments").mkdir(parents=True)
    (folder / "lists").mkdir()

    def open_warehouse() -> Connection:
        con: Connection = request.getfixturevalue("con")
        contracts.ensure_schema(con, "identity")
        return con

    return LateCompany(open_warehouse, folder)


TIERS = """
groups:
  - {key: tier, name: Tier, description: Service., default: free, costing: true}
"""


@pytest.fixture
def tiers(company: Company) -> Company:
    """Four customers in three tiers, and a segment that needs consent."""
    company.write_groups(TIERS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0", group="tier", precedence=2)
    company.write("free", "true", group="tier", precedence=3)
    company.write("reachable", "is_known", consent="{purposes: [marketing.email]}")
    company.features(
        {"customer_id": "c_a", "mrr_micros": 500, "is_known": True, "consented_purposes": ["marketing.email"]},
        {"customer_id": "c_b", "mrr_micros": 5, "is_known": True},
        {"customer_id": "c_c", "mrr_micros": 0, "is_known": True, "consented_purposes": ["marketing.email"]},
        {"customer_id": "c_d", "is_known": None, "consented_purposes": None},
    )
    return company


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Shop]":
    """Four customers in three tiers, published; nobody's to change."""
    from .shop import build_shop

    with duckdb.connect() as con:
        yield build_shop(tmp_path_factory.mktemp("shop"), con)


@pytest.fixture
def shop(built_shop: "Shop", tmp_path: Path) -> "Shop":
    """Four customers in three tiers, published."""
    from .shop import copy_shop

    return copy_shop(built_shop, tmp_path)
