"""A small world of source rows, and the stage run over it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from segmentation.contracts import ensure_schema
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog, load_identity_catalog
from segmentation.identity.publish import publish
from segmentation.run import Run, StageReport
from segmentation.sources.entities import ENTITIES
from segmentation.sources.tables import ensure_entity_tables
from segmentation.warehouse import Connection

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 10, 1)

_REQUIRED: dict[str, dict[str, Any]] = {
    "orders": {"order_status": "completed"},
    "events": {"event_type": "page_view"},
    "requests": {"service": "api", "status_code": 200},
    "consent_events": {"purpose": "marketing", "consent_state": "granted"},
    "form_submissions": {"form_name": "demo"},
    "subscriptions": {"plan": "pro", "subscription_status": "active"},
    "tickets": {"ticket_status": "open", "opened_at": START},
}


class World:
    """Source rows, numbered in the order they are added."""

    def __init__(self, con: Connection, catalog: IdentityCatalog) -> None:
        self.con = con
        self.catalog = catalog
        self.line = 0
        ensure_schema(con, "sources")
        ensure_entity_tables(con)

    def add(
        self, entity_name: str, *, source: str = "shop", at: datetime | None = None, file_id: int = 1, **values: Any
    ) -> None:
        """Add one row; its event time is a minute after that of the row before unless given."""
        self.line += 1
        entity = ENTITIES[entity_name]
        row: dict[str, Any] = {**_REQUIRED.get(entity_name, {})}
        row |= dict.fromkeys(entity.key, f"row-{self.line}")
        row |= {entity.event_time: at or START + timedelta(minutes=self.line)}
        row |= values
        row |= {"source": source, "file_id": file_id, "line": self.line, "run_id": "load", "recorded_at": START}
        marks = ", ".join("?" for _ in row)
        self.con.execute(f"insert into sources.{entity_name} ({', '.join(row)}) values ({marks})", list(row.values()))

    def refuse(self, raw: str) -> None:
        """Add one row that loading refused."""
        self.line += 1
        self.con.execute(
            "insert into sources.quarantine "
            "(file_id, entity, source, path, line, reason_code, reason, raw, run_id, recorded_at) "
            "values (1, 'orders', 'shop', 'orders.csv', ?, 'missing_value:ordered_at', 'no moment', ?, 'load', ?)",
            [self.line, raw, START],
        )

    def clear(self, entity_name: str) -> None:
        """Take all rows of an entity away, as a withdrawn source would."""
        self.con.execute(f"delete from sources.{entity_name}")

    def build(self, run: Run) -> StageReport:
        """Propose a map."""
        return build_candidate(self.con, run, self.catalog)

    def resolve(self, run: Run) -> StageReport:
        """Propose and publish a map."""
        self.build(run)
        return publish(self.con, run)

    def customer(self, value: str) -> str | None:
        """The customer of a raw value in the published lookup."""
        rows = self.con.execute(
            "select distinct customer_id from identity.identifier_lookup where raw_value = ?", [value]
        ).fetchall()
        assert len(rows) < 2
        return rows[0][0] if rows else None

    def node(self, value: str) -> int:
        """The node of a normal form that one identifier has."""
        rows = self.con.execute("select node_id from identity.registry where id_value = ?", [value]).fetchall()
        assert len(rows) == 1
        return int(rows[0][0])

    def events(self, run: Run) -> list[tuple[str, str, str | None]]:
        """What a run's publish did to ids."""
        return self.con.execute(
            "select event, customer_id, other_customer_id from identity.events where run_id = ? order by seq",
            [run.run_id],
        ).fetchall()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.con.execute(query).fetchall()


def open_warehouse(path: Path | str = ":memory:") -> Connection:
    """Open a warehouse as `Warehouse` sets it; in memory unless a file is named."""
    con = duckdb.connect(str(path))
    con.execute("set preserve_insertion_order = false")
    return con


@pytest.fixture
def con() -> Iterator[Connection]:
    """A warehouse in memory: most tests ask what is true, few what survives."""
    with open_warehouse() as connection:
        yield connection


@pytest.fixture(scope="session")
def catalog() -> IdentityCatalog:
    """The catalog that the repository ships."""
    return load_identity_catalog(ROOT / "catalog")


@pytest.fixture(scope="session")
def new_world(catalog: IdentityCatalog) -> Callable[[Connection], World]:
    """Make a world without rows in a warehouse of its own."""
    return lambda con: World(con, catalog)


@pytest.fixture
def world(con: Connection, catalog: IdentityCatalog) -> World:
    """A world without rows."""
    return World(con, catalog)


@pytest.fixture(scope="session")
def beginnings() -> dict[str, tuple[Path, int]]:
    """Files of the worlds that several tests begin with, and how many rows were added, by the name of who filled them.

    Resolving even a handful of rows takes some hundred statements, and so longer than most tests.
    """
    return {}


@pytest.fixture
def begin(
    world: World,
    beginnings: dict[str, tuple[Path, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Callable[[World], object]], World]]:
    """Make the test's world what a function makes of an empty one; called once, its world is copied for later tests.

    The function is known by its name: it must do the same in every test.
    """
    with ExitStack() as opened:

        def make(fill: Callable[[World], object]) -> World:
            name = f"{fill.__module__}.{fill.__qualname__}"
            if name not in beginnings:
                file = tmp_path_factory.mktemp("beginning") / "warehouse.duckdb"
                with open_warehouse(file) as con:
                    first = World(con, world.catalog)
                    fill(first)
                beginnings[name] = file, first.line
            file, world.line = beginnings[name]
            own = shutil.copy(file, tmp_path_factory.mktemp("own"))
            world.con = opened.enter_context(open_warehouse(own))
            return world

        yield make


@pytest.fixture
def later(run: Run) -> Callable[[int], Run]:
    """Make the run of some days after the first one."""

    def make(days: int) -> Run:
        return replace(
            run,
            run_id=f"run-{days + 1}",
            as_of=run.as_of + timedelta(days=days),
            recorded_at=run.recorded_at + timedelta(days=days),
        )

    return make
