"""Who was in a segment when, as known when; and how much comes and goes."""

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import NotFoundError
from segmentation.segments.history import count_members_at, find_stays, list_members_at, measure_churn
from segmentation.segments.moments import members_after_sql

START = datetime(2026, 11, 1)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def ask_of_any_history(tiers, data) -> None:
    company = tiers
    company.con.execute("drop schema if exists segments cascade")
    company.con.execute("delete from ops.candidates")
    seen: list[tuple[datetime, datetime, set[str]]] = []
    days = 0
    for _ in range(data.draw(st.integers(1, 6))):
        for one in data.draw(st.sets(st.sampled_from(["c_a", "c_b", "c_c", "c_d"]))):
            company.alter(one, mrr_micros=data.draw(st.sampled_from([0, 5, 500])))
        days += data.draw(st.integers(0, 2))
        run = company.decide(days=days)
        seen.append((run.as_of, run.recorded_at, company.members("vip")))
    for number, (as_of, recorded_at, members) in enumerate(seen, start=1):
        # As it was known then, it was so at its moment and was expected to last.
        for at in (as_of, as_of + timedelta(days=9)):
            assert set(list_members_at(company.con, "vip", at, recorded_at)) == members
        # The log adds up to the same.
        assert {row[0] for row in company.rows(members_after_sql("vip", number))} == members
        # As known today, the last publication of a moment is right.
        last = [found for moment, _, found in seen if moment == as_of][-1]
        assert set(list_members_at(company.con, "vip", as_of)) == last
        assert sum(count_members_at(company.con, "vip", as_of).values()) == len(last)


@given(data=st.data())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_history_says_what_was_published_on_both_axes(tiers, data) -> None:
    ask_of_any_history(tiers, data)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_history_says_what_was_published_on_both_axes_many_times_over(tiers, data) -> None:
    ask_of_any_history(tiers, data)


def test_a_customer_was_in_it_by_a_rule_that_is_gone(tiers) -> None:
    first = tiers.decide()
    tiers.write("vip", "mrr_micros > 7000", group="tier", precedence=1)
    tiers.decide(days=3)
    [stay] = find_stays(tiers.con, "c_a", day(2), segment_key="vip")
    assert (stay.segment_version, stay.rule) == (1, "mrr_micros >= 100")
    assert (stay.valid_from, stay.valid_to, stay.cause, stay.exit_cause) == (day(0), day(3), "rule", "rule")
    assert find_stays(tiers.con, "c_a", day(3), segment_key="vip") == []
    # Before the second publication nobody knew of the end.
    [stay] = find_stays(tiers.con, "c_a", day(9), first.recorded_at, "vip")
    assert stay.valid_to is None
    assert {one.segment_key for one in find_stays(tiers.con, "c_a", day(1))} == {"vip", "reachable"}
    # Another id became this customer: its stays are theirs.
    tiers.fill("identity.customer_aliases", old_customer_id="c_a", customer_id="c_b")
    assert [one.customer_id for one in find_stays(tiers.con, "c_b", day(2), segment_key="vip")] == ["c_a"]
    with pytest.raises(NotFoundError, match="history begins with 2026-11-01"):
        find_stays(tiers.con, "c_a", day(-1))


def test_churn_counts_who_left_and_flapping_who_came_back_soon(tiers) -> None:
    for one in ("c_a", "c_b", "c_c", "c_d"):
        tiers.alter(one, mrr_micros=500)
    tiers.decide()
    for days, altered in (
        (10, {"c_a": 0, "c_b": 0}),
        (12, {"c_a": 500}),
        (20, {"c_b": 500, "c_c": 0}),
        (25, {}),
    ):
        for one, value in altered.items():
            tiers.alter(one, mrr_micros=value)
        tiers.decide(days=days)

    def vip(until: datetime, **options: int):
        return next(one for one in measure_churn(tiers.con, until, **options) if one.segment_key == "vip")

    found = vip(day(25), days=20, flap_days=7)
    assert (found.members_at_start, found.members_at_end, found.entries, found.exits) == (4, 3, 2, 3)
    assert (found.churn_ratio, found.flap_ratio) == (3 / 4, 1 / 3)
    assert vip(day(25), days=20, flap_days=10).flap_ratio == 2 / 3
    quiet = vip(day(9), days=5)
    assert (quiet.entries, quiet.exits, quiet.churn_ratio, quiet.flap_ratio) == (0, 0, 0.0, None)
    before = vip(day(0), days=5)
    assert (before.members_at_start, before.churn_ratio, before.entries) == (0, None, 4)
