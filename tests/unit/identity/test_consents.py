"""Consent: latest event wins, refusals win ties, merges and hierarchies; nothing is allowed by silence."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from segmentation.errors import CatalogProblems
from segmentation.identity.purposes import load_purposes
from segmentation.identity.rule_book import Draft, Signature, add_rule
from segmentation.warehouse import transaction

DAY = datetime(2026, 10, 10)
ALWAYS = {"essential.service", "essential.fraud_detection"}


def _allowed(world, value):
    rows = world.rows(
        f"select purpose from identity.customer_consents where is_allowed and customer_id = '{world.customer(value)}'"
    )
    return {purpose for (purpose,) in rows} - ALWAYS


def _decide(world, purpose, state, *, at=DAY, **who):
    world.add(
        "consent_events", source="consent", purpose=purpose, consent_state=state, at=at, **(who or {"user_id": "u"})
    )


def test_silence_allows_nothing_but_what_needs_no_consent(world, run):
    world.add("orders", user_id="u")
    world.resolve(run)
    assert world.rows("select purpose, is_allowed from identity.customer_consents order by 1") == [
        ("essential.fraud_detection", True),
        ("essential.service", True),
    ]


def test_who_decided_anything_has_every_purpose(world, run, catalog):
    _decide(world, "analytics", "granted")
    _decide(world, "essential.service", "denied")
    world.resolve(run)
    rows = world.rows("select purpose, is_allowed from identity.customer_consents")
    assert {purpose for purpose, _ in rows} == set(catalog.purposes.by_name)
    assert {purpose for purpose, allowed in rows if allowed} == {"analytics", *ALWAYS}


@pytest.mark.parametrize(
    ("decisions", "allowed"),
    [
        ([("analytics", "granted", 0), ("analytics", "denied", 1)], set()),
        ([("analytics", "granted", 0), ("analytics", "withdrawn", 1), ("analytics", "granted", 2)], {"analytics"}),
        ([("analytics", "granted", 0), ("analytics", "denied", 0)], set()),
        ([("analytics", "granted", 0), ("analytics", "expired", 1)], set()),
        ([("analytics", " Granted ", 0)], {"analytics"}),
        ([("analytics", "perhaps", 0)], set()),
        ([("marketing", "granted", 0)], {"marketing", "marketing.email", "marketing.ads"}),
        ([("marketing", "granted", 0), ("marketing.ads", "denied", 1)], {"marketing", "marketing.email"}),
        ([("marketing", "denied", 0), ("marketing.email", "granted", 1)], set()),
        ([("marketing.email", "granted", 0)], {"marketing.email"}),
        ([("analytics", "granted", 0), ("world_domination", "granted", 0)], {"analytics"}),
        ([("analytics", "granted", 0), ("analytics", "denied", 60)], {"analytics"}),
    ],
)
def test_decisions_over_time(world, run, decisions, allowed):
    for purpose, state, days in decisions:
        _decide(world, purpose, state, at=DAY + timedelta(days=days))
    world.resolve(run)
    assert _allowed(world, "u") == allowed


def test_a_refusal_by_any_identifier_holds_for_the_merged_customer(world, run, later):
    _decide(world, "analytics", "denied", email="a@shop.com")
    _decide(world, "analytics", "granted", at=DAY + timedelta(days=1), user_id="u")
    world.resolve(run)
    assert _allowed(world, "u") == {"analytics"}
    world.add("orders", user_id="u", email="A@shop.com")
    world.resolve(later(1))
    assert _allowed(world, "u") == set()
    _decide(world, "analytics", "granted", at=DAY + timedelta(days=2), email="a@shop.com")
    world.resolve(later(2))
    assert _allowed(world, "u") == {"analytics"}


def test_a_corrected_event_replaces_the_first_version(world, run):
    for state in ("granted", "denied"):
        world.add(
            "consent_events", consent_event_id="e1", user_id="u", consent_state=state, purpose="analytics", at=DAY
        )
    for state in ("denied", "granted"):
        world.add(
            "consent_events", consent_event_id="e2", user_id="v", consent_state=state, purpose="analytics", at=DAY
        )
    world.resolve(run)
    assert _allowed(world, "u") == set()
    assert _allowed(world, "v") == {"analytics"}


def test_events_that_reach_nobody_are_counted(world, run):
    _decide(world, "analytics", "granted", email="noreply@shop.com")
    _decide(world, "analytics", "granted", anonymous_id=None)
    _decide(world, "moon", "granted")
    report = world.resolve(run) and world.rows(
        "select consent_events_of_nobody, consent_events_of_unknown_purpose from identity.candidate"
    )
    assert report == [(2, 1)]


@pytest.mark.parametrize("spelling", ["family@shop.com", "Family@shop.com "])
def test_a_refusal_under_a_shared_address_holds_for_all_who_use_it(world, run, later, spelling):
    family = [f"u{number}" for number in range(4)]
    for user in family:
        world.add("orders", user_id=user, email="family@shop.com")
        _decide(world, "analytics", "granted", user_id=user)
    world.add("orders", user_id="stranger")
    _decide(world, "analytics", "granted", user_id="stranger")
    _decide(world, "analytics", "denied", at=DAY + timedelta(days=1), email=spelling)
    world.resolve(run)
    assert world.rows("select status from identity.identifiers where id_value = 'family@shop.com'") == [("shared",)]
    assert [_allowed(world, user) for user in family] == [set()] * 4
    assert _allowed(world, "stranger") == {"analytics"}
    counted = "select consent_refusals_under_shared_identifiers, consent_events_of_nobody from identity.candidate"
    assert world.rows(counted) == [(1, 0)]
    # One of them says for themselves that they agree; a grant under the shared address says nothing.
    _decide(world, "analytics", "granted", at=DAY + timedelta(days=2), user_id="u2")
    _decide(world, "analytics", "granted", at=DAY + timedelta(days=2), email="family@shop.com")
    world.resolve(later(2))
    assert [_allowed(world, user) for user in family] == [set(), set(), {"analytics"}, set()]


def test_a_refusal_that_names_one_person_stays_with_that_person(world, run):
    for user in ("u0", "u1", "u2", "u3"):
        world.add("orders", user_id=user, email="family@shop.com")
        _decide(world, "analytics", "granted", user_id=user)
    _decide(world, "analytics", "denied", at=DAY + timedelta(days=1), user_id="u1", email="family@shop.com")
    world.resolve(run)
    assert [_allowed(world, user) for user in ("u0", "u1", "u2", "u3")] == [{"analytics"}, set(), *[{"analytics"}] * 2]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("purposes:\n  a: {description: x, basis: consent, parent: b}\n", "unknown ancestor b", 2),
        (
            (
                "purposes:\n  a: {description: x, basis: consent, parent: b}\n"
                "  b: {description: x, basis: consent, parent: a}\n"
            ),
            "its own ancestor",
            2,
        ),
        ("purposes:\n  a:\n    description: x\n    basis: whim\n", "basis", 4),
        ("purposes: {}\n", "purposes", 1),
    ],
)
def test_purposes_that_can_not_be_meant(tmp_path, text, message, line):
    (tmp_path / "purposes.yml").write_text(text)
    with pytest.raises(CatalogProblems, match=message) as caught:
        load_purposes(tmp_path)
    assert caught.value.problems[0].line == line


def _together(world, run):
    """One customer of an account and a cookie, each with a decision of its own."""
    world.add("orders", order_id="link", user_id="u", anonymous_id="cookie")
    _decide(world, "analytics", "denied", user_id="u")
    _decide(world, "analytics", "granted", at=DAY + timedelta(days=1), anonymous_id="cookie")
    world.resolve(run)
    assert world.customer("u") == world.customer("cookie")
    assert _allowed(world, "u") == set()


def _copied(world):
    return world.rows("select consent_refusals_copied_by_splits from identity.candidate")[0][0]


def test_a_split_leaves_the_refusal_with_every_part(world, run, later):
    _together(world, run)
    world.clear("orders")
    world.resolve(later(1))
    assert world.customer("u") != world.customer("cookie")
    assert world.events(later(1))[0][0] == "split"
    assert _allowed(world, "cookie") == set()
    assert _copied(world) == 1
    # It holds in later runs, and in a run that is done again.
    world.resolve(later(2))
    world.resolve(later(2))
    assert _allowed(world, "cookie") == set()
    # What was never refused can be granted as ever.
    _decide(world, "marketing", "granted", at=DAY + timedelta(days=2), anonymous_id="cookie")
    world.resolve(later(3))
    assert _allowed(world, "cookie") == {"marketing", "marketing.email", "marketing.ads"}
    # Who agrees after the split is allowed, under any identifier.
    world.add("events", anonymous_id="cookie", device_id="tablet")
    _decide(world, "analytics", "granted", at=later(3).as_of + timedelta(hours=1), device_id="tablet")
    world.resolve(later(4))
    assert "analytics" in _allowed(world, "cookie")
    assert _allowed(world, "u") == set()


def test_a_split_leaves_the_refusal_with_who_stays_though_its_identifier_goes(world, run, later):
    world.add("orders", user_id="u", anonymous_id="cookie")
    _decide(world, "marketing", "denied", anonymous_id="cookie")
    _decide(world, "marketing", "granted", at=DAY + timedelta(days=1), user_id="u")
    world.resolve(run)
    world.clear("orders")
    world.resolve(later(1))
    assert world.customer("u") != world.customer("cookie")
    assert _allowed(world, "u") == _allowed(world, "cookie") == set()
    _decide(world, "marketing.ads", "granted", at=later(1).as_of + timedelta(hours=1), user_id="u")
    world.resolve(later(2))
    assert _allowed(world, "u") == set()


def test_what_was_granted_again_before_the_split_is_not_copied(world, run, later):
    _together(world, run)
    _decide(world, "analytics", "granted", at=DAY + timedelta(days=3), user_id="u")
    world.clear("orders")
    world.resolve(later(1))
    assert _copied(world) == 0
    assert _allowed(world, "cookie") == _allowed(world, "u") == {"analytics"}


def _merge_and_part(world, run, later, *, refused_at):
    """Two known customers, merged and parted again; the second one refuses at some moment."""
    for user in ("one", "two"):
        world.add("customer_records", source_customer_id=user, email=f"{user}@shop.com", at=DAY)
        _decide(world, "analytics", "granted", email=f"{user}@shop.com")
    world.resolve(run)
    rules = world.catalog.rules
    kinds = {name: kind.model_copy(update={"max_per_customer": 9}) for name, kind in rules.identifiers.items()}
    world.catalog = replace(world.catalog, rules=rules.model_copy(update={"identifiers": kinds}))
    world.add("orders", email="one@shop.com", phone="+447700900123")
    world.add("orders", email="two@shop.com", phone="+447700900123")
    if refused_at < later(1).as_of:
        _decide(world, "analytics", "denied", at=refused_at, email="two@shop.com")
    world.resolve(later(1))
    assert world.customer("one") == world.customer("two")
    if refused_at >= later(1).as_of:
        _decide(world, "analytics", "denied", at=refused_at, email="two@shop.com")
    world.resolve(later(2))
    assert _allowed(world, "one") == set()
    world.clear("orders")
    world.resolve(later(3))
    assert [event for event, *_ in world.events(later(3))] == ["unmerge"]


def test_who_comes_back_after_a_merge_has_the_refusals_since_the_merge(world, run, later):
    _merge_and_part(world, run, later, refused_at=later(1).as_of + timedelta(hours=1))
    assert _allowed(world, "one") == _allowed(world, "two") == set()


def test_who_comes_back_after_a_merge_has_no_refusal_of_somebody_else_from_before(world, run, later):
    _merge_and_part(world, run, later, refused_at=DAY + timedelta(days=1))
    assert _allowed(world, "two") == set()
    assert _allowed(world, "one") == {"analytics"}


def _refusing_address(world, run):
    """A customer whose account agrees and whose address refuses later, in a row that names nothing else."""
    world.add("orders", order_id="link", user_id="u", email="e@shop.com")
    _decide(world, "analytics", "granted", user_id="u")
    _decide(world, "analytics", "denied", at=DAY + timedelta(days=1), email=" E@shop.com")
    world.resolve(run)
    assert world.customer("u") == world.customer("e@shop.com")
    assert _allowed(world, "u") == set()


def _block(world, run, value):
    signed = Signature("jo", "case 7", run.recorded_at)
    with transaction(world.con):
        return add_rule(world.con, world.catalog.rules, Draft("block_value", nodes=(world.node(value),)), signed)


@pytest.mark.parametrize("days", [0, 1])
def test_blocking_the_identifier_that_refused_allows_nothing(world, run, later, days):
    _refusing_address(world, run)
    _block(world, run, "e@shop.com")
    moment = replace(later(days), run_id="after")
    world.resolve(moment)
    assert world.customer("e@shop.com") is None
    assert _allowed(world, "u") == set()
    assert _copied(world) == 1
    world.resolve(later(2))
    assert _allowed(world, "u") == set()
    # What comes of the customer later was under the copy too.
    world.add("events", user_id="u", anonymous_id="cookie")
    _decide(world, "analytics", "granted", anonymous_id="cookie")
    world.resolve(later(3))
    world.clear("events")
    world.resolve(later(4))
    assert world.customer("cookie") != world.customer("u")
    assert _allowed(world, "cookie") == _allowed(world, "u") == set()
    _decide(world, "analytics", "granted", at=later(4).as_of + timedelta(hours=1), user_id="u")
    world.resolve(later(5))
    assert _allowed(world, "u") == {"analytics"}


def test_a_pattern_that_blocks_the_identifier_allows_nothing(world, run, later):
    _refusing_address(world, run)
    rules = world.catalog.rules
    email = rules.identifiers["email"].model_copy(update={"block_patterns": ("^e@shop",)})
    types = {**rules.identifiers, "email": email}
    world.catalog = replace(world.catalog, rules=rules.model_copy(update={"identifiers": types}))
    world.resolve(later(1))
    assert world.customer("e@shop.com") is None
    assert _allowed(world, "u") == set()


def test_a_refusal_stays_though_its_identifier_moves_to_a_customer_there_was(world, run, later):
    _refusing_address(world, run)
    _decide(world, "analytics", "granted", user_id="b")
    world.resolve(later(1))
    world.clear("orders")
    world.add("orders", user_id="b", email="e@shop.com")
    world.resolve(later(2))
    assert world.customer("e@shop.com") == world.customer("b") != world.customer("u")
    assert [event for event, *_ in world.events(later(2))] == ["move"]
    assert _allowed(world, "u") == set()
    assert _allowed(world, "b") == set()


@pytest.mark.parametrize("days", [0, 1])
def test_a_split_at_the_moment_of_the_run_before_leaves_the_refusal(world, run, later, days):
    _together(world, run)
    world.clear("orders")
    moment = replace(later(days), run_id="after")
    world.resolve(moment)
    assert world.customer("u") != world.customer("cookie")
    assert _allowed(world, "cookie") == set()
    world.resolve(later(2))
    assert _allowed(world, "cookie") == set()
