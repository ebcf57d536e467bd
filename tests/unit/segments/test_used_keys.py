"""A key that a segment had is never another segment's, and no segment is taken away from those who use it."""

import pytest

from segmentation.errors import CatalogProblem, CatalogProblems
from segmentation.segments.publish import publish
from segmentation.segments.tombstones import check_tombstones, published_files, read_tombstones
from segmentation.segments.usages import Usage, check_departures, usages_in_catalog


def complaints(company) -> list[CatalogProblem]:
    return list(check_tombstones(company.catalog().segments, read_tombstones(company.con)))


def departures(company, *others: Usage) -> list[CatalogProblem]:
    from segmentation.segments.catalog import read_catalog

    catalog, _ = read_catalog(company.folder, company.types)
    gone = {key: file for key, file in published_files(company.con).items() if key not in catalog.segments}
    usages = [*usages_in_catalog(catalog.segments, catalog.groups), *others]
    return list(check_departures(catalog.segments, gone, usages))


@pytest.fixture
def shop(company):
    """Two segments that ran for two days."""
    company.write("vip", "mrr_micros > 5")
    company.write("other")
    company.features({"customer_id": "c_a", "mrr_micros": 9}, {"customer_id": "c_b"})
    company.decide()
    company.decide(days=1)
    return company


@pytest.mark.parametrize("how", ["removed", "retired"])
def test_a_used_key_never_means_something_else(shop, how: str) -> None:
    if how == "removed":
        shop.remove("vip")
    else:
        shop.write("vip", "mrr_micros > 5", lifecycle="retired")
    shop.decide(days=2)
    assert complaints(shop) == []

    shop.write("vip", "is_known")
    (problem,) = complaints(shop)
    assert problem.where == "catalog/segments/vip.yml:1"
    assert problem.what == (
        f"the key vip belonged to another segment: it ran from 2026-11-01 to 2026-11-02 as version 1 and was {how}"
    )
    assert "mrr_micros > 5" in problem.expected
    assert problem.repair.startswith("name it vip_2")
    # The stage refuses it as well, and what is published stays as it was.
    with pytest.raises(CatalogProblems, match="the key vip belonged to another segment"):
        shop.build(days=3)
    assert shop.members("vip") == set()
    assert shop.members("other") == {"c_a", "c_b"}


def test_what_went_by_mistake_may_come_back(shop) -> None:
    shop.remove("vip")
    shop.decide(days=2)
    shop.write("vip", "(MRR_MICROS > 5)", name="Another name", severity="low")
    assert complaints(shop) == []
    shop.decide(days=3)
    assert shop.members("vip") == {"c_a"}
    # It is in force again, so that its rule may change.
    shop.write("vip", "mrr_micros > 4")
    assert complaints(shop) == []
    shop.decide(days=4)


def test_a_pause_uses_no_key_up(shop) -> None:
    shop.write("vip", "mrr_micros > 5", lifecycle="draft")
    shop.decide(days=2)
    shop.write("vip", "is_known")
    assert complaints(shop) == []
    shop.write("vip", "mrr_micros > 5", expires_on="2026-11-02")
    shop.decide(days=3)
    shop.write("vip", "is_known")
    assert complaints(shop) == []


def test_a_key_that_never_ran_is_free(company) -> None:
    company.write("idea", "mrr_micros > 5", lifecycle="draft")
    company.features({"customer_id": "c_a"})
    company.decide()
    company.remove("idea")
    company.decide(days=1)
    company.write("idea", "is_known")
    assert complaints(company) == []


def test_a_list_is_known_by_its_name(company) -> None:
    listed = {"kind": "list", "include": "[{customer: c_a, reason: x}]"}
    company.write("friends", None, **listed)
    company.features({"customer_id": "c_a"}, {"customer_id": "c_b"})
    company.decide()
    company.remove("friends")
    company.decide(days=1)
    company.write("friends", None, **{**listed, "include": "[{customer: c_b, reason: y}]"})
    assert complaints(company) == []
    company.write("friends", None, **listed, name="Foes")
    assert ["friends belonged to another" in problem.what for problem in complaints(company)] == [True]


def test_keys_are_used_up_by_publishing_and_not_by_proposing(company) -> None:
    company.write("vip", "mrr_micros > 5")
    company.features({"customer_id": "c_a"})
    run, _ = company.build()
    assert read_tombstones(company.con) == {}
    publish(company.con, run)
    assert read_tombstones(company.con) == {}
    company.remove("vip")
    company.decide(days=1)
    grave = read_tombstones(company.con)["vip"]
    # It never had a member: the day on which its version began is the last that is known.
    assert (str(grave.first_day), str(grave.last_day), grave.version) == ("2026-11-01", "2026-11-01", 1)


@pytest.mark.parametrize("how", ["removed", "retired"])
def test_a_segment_that_is_used_can_not_go(shop, how: str) -> None:
    shop.write_groups("groups:\n  - {key: tier, name: T, description: T, default: vip, costing: true}\n")
    shop.write("care", "is_known and in_segment('vip')")
    shop.write("old", "in_segment('vip')", lifecycle="retired")
    if how == "removed":
        shop.remove("vip")
    else:
        shop.write("vip", "mrr_micros > 5", lifecycle="retired")
    (problem,) = departures(shop, Usage("vip", "destination store", "destinations.yml:9"))
    assert problem.severity == "error"
    assert problem.where == ("catalog/segments/vip.yml:1" if how == "removed" else "catalog/segments/vip.yml:8")
    assert problem.what == (
        f"vip is {how}, but it is used in 3 places: the rule of care (catalog/segments/care.yml:10); "
        "the default of group tier (catalog/groups.yml:2); destination store (destinations.yml:9)"
    )
    assert ("restore its file" in problem.repair) is (how == "removed")


def test_names_that_never_meant_a_segment_are_not_said_to_be_gone(shop) -> None:
    shop.write("care", "in_segment('nobody')")
    assert departures(shop) == []
    shop.write("care", "in_segment('vip')")
    assert departures(shop) == []
