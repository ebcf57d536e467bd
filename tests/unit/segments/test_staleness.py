"""Segments that outlived their purpose are found, with every reason, and those that are needed are not."""

from datetime import date

import pytest

from segmentation.errors import NotFoundError
from segmentation.segments.staleness import StaleReview, review_segments
from segmentation.segments.usages import Usage, usages_in_catalog


def review(company, *usages: Usage, takers=None, **options) -> StaleReview:
    catalog = company.catalog()
    named = [*usages_in_catalog(catalog.segments, catalog.groups), *usages]
    everything = {key: ["store"] for key in catalog.segments}
    return review_segments(company.con, named, everything if takers is None else takers, **options)


def reasons(found: StaleReview) -> dict[str, list[str]]:
    return {one.segment_key: [reason.code for reason in one.reasons] for one in found.stale}


@pytest.fixture
def shop(company):
    """Three segments: one with members, one that asks about it, one without members."""
    company.write("vip", "mrr_micros > 5")
    company.write("care", "in_segment('vip')")
    company.write("empty", "mrr_micros > 100")
    company.write("idea", lifecycle="draft", review_by="2020-01-01")
    company.features({"customer_id": "c_a", "mrr_micros": 9}, {"customer_id": "c_b", "mrr_micros": 1})
    company.decide()
    return company


def test_before_the_first_run_there_is_nothing_to_judge(company) -> None:
    with pytest.raises(NotFoundError, match="no segments are published yet"):
        review_segments(company.con, [], {})


def test_a_segment_that_is_needed_is_not_stale(shop) -> None:
    found = review(shop)
    assert reasons(found) == {"empty": ["empty"]}
    assert found.stale[0].reasons[0].text == "never had a member"
    assert (found.live, found.is_over_quota) == (3, False)


def test_what_no_destination_takes_and_nothing_names_is_unused(shop) -> None:
    found = review(shop, takers={})
    # Another rule needs vip, so it is used.
    assert reasons(found) == {"empty": ["empty", "unused"], "care": ["unused"]}
    assert found.stale[0].repair == "lifecycle: retired"
    assert reasons(review(shop, Usage("care", "a cost pool", "x:1"), takers={})) == {"empty": ["empty", "unused"]}


def test_reviews_and_expiry_are_due_by_the_moment_that_membership_describes(shop) -> None:
    shop.write("vip", "mrr_micros > 5", review_by="2026-11-11")
    shop.write("care", "mrr_micros > 5", expires_on="2026-11-11")
    shop.decide(days=9)
    assert reasons(review(shop)) == {"empty": ["empty"]}
    shop.decide(days=10)
    assert reasons(review(shop)) == {"care": ["expired"], "empty": ["empty"], "vip": ["past_review"]}
    # An expired segment is empty because it is expired.
    texts = {one.segment_key: one.reasons[0].text for one in review(shop).stale}
    assert texts["care"] == "expired on 2026-11-11"
    assert texts["vip"] == "its review was due on 2026-11-11"


def test_members_that_left_and_long_silence_are_told_with_their_day(shop) -> None:
    shop.decide(days=1)
    shop.alter("c_a", mrr_micros=1)
    shop.decide(days=2)
    shop.decide(days=40)
    found = {one.segment_key: one for one in review(shop, unchanged_days=38).stale}
    assert [reason.text for reason in found["vip"].reasons] == [
        "has no members since 2026-11-02",
        "neither members nor definition changed since 2026-11-03",
    ]
    # What is used has to be given up first; the places are named.
    assert found["vip"].repair == "take it out of catalog/segments/care.yml:10, then lifecycle: retired"
    assert reasons(review(shop, unchanged_days=39))["vip"] == ["empty"]


def test_a_new_definition_is_a_change(shop) -> None:
    shop.write("vip", "mrr_micros > 5", name="Other")
    shop.decide(days=30)
    silent = reasons(review(shop, unchanged_days=30))
    assert "vip" not in silent
    assert silent["care"] == ["unchanged"]


def test_the_quota_counts_live_segments(shop) -> None:
    assert review(shop, quota=3).is_over_quota is False
    assert review(shop, quota=2).is_over_quota is True
    shop.remove("empty")
    shop.decide(days=1)
    assert review(shop, quota=2).is_over_quota is False
    assert review(shop).as_of.date() == date(2026, 11, 2)
