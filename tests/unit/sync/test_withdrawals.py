"""Withdrawn consent leaves destinations ahead of everything else, and nothing else does."""

import json
from datetime import datetime, timedelta

from .withdrawing import STORE, held, withdraw

AS_OF = datetime(2026, 11, 1)


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


def test_it_leaves_a_receipt_of_its_own(asking):
    asking.consent("c_1", STORE, allowed=False)
    withdraw(asking)
    rows = asking.con.execute(
        "select mode, rows_written, rows_deleted, rows_held from sync.receipts "
        f"where run_id = 'run-{asking.runs}:withdrawals'"
    ).fetchall()
    assert rows == [("log", 0, 2, 10)]
    assert asking.state(f"select deletes, inserts from runs where run_id = 'run-{asking.runs}:withdrawals'") == [(2, 0)]


def test_it_says_how_long_the_oldest_refusal_waited(asking):
    """Of each who is taken out the last refusal counts: an earlier one of something else was heard long ago."""
    assert withdraw(asking).refused_since == {}
    old, mid, new = (AS_OF - timedelta(days=days) for days in (300, 3, 1))
    for customer, purpose, at in (("c_1", "analytics", mid), ("c_3", "analytics", old), ("c_3", STORE, new)):
        asking.consent(customer, purpose, allowed=False)
        asking.con.execute(
            "update identity.customer_consents set decided_at = ? where customer_id = ? and purpose = ?",
            [at, customer, purpose],
        )
    assert withdraw(asking).refused_since == {"online_store": mid}
    assert withdraw(asking).refused_since == {}


def test_an_erasure_is_no_refusal(asking):
    asking.customer("c_1", status="erased")
    found = withdraw(asking)
    assert (found.removed, found.refused_since) == (2, {})
