"""A company of six customers, built by dbt once per session, and the facts the tests look up in it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from segmentation.contracts import ensure_schema
from segmentation.sources.entities import ENTITIES, PROVENANCE

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "dbt_project"
AS_OF = datetime(2026, 11, 1)
RECORDED_AT = datetime(2026, 11, 1, 5)
MICROS = 1_000_000


@dataclass
class DbtProject:
    """The project, with a warehouse and a target folder of its own."""

    warehouse: Path
    target: Path

    def dbt(self, *arguments: str, as_of: datetime | None = AS_OF) -> subprocess.CompletedProcess[str]:
        """Call dbt as a run does; the result holds its output."""
        environment = {
            **os.environ,
            "STRATA_WAREHOUSE": str(self.warehouse),
            "STRATA_DBT_MEMORY_LIMIT": "1GB",
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(self.target / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        variables = ["--vars", f"{{as_of: '{as_of}'}}"] if as_of else []
        command = [str(Path(sys.executable).with_name("dbt")), *arguments, *variables]
        command += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)

    def build(self, *arguments: str) -> str:
        """Call dbt and insist that it succeeds."""
        done = self.dbt(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open the warehouse."""
        return duckdb.connect(str(self.warehouse))

    def rows(self, sql: str) -> list[dict[str, object]]:
        """Return the rows of a query as dictionaries."""
        with self.connect() as con:
            result = con.execute(sql)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Create the empty tables of every stage that dbt reads."""
    for stage in ("sources", "identity", "segments", "costs"):
        ensure_schema(con, stage)
    for entity in ENTITIES.values():
        columns = ", ".join(
            f'"{column.name}" {column.type}{" not null" * column.required}' for column in (*PROVENANCE, *entity.columns)
        )
        con.execute(f"create table if not exists sources.{entity.name} ({columns})")


def _plain_value(type_: str) -> object:
    if type_.startswith(("TIMESTAMP", "DATE")):
        return RECORDED_AT
    return {"VARCHAR": "-", "BOOLEAN": False, "JSON": "{}"}.get(type_, 0)


def insert(con: duckdb.DuckDBPyConnection, table: str, **values: object) -> None:
    """Insert one row; required columns that a test does not care about get a plain value of their type."""
    described = con.execute(f"describe {table}").fetchall()
    row = {name: _plain_value(type_) for name, type_, nullable, *_ in described if nullable == "NO"} | values
    names = ", ".join(f'"{name}"' for name in row)
    con.execute(f"insert into {table} ({names}) values ({', '.join('?' * len(row))})", list(row.values()))


_LINES: dict[str, int] = {}


def land(
    con: duckdb.DuckDBPyConnection, entity: str, *, source: str = "shop", file_id: int = 1, **values: object
) -> None:
    """Insert one landed row; lines count up by entity."""
    _LINES[entity] = _LINES.get(entity, 0) + 1
    insert(con, f"sources.{entity}", source=source, file_id=file_id, line=_LINES[entity], **values)


def add_customer(
    con: duckdb.DuckDBPyConnection,
    customer_id: str,
    identifiers: Mapping[str, str],
    *,
    source: str = "shop",
    status: str = "active",
    **profile: object,
) -> None:
    """Add a resolved customer with the raw identifier values that find it."""
    first_node = con.execute("select coalesce(max(node_id), 0) + 1 from identity.identifiers").fetchall()[0][0]
    for offset, (id_type, value) in enumerate(identifiers.items()):
        node_id = first_node + offset
        namespace = source if id_type == "source_customer_id" else ""
        insert(
            con,
            "identity.identifiers",
            node_id=node_id,
            id_type=id_type,
            id_namespace=namespace,
            id_value=value.lower(),
            status="active",
            first_seen_at=datetime(2026, 1, 1, 12),
            last_seen_at=datetime(2026, 10, 31),
        )
        con.execute(
            "insert into identity.identifier_lookup values (?, ?, ?, ?, ?)",
            [id_type, namespace, value, node_id, customer_id],
        )
    insert(
        con,
        "identity.customers",
        customer_id=customer_id,
        anchor_node_id=first_node,
        anchor_priority=1,
        status=status,
        match_basis="deterministic",
        n_nodes=len(identifiers),
        created_at=AS_OF,
        first_seen_at=datetime(2026, 1, 1, 12),
    )
    insert(con, "identity.profiles", customer_id=customer_id, **{"is_known": True, **profile})


@pytest.fixture(scope="session")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> DbtProject:
    """The project over a warehouse whose tables are all empty."""
    folder = tmp_path_factory.mktemp("dbt")
    project = DbtProject(warehouse=folder / "warehouse.duckdb", target=folder / "target")
    with project.connect() as con:
        create_tables(con)
    return project
