"""A small company, built by dbt once per session, and how tests look things up in it."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from segmentation.contracts import ensure_schema
from segmentation.features.candidate import build_candidate
from segmentation.features.contract import load_contract
from segmentation.features.publish import publish
from segmentation.run import Run
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
    directory: Path = PROJECT

    @property
    def artifacts(self) -> Path:
        """Manifest and compiled models of the whole run, which later calls leave alone."""
        return self.target.with_name("artifacts")

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
        # A variable would make dbt parse the whole project anew for each moment.
        environment.pop("STRATA_DBT_AS_OF", None)
        environment |= {"STRATA_DBT_AS_OF": str(as_of)} if as_of else {}
        command = [str(Path(sys.executable).with_name("dbt")), *arguments]
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


def moment(text: str) -> datetime:
    """Return a moment of 2026 written as ``MM-DD`` or ``MM-DD HH:MM:SS``."""
    return datetime.fromisoformat(f"2026-{text}")


def _add_customers(con: duckdb.DuckDBPyConnection) -> None:
    add_customer(
        con,
        "c_ada",
        {"source_customer_id": "7", "user_id": "ada", "email": "Ada@x.example", "device_id": "d-1"},
        country="PL",
        residency_region="eu",
        best_source_customer_id="7",
    )
    add_customer(con, "c_bob", {"email": "bob@x.example"}, country="US", best_source_customer_id="8")
    add_customer(con, "c_eve", {"anonymous_id": "a-1"}, is_known=False)
    add_customer(con, "c_old", {"email": "old@x.example"}, status="merged")
    membership = {"account_id": "acme", "role": "member", "valid_from": moment("02-01")}
    insert(con, "identity.customer_accounts", customer_id="c_ada", **membership)
    insert(con, "identity.customer_accounts", customer_id="c_bob", **membership | {"valid_to": moment("03-01")})
    for purpose, is_allowed in (("marketing.email", True), ("analytics", True), ("marketing.ads", False)):
        insert(con, "identity.customer_consents", customer_id="c_ada", purpose=purpose, is_allowed=is_allowed)


def _land_orders(con: duckdb.DuckDBPyConnection) -> None:
    ada = {"source_customer_id": "7"}
    land(con, "orders", order_id="o1", order_status="paid", ordered_at=moment("10-20"), card_fingerprint="k", **ada)
    for line, quantity in enumerate((3, -1)):
        land(
            con,
            "order_lines",
            order_id="o1",
            order_line_id=str(line),
            ordered_at=moment("10-20"),
            quantity=quantity,
            unit_price_micros=10 * MICROS,
        )
    # The file of the next day says that o2 was cancelled.
    for file_id, status in ((1, "paid"), (2, "cancelled")):
        land(
            con,
            "orders",
            file_id=file_id,
            order_id="o2",
            order_status=status,
            ordered_at=moment("10-21"),
            amount_micros=30 * MICROS,
            **ada,
        )
    land(con, "orders", order_id="o3", order_status="paid", ordered_at=moment("01-15"), amount_micros=7, **ada)
    land(con, "orders", order_id="later", order_status="paid", ordered_at=moment("11-02"), amount_micros=7, **ada)
    # Another source's customer 7 is somebody else: only the address says who this is.
    land(
        con,
        "orders",
        source="web",
        order_id="o1",
        order_status="paid",
        ordered_at=moment("10-31 12:00:00"),
        amount_micros=5 * MICROS,
        source_customer_id="7",
        email="bob@x.example",
        chargeback_at=moment("10-31"),
    )
    land(con, "orders", order_id="stranger", order_status="paid", ordered_at=moment("10-31"), amount_micros=1)


def _land_activity(con: duckdb.DuckDBPyConnection) -> None:
    for event_id, at, session, device in (
        ("e1", "10-30 23:59:00", "s1", "d-1"),
        ("e2", "10-31 00:01:00", "s1", "d-1"),
        ("e3", "03-01 00:00:00", "s0", "d-1"),
        ("e4", "11-01 00:00:01", "s9", "d-1"),
    ):
        land(
            con,
            "events",
            event_id=event_id,
            event_type="page_view",
            occurred_at=moment(at),
            session_id=session,
            channel="search",
            device_id=device,
        )
    land(
        con,
        "events",
        event_id="e5",
        event_type="page_view",
        occurred_at=moment("10-28"),
        session_id="s5",
        user_id="ada",
        device_id="d-new",
    )
    land(con, "events", event_id="e6", event_type="page_view", occurred_at=moment("10-01"), anonymous_id="a-1")
    for number, (status, latency) in enumerate(((200, 10.0), (500, 30.0))):
        land(
            con,
            "requests",
            request_id=f"r{number}",
            occurred_at=moment("10-31 12:00:00"),
            service="search",
            status_code=status,
            latency_ms=latency,
            is_throttled=False,
            compute_ms=1.5,
            user_id="ada",
        )
    land(
        con,
        "tickets",
        ticket_id="t1",
        ticket_status="open",
        opened_at=moment("10-01"),
        updated_at=moment("10-02"),
        csat_score=4,
        email="Ada@x.example",
    )
    land(
        con,
        "form_submissions",
        submission_id="f1",
        form_name="demo",
        submitted_at=moment("09-01"),
        job_level="vp",
        is_demo_requested=True,
        email="Ada@x.example",
    )


def _land_billing(con: duckdb.DuckDBPyConnection) -> None:
    land(con, "accounts", account_id="acme", account_name="Acme", company_size=50, updated_at=moment("02-01"))
    land(
        con,
        "subscriptions",
        subscription_id="s1",
        account_id="acme",
        plan="pro",
        subscription_status="active",
        seats=5,
        mrr_micros=99 * MICROS,
        started_at=moment("02-01"),
        renews_at=moment("11-11"),
        updated_at=moment("02-01"),
        email="bob@x.example",
    )
    land(
        con,
        "invoices",
        invoice_id="i1",
        account_id="acme",
        invoice_status="open",
        amount_micros=99 * MICROS,
        issued_at=moment("09-01"),
        due_at=moment("09-15"),
        updated_at=moment("09-01"),
    )


def _add_segments_and_costs(con: duckdb.DuckDBPyConnection) -> None:
    shares = {"members": 2, "other_members": 1, "shared": 1, "claims": 2, "other_claims": 1, "shared_claims": 1}
    insert(con, "segments.overlaps", segment_key="all", other_segment_key="vip", **shares)
    for key, members in (("vip", ("c_ada",)), ("all", ("c_ada", "c_bob"))):
        insert(con, "segments.catalog", segment_key=key, segment_version=1, lifecycle="active", owner="team:growth")
        for customer_id in members:
            insert(
                con,
                "segments.membership",
                customer_id=customer_id,
                segment_key=key,
                segment_version=1,
                entered_at=AS_OF,
            )
        insert(
            con,
            "segments.sizes_daily",
            size_date=AS_OF.date(),
            segment_key=key,
            segment_version=1,
            members=len(members),
            entered=len(members),
        )
        insert(
            con,
            "costs.allocations",
            origin_charge_id="ch",
            charge_version=1,
            incurred_date=moment("10-31").date(),
            allocation_view="exclusive",
            segment_key=key,
            pool_key="api",
            allocated_ratio=0.5,
            is_additive=True,
            allocated_effective_micros=MICROS,
            allocated_billed_micros=MICROS,
        )


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> DbtProject:
    """A company of three customers, taken through a whole run: features, publishing, marts; all tests of dbt passed.

    The workers of a test run share what the first of them built; each works on a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if hasattr(request.config, "workerinput") else base) / "dbt-company"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            draft = shared.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            _build_company(DbtProject(warehouse=draft / "warehouse.duckdb", target=draft / "target"))
            draft.rename(shared)
    folder = Path(shutil.copytree(shared, tmp_path_factory.mktemp("dbt") / "company"))
    return DbtProject(warehouse=folder / "warehouse.duckdb", target=folder / "target")


def _build_company(project: DbtProject) -> None:
    run = Run(run_id="run-1", as_of=AS_OF, recorded_at=RECORDED_AT)
    with project.connect() as con:
        create_tables(con)
        for fill in (_add_customers, _land_orders, _land_activity, _land_billing, _add_segments_and_costs):
            fill(con)
    project.build("build", "--select", "tag:features")
    with project.connect() as con:
        build_candidate(con, run, load_contract(PROJECT))
        publish(con, run)
    project.build("build", "--select", "tag:marts")
    shutil.copytree(project.target, project.artifacts)


@pytest.fixture(scope="session")
def compiled(project: DbtProject) -> dict[str, str]:
    """SQL of every model, as it ran."""
    folder = project.artifacts / "compiled" / "strata" / "models"
    # Tests are compiled into folders named after the YAML that defines them.
    return {path.stem: path.read_text() for path in folder.rglob("*.sql") if ".yml" not in str(path.parent)}
