"""A segment as flagd targeting: an edge that decides by attributes decides as a run does, or is told why it can't."""

import json
from datetime import date, datetime
from typing import Any

import pytest
from openfeature.contrib.tools.flagd.core.targeting import targeting
from openfeature.evaluation_context import EvaluationContext

from segmentation.errors import NotFoundError
from segmentation.segments.edge_targeting import edge_targeting
from segmentation.segments.json_logic import InexpressibleError, edge_attributes
from segmentation.segments.kinds import kind_of


def told(company, key: str) -> dict[str, Any]:
    catalog = company.catalog()
    kinds = {name: kind_of(column_type) for name, column_type in company.types.items()}
    return edge_targeting(key, catalog.segments, catalog.groups, kinds)


def members_at_the_edge(company, key: str) -> set[str]:
    logic = json.loads(json.dumps(told(company, key)["targeting"]))
    names = list(company.types)
    found = set()
    for values in company.rows(f"select {', '.join(names)} from features.customer_features"):
        row = dict(zip(names, values, strict=True))
        segments = company.rows("select segment_key from segments.membership where customer_id = ?", row["customer_id"])
        context = EvaluationContext(row["customer_id"], edge_attributes(row, [one for (one,) in segments]))
        if targeting("flag", logic, context):
            found.add(row["customer_id"])
    return found


def test_an_edge_decides_as_a_run_does(tiers) -> None:
    tiers.write("europeans", "signed_up_on >= date '2026-01-01'", residency="[EU, UK]")
    tiers.write("asks", "in_segment('vip') or not in_segment('reachable') and plan like 'pro%'")
    tiers.write("recent", "days_since(last_order_at) <= 3 and csat_mean / 2 > 1.1")
    everyone = {"as_of": datetime(2026, 11, 1), "is_known": True, "plan": "pro-1"}
    regions = ["EU", "US", None, "UK"]
    tiers.features(
        *(
            {
                **everyone,
                "customer_id": f"c_{number}",
                "mrr_micros": [500, 5, 0, None][number % 4],
                "residency_region": regions[number // 2 % 4],
                "signed_up_on": date(2026, 1 + number % 3, 1),
                "last_order_at": datetime(2026, 10, 25 + number % 7, number),
                "csat_mean": number / 4,
                "consented_purposes": [["marketing.email"], [], None][number % 3],
            }
            for number in range(20)
        )
    )
    tiers.decide()
    for key in ("vip", "core", "free", "reachable", "europeans", "asks", "recent"):
        members = tiers.members(key)
        assert 0 < len(members) < 20, key
        assert members_at_the_edge(tiers, key) == members, key


def test_attributes_are_named_with_how_they_are_written(tiers) -> None:
    tiers.write("asks", "in_segment('vip') and days_since(last_order_at) < 3 and signed_up_on > date '2026-01-01'")
    assert told(tiers, "asks")["attributes"] == {
        "last_order_at": "microseconds since 1970-01-01, UTC",
        "as_of": "microseconds since 1970-01-01, UTC",
        "signed_up_on": "days since 1970-01-01",
        "segments": "list of texts: the keys of the segments that the customer is in",
    }
    assert told(tiers, "reachable")["attributes"] == {
        "is_known": "true or false",
        "consented_purposes": "list of texts",
    }


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"exclude": "\n  - {customer: c_a, reason: asked}"}, "exclude names customers"),
        ({"kind": "hybrid", "include": "\n  - {customer: c_a, reason: asked}"}, "include names customers"),
        ({"expires_on": "2027-01-01"}, "it ends on 2027-01-01"),
        ({"lifecycle": "draft"}, "it is draft"),
        ({"group": "perks", "precedence": 1}, "a segment of tier alone"),
    ],
)
def test_what_an_edge_can_not_decide_is_refused_with_its_place(tiers, keys: dict[str, Any], why: str) -> None:
    tiers.write_groups(
        (tiers.folder / "groups.yml").read_text(encoding="utf-8")
        + "  - {key: perks, name: Perks, description: Extra., parent: tier}\n"
    )
    path = tiers.write("odd", "is_known", **keys)
    with pytest.raises(InexpressibleError) as refused:
        told(tiers, "odd")
    assert why in refused.value.what
    file, line = refused.value.where.split(":")
    assert file == "catalog/segments/odd.yml"
    assert path.read_text(encoding="utf-8").splitlines()[int(line) - 1].split(":")[0] in keys
    assert refused.value.repair


def test_a_better_rank_that_an_edge_can_not_decide_is_named(tiers) -> None:
    tiers.write("vip", "mrr_micros >= 100", group="tier", precedence=1, exclude="\n  - {customer: c_a, reason: x}")
    with pytest.raises(InexpressibleError, match="can't decide vip: exclude"):
        told(tiers, "core")


def test_an_unknown_segment_is_unknown(tiers) -> None:
    with pytest.raises(NotFoundError, match="did you mean vip"):
        told(tiers, "vipp")
