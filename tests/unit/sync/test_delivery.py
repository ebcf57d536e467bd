"""Where delivery starts, how it goes on, and when it loads everything anew."""

import shutil
from datetime import datetime, timedelta

import pytest

from segmentation.run import Run
from segmentation.sync.deliver import Worker
from segmentation.sync.faults import DeliveryError, FencedError, StateError
from segmentation.sync.ledger import Ledger
from segmentation.sync.state import State
from segmentation.sync.stores.opening import open_store

MOMENT = datetime(2026, 12, 1)


def mode(report, name="online_store"):
    return report.facts[name]["mode"], report.facts[name]["reason"]


def position(company, name="online_store"):
    store = open_store(company.destination(name))
    try:
        return store.position()
    finally:
        store.close()


def test_the_first_delivery_loads_everything_and_the_next_follow_the_log(company, in_step):
    assert mode(company.sync()) == ("snapshot", "it holds nothing yet")
    in_step()
    company.member("c_0", "standard")
    report = company.sync()
    assert mode(report) == ("log", "")
    assert report.rows["online_store written"] == 1
    in_step()


def test_nothing_changed_writes_nothing_but_the_heartbeat(company, in_step):
    company.sync()
    before = position(company)
    report = company.sync()
    assert mode(report) == ("none", "")
    assert report.rows == dict.fromkeys(report.rows, 0)
    after = position(company)
    assert after.seq == before.seq
    assert after.as_of - before.as_of == timedelta(days=1)
    in_step()


def test_publishing_twice_adds_nothing(company, in_step):
    run, _ = company.build()
    company.publish(run)
    logged = company.state("select count(*) from change_log")
    company.publish(run)
    assert company.state("select count(*) from change_log") == logged
    assert company.con.execute("select count(*) from sync.runs").fetchall() == [(2,)]
    in_step()


def test_a_version_alone_rewrites_the_members_of_the_segment_and_no_one_else(company):
    company.sync()
    company.con.execute("update segments.membership set segment_version = 9 where segment_key = 'risky'")
    assert company.sync().rows["online_store written"] == 4
    assert company.lookup("c_1").segments == {"vip": 1, "risky": 9}


def test_a_destination_that_was_away_catches_up_over_several_commits(company, in_step):
    company.sync()
    company.change_destination("online_store", enabled=False)
    company.destinations.append(
        company.destination("online_store").model_copy(
            update={"name": "other", "enabled": True, "url": f"sqlite:///{company.folder}/other.db"}
        )
    )
    for key in ("standard", "risky", "vip", "risky"):
        company.member("c_0", key)
        company.member("c_7", key)
        company.sync()
    company.change_destination("online_store", enabled=True, batch_size=100)
    report = company.sync()
    assert mode(report) == ("log", "")
    # Eight entries, the last one per customer is enough.
    assert report.rows["online_store written"] == 2
    assert report.facts["online_store"]["caught_up_seconds"] == 4 * 86400
    in_step()


def test_a_large_change_is_one_entry_and_a_full_load(company, in_step, monkeypatch):
    monkeypatch.setattr("segmentation.sync.candidate.SNAPSHOT_MIN_CHANGES", 0)
    company.sync()
    company.con.execute("update segments.membership set segment_version = 2")
    report = company.sync()
    assert mode(report) == ("snapshot", "its position is older than the log reaches back")
    assert report.facts["online_store"]["seq"] == 2
    assert company.state("select count(*) from change_log") == [(0,)]
    in_step()


def test_one_generation_is_kept_beside_the_one_that_is_served(company):
    for _ in range(4):
        company.sync()
        company.state("update views set floor_seq = head_seq + 1, floor_ref = 'x'")
    store = open_store(company.destination("online_store"))
    with store._engine.connect() as connection:
        names = connection.exec_driver_sql(
            "select name from sqlite_master where name like 'strata_members_%' order by name"
        ).fetchall()
    store.close()
    assert names == [("strata_members_online_store_3",), ("strata_members_online_store_4",)]


def test_another_view_loads_anew_and_drops_who_may_not_be_seen(company, in_step):
    company.sync()
    company.change_destination("online_store", purposes=["marketing"])
    company.consent("c_3", "marketing", allowed=True)
    assert mode(company.sync()) == ("snapshot", "it holds another view")
    assert set(company.held("online_store")) == {"c_3", "#segments"}
    in_step()


def test_a_log_that_was_cut_behind_a_destination_makes_it_load_anew(company, in_step, monkeypatch):
    company.sync()
    company.change_destination("online_store", enabled=False)
    company.destinations.append(
        company.destination("online_store").model_copy(
            update={"name": "other", "enabled": True, "url": f"sqlite:///{company.folder}/other.db"}
        )
    )
    monkeypatch.setattr("segmentation.sync.publish.LOG_ROWS_KEPT", 2)
    for key in ("standard", "risky", "vip"):
        company.member("c_0", key)
        company.member("c_7", key)
        company.sync()
    assert company.state("select count(*) from change_log where view_id = 'essential.service'") == [(2,)]
    company.change_destination("online_store", enabled=True)
    assert mode(company.sync()) == ("snapshot", "its position is older than the log reaches back")
    in_step()


def backup(company):
    shutil.copy(company.folder / "state.db", company.folder / "backup.db")


def restore(company):
    for suffix in ("-wal", "-shm"):
        (company.folder / f"state.db{suffix}").unlink(missing_ok=True)
    shutil.copy(company.folder / "backup.db", company.folder / "state.db")


def test_a_state_restored_from_backup_is_noticed_by_its_epochs(company, in_step):
    company.sync()
    backup(company)
    company.member("c_0", "standard")
    company.sync()
    restore(company)
    company.member("c_0", "vip")
    company.member("c_7", "risky")
    report = company.sync()
    assert mode(report) == ("snapshot", "it has seen a later epoch than the ledger, which was restored")
    in_step()
    assert company.lookup("c_0").segments == {"vip": 1}


def test_a_state_restored_from_backup_is_noticed_by_its_history_alone(company, in_step):
    company.sync()
    backup(company)
    company.member("c_0", "standard")
    company.sync()
    restore(company)
    # The backup knows the worker's epoch; only the history tells.
    company.state("update destinations set epoch = 50")
    company.member("c_0", "vip")
    company.member("c_7", "risky")
    assert mode(company.sync()) == ("snapshot", "its position is in another history than the log")
    in_step()
    assert company.lookup("c_0").segments == {"vip": 1}


def test_a_state_restored_from_backup_is_noticed_by_its_end(company, in_step):
    company.sync()
    backup(company)
    company.member("c_0", "standard")
    company.sync()
    restore(company)
    company.state("update destinations set epoch = 50")
    company.member("c_0", "vip")
    assert mode(company.sync()) == ("snapshot", "its position is beyond the end of the log, which was restored")
    in_step()


def test_the_same_facts_after_a_restore_are_the_same_history(company, in_step):
    company.sync()
    backup(company)
    company.member("c_0", "standard")
    company.sync()
    restore(company)
    company.state("update destinations set epoch = 50")
    assert mode(company.sync()) == ("none", "")
    in_step()


def test_a_lost_state_is_built_anew(company, in_step):
    company.sync()
    for path in company.folder.glob("state.db*"):
        path.unlink()
    company.member("c_0", "standard")
    assert mode(company.sync())[0] == "snapshot"
    in_step()


def test_another_run_that_published_in_between_is_not_overwritten(company):
    run, _ = company.build()
    company.state("insert into views values ('essential.service', '[]', '{}', 5, 'x', 0, '', :at, :at)", at=MOMENT)
    with pytest.raises(StateError, match="was published by another run") as caught:
        company.publish(run)
    assert "strata run --from sync" in caught.value.repair


def test_a_destination_enabled_after_the_candidate_waits_for_the_next_run(company, in_step):
    company.change_destination("feature_flags", enabled=False)
    run, _ = company.build()
    company.change_destination("feature_flags", enabled=True)
    with pytest.raises(DeliveryError, match="was not enabled when the candidate was built"):
        company.publish(run)
    company.sync()
    in_step()


class Workbench:
    """Workers on one destination, driven by hand."""

    def __init__(self, company):
        self.company = company
        self.state = State(company.state_url)
        self.store = open_store(company.destination("online_store"))

    def worker(self, name, crash_point=lambda point: None, store=None):
        run = Run(name, MOMENT, MOMENT)
        destination = self.company.destination("online_store")
        view_id = self.company.view_id("online_store")
        ledger = Ledger(self.state, run)
        return Worker(self.state, ledger, destination, view_id, store or self.store, run, crash_point)

    def ledger(self, name="run"):
        return Ledger(self.state, Run(name, MOMENT, MOMENT))

    def close(self):
        self.state.close()
        self.store.close()


@pytest.fixture
def bench(company):
    company.sync()
    workbench = Workbench(company)
    yield workbench
    workbench.close()


def publish_only(company):
    """Publish without delivering."""
    destinations = company.destinations
    run, _ = company.build()
    company.destinations = []
    company.publish(run)
    company.destinations = destinations


@pytest.mark.parametrize("point", ["after_acquire", "before_apply", "after_apply_before_ack"])
def test_a_worker_that_was_taken_over_is_refused(company, bench, in_step, point):
    for number in range(8):
        company.member(f"c_{number}", "risky")
    publish_only(company)
    taken = []

    def take_over(passed):
        if passed == point and not taken:
            taken.append(bench.worker("newer").deliver())

    with pytest.raises(FencedError, match="newer worker took over"):
        bench.worker("zombie", take_over).deliver()
    in_step()
    assert position(company).epoch == taken[0].epoch


@pytest.mark.parametrize("point", ["mid_snapshot", "before_flip"])
def test_a_worker_that_was_taken_over_while_loading_is_refused(company, bench, in_step, point):
    company.state("update views set floor_seq = head_seq + 1, floor_ref = 'x'")
    taken = []

    def take_over(passed):
        if passed == point and not taken:
            taken.append(bench.worker("newer").deliver())

    with pytest.raises(FencedError):
        bench.worker("zombie", take_over).deliver()
    in_step()


def test_a_paused_destination_is_left_alone(company, bench, in_step):
    company.member("c_0", "standard")
    before = company.held("online_store")
    bench.ledger().pause(company.destination("online_store"), paused=True)
    report = company.sync()
    assert mode(report)[0] == "paused"
    assert report.facts["online_store"]["lag_rows"] == 1
    assert company.held("online_store") == before
    bench.ledger().pause(company.destination("online_store"), paused=False)
    company.sync()
    in_step()


def test_a_hole_in_the_log_stops_delivery(company, bench):
    for number in range(3):
        company.member(f"c_{number}", "risky")
    publish_only(company)
    company.state("delete from change_log where seq = 13")
    with pytest.raises(Exception, match="has a hole after entry") as caught:
        bench.worker("run").deliver()
    assert "loaded anew" in caught.value.repair


def test_batches_cut_anywhere_end_the_same(company, bench):
    """A store that stops after any batch stands at a state that existed."""
    for key in ("risky", "vip"):
        for number in range(5):
            company.member(f"c_{number}", key)
        publish_only(company)
    snapshots = []
    company.change_destination("online_store", batch_size=5)
    bench.worker(
        "run", lambda p: snapshots.append(dict(company.held("online_store"))) if p == "after_ack" else None
    ).deliver()
    assert len(snapshots) == 2
    assert all('"risky"' in snapshots[0][f"c_{number}"] for number in range(5))
    assert all('"vip"' in snapshots[1][f"c_{number}"] for number in range(5))


def test_what_no_destination_may_see_any_more_is_forgotten(company, in_step):
    company.sync()
    company.change_destination("online_store", purposes=["marketing"])
    company.consent("c_3", "marketing", allowed=True)
    company.sync()
    for query in ("select distinct view_id from desired", "select view_id from views"):
        assert sorted(company.state(query)) == [("essential.service~segments",), ("marketing",)]
    assert company.con.execute("select count(*) from sync.desired where customer_id = 'c_5'").fetchall() == [(0,)]
    in_step()


def test_a_view_that_is_read_again_starts_a_new_history(company, in_step):
    company.sync()
    company.member("c_0", "standard")
    company.sync()
    company.change_destination("online_store", enabled=False)
    company.sync()
    company.member("c_0", "risky")
    company.change_destination("online_store", enabled=True)
    assert mode(company.sync())[0] == "snapshot"
    in_step()
    assert company.lookup("c_0").segments == {"risky": 1}
