"""The whole chain on a small company: run once, copied for each test."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from orchestration.dbt_project import load_project
from orchestration.definitions import build_definitions, build_parts
from orchestration.instance import prepare_home
from orchestration.jobs import REFRESH_ALL
from orchestration.resources import AS_OF_TAG
from orchestration.settings import LANDING_MANIFEST, ROOT, Settings
from segmentation.sample.company import generate

#: What two runs over the same input may differ in: who wrote a row and when, and ids that are drawn.
OF_THE_RUN = frozenset(
    {
        "run_id",
        "first_run_id",
        "recorded_at",
        "candidate_id",
        "features_candidate_id",
        "receipt_id",
        "reconciliation_id",
    }
)
#: The same, in single tables.
OF_THE_RUN_IN = {
    "segments.membership_history": frozenset({"superseded_at"}),
    # The epoch is the worker's right to write: every run takes a new one.
    "sync.destinations": frozenset({"updated_at", "epoch"}),
    "sync.views": frozenset({"published_at"}),
}

#: A small sample company, the same wherever it is made.
COMPANY = {"customers": 300, "days": 60, "seed": 7, "end": date(2026, 11, 1)}


@dataclass(frozen=True)
class Outcome:
    """What a run did: the steps that ended well, its errors, and how its gates judged."""

    success: bool
    run_id: str
    steps: frozenset[str]
    errors: str
    gates: dict[str, bool]


class Installation:
    """One data folder, and what people do with it.

    Attributes:
        DIARIES: Tables that gain rows by every run, whatever it finds.
    """

    DIARIES = frozenset(
        {
            "identity.metrics",
            "identity.publications",
            "segments.places",
            "segments.publication_segments",
            "segments.publications",
            "sync.runs",
            "sync.receipts",
            "sync.reconciliations",
        }
    )

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, dagster_home=data / "home", lock_wait_seconds=5)

    def run(self, as_of: str, *, only: str | None = None) -> Outcome:
        """Run the chain, or one part of it, through Dagster, as the schedule does."""
        parts = build_parts(load_project(self.settings))
        chosen = [only] if only else list(parts)
        with dg.DagsterInstance.ephemeral() as instance:
            result = (
                build_definitions(self.settings)
                .resolve_job_def(REFRESH_ALL)
                .execute_in_process(
                    instance=instance,
                    raise_on_error=False,
                    asset_selection=[key for part in chosen for asset in parts[part] for key in asset.keys],
                    tags={AS_OF_TAG: as_of},
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
            )
            gates = [found for found in result.get_asset_check_evaluations() if found.check_name.endswith("_gate")]
            return Outcome(
                success=result.success,
                run_id=result.run_id,
                steps=frozenset(str(event.step_key) for event in result.all_events if event.is_step_success),
                errors="\n".join(
                    str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure
                ),
                gates={found.check_name: found.passed for found in gates},
            )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to work on this data folder and on nothing else."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("STRATA_", "DAGSTER_"))}
        return outside | {
            "STRATA_DATA": str(self.settings.data),
            "DAGSTER_HOME": str(self.settings.dagster_home),
            "STRATA_LOCK_WAIT_SECONDS": "5",
            # Wide enough that messages are not folded in the middle of a word.
            "COLUMNS": "200",
        }

    def start(self, *arguments: str, largest_file: int | None = None, **environment: str) -> "subprocess.Popen[str]":
        """Start `strata` as a process of its own, and of its own group.

        Args:
            arguments: Of the command.
            largest_file: Bytes that no file of the process may grow beyond, as on a full disk.
            environment: Settings on top of the installation's.
        """
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file},) * 2); "
        command = "from orchestration.cli import main; main()"
        return self._start(["-c", (limit if largest_file else "") + command, *arguments], environment)

    def start_job(self, **environment: str) -> "subprocess.Popen[str]":
        """Start the whole chain through Dagster's own command, as its UI and its schedules do: past `strata run`."""
        prepare_home(self.settings)
        job = ["-m", "dagster", "job", "execute", "-m", "orchestration.definitions", "-j", REFRESH_ALL]
        return self._start(job, environment)

    def _start(self, arguments: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment | environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def strata(
        self, *arguments: str, largest_file: int | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `strata` as a process of its own until it ends."""
        process = self.start(*arguments, largest_file=largest_file, **environment)
        stdout, stderr = process.communicate(timeout=800)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Ask the warehouse."""
        with duckdb.connect(str(self.settings.warehouse.path), read_only=True) as con:
            return con.execute(statement).fetchall()

    def results(self) -> dict[str, tuple[object, ...]]:
        """Fingerprint every table but the ledger of runs: rows and values, without what belongs to the run."""
        with duckdb.connect(str(self.settings.warehouse.path), read_only=True) as con:
            columns = con.execute(
                "select c.schema_name || '.' || c.table_name, list(c.column_name order by c.column_index) "
                "from duckdb_columns() as c join duckdb_tables() as t "
                "on c.schema_name = t.schema_name and c.table_name = t.table_name "
                "where c.schema_name <> 'ops' and not t.table_name like 'candidate%' group by 1 order by 1"
            ).fetchall()
            return {table: _fingerprint(con, table, names) for table, names in columns}

    def online_store(self) -> dict[str, Any]:
        """Read what the online store holds: a value per customer, and one for the segments."""
        with closing(sqlite3.connect(self.settings.data / "online_store.db")) as con:
            (generation,) = con.execute("select generation from strata_positions").fetchall()[0]
            rows = con.execute(f"select customer_id, value from strata_members_online_store_{generation}").fetchall()
        return {customer_id: json.loads(value) for customer_id, value in rows}

    def flags(self) -> dict[str, Any]:
        """Read the flags of the flag file."""
        text = (self.settings.data / "flags" / "segments.flagd.json").read_text(encoding="utf-8")
        flags: dict[str, Any] = json.loads(text)["flags"]
        return flags


def _fingerprint(con: duckdb.DuckDBPyConnection, table: str, names: list[str]) -> tuple[object, ...]:
    left_out = OF_THE_RUN | OF_THE_RUN_IN.get(table, frozenset())
    kept = ", ".join(f'"{name}"' for name in names if name not in left_out)
    # Summed, not xor-ed: two equal rows must not cancel each other out.
    return con.execute(
        f"select count(*), coalesce(sum(hash(r::varchar)::hugeint), 0) from (select {kept} from {table}) as r"
    ).fetchall()[0]


@contextmanager
def _made_once(folder: Path) -> Iterator[Path | None]:
    """Yield where to make a folder that all workers of a test run share, or nothing where one has made it."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            yield None
            return
        draft = folder.with_suffix(".draft")
        yield draft
        draft.rename(folder)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Keep the settings of whoever runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("STRATA_", "DAGSTER_")) and name != "STRATA_TEST_DATA":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The folder that all workers of a test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session")
def draw_company() -> Callable[[Path], None]:
    """Write the files of the sample company, and its truth apart, to a data folder."""
    return lambda data: generate(data / "landing", data / "truth", **COMPANY) and None


@pytest.fixture(scope="session")
def company(shared_folder: Path) -> Path:
    """The data folder of the sample company after its first run."""
    folder = shared_folder / "flow-company"
    with _made_once(folder) as draft:
        if draft:
            generate(draft / "landing", draft / "truth", **COMPANY)
            first = Installation(draft).run("2026-11-01T00:00:00")
            assert first.success, first.errors
            assert all(first.gates.values())
            assert len(first.gates) == 6
    return folder


@dataclass(frozen=True)
class Delivery:
    """What lands a week after the first run, and whom it is about.

    Attributes:
        cancelled: Customer whose order ``cancelled_order`` comes again, cancelled.
        belated: Customer of an order that is older than all of theirs.
        disputed: Customer, not watched so far, who disputes a new order.
        withdrawn: Customer, reachable so far, who withdraws consent.
    """

    cancelled: str
    cancelled_order: str
    belated: str
    disputed: str
    withdrawn: str
    orders: str
    consents: str

    def land(self, landing: Path) -> None:
        """Write the new files, and drop one that was loaded before under another name."""
        (landing / "shop_orders" / "pedidos_20261107.csv").write_text(self.orders, encoding="utf-8")
        (landing / "consent_log" / "consent_20261107.ndjson").write_text(self.consents, encoding="utf-8")
        again = min((landing / "helpdesk_tickets").glob("*.ndjson"))
        shutil.copy(again, again.with_name("tickets_again.ndjson"))
        # A moment that has not come is refused: the company's own clock moves on, whatever the machine's says.
        manifest = landing / LANDING_MANIFEST
        told = json.loads(manifest.read_text(encoding="utf-8")) | {"as_of": "2026-11-08T00:00:00Z"}
        manifest.write_text(json.dumps(told), encoding="utf-8")


_CUSTOMER_NUMBERS = """
select l.customer_id, min(l.raw_value) as number
from identity.identifier_lookup as l join features.customer_features as f on l.customer_id = f.customer_id
where l.id_type = 'source_customer_id' and l.id_namespace = 'shop' and {condition}
group by 1 order by 1 limit 1
"""


@pytest.fixture(scope="session")
def delivery(company: Path) -> Delivery:
    """A delivery about customers of the sample company."""
    first = Installation(company)

    def find(condition: str) -> tuple[str, str]:
        customer_id, number = first.sql(_CUSTOMER_NUMBERS.format(condition=condition))[0]
        return str(customer_id), str(number)

    belated, belated_number = find("f.orders_total = 2 and f.first_order_at > timestamp '2026-09-20'")
    disputed, disputed_number = find(
        "f.orders_total = 3 and f.customer_id not in "
        "(select customer_id from segments.membership where segment_key = 'fraud_watch')"
    )
    cancelled, cancelled_number = find("f.orders_total = 4 and f.cancelled_orders_total = 0")
    orders = first.sql(
        "select o.order_id from sources.orders as o join identity.identifier_lookup as l "
        "on l.id_type = 'source_customer_id' and l.id_namespace = o.source and l.raw_value = o.source_customer_id "
        f"where l.customer_id = '{cancelled}' and o.order_status = 'completed' order by 1"
    )
    cancelled_order = str(orders[0][0])
    # The newest decision counts: the withdrawal is after every other one.
    withdrawn, user = first.sql(
        "select m.customer_id, min(l.raw_value) from segments.membership as m join identity.identifier_lookup as l "
        "on m.customer_id = l.customer_id and l.id_type = 'user_id' "
        "where m.segment_key = 'marketing_reachable' group by 1 order by 1 limit 1"
    )[0]
    header = next(first.settings.landing_folder.glob("shop_orders/*.csv")).read_text(encoding="utf-8").splitlines()[0]
    today = "06/11/2026 12:00:00"
    rows = [
        header,
        f"{cancelled_order};cancelado;15/10/2026 10:00:00;80,00;EUR;ES;web;{cancelled_number};;;;;;05/11/2026 10:00:00",
        f"PED-LATE;pagado;10/09/2026 09:30:00;50,00;EUR;ES;web;{belated_number};;;;;;10/09/2026 09:30:00",
        f"PED-NEW;disputado;04/11/2026 12:00:00;70,00;EUR;ES;web;{disputed_number};;;;;06/11/2026 12:00:00;{today}",
        f"PED-BAD;pagado;yesterday;50,00;EUR;ES;web;{belated_number};;;;;;10/09/2026 09:30:00",
    ]
    assert all(row.count(";") == header.count(";") for row in rows)
    consent = {
        "id": "CE-WITHDRAWN",
        "subject_user": user,
        "subject_email": None,
        "purpose": "mkt",
        "decision": "revoked",
        "policy": "policy-2026-01",
        "law": "GDPR",
        "decided": "2026-11-05T12:00:00+00:00",
    }
    return Delivery(
        cancelled=cancelled,
        cancelled_order=cancelled_order,
        belated=belated,
        disputed=disputed,
        withdrawn=str(withdrawn),
        orders="\n".join(rows) + "\n",
        consents=json.dumps(consent) + "\n",
    )


@pytest.fixture(scope="session")
def week_later(shared_folder: Path, company: Path, delivery: Delivery) -> Path:
    """The data folder of the sample company after its delivery and a second run, a week after the first."""
    folder = shared_folder / "flow-week-later"
    with _made_once(folder) as draft:
        if draft:
            shutil.copytree(company, draft)
            delivery.land(draft / "landing")
            second = Installation(draft).run("2026-11-08T00:00:00")
            assert second.success, second.errors
            assert all(second.gates.values())
    return folder


@pytest.fixture(scope="session")
def installation() -> type[Installation]:
    """What stands on a data folder."""
    return Installation


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Installation]:
    """Make installations of a test's own, empty or as a copy of a data folder."""

    def make(name: str = "data", *, copy_of: Path | None = None) -> Installation:
        data = tmp_path / name
        if copy_of:
            shutil.copytree(copy_of, data)
        else:
            data.mkdir()
        return Installation(data)

    return make
