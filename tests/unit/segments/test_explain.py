import json
from datetime import datetime, timedelta

import pytest

from segmentation.errors import NotFoundError
from segmentation.segments.explain import explain
from segmentation.segments.queries import list_segments


def one(company, customer: str, segment: str):
    explanation = explain(company.con, customer, segment)
    json.dumps(explanation.as_dict())
    return explanation.segments[0]


def test_each_clause_has_its_value_and_truth(tiers) -> None:
    tiers.write("care", "mrr_micros >= 100\nand (csat_mean < 3 or days_since(last_order_at) > 30)")
    tiers.alter("c_a", csat_mean=4.5, last_order_at=datetime(2026, 10, 20))
    tiers.decide()
    found = one(tiers, "c_a", "care")
    assert (found.is_member, found.reason) == (False, "rule_false")
    assert found.sentence.endswith("(csat_mean < 3.0 or days_since(last_order_at) > 30)")
    assert found.clauses is not None
    assert found.clauses.as_dict() == {
        "text": "(mrr_micros >= 100 and (csat_mean < 3.0 or days_since(last_order_at) > 30))",
        "truth": False,
        "joined_by": "and",
        "children": [
            {"text": "mrr_micros >= 100", "truth": True, "values": {"mrr_micros": 500}},
            {
                "text": "(csat_mean < 3.0 or days_since(last_order_at) > 30)",
                "truth": False,
                "joined_by": "or",
                "children": [
                    {"text": "csat_mean < 3.0", "truth": False, "values": {"csat_mean": 4.5}},
                    {
                        "text": "days_since(last_order_at) > 30",
                        "truth": False,
                        "values": {"last_order_at": "2026-10-20T00:00:00", "as_of": "2026-11-01T00:00:00"},
                    },
                ],
            },
        ],
    }


def test_every_reason(tiers) -> None:
    tiers.write_groups(
        "groups:\n  - {key: tier, name: T, description: S, default: free, costing: true}\n"
        "  - {key: perk, name: P, description: E, parent: top}\n  - {key: top, name: P, description: E}\n"
    )
    tiers.write("best", "mrr_micros > 400", group="top", precedence=1)
    tiers.write("lounge", "true", group="perk", precedence=1)
    tiers.write(
        "care",
        "is_known",
        kind="hybrid",
        include="[{customer: c_d, reason: asked}]",
        exclude="[{customer: c_b, reason: left}]",
    )
    tiers.write("list", None, kind="list", include="[{customer: c_a, reason: asked}]")
    tiers.write("local", "true", residency="[eu]")
    tiers.write("idea", "true", lifecycle="draft")
    tiers.write("gone", "true", expires_on="2026-01-01")
    tiers.decide()
    reasons = {
        ("c_a", "vip"): (True, "rule"),
        ("c_d", "care"): (True, "include"),
        ("c_b", "care"): (False, "exclude"),
        ("c_b", "list"): (False, "not_listed"),
        ("c_b", "reachable"): (False, "consent"),
        ("c_d", "reachable"): (False, "consent"),
        ("c_a", "local"): (False, "residency"),
        ("c_a", "core"): (False, "group"),
        ("c_b", "lounge"): (False, "parent"),
        ("c_b", "vip"): (False, "rule_false"),
        ("c_a", "idea"): (False, "not_evaluated"),
        ("c_a", "gone"): (False, "not_evaluated"),
    }
    for (customer, segment), expected in reasons.items():
        found = one(tiers, customer, segment)
        assert (found.is_member, found.reason) == expected, (customer, segment, found.sentence)
    tiers.alter("c_a", mrr_micros=1)
    tiers.alter("c_b", mrr_micros=500)
    assert one(tiers, "c_a", "vip").reason == "pending"
    assert one(tiers, "c_b", "vip").reason == "group"
    tiers.con.execute("delete from segments.effective where customer_id = 'c_b'")
    assert one(tiers, "c_b", "vip").reason == "pending"


def test_all_that_overrules_a_rule_is_shown(tiers) -> None:
    tiers.write(
        "reachable",
        "is_known",
        consent="{purposes: [marketing.email]}",
        exclude="[{customer: c_a, reason: left, until: 2027-01-01}]",
    )
    tiers.decide()
    found = one(tiers, "c_a", "reachable")
    assert found.consent == {"marketing.email": True}
    assert found.overrides == [
        {
            "side": "exclude",
            "status": "applied",
            "reason": "left",
            "until_date": "2027-01-01",
            "listed_in": "catalog/segments/reachable.yml:11",
        }
    ]
    assert one(tiers, "c_a", "core").group == {"group_key": "tier", "precedence": 2, "winner": "vip"}
    assert one(tiers, "c_a", "vip").since == datetime(2026, 11, 1)


def test_in_segment_is_told_by_what_is_published(tiers) -> None:
    tiers.write("care", "in_segment('vip') and not in_segment('core')")
    tiers.decide()
    found = one(tiers, "c_a", "care")
    assert found.is_member
    assert found.clauses is not None
    assert [child.truth for child in found.clauses.children] == [True, True]


def test_a_merged_id_stands_for_its_survivor(tiers) -> None:
    tiers.decide()
    tiers.fill("identity.customer_aliases", old_customer_id="c_z", customer_id="c_a")
    explanation = explain(tiers.con, "c_z")
    assert (explanation.asked_for, explanation.customer_id) == ("c_z", "c_a")
    assert explanation.identity == {"is_alias": True, "merged_ids": ["c_z"]}
    assert [found.segment_key for found in explanation.segments] == ["reachable", "vip", "core", "free"]
    tiers.con.execute("drop table identity.customer_aliases")
    assert explain(tiers.con, "c_a").identity == {"is_alias": False, "merged_ids": []}


def test_what_is_not_there_is_said(company, tiers) -> None:
    with pytest.raises(NotFoundError, match="no membership has been published"):
        explain(tiers.con, "c_a")
    assert list_segments(tiers.con) == []
    tiers.decide()
    with pytest.raises(NotFoundError, match="customer c_x is unknown"):
        explain(tiers.con, "c_x")
    with pytest.raises(NotFoundError, match="no segment vpi; did you mean vip"):
        explain(tiers.con, "c_a", "vpi")


def test_it_works_on_the_readers_copy(tiers, warehouse) -> None:
    tiers.decide()
    tables = tiers.rows(
        "select table_schema, table_name from information_schema.tables "
        "where table_schema in ('segments', 'features', 'identity') and table_name not like 'candidate%'"
    )
    warehouse.publish_copy(tiers.con, tables)
    tiers.con.close()
    with warehouse.read() as con:
        assert explain(con, "c_a", "vip").segments[0].is_member
        assert [(row.segment_key, row.members) for row in list_segments(con)] == [
            ("vip", 1),
            ("core", 1),
            ("free", 2),
            ("reachable", 2),
        ]


def test_segments_are_listed_with_size_change_owner_group_and_version(tiers) -> None:
    tiers.decide()
    tiers.alter("c_a", mrr_micros=7)
    tiers.decide(days=1)
    rows = {row.segment_key: row for row in list_segments(tiers.con)}
    vip, core = rows["vip"], rows["core"]
    assert (vip.members, vip.entered, vip.exited, vip.share) == (0, 0, 1, 0)
    assert (core.members, core.entered, core.exited, core.share) == (2, 1, 0, 0.5)
    assert (core.owner, core.group_key, core.precedence, core.segment_version) == ("team:growth", "tier", 2, 1)
    assert core.as_of == datetime(2026, 11, 1) + timedelta(days=1)
    assert json.dumps(core.as_dict())
    assert core.as_dict()["review_by"] == "2027-01-31"
