"""Why a customer entered or left, as the log of changes says it."""

from datetime import datetime


def causes(company) -> dict[tuple[str, str, str], str]:
    newest = company.rows("select run_id from segments.publications order by publication_seq desc limit 1")[0][0]
    return {
        (customer, segment, change): cause
        for customer, segment, change, cause in company.rows(
            "select customer_id, segment_key, change, cause from segments.membership_changes where run_id = ?", newest
        )
    }


def test_cause_data_and_rule(tiers) -> None:
    tiers.decide()
    tiers.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    tiers.write("new", "orders_90d > 0")
    tiers.alter("c_b", orders_90d=1, is_known=False)
    tiers.alter("c_c", is_known=False)
    tiers.decide(days=1)
    assert causes(tiers) == {
        # The exit is the rule's, and so is the entry that it brings with it.
        ("c_a", "vip", "exit"): "rule",
        ("c_a", "core", "enter"): "rule",
        ("c_b", "new", "enter"): "rule",
        ("c_c", "reachable", "exit"): "data",
    }
    tiers.remove("new")
    tiers.decide(days=2)
    assert causes(tiers) == {("c_b", "new", "exit"): "rule"}
    tiers.check_consistency()


def test_a_segment_that_another_asks_about_passes_its_cause_on(tiers) -> None:
    tiers.write("care", "in_segment('reachable')")
    tiers.decide()
    tiers.write("reachable", "false", consent="{purposes: [marketing.email]}")
    tiers.decide(days=1)
    assert set(causes(tiers).values()) == {"rule"}
    assert tiers.members("care") == set()


def test_cause_consent(tiers) -> None:
    tiers.decide()
    tiers.alter("c_a", consented_purposes=None)
    tiers.alter("c_b", consented_purposes=["marketing.email"])
    tiers.fill(
        "identity.customer_consents",
        customer_id="c_b",
        purpose="marketing.email",
        is_allowed=True,
        decided_at=datetime(2026, 11, 1, 12),
    )
    tiers.decide(days=1)
    assert causes(tiers) == {("c_a", "reachable", "exit"): "consent", ("c_b", "reachable", "enter"): "consent"}


def test_cause_override_and_expiry(tiers) -> None:
    base = {"kind": "hybrid", "lifecycle": "active"}
    tiers.write("care", "false", include="[{customer: c_a, reason: x, until: 2026-11-03}]", **base)
    tiers.write("wide", "true", exclude="[{customer: c_a, reason: x}, {customer: c_b, reason: x, until: 2026-11-04}]")
    tiers.decide()
    tiers.write(
        "care",
        "false",
        include="[{customer: c_a, reason: x, until: 2026-11-03}, {customer: c_b, reason: x}]",
        **base,
    )
    tiers.write("wide", "true", exclude="[{customer: c_c, reason: x}, {customer: c_b, reason: x, until: 2026-11-04}]")
    tiers.decide(days=1)
    assert causes(tiers) == {
        ("c_b", "care", "enter"): "override",
        ("c_c", "wide", "exit"): "override",
        ("c_a", "wide", "enter"): "override",
    }
    tiers.decide(days=2)
    assert causes(tiers) == {("c_a", "care", "exit"): "expiry"}
    tiers.decide(days=3)
    assert causes(tiers) == {("c_b", "wide", "enter"): "expiry"}
    tiers.write("care", "false", include="[{customer: c_d, reason: x}]", **base)
    tiers.write("reachable", "is_known", consent="{purposes: [marketing.email]}", expires_on="2026-11-05")
    tiers.decide(days=4)
    assert causes(tiers) == {
        ("c_b", "care", "exit"): "override",
        ("c_d", "care", "enter"): "override",
        ("c_a", "reachable", "exit"): "expiry",
        ("c_c", "reachable", "exit"): "expiry",
    }
    tiers.check_consistency()


def identity_event(company, seq: int, event: str, customer: str, other: str | None) -> None:
    company.fill("identity.events", seq=seq, event=event, customer_id=customer, other_customer_id=other)


def test_cause_identity_and_erasure(tiers) -> None:
    identity_event(tiers, 1, "merge", "c_c", "c_d")
    tiers.decide()
    # What identity did before the first publication explains nothing.
    assert set(causes(tiers).values()) == {"rule"}
    tiers.alter("c_c", is_known=False)
    tiers.decide(days=1)
    assert causes(tiers) == {("c_c", "reachable", "exit"): "data"}
    identity_event(tiers, 2, "merge", "c_b", "c_a")
    tiers.con.execute("delete from features.customer_features where customer_id in ('c_b', 'c_d')")
    for customer, status in (("c_b", "merged"), ("c_d", "erased")):
        tiers.fill("identity.customers", customer_id=customer, status=status)
    tiers.decide(days=2)
    assert causes(tiers) == {("c_b", "core", "exit"): "identity_merge", ("c_d", "free", "exit"): "erasure"}
    identity_event(tiers, 3, "split", "c_e", "c_a")
    tiers.con.execute("insert into features.customer_features (customer_id, mrr_micros) values ('c_e', 900)")
    tiers.alter("c_a", mrr_micros=1)
    tiers.decide(days=3)
    assert set(causes(tiers).values()) == {"identity_split"}
    tiers.check_consistency()
