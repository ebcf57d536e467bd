"""The same promises in every database that is supported: as state, and as online store."""

import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from segmentation.run import Run
from segmentation.sync.deliver import Worker
from segmentation.sync.engine import open_engine, read_many
from segmentation.sync.faults import DeliveryError, DestinationError, FencedError, StateError
from segmentation.sync.ledger import Ledger
from segmentation.sync.publish import proposals
from segmentation.sync.state import CHUNK_ROWS, State
from segmentation.sync.stores.contract import RejectedRowsError
from segmentation.sync.stores.opening import open_store

KILLED_AT = [
    ("mid_publish_tx", 1),
    ("mid_publish_tx", 3),
    ("after_publish", 1),
    ("after_copy", 1),
    ("after_epoch", 1),
    ("after_acquire", 1),
    ("before_apply", 2),
    ("after_apply_before_ack", 1),
    ("after_confirm", 1),
    ("before_receipt", 1),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def folder(request, template: Path, tmp_path: Path) -> Path:
    """A company's folder whose databases are of one kind."""
    shutil.copy(template / "warehouse.duckdb", tmp_path)
    if request.param == "postgresql":
        request.getfixturevalue("postgresql")(tmp_path)
    return tmp_path


@pytest.fixture
def company(sync_tools, folder: Path) -> Iterator:
    with sync_tools.open_company(folder, runs=0) as found:
        assert found.state_url.startswith("postgresql" if (folder / sync_tools.POSTGRESQL).exists() else "sqlite")
        yield found


def meddle(company, *statements):
    engine = create_engine(company.destination("online_store").url)
    with engine.begin() as connection:
        generation = connection.execute(text("select generation from strata_positions")).scalar_one()
        for statement in statements:
            connection.exec_driver_sql(statement.format(members=f"strata_members_online_store_{generation}"))
    engine.dispose()


def change(company):
    company.member("c_0", "standard")
    company.member("c_1")
    company.customer("c_2", status="erased")
    company.member("c_2")
    company.merge("c_3", "c_4")
    for n in range(10, 18):
        company.customer(f"c_{n}")
        company.member(f"c_{n}", "vip")
    company.segment("brand_new")


def test_changes_arrive_once_and_whole(company, in_step):
    assert company.sync().facts["online_store"]["mode"] == "snapshot"
    in_step()
    change(company)
    report = company.sync()
    assert report.facts["online_store"]["mode"] == "log"
    assert report.rows["online_store written"] > 8
    in_step()
    assert company.lookup("c_3").customer_id == "c_4"
    assert company.lookup("c_2").status == "unknown"
    assert company.lookup("c_17").segments == {"vip": 1}
    idle = company.sync()
    assert idle.facts["online_store"]["mode"] == "none"
    assert (idle.rows["online_store written"], idle.rows["online_store deleted"]) == (0, 0)
    in_step()


def test_publishing_the_same_candidate_again_changes_nothing(company, in_step):
    company.sync()
    change(company)
    run, _ = company.build()
    company.publish(run)
    log = company.state("select count(*), max(seq) from change_log")
    company.publish(run)
    assert company.state("select count(*), max(seq) from change_log") == log
    in_step()


def test_what_was_changed_behind_our_back_is_put_right(company, in_step):
    company.sync()
    meddle(
        company,
        "update {members} set value = '{{}}' where customer_id = 'c_1'",
        "delete from {members} where customer_id in ('c_2', 'c_3')",
        "insert into {members} values ('intruder', '{{}}')",
    )
    assert company.sync().facts["online_store"]["drift_repaired"] == 4
    in_step()


def test_a_store_that_was_lost_is_loaded_anew(company, in_step):
    company.sync()
    meddle(company, "drop table {members}")
    change(company)
    assert company.sync().facts["online_store"]["mode"] == "snapshot"
    in_step()


def test_rows_that_were_refused_wait_and_arrive(company, in_step):
    company.sync()
    change(company)

    class Choosy:
        """Takes nothing new about c_0, at first."""

        def __init__(self, store):
            self._store = store

        def apply(self, epoch, batch):
            if any(row[0] == "c_0" for row in batch.upserts):
                raise RejectedRowsError({"c_0": "too long"})
            self._store.apply(epoch, batch)

        def repair(self, epoch, upserts, deletes):
            raise RejectedRowsError({row[0]: "too long" for row in upserts})

        def __getattr__(self, name):
            return getattr(self._store, name)

    company.sync(opener=lambda one: Choosy(open_store(one)) if one.name == "online_store" else open_store(one))
    assert company.state("select customer_id, attempts from dead_letters") == [("c_0", 2)]
    company.sync()
    assert company.state("select count(*) from dead_letters") == [(0,)]
    in_step()


def test_an_older_worker_is_refused(company):
    company.sync()
    change(company)
    run, _ = company.build()
    with pytest.raises(DeliveryError, match="is down"):
        company.publish(run, opener=failing_opener)
    destination = company.destination("online_store")
    state, store = State(company.state_url), open_store(destination)
    newer = Run("newer", run.as_of, run.recorded_at + timedelta(minutes=1))
    try:
        view_id = company.view_id("online_store")

        def overtake(point):
            if point == "before_apply":
                other = open_store(destination)
                Worker(state, Ledger(state, newer), destination, view_id, other, newer).deliver()
                other.close()

        with pytest.raises(FencedError):
            Worker(state, Ledger(state, run), destination, view_id, store, run, overtake).deliver()
    finally:
        store.close()
        state.close()
    assert company.held("online_store") == company.desired("online_store")


def failing_opener(destination):
    raise DestinationError("is down", where="nowhere", expected="it up", repair="wait")


def test_two_runs_at_once_leave_one_history(company, in_step):
    """Whoever loses says so, and what both wanted is there once."""
    company.sync()
    change(company)
    run, _ = company.build()
    proposal = next(one for one in proposals(company.con).values() if one.view.has_customers)
    rows = company.con.execute(
        "select seq, customer_id, value, priority from sync.candidate_changes where view_id = ? order by seq",
        [proposal.view.view_id],
    ).fetchall()
    start = threading.Barrier(2)
    outcomes: list[object] = []

    def publish(ref: str) -> None:
        state = State(company.state_url)
        try:
            start.wait()
            outcomes.append(state.publish(replace(proposal, commit_ref=ref), Rows(proposal.view.view_id, rows), run))
        except StateError as error:
            outcomes.append(error)
        finally:
            state.close()

    threads = [threading.Thread(target=publish, args=(ref,)) for ref in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, StateError)]
    assert lost.repair == "strata run --from sync", lost.what
    assert [outcome for outcome in outcomes if outcome is not lost] == [True]
    assert company.state("select count(distinct commit_ref) from change_log where seq > 11") == [(1,)]
    company.sync()
    in_step()


@dataclass
class Rows:
    """Changes of a view as lists; see ``state.ProposedChanges``."""

    view_id: str
    rows: list[tuple[int, str, str | None, int]]

    def entries(self):
        yield self.rows

    def upserts(self):
        yield [(self.view_id, customer, value, seq) for seq, customer, value, _ in self.rows if value is not None]

    def removals(self):
        yield [(self.view_id, customer) for _, customer, value, _ in self.rows if value is None]


def test_a_server_that_does_not_answer_is_told(company):
    if not company.state_url.startswith("postgresql"):
        company.change_destination("online_store", url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    else:
        company.change_destination("online_store", url=company.destination("online_store").url.replace("@/", "@/no"))
    with pytest.raises(DeliveryError, match="1 of 2 destinations") as caught:
        company.sync()
    assert "the server answers" in caught.value.repair
    assert "segment-vip" in company.flags["flags"]


def test_a_forgotten_customer_is_nowhere(company):
    company.sync()
    change(company)
    company.sync()
    store, state = open_store(company.destination("online_store")), State(company.state_url)
    try:
        assert store.forget(["c_2", "c_4"]) == 1
        assert state.forget_customers(["c_4"]) >= 1
        assert state.holders(["c_4"]) == ["essential.service"]
    finally:
        store.close()
        state.close()
    assert company.state("select count(*) from change_log where customer_id = 'c_4' and value is not null") == [(0,)]
    assert "c_4" not in company.held("online_store")


def test_rows_are_read_in_parts_as_they_come(company):
    engine = open_engine(company.state_url, durable=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table many (number integer primary key, word text)")
        connection.exec_driver_sql(
            "insert into many with recursive n(i) as (select 1 union all select i + 1 from n where i < 2501) "
            "select i, 'w' from n"
        )
    wanted = text("select number, word from many order by number")
    with engine.begin() as connection:
        parts = list(read_many(connection, wanted, 1000))
        assert [len(part) for part in parts] == [1000, 1000, 501]
        assert parts[2][-1] == (2501, "w")
        assert {type(row) for part in parts for row in part} == {tuple}
        assert list(read_many(connection, text("select number from many where number < 0"), 1000)) == []
        # Whoever stops in the middle can go on with the transaction.
        assert len(next(read_many(connection, wanted, 10))) == 10
        assert connection.execute(text("select count(*) from many")).scalar_one() == 2501
    with pytest.raises(DBAPIError), engine.begin() as connection:
        list(read_many(connection, text("select 1 / (number - 7) + word::integer from many"), 10))
    engine.dispose()


def test_a_large_load_and_its_read_back_come_in_parts(company, in_step):
    company.crowd(10, CHUNK_ROWS + 20)
    company.sync()
    assert len(company.held("online_store")) == CHUNK_ROWS + 21
    in_step()
    company.con.execute("delete from sync.desired; delete from sync.desired_heads")
    company.member("c_5000", "vip")
    assert company.sync().rows["online_store written"] == 1
    in_step()


# SQLite is killed at more points in test_crashes.py.
@pytest.mark.parametrize("folder", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("point", "passage"), KILLED_AT)
def test_a_killed_run_is_repaired_by_the_next(sync_tools, folder, kill, point, passage):
    with sync_tools.open_company(folder, runs=0) as company:
        company.sync()
        change(company)
    assert kill(folder, point, passage) == signal.SIGKILL
    with sync_tools.open_company(folder, runs=200) as company:
        company.sync()
        for destination in company.destinations:
            wanted = dict(
                company.con.execute(
                    "select customer_id, value from sync.candidate_values where view_id = ?",
                    [company.view_id(destination.name)],
                ).fetchall()
            )
            assert company.held(destination.name) == company.desired(destination.name) == wanted
        assert company.state("select count(*) from destinations where status <> 'delivered'") == [(0,)]
