"""What a plan tells, without touching anything."""

from pathlib import Path

import pytest

from segmentation.errors import CatalogProblems, StrataError
from segmentation.readers import readable_tables
from segmentation.segments.plan_file import plan_hash
from segmentation.segments.plan_report import summarise
from segmentation.segments.plan_sections import Section
from segmentation.segments.usages import Usage
from segmentation.warehouse import Warehouse

from .conftest import START, Company
from .shop import Shop, narrow, section


def test_nothing_changed_is_no_change(shop: Shop) -> None:
    found = shop.plan()
    assert not found.has_changes
    assert summarise(found) == "Nothing would change."
    assert found.expected.changes == 0


def test_a_plan_tells_who_moves_and_touches_nothing(shop: Shop) -> None:
    before = (shop.warehouse.path.read_bytes(), shop.warehouse.published_path.read_bytes())
    narrow(shop)
    found = shop.plan()
    assert (shop.warehouse.path.read_bytes(), shop.warehouse.published_path.read_bytes()) == before
    assert section(found, "members").rows == (
        ("core", 1, 1, 0, 1, 2, "rule +1"),
        ("vip", 2, 0, 1, 1, 1, "rule −1"),
    )
    assert section(found, "transitions_tier").rows == (("vip", 1, 1), ("core", 0, 1))
    assert section(found, "indirect").rows == (("core", 1, 0, "vip"),)
    assert section(found, "conflicts").rows == (("tier", "vip", "core", 2, 1, -1),)
    assert section(found, "revenue").rows == (("core", 150, 0, 150), ("vip", 0, 150, -150))
    assert [row[:4] for row in section(found, "movers").rows] == [
        ("core", "enter", "c_b", "rule"),
        ("vip", "exit", "c_b", "rule"),
    ]
    assert found.expected.changes == 2
    assert found.versions == {"core": 1, "free": 1, "reachable": 1, "vip": 2}
    assert "1 definition differs from what is live, 1 of them breaking (vip)." in summarise(found)


def test_a_plan_is_the_same_whenever_it_is_made(shop: Shop) -> None:
    narrow(shop)
    assert plan_hash(shop.plan()) == plan_hash(shop.plan())


def test_deliveries_are_counted_by_what_destinations_hold(shop: Shop) -> None:
    narrow(shop)
    # c_a stays in vip, whose version rises; c_b moves. The list of segments is a row of its own.
    assert section(shop.plan(), "destinations").rows == (("store", 0, 3, 0, "by its log"),)
    shop.company.write("vip", "mrr_micros >= 200", group="tier", precedence=1, destinations="[elsewhere]")
    assert section(shop.plan(), "destinations").rows[0][-1] == "loaded anew"


def test_consent_that_is_no_longer_asked_for_is_told(shop: Shop) -> None:
    shop.company.write("reachable", "is_known")
    (row,) = section(shop.plan(), "consent").rows
    assert row == ("reachable", "marketing.email", "nothing", 0, 0, 1)


def test_costs_of_those_who_move_follow_the_newest_month(shop: Shop) -> None:
    def cost(company: Company) -> None:
        company.con.execute(
            "create schema marts; create table marts.fct_segment_unit_costs_monthly as select * from (values "
            "(date '2026-10-01', 'vip', 900, 450), (date '2026-10-01', 'core', 10, 10), "
            "(date '2026-09-01', 'vip', 1, 1)) as t(cost_month, segment_key, exclusive_effective_micros, "
            "cost_per_member_micros)"
        )
        shop.warehouse.publish_copy(company.con, readable_tables(company.con))

    shop.on(cost)
    narrow(shop)
    assert section(shop.plan(), "cost").rows == (("core", 10, 10, 10, 0, 10), ("vip", 900, 450, 0, 450, -450))


def test_a_later_part_adds_a_section_of_its_own(shop: Shop) -> None:
    shop.sections.append(lambda context: [Section("invoices", "Invoices", (), (), (str(context.run.as_of),))])
    assert section(shop.plan(), "invoices").notes == (str(START),)


def test_before_the_first_run_there_is_nothing_to_plan_against(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "live.duckdb", tmp_path / "copy.duckdb")
    with pytest.raises(StrataError, match="nothing has been published"), warehouse.scratch():
        pass


def test_what_no_approval_lets_through_is_no_plan(shop: Shop) -> None:
    shop.usages = [Usage("reachable", "a cost pool", "catalog/cost_pools.yml:7")]
    shop.company.remove("reachable")
    with pytest.raises(CatalogProblems, match=r"reachable is removed, but it is used in 1 place: a cost pool"):
        shop.plan()
    shop.usages = []
    assert shop.plan().has_changes
    policy = shop.company.folder / "policy.yml"
    policy.write_text("quota: {live_segments: 3}\n", encoding="utf-8")
    # A stricter quota takes nothing away; more than it allows does not come.
    assert shop.plan().has_changes
    shop.company.write("anybody", "true")
    with pytest.raises(CatalogProblems, match="4 segments are live, and the quota is 3"):
        shop.plan()
