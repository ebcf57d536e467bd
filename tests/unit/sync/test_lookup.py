"""What callers are told about a customer, and that unknown is not no."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from segmentation.errors import NotFoundError
from segmentation.sync.faults import DestinationError
from segmentation.sync.lookup import lookup


def test_a_member_is_known_with_versions_and_groups(company):
    company.sync()
    found = company.lookup("c_1", after=timedelta(minutes=5))
    assert (found.status, found.segments, found.groups) == ("known", {"risky": 1, "vip": 1}, {"tier": "vip"})
    assert found.as_of == datetime(2026, 11, 2)
    assert (found.staleness_seconds, found.max_staleness_seconds) == (300, 3600)
    assert found.age_seconds == 5 * 3600 + 300
    assert found.is_member("vip") is True
    assert found.is_member("standard") is False


def test_a_customer_in_no_segment_is_known(company):
    company.sync()
    found = company.lookup("c_9")
    assert (found.status, found.segments, found.is_member("vip")) == ("known", {}, False)


@pytest.mark.parametrize("customer_id", ["nobody", "", "#segments", "c_0' or '1'='1"])
def test_unknown_is_not_no(company, customer_id):
    company.sync()
    found = company.lookup(customer_id)
    assert (found.status, found.customer_id, found.segments) == ("unknown", None, None)
    assert found.is_member("vip") is None
    assert found.evaluation_context() == {"membership": "unknown"}


def test_a_store_that_was_not_confirmed_for_too_long_is_stale(company):
    company.sync()
    assert company.lookup("c_0", after=timedelta(seconds=3600)).status == "known"
    late = company.lookup("c_0", after=timedelta(seconds=3601))
    assert (late.status, late.is_stale, late.segments) == ("stale", True, {"vip": 1})
    unknown = company.lookup("nobody", after=timedelta(hours=2))
    assert (unknown.status, unknown.is_stale) == ("unknown", True)


def test_a_reader_whose_clock_is_behind_sees_no_negative_age(company):
    company.sync()
    found = company.lookup("c_0", after=timedelta(days=-5))
    assert (found.staleness_seconds, found.age_seconds) == (0, 0)


def test_a_merged_id_answers_for_the_survivor(company):
    company.merge("c_0", "c_1")
    company.sync()
    found = company.lookup("c_0")
    assert (found.asked_id, found.customer_id, found.is_member("risky")) == ("c_0", "c_1", True)


def test_ids_that_point_to_each_other_are_unknown(company):
    company.merge("c_0", "c_1")
    company.sync()
    url = company.destination("online_store").url
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("update strata_members_online_store_1 set value = :value where customer_id = 'c_1'"),
            {"value": '{"merged_into":"c_0"}'},
        )
    engine.dispose()
    assert company.lookup("c_0").status == "unknown"


def test_an_erased_customer_is_unknown_after_the_next_sync(company):
    company.sync()
    company.customer("c_1", status="erased")
    company.member("c_1")
    company.sync()
    assert company.lookup("c_1").status == "unknown"


def test_the_answer_is_json_ready(company):
    company.sync()
    facts = json.loads(json.dumps(company.lookup("c_1").as_dict()))
    assert facts["delivered_at"] == "2026-11-02T05:00:00"
    assert facts["segments"] == {"risky": 1, "vip": 1}


def test_a_moment_with_a_time_zone_is_understood(company):
    company.sync()
    url = company.destination("online_store").url
    assert lookup(url, "c_1", datetime(2026, 11, 2, 5, 1, tzinfo=UTC)).staleness_seconds == 60


def test_nothing_delivered_yet_is_said(company):
    with pytest.raises(NotFoundError, match="nothing has been delivered"):
        company.lookup("c_0")
    assert not (company.folder / "online.db").exists()
    company.sync()
    with pytest.raises(NotFoundError):
        lookup(company.destination("online_store").url, "c_0", datetime(2026, 11, 2), destination="other")
    (company.folder / "empty.db").touch()
    with pytest.raises(NotFoundError):
        lookup(f"sqlite:///{company.folder}/empty.db", "c_0", datetime(2026, 11, 2))


def test_a_store_that_can_not_be_read_is_said(company):
    (company.folder / "online.db").write_bytes(b"not a database" * 500)
    with pytest.raises(DestinationError, match="can't be read"):
        company.lookup("c_0")
