"""Withdrawals only take out: a place that is new, lost or in doubt is named, and waits for the full delivery."""

import pytest

from segmentation.sync.faults import DeliveryError

from .withdrawing import STORE, KilledError, held, place, withdraw


def test_an_edited_destination_is_not_given_what_it_was_allowed_before(asking, in_step):
    """One edit moves it and lets it see less: nobody is in the new place, so nobody is taken out or put in."""
    asking.change_destination(
        "online_store",
        url=f"sqlite:///{asking.folder}/elsewhere.db",
        purposes=["essential.service", "analytics"],
        segments=["risky"],
    )
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    assert (found.removed, found.deliveries, found.failures) == (2, [], {})
    assert place(asking) is None
    asking.sync()
    assert "vip" not in str(held(asking))
    in_step()


def test_a_place_that_was_lost_is_not_loaded(asking, in_step):
    for path in asking.folder.glob("online.db*"):
        path.unlink()
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    assert (found.deliveries, found.failures, place(asking)) == ([], {}, None)
    asking.sync()
    in_step()


@pytest.mark.parametrize(
    "damage",
    [
        "update change_log set commit_ref = 'other'",
        "update views set floor_seq = head_seq, floor_ref = head_ref",
        "update destinations set epoch = 0",
    ],
    ids=["another history", "too far behind", "a later epoch"],
)
def test_what_would_have_to_be_loaded_anew_waits_for_the_full_delivery(asking, in_step, damage):
    """It is said, nothing is put in, and the full delivery still sees why it has to load."""
    before = held(asking)
    asking.member("c_2", "standard")
    asking.change_destination("online_store", url=f"sqlite:///{asking.folder}")
    with pytest.raises(DeliveryError):
        asking.sync()
    asking.change_destination("online_store", url=f"sqlite:///{asking.folder}/online.db")
    asking.state(damage)
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    assert "has to be loaded anew" in found.failures["online_store"].what
    assert (found.deliveries, held(asking)) == ([], before)
    run, _ = asking.build()
    facts = asking.publish(run).facts["online_store"]
    assert facts["mode"] == "snapshot"
    assert "c_1" not in held(asking)
    in_step()


def test_a_destination_that_comes_back_with_less_to_see_only_loses(asking, in_step):
    """Another one kept its view going while it was disabled."""
    destination = asking.destination("online_store")
    asking.destinations.append(
        destination.model_copy(update={"name": "second_store", "url": f"sqlite:///{asking.folder}/second.db"})
    )
    asking.sync()
    asking.change_destination("online_store", enabled=False)
    asking.consent("c_3", STORE, allowed=False)
    withdraw(asking)
    asking.change_destination("online_store", enabled=True, segments=["risky"])
    withdraw(asking)
    assert "c_3" not in held(asking)
    before = held(asking)

    asking.change_destination("online_store", enabled=False)
    asking.customer("c_30")
    asking.member("c_30", "standard")
    asking.sync()
    asking.consent("c_5", STORE, allowed=False)
    asking.change_destination("online_store", enabled=True)
    found = withdraw(asking)
    assert list(found.failures) == ["online_store"]
    assert [one.destination for one in found.deliveries] == ["second_store"]
    assert held(asking) == before
    asking.sync()
    assert "standard" not in str(held(asking))
    assert "c_5" not in held(asking)
    in_step()


def test_a_view_is_kept_as_long_as_a_destination_holds_it(asking, in_step):
    """Edited, and out of reach in the delivery that would have loaded it anew, it holds its former view."""
    asking.change_destination("online_store", segments=["risky"], url=f"sqlite:///{asking.folder}")
    with pytest.raises(DeliveryError):
        asking.sync()
    asking.change_destination("online_store", url=f"sqlite:///{asking.folder}/online.db")
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    assert (found.removed, found.failures) == (2, {})
    assert "c_1" not in held(asking)
    # The gate, too, is told how much of what it holds would change: all but c_9, who is in no segment.
    asking.build()
    counted = "select members_held, members_changed from sync.candidate_deliveries where destination = 'online_store'"
    assert asking.con.execute(counted).fetchall() == [(9, 8)]
    asking.sync()
    in_step()
    # Then nobody holds it, and it goes.
    assert asking.state("select count(*) from views where view_id = 'essential.service'") == [(0,)]


def test_a_destination_whose_view_was_forgotten_is_named(asking, in_step):
    asking.change_destination("online_store", enabled=False)
    asking.sync()
    assert asking.state("select count(*) from views where view_id = 'essential.service'") == [(0,)]
    asking.change_destination("online_store", enabled=True)
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    assert "last given view essential.service, which is not kept any more" in found.failures["online_store"].what
    asking.sync()
    assert "c_1" not in held(asking)
    in_step()
    assert withdraw(asking).failures == {}


def test_a_destination_that_holds_another_view_than_was_noted_is_named(asking, in_step):
    """Killed between being noted and being loaded, it holds its former view still."""
    asking.change_destination("online_store", segments=["risky"])

    def kill(name):
        if name == "after_epoch":
            raise KilledError

    run, _ = asking.build()
    with pytest.raises(KilledError):
        asking.publish(run, crash_point=kill)
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    assert "it holds another view" in found.failures["online_store"].what
    asking.sync()
    assert "c_1" not in held(asking)
    in_step()
