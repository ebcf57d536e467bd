"""What the gate is told of each destination: how much its next delivery changes, and the proof of its last one."""

import pytest

from segmentation.sync.faults import DeliveryError
from segmentation.sync.stores.opening import open_store


def outlook(company, name="online_store"):
    result = company.con.execute("select * from sync.candidate_deliveries where destination = ?", [name])
    names = [column[0] for column in result.description]
    (row,) = result.fetchall()
    return dict(zip(names, row, strict=True))


def share(company, name="online_store"):
    found = outlook(company, name)
    return found["members_changed"], found["members_held"], found["changed_ratio"], found["max_changed_ratio"]


def test_a_first_delivery_changes_nobody_that_is_held(company):
    company.build()
    found = outlook(company)
    assert (found["members_held"], found["is_delivered"], found["is_proven"]) == (0, False, True)


def test_members_who_come_move_and_go_are_counted(company):
    company.sync()
    company.member("c_0", "standard")
    company.customer("c_1", status="erased")
    company.member("c_1")
    company.customer("c_20")
    company.build()
    assert share(company) == (3, 10, 0.3, 0.5)
    # The flag file holds no customer.
    assert share(company, "feature_flags")[:2] == (0, 0)


def test_neither_withdrawn_consent_nor_a_new_version_holds_a_delivery_back(company):
    company.sync()
    company.segment("vip", version=4, group="tier")
    for n in range(3):
        company.member(f"c_{n}", *["vip"] + (["risky"] if n % 2 else []), version=4)
    company.consent("c_5", "essential.service", allowed=False)
    company.build()
    figures = company.summary()["essential.service"]
    # The three, and the entry that says which segments there are.
    assert (figures["updates"], figures["deletes"]) == (4, 1)
    assert share(company)[0] == 0


def test_a_destination_whose_limits_were_edited_is_compared_with_what_it_holds(company):
    company.sync()
    company.change_destination("online_store", segments=["risky"], max_changed_ratio=0.25)
    company.build()
    # c_9 was in no segment, and still is.
    assert share(company) == (9, 10, 0.9, 0.25)


def test_a_delivery_has_its_proof(company):
    company.sync()
    company.build()
    found = outlook(company)
    assert found["is_delivered"]
    assert found["is_proven"]
    assert found["commit_ref"] == found["log_ref"] != ""
    assert found["rows_wrong"] == 0


@pytest.mark.parametrize(
    "damage",
    [
        "delete from receipts",
        "update receipts set ref = ''",
        "update receipts set ref = 'other'",
        "update reconciliations set differs = 1",
    ],
)
def test_without_its_proof_no_delivery_is_one(company, damage):
    company.sync()
    company.state(damage)
    company.build()
    assert not outlook(company)["is_proven"]
    # What the message advises: nothing has changed, and still it is taken over, asked and proven anew.
    company.sync()
    company.build()
    assert outlook(company)["is_proven"]


def test_a_delivery_that_failed_claims_nothing(company):
    company.sync()
    company.change_destination("online_store", url=f"sqlite:///{company.folder}")
    company.member("c_0", "standard")
    with pytest.raises(DeliveryError):
        company.sync()
    company.build()
    found = outlook(company)
    assert (found["is_delivered"], found["is_proven"]) == (False, True)


def test_a_destination_that_does_not_stand_where_it_was_brought_to_fails(company):
    company.sync()
    company.member("c_0", "standard")

    class Forgetful:
        """Says that it stands where it stood before."""

        def __init__(self, store):
            self._store = store
            self._before = store.position()

        def position(self):
            return self._before

        def __getattr__(self, name):
            return getattr(self._store, name)

    def opener(destination):
        store = open_store(destination)
        return Forgetful(store) if destination.name == "online_store" else store

    with pytest.raises(DeliveryError, match="does not stand where it was brought to: entry 11 instead of 12"):
        company.sync(opener=opener)
    assert company.state("select status from destinations where destination = 'online_store'") == [("failed",)]
    company.sync()
    assert company.state("select status from destinations where destination = 'online_store'") == [("delivered",)]
