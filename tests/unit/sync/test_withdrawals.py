"""Withdrawn consent leaves destinations ahead of everything else, and nothing else does."""

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.run import Run
from segmentation.sync.faults import DeliveryError, StateError
from segmentation.sync.stores.opening import open_store
from segmentation.sync.withdrawals import deliver_withdrawals

STORE = "essential.service"


AS_OF = datetime(2026, 11, 1)


class KilledError(Exception):
    """Stands for a process that ends here."""


def withdraw(company, **options):
    return deliver_withdrawals(
        company.con,
        company.next_run(),
        destinations=company.destinations,
        state_url=company.state_url,
        **options,
    )


def held(company):
    return {key: json.loads(value) for key, value in company.held("online_store").items()}


def place(company):
    """Where the store says it stands; ``None`` where nothing was ever loaded."""
    store = open_store(company.destination("online_store"))
    try:
        return store.position()
    finally:
        store.close()


@pytest.fixture
def asking(company):
    """A company one of whose segments, and one of whose tiers, need consent to analytics."""
    company.segment("risky", purposes=["analytics"])
    company.segment("vip", version=3, group="tier", purposes=["analytics"])
    for n in range(10):
        company.consent(f"c_{n}", "analytics", allowed=True)
    company.merge("c_20", "c_1")
    company.sync()
    return company


def test_nothing_happens_where_nothing_was_delivered(company):
    found = withdraw(company)
    assert (found.removed, found.reduced, found.deliveries, found.failures) == (0, 0, [], {})


def test_nothing_happens_where_nobody_took_anything_back(asking):
    before = asking.state("select epoch from destinations order by 1")
    found = withdraw(asking)
    assert (found.removed, found.reduced, found.deliveries) == (0, 0, [])
    assert asking.state("select epoch from destinations order by 1") == before


def test_who_refuses_what_the_destination_is_for_leaves_it(asking, in_step):
    asking.consent("c_1", STORE, allowed=False)
    found = withdraw(asking)
    # The customer and the id that was merged into it.
    assert (found.removed, found.reduced) == (2, 0)
    assert asking.lookup("c_1").status == asking.lookup("c_20").status == "unknown"
    in_step()


def test_who_refuses_what_a_segment_needs_leaves_the_segment_alone(asking, in_step):
    before = held(asking)
    asking.consent("c_1", "analytics", allowed=False)
    asking.consent("c_3", "analytics", allowed=False)
    found = withdraw(asking)
    assert (found.removed, found.reduced) == (0, 2)
    after = held(asking)
    assert after["c_1"] == {"segments": {}, "groups": {}}
    assert after["c_3"] == {"segments": {"standard": 1}, "groups": {"tier": "standard"}}
    assert {key: row for key, row in after.items() if key not in {"c_1", "c_3"}} == {
        key: row for key, row in before.items() if key not in {"c_1", "c_3"}
    }
    in_step()


def version(company, key, number, purposes):
    definition = json.dumps({"key": key, "consent": {"purposes": purposes}})
    row = [key, number, "h", definition, "r", AS_OF, AS_OF]
    company.con.execute(
        "insert into segments.versions (segment_key, segment_version, definition_hash, definition, first_run_id, "
        "first_as_of, recorded_at) values (?, ?, ?, ?, ?, ?, ?)",
        row,
    )


def test_a_segment_that_left_the_catalog_needs_what_it_needed_last(asking, in_step):
    """Its members are held until the next full delivery, which a closed gate may put off."""
    version(asking, "risky", 1, [])
    version(asking, "risky", 2, ["analytics"])
    asking.con.execute("delete from segments.catalog where segment_key = 'risky'")
    asking.consent("c_3", "analytics", allowed=False)
    found = withdraw(asking)
    assert (found.removed, found.reduced) == (0, 1)
    assert held(asking)["c_3"]["segments"] == {"standard": 1}
    assert held(asking)["c_5"]["segments"] == {"risky": 1, "standard": 1}
    in_step()


def test_a_segment_of_which_nothing_is_known_leaves_everybody(asking, in_step):
    asking.con.execute("delete from segments.catalog where segment_key = 'risky'")
    found = withdraw(asking)
    # Who is in an odd row is in it; c_9 is in no segment.
    assert (found.removed, found.reduced) == (0, 4)
    assert all("risky" not in row.get("segments", {}) for key, row in held(asking).items() if key.startswith("c_"))
    assert held(asking)["c_3"] == {"segments": {"standard": 1}, "groups": {"tier": "standard"}}
    in_step()


def test_who_was_erased_leaves(asking, in_step):
    asking.customer("c_1", status="erased")
    assert withdraw(asking).removed == 2
    assert "c_1" not in held(asking)
    in_step()


def test_nobody_enters_moves_or_leaves_for_another_reason(asking):
    before = held(asking)
    asking.member("c_9", "vip", "risky")
    asking.member("c_0", "standard")
    asking.customer("c_30")
    asking.member("c_30", "vip")
    asking.customer("c_4", status="retired")
    asking.merge("c_5", "c_6")
    asking.segment("fresh")
    found = withdraw(asking)
    assert (found.removed, found.reduced) == (0, 0)
    assert held(asking) == before


def test_purposes_that_need_no_consent_are_not_asked_for(asking):
    asking.con.execute("delete from identity.customer_consents where purpose = 'essential.service'")
    asking.consent("c_1", "analytics", allowed=False)
    found = withdraw(asking, unconditional_purposes=[STORE])
    assert (found.removed, found.reduced) == (0, 1)


def test_what_stays_is_as_old_as_it_was(asking):
    before = asking.lookup("c_4")
    views = asking.state("select view_id, as_of, published_at from views order by 1")
    asking.consent("c_1", STORE, allowed=False)
    withdraw(asking)
    after = asking.lookup("c_4")
    assert (after.as_of, after.delivered_at) == (before.as_of, before.delivered_at)
    assert after.seq == before.seq + 2
    assert after.is_stale
    assert asking.state("select view_id, as_of, published_at from views order by 1") == views


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


def test_it_leaves_a_receipt_of_its_own(asking):
    asking.consent("c_1", STORE, allowed=False)
    withdraw(asking)
    rows = asking.con.execute(
        "select mode, rows_written, rows_deleted, rows_held from sync.receipts "
        f"where run_id = 'run-{asking.runs}:withdrawals'"
    ).fetchall()
    assert rows == [("log", 0, 2, 10)]
    assert asking.state(f"select deletes, inserts from runs where run_id = 'run-{asking.runs}:withdrawals'") == [(2, 0)]


def test_a_destination_that_is_down_holds_back_no_other_and_is_told_later(asking, in_step):
    destination = asking.destination("online_store")
    second = destination.model_copy(update={"name": "second_store", "url": f"sqlite:///{asking.folder}/second.db"})
    asking.destinations.append(second)
    asking.sync()
    asking.consent("c_1", STORE, allowed=False)
    asking.change_destination("online_store", url=f"sqlite:///{asking.folder}")
    found = withdraw(asking)
    assert list(found.failures) == ["online_store"]
    assert [delivery.destination for delivery in found.deliveries] == ["second_store"]
    assert "c_1" not in asking.held("second_store")
    asking.change_destination("online_store", url=destination.url)
    assert "c_1" in asking.held("online_store")
    again = withdraw(asking)
    assert (again.removed, [one.destination for one in again.deliveries]) == (0, ["online_store"])
    in_step()


@pytest.mark.parametrize(
    "point",
    ["mid_publish_tx", "after_publish", "after_copy", "after_epoch", "after_acquire", "before_apply",
     "after_apply_before_ack", "after_ack", "before_receipt"],
)  # fmt: skip
def test_killed_anywhere_it_goes_on(asking, in_step, point):
    asking.consent("c_1", STORE, allowed=False)
    asking.consent("c_3", "analytics", allowed=False)

    def kill(name):
        if name == point:
            raise KilledError

    with pytest.raises(KilledError):
        withdraw(asking, crash_point=kill)
    withdraw(asking)
    assert "c_1" not in held(asking)
    assert held(asking)["c_3"]["segments"] == {"standard": 1}
    in_step()
    asking.build()
    assert asking.con.execute("select bool_and(is_proven) from sync.candidate_deliveries").fetchall() == [(True,)]


def test_a_candidate_from_before_is_refused_afterwards(asking):
    run, _ = asking.build()
    asking.consent("c_1", STORE, allowed=False)
    withdraw(asking)
    with pytest.raises(StateError, match="published by another run"):
        asking.publish(run)
    asking.sync()
    assert "c_1" not in held(asking)


moves = st.lists(
    st.tuples(
        st.sampled_from(["refuse", "allow", "refuse analytics", "allow analytics", "move", "leave", "erase", "come"]),
        st.integers(0, 9),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=moves, after=moves)
def test_a_full_delivery_afterwards_is_what_it_would_have_been(asking, before, after):
    """With and without withdrawals in between, a destination ends as it should; in between, it only loses."""

    def happen(steps):
        for what, n in steps:
            customer = f"c_{n}"
            match what:
                case "refuse" | "allow":
                    asking.consent(customer, STORE, allowed=what == "allow")
                case "refuse analytics" | "allow analytics":
                    asking.consent(customer, "analytics", allowed=what.startswith("allow"))
                case "move":
                    asking.member(customer, "standard", "risky")
                case "leave":
                    asking.member(customer)
                case "erase":
                    asking.customer(customer, status="erased")
                    asking.member(customer)
                case "come":
                    asking.customer(f"c_{n}{n}")
                    asking.member(f"c_{n}{n}", "vip", version=3)

    asking.sync()
    happen(before)
    earlier = held(asking)
    withdraw(asking)
    between = held(asking)
    assert between.keys() <= earlier.keys()
    for key, value in between.items():
        if key.startswith("c_") and "segments" in value:
            assert value["segments"].items() <= earlier[key]["segments"].items()
            assert value["groups"].items() <= earlier[key]["groups"].items()
    refused = {
        row[0]
        for row in asking.con.execute(
            "select customer_id from identity.customers where status = 'erased' or customer_id in "
            "(select customer_id from identity.customer_consents where purpose = ? and not is_allowed)",
            [STORE],
        ).fetchall()
    }
    assert not refused & between.keys()
    happen(after)
    asking.sync()
    wanted = asking.con.execute(
        "select customer_id, value from sync.candidate_values where view_id = ?", [asking.view_id("online_store")]
    ).fetchall()
    assert asking.held("online_store") == asking.desired("online_store") == dict(wanted)


def test_in_one_run_the_full_delivery_follows(asking):
    asking.consent("c_1", STORE, allowed=False)
    run = asking.next_run()
    options = {"destinations": asking.destinations, "state_url": asking.state_url}
    deliver_withdrawals(asking.con, run, **options)
    asking.build(run)
    asking.publish(run)
    store = open_store(asking.destination("online_store"))
    delivered_at = store.position().delivered_at
    store.close()
    assert delivered_at == run.recorded_at
    later = Run("late", run.as_of, run.recorded_at + timedelta(hours=1))
    assert deliver_withdrawals(asking.con, later, **options).deliveries == []
