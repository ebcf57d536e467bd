"""What a destination holds is read back, compared, put right and written down."""

import hashlib
import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import timedelta

import pytest

from segmentation.run import Run
from segmentation.sync.faults import DeliveryError
from segmentation.sync.ledger import Ledger
from segmentation.sync.reconcile import compare
from segmentation.sync.state import State
from segmentation.sync.stores.opening import open_store


def meddle(company, *statements):
    """Change the served rows behind the back of sync."""
    with closing(sqlite3.connect(company.folder / "online.db")) as connection:
        (generation,) = connection.execute("select generation from strata_positions").fetchone()
        for statement in statements:
            connection.execute(statement.format(members=f"strata_members_online_store_{generation}"))
        connection.commit()


def reconciliations(company, name="online_store"):
    return company.con.execute(
        "select checked, differs, missing, extra, pending, repaired, digest = expected_digest "
        "from sync.reconciliations where destination = ? and run_id = ? order by repaired desc",
        [name, f"run-{company.runs}"],
    ).fetchall()


def digest(rows):
    buckets = defaultdict(list)
    for key, value in sorted(rows.items()):
        buckets[hashlib.md5(key.encode()).hexdigest()[:2]].append(f"{key}\x1f{value}")
    parts = [hashlib.sha256("\x1e".join(buckets[name]).encode()).hexdigest() for name in sorted(buckets)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def test_a_receipt_says_what_was_read_back(company):
    company.sync()
    company.member("c_0", "standard")
    company.consent("c_1", "essential.service", allowed=False)
    company.sync()
    row = company.con.execute(
        "select mode, seq, rows_written, rows_deleted, rows_held, digest from sync.receipts "
        "where destination = 'online_store' and run_id = 'run-2'"
    ).fetchall()
    assert row == [("log", 13, 1, 1, 10, digest(company.held("online_store")))]


def test_equal_content_has_equal_digests(company):
    first = company.sync().facts["online_store"]["digest"]
    company.member("c_0", "standard")
    changed = company.sync().facts["online_store"]["digest"]
    company.member("c_0", "vip")
    again = company.sync().facts["online_store"]["digest"]
    assert first == again != changed


def test_drift_is_found_written_down_and_put_right(company, in_step):
    company.sync()
    meddle(
        company,
        "update {members} set value = '{{}}' where customer_id = 'c_1'",
        "delete from {members} where customer_id in ('c_2', 'c_3')",
        "insert into {members} values ('intruder', '{{}}')",
    )
    report = company.sync()
    assert report.facts["online_store"]["drift_repaired"] == 4
    assert reconciliations(company) == [(10, 1, 2, 1, 0, 4, False), (11, 0, 0, 0, 0, 0, True)]
    in_step()


def test_a_flag_file_that_was_edited_is_put_right(company, in_step):
    company.sync()
    path = company.folder / "flags.json"
    for edit in (
        lambda document: document["flags"]["segment-vip"].update(targeting={}),
        lambda document: document["flags"].pop("segment-vip"),
        lambda document: document["$evaluators"].clear(),
        lambda document: document["flags"].update(mine={"state": "ENABLED"}),
    ):
        document = json.loads(path.read_text())
        edit(document)
        path.write_text(json.dumps(document))
        assert company.sync().facts["feature_flags"]["drift_repaired"] == 1
        in_step()


def test_a_destination_that_does_not_keep_what_it_is_given_fails(company):
    company.sync()
    with closing(sqlite3.connect(company.folder / "online.db")) as connection:
        connection.execute(
            "create trigger undo after update on strata_members_online_store_1 begin "
            "update strata_members_online_store_1 set value = 'odd' where customer_id = new.customer_id; end"
        )
        connection.commit()
    company.member("c_0", "standard")
    with pytest.raises(DeliveryError, match="does not keep what it is given: 1 rows are wrong"):
        company.sync()


def test_reading_back_is_not_done_more_often_than_wanted(company, in_step):
    company.change_destination("online_store", reconcile_every_seconds=2 * 86400)
    company.sync()
    assert len(reconciliations(company)) == 1
    company.sync()
    assert reconciliations(company) == []
    receipts = company.con.execute(
        "select rows_held, digest from sync.receipts where destination = 'online_store' and run_id = 'run-2'"
    ).fetchall()
    assert receipts == [(None, None)]
    company.sync()
    assert len(reconciliations(company)) == 1
    in_step()


def test_rows_still_on_their_way_are_no_drift(company):
    company.sync()
    company.member("c_0", "standard")
    company.member("c_1", "standard")
    destinations = company.destinations
    run, _ = company.build()
    company.destinations = []
    company.publish(run)
    company.destinations = destinations
    meddle(company, "delete from {members} where customer_id = 'c_5'")
    destination = company.destination("online_store")
    state, store = State(company.state_url), open_store(destination)
    ledger = Ledger(state, Run("check", run.as_of, run.recorded_at + timedelta(minutes=1)))
    found = compare(company.con, state, ledger, destination, store, store.position())
    state.close()
    store.close()
    assert (found.differs, found.missing, found.extra, found.pending, found.drift) == (0, 1, 0, 2, 1)
    assert found.digest != found.expected_digest


def test_analysts_see_the_ledger_in_the_warehouse(company):
    company.sync()
    company.sync()
    for name in ("views", "destinations", "runs", "receipts", "reconciliations", "dead_letters"):
        in_state = company.state(f"select count(*) from {name}")
        assert company.con.execute(f"select count(*) from sync.{name}").fetchall() == in_state, name
    desired = company.con.execute("select view_id, customer_id, value, version from sync.desired order by all")
    assert desired.fetchall() == company.state("select * from desired order by 1, 2")


def test_a_copy_of_another_state_is_made_anew(company, in_step):
    company.sync()
    company.con.execute("update sync.desired set value = 'wrong' where customer_id = 'c_0'")
    company.con.execute("update sync.desired_heads set head_ref = 'other'")
    company.member("c_1", "standard")
    assert company.sync().rows["online_store written"] == 1
    in_step()
    assert company.con.execute("select value from sync.desired where customer_id = 'c_0'").fetchall() == company.state(
        "select value from desired where customer_id = 'c_0'"
    )
