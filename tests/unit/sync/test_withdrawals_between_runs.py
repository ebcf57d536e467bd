"""Withdrawals among runs: killed, repeated, or with a destination that is down, and the full delivery afterwards."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.run import Run
from segmentation.sync.faults import StateError
from segmentation.sync.stores.opening import open_store
from segmentation.sync.withdrawals import deliver_withdrawals

from .withdrawing import STORE, KilledError, held, withdraw


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


def withdraw_in_between(asking, before, after):
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


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=moves, after=moves)
def test_a_full_delivery_afterwards_is_what_it_would_have_been(asking, before, after):
    withdraw_in_between(asking, before, after)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=moves, after=moves)
def test_a_full_delivery_afterwards_is_what_it_would_have_been_many_times_over(asking, before, after):
    withdraw_in_between(asking, before, after)


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
