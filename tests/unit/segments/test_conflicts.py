"""The log of conflicts follows claims and memberships, and writes only what changed."""

from tests.unit.segments.conftest import Company

GROUPS = """
groups:
  - {key: tier, name: Tier, description: d, default: free, costing: true}
"""


def _tiers(company: Company) -> None:
    company.write_groups(GROUPS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("core", "mrr_micros >= 10", group="tier", precedence=2)
    company.write("free", "true", group="tier", precedence=9)


def _logged(company: Company) -> list[tuple[str, str, str, str, str]]:
    return company.rows(
        "select customer_id, winner_key, loser_key, decided_by, run_id from segments.conflicts order by all"
    )


def test_a_conflict_that_stays_bears_the_run_that_saw_it_first(company: Company) -> None:
    _tiers(company)
    company.features(
        *({"customer_id": f"c_{name}", "mrr_micros": value} for name, value in {"a": 200, "b": 50, "d": 300}.items())
    )
    first = company.decide()
    assert _logged(company) == [
        ("c_a", "vip", "core", "precedence", first.run_id),
        ("c_d", "vip", "core", "precedence", first.run_id),
    ]
    company.alter("c_b", mrr_micros=150)
    company.alter("c_d", mrr_micros=20)
    second = company.decide(days=1)
    assert _logged(company) == [
        ("c_a", "vip", "core", "precedence", first.run_id),
        ("c_b", "vip", "core", "precedence", second.run_id),
    ]


def test_a_claim_that_changes_without_a_membership_changes_the_log(company: Company) -> None:
    _tiers(company)
    company.write("fans", "country = 'DE'", group="tier", precedence=5)
    company.features({"customer_id": "c_a", "mrr_micros": 200, "country": "FR"})
    company.decide()
    company.alter("c_a", country="DE")
    run = company.decide(days=1)
    assert ("c_a", "vip", "fans", "precedence", run.run_id) in _logged(company)
    assert company.members("vip") == {"c_a"}


def test_ranks_that_change_are_read_anew_for_everybody(company: Company) -> None:
    _tiers(company)
    company.features({"customer_id": "c_a", "mrr_micros": 200}, {"customer_id": "c_b", "mrr_micros": 50})
    company.decide()
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=3)
    run = company.decide(days=1)
    assert _logged(company) == [("c_a", "core", "vip", "precedence", run.run_id)]


def test_a_customer_without_features_leaves_the_log(company: Company) -> None:
    _tiers(company)
    company.features({"customer_id": "c_a", "mrr_micros": 200}, {"customer_id": "c_b", "mrr_micros": 300})
    company.decide()
    company.con.execute("delete from features.customer_features where customer_id = 'c_a'")
    company.decide(days=1)
    assert [row[0] for row in _logged(company)] == ["c_b"]
