"""Rows that a destination refuses: they wait, are tried again, and stop nothing but a removal."""

import pytest

from segmentation.sync.catalog import SqlDestination
from segmentation.sync.faults import DeliveryError
from segmentation.sync.stores.contract import RejectedRowsError
from segmentation.sync.stores.opening import open_store


class Picky:
    """A store that refuses some customers, and, if told so, their removal."""

    def __init__(self, store, refused):
        self._store = store
        self.refused = set(refused)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def apply(self, epoch, batch):
        self._refuse([row[0] for row in batch.upserts] + batch.deletes)
        self._store.apply(epoch, batch)

    def repair(self, epoch, upserts, deletes):
        self._refuse([row[0] for row in upserts])
        self._store.repair(epoch, upserts, deletes)

    def _refuse(self, customers):
        found = self.refused & set(customers)
        if found:
            raise RejectedRowsError(dict.fromkeys(found, "too long"))


def picky(refused):
    return lambda destination: (
        Picky(open_store(destination), refused) if isinstance(destination, SqlDestination) else open_store(destination)
    )


def test_a_refused_row_waits_and_the_rest_goes_through(company, in_step):
    company.sync()
    for number in range(4):
        company.member(f"c_{number}", "risky")
    report = company.sync(opener=picky({"c_2"}))
    assert report.facts["online_store"]["refused"] == 1
    assert company.lookup("c_3").segments == {"risky": 1}
    assert company.lookup("c_2").segments == {"vip": 1}
    letters = company.con.execute("select customer_id, reason, attempts from sync.dead_letters").fetchall()
    assert letters == [("c_2", "too long", 2)]
    # It is tried again in every run, and arrives once the destination takes it.
    company.sync(opener=picky({"c_2"}))
    assert company.state("select attempts from dead_letters") == [(3,)]
    company.sync()
    assert company.state("select count(*) from dead_letters") == [(0,)]
    in_step()


def test_a_newer_value_replaces_a_refused_one(company, in_step):
    company.sync()
    company.member("c_2", "risky")
    company.sync(opener=picky({"c_2"}))
    company.member("c_2", "standard")
    company.sync()
    assert company.state("select count(*) from dead_letters") == [(0,)]
    in_step()


def test_a_removal_is_never_set_aside(company):
    company.sync()
    company.consent("c_2", "essential.service", allowed=False)
    with pytest.raises(DeliveryError, match="refuses 1 removals"):
        company.sync(opener=picky({"c_2"}))
    assert company.state("select count(*) from dead_letters") == [(0,)]


def test_too_many_refused_rows_stop_the_delivery(company, monkeypatch):
    monkeypatch.setattr("segmentation.sync.deliver.MAX_DEAD_LETTERS", 1)
    company.sync()
    for number in range(3):
        company.member(f"c_{number}", "risky")
    with pytest.raises(DeliveryError, match="refuses 0 removals and 3 rows"):
        company.sync(opener=picky({"c_0", "c_1", "c_2"}))
