"""Destinations with regions get customers who are known to reside there, and nobody else."""

import json
from datetime import timedelta

import pytest

from segmentation.sync import effective
from segmentation.sync.catalog import SqlDestination
from segmentation.sync.views import View, view_of
from segmentation.sync.withdrawals import deliver_withdrawals


def _reside(company, **regions):
    for customer, region in regions.items():
        company.con.execute("delete from identity.profiles where customer_id = ?", [customer])
        company.con.execute(
            "insert into identity.profiles (customer_id, residency_region, is_known, run_id, recorded_at) "
            "values (?, ?, true, 'r', now()::timestamp)",
            [customer, region],
        )


@pytest.fixture
def regional(company):
    """A store for the EU; ten customers, of whom four reside there, two elsewhere, and of four nothing is known."""
    company.change_destination("online_store", regions=["EU", "UK"])
    _reside(company, c_0="EU", c_1="EU", c_2="EU", c_3="UK", c_4="US", c_5="eu", c_6=None)
    return company


def _customers(company):
    return {key for key in company.held("online_store") if key.startswith("c_")}


def _figures(company, *names):
    return company.con.execute(
        f"select {', '.join(names)} from sync.candidate where destinations = 'online_store'"
    ).fetchall()


def test_only_customers_who_are_known_to_reside_there_are_delivered(regional, in_step):
    run, report = regional.build()
    regional.publish(run)
    assert _customers(regional) == {"c_0", "c_1", "c_2", "c_3"}
    in_step()
    kept_out = _figures(regional, "outside_regions", "unknown_region", "residency_violations")
    # Of c_7, c_8 and c_9 there is no profile; a region is what it is written as.
    assert kept_out == [(2, 4, 0)]
    assert (report.facts["customers_outside_regions"], report.facts["customers_of_unknown_region"]) == (2, 4)
    assert regional.lookup("c_4").status == "unknown"
    assert regional.held("feature_flags").keys() == {"#segments"}


def test_whoever_moves_away_is_deleted_and_whoever_moves_in_is_delivered(regional, in_step):
    regional.merge("c_20", "c_2")
    regional.sync()
    _reside(regional, c_2="US", c_3=None, c_4="EU")
    _, report = regional.build()
    found = regional.con.execute(
        "select op, customer_id, reason from sync.candidate_changes order by op, customer_id"
    ).fetchall()
    assert [(op, customer) for op, customer, _ in found] == [
        ("delete", "c_2"), ("delete", "c_20"), ("delete", "c_3"), ("insert", "c_4")
    ]  # fmt: skip
    reasons = {customer: reason for _, customer, reason in found}
    assert (reasons["c_2"], reasons["c_3"]) == ("residency", "residency")
    assert report.facts["residency_removals"] == 2
    assert report.facts["consent_removals"] == 0
    regional.sync()
    assert _customers(regional) == {"c_0", "c_1", "c_4"}
    in_step()


def test_a_refusal_is_told_as_one_also_where_the_customer_moved_away(regional):
    regional.sync()
    _reside(regional, c_1="US")
    regional.consent("c_1", "essential.service", allowed=False)
    _, report = regional.build()
    assert (report.facts["consent_removals"], report.facts["residency_removals"]) == (1, 0)


def test_regions_are_part_of_what_a_destination_may_see(regional, in_step):
    """Naming regions loads the destination anew, and a place that is left out is empty of those people."""
    regional.change_destination("online_store", regions=[])
    everywhere = regional.view_id("online_store")
    regional.sync()
    assert len(_customers(regional)) == 10
    regional.change_destination("online_store", regions=["EU"])
    assert regional.view_id("online_store") != everywhere
    regional.sync()
    assert _customers(regional) == {"c_0", "c_1", "c_2"}
    in_step()
    regional.change_destination("online_store", regions=["EU", "UK"])
    regional.sync()
    assert _customers(regional) == {"c_0", "c_1", "c_2", "c_3"}


def test_withdrawals_go_on_from_what_a_regional_destination_holds(regional, in_step):
    regional.sync()
    regional.consent("c_1", "essential.service", allowed=False)
    found = deliver_withdrawals(
        regional.con, regional.next_run(), destinations=regional.destinations, state_url=regional.state_url
    )
    assert (found.removed, found.failures) == (1, {})
    assert _customers(regional) == {"c_0", "c_2", "c_3"}
    regional.sync()
    in_step()


def test_a_view_is_known_again_by_what_is_kept_of_it():
    views = [View(("a",)), View(("a",), regions=("EU",)), View(("a",), ("s",), ("t",), regions=("EU", "UK"))]
    assert len({view.view_id for view in views}) == 3
    assert views[0].view_id == "a"
    for view in views:
        assert view_of(view.view_id, view.purposes, json.loads(view.limits)) == view
    assert "regions" not in views[0].limits


def test_a_violation_is_counted_from_what_is_delivered(regional, monkeypatch):
    regional.build()
    assert _figures(regional, "residency_violations") == [(0,)]
    # A defect in what selects people does not hide from what counts them.
    monkeypatch.setattr(effective, "residing", lambda *_: "true")
    regional.build()
    assert _figures(regional, "residency_violations") == [(6,)]


def test_an_empty_name_is_no_region():
    with pytest.raises(ValueError, match="at least 1 character"):
        SqlDestination(
            kind="sqlalchemy", url="sqlite://", description="d", purposes=["p"], segments="all", owner="o",
            max_staleness_seconds=1, regions=[" "],
        )  # fmt: skip


def test_the_lookup_of_somebody_who_moved_away_is_unknown_not_no(regional):
    regional.sync()
    _reside(regional, c_0="US")
    regional.sync()
    answer = regional.lookup("c_0", after=timedelta(minutes=1))
    assert (answer.status, answer.is_member("vip")) == ("unknown", None)
