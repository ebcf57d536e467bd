"""Which value stands in a profile: by every rule, with who stated it, and what contradicts it."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import CatalogProblems
from segmentation.identity.explain import stated_values
from segmentation.identity.profile_rules import ATTRIBUTES, ProfileRules, load_profile_rules

CATALOG = Path(__file__).resolve().parents[3] / "catalog"
START = datetime(2026, 10, 1)
OCTOBER = [START + timedelta(days=day) for day in range(31)]


def _rules(attribute, order, priority=None):
    return ProfileRules.model_validate({"attributes": {attribute: {"order": order, "source_priority": priority}}})


def _prefer(world, rules):
    world.catalog = replace(world.catalog, profile=rules)


def _golden(world, value, attribute):
    [row] = world.rows(
        f"select {attribute}, {attribute}_source, {attribute}_at from identity.profiles "
        f"where customer_id = '{world.customer(value)}'"
    )
    return row


def test_the_shipped_file_says_what_a_catalog_without_it_does(tmp_path):
    shipped, without = load_profile_rules(CATALOG), load_profile_rules(tmp_path)
    assert {name: shipped.rule_of(name) for name in ATTRIBUTES} == {name: without.rule_of(name) for name in ATTRIBUTES}


def _state(world):
    """Three values of one attribute: one trusted, one often, one late."""
    who = {"source": "crm", "source_customer_id": "K1"}
    world.add("customer_records", **who, email="ann@shop.com", country="GB", at=OCTOBER[1])
    world.add("form_submissions", email="ann@shop.com", country="FR", at=OCTOBER[9])
    for day in (2, 3, 4):
        world.add("orders", email="ann@shop.com", country="DE", at=OCTOBER[day])


@pytest.mark.parametrize(
    ("order", "priority", "expected"),
    [
        (["source_priority", "recency"], None, ("GB", "crm/customer_records", OCTOBER[1])),
        (["recency"], None, ("FR", "shop/form_submissions", OCTOBER[9])),
        (["frequency", "recency"], None, ("DE", "shop/orders", OCTOBER[4])),
        (["frequency"], None, ("DE", "shop/orders", OCTOBER[4])),
        (["source_priority"], ["shop/orders"], ("DE", "shop/orders", OCTOBER[4])),
        (["source_priority"], ["crm/orders", "form_submissions"], ("FR", "shop/form_submissions", OCTOBER[9])),
        (["source_priority"], [], ("FR", "shop/form_submissions", OCTOBER[9])),
    ],
)
def test_each_rule_prefers_its_value(world, run, order, priority, expected):
    _state(world)
    _prefer(world, _rules("country", order, priority))
    world.resolve(run)
    assert _golden(world, "K1", "country") == expected


def test_values_that_lost_are_listed(world, run):
    _state(world)
    world.add("orders", email="ann@shop.com", country=" de ", at=OCTOBER[5])
    world.add("customer_records", source_customer_id="other", country="GB", first_name="Bo", at=OCTOBER[5])
    world.resolve(run)
    customer = world.customer("K1")
    assert world.rows(
        "select customer_id, attribute, value_rank, value, source, entity, seen_at, n_obs "
        "from identity.profile_conflicts order by value_rank"
    ) == [
        (customer, "country", 1, "GB", "crm", "customer_records", OCTOBER[1], 1),
        (customer, "country", 2, "FR", "shop", "form_submissions", OCTOBER[9], 1),
        # One value in two spellings: the later one is shown.
        (customer, "country", 3, "de", "shop", "orders", OCTOBER[5], 4),
    ]
    assert world.rows("select n_contradictions from identity.candidate") == [(1,)]
    told = [(one.attribute, one.value, one.is_golden) for one in stated_values(world.con, customer)]
    assert told == [("email", "ann@shop.com", True), ("country", "GB", True), ("country", "FR", False),
                    ("country", "de", False)]  # fmt: skip


def test_what_a_record_no_longer_says_contradicts_nothing(world, run):
    for day, name in ((1, "Ann"), (2, "Anna")):
        world.add("customer_records", source_customer_id="1", first_name=name, at=OCTOBER[day])
    world.resolve(run)
    assert _golden(world, "1", "first_name")[0] == "Anna"
    assert world.rows("select * from identity.profile_conflicts") == []


@pytest.mark.parametrize(
    ("order", "priority", "expected"),
    [
        (["verified", "recency"], None, ("checked@shop.com", "shop/customer_records", OCTOBER[1])),
        (["recency"], None, ("late@shop.com", "shop/orders", OCTOBER[8])),
        (["frequency", "recency"], None, ("often@shop.com", "shop/orders", OCTOBER[4])),
        (["source_priority", "recency"], ["shop/tickets"], ("ticket@shop.com", "shop/tickets", OCTOBER[2])),
    ],
)
def test_contacts_follow_the_rules_too(world, run, order, priority, expected):
    world.add(
        "customer_records", source_customer_id="1", email="checked@shop.com", email_is_verified=True, at=OCTOBER[1]
    )
    world.add("tickets", source_customer_id="1", email="ticket@shop.com", at=OCTOBER[2])
    for day in (3, 4):
        world.add("orders", source_customer_id="1", email="often@shop.com", at=OCTOBER[day])
    world.add("orders", source_customer_id="1", email="late@shop.com", at=OCTOBER[8])
    _prefer(world, _rules("email", order, priority))
    world.resolve(run)
    assert _golden(world, "1", "email") == expected


PREFERENCES = st.permutations(["source_priority", "recency", "frequency"]).flatmap(
    lambda all_of: st.integers(1, 3).map(lambda n: all_of[:n])
)
STATEMENT = st.tuples(
    st.sampled_from(["customer_records", "form_submissions", "orders"]),
    st.sampled_from(["crm", "shop"]),
    st.sampled_from(["GB", "gb", "FR", "DE", None, " "]),
    st.integers(0, 3),
)


def choose_by_any_rules(new_world, run, statements, order, priority):
    with duckdb.connect() as con:
        world = new_world(con)
        for number, (entity, source, country, day) in enumerate(statements):
            key = {"source_customer_id": f"K{number:02}"} if entity == "customer_records" else {}
            world.add(entity, source=source, user_id="u", country=country, at=OCTOBER[day], **key)
        _prefer(world, _rules("country", order, priority))
        # Records of one user are not one customer's unless the limit lets them be.
        rules = world.catalog.rules
        kinds = {name: kind.model_copy(update={"max_per_customer": 99, "degree_limits": {}})
                 for name, kind in rules.identifiers.items()}  # fmt: skip
        world.catalog = replace(world.catalog, rules=rules.model_copy(update={"identifiers": kinds}))
        world.resolve(run)

        filled = [one for one in statements if one[2] and one[2].strip()]
        often = Counter(country.lower() for _, _, country, _ in filled)

        def weight(statement):
            entity, source, country, day = statement
            ranks = [rank for rank, entry in enumerate(priority) if entry in (entity, f"{source}/{entity}")]
            parts = {
                "source_priority": -min(ranks, default=len(priority)),
                "recency": day,
                "frequency": often[country.lower()],
            }
            return tuple(parts[name] for name in (*order, "recency"))

        golden, stated_by, at = _golden(world, "u", "country")
        if not filled:
            assert (golden, stated_by, at) == (None, None, None)
            return
        best = max(map(weight, filled))
        assert (golden, stated_by, at) in {
            (country, f"{source}/{entity}", OCTOBER[day])
            for entity, source, country, day in filled
            if weight((entity, source, country, day)) == best
        }
        listed = world.rows("select lower(value), n_obs from identity.profile_conflicts order by value_rank")
        assert dict(listed) == (often if len(often) > 1 else {})
        if listed:
            assert listed[0][0] == golden.lower()
            tops = [max(weight(one) for one in filled if one[2].lower() == value) for value, _ in listed]
            assert tops == sorted(tops, reverse=True)


@given(
    statements=st.lists(STATEMENT, min_size=1, max_size=12),
    order=PREFERENCES,
    priority=st.lists(
        st.sampled_from(["orders", "crm/orders", "form_submissions", "shop/customer_records"]), unique=True
    ),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rules_choose_as_comparing_statement_by_statement_does(new_world, run, statements, order, priority):
    choose_by_any_rules(new_world, run, statements, order, priority)


@pytest.mark.slow
@given(
    statements=st.lists(STATEMENT, min_size=1, max_size=12),
    order=PREFERENCES,
    priority=st.lists(
        st.sampled_from(["orders", "crm/orders", "form_submissions", "shop/customer_records"]), unique=True
    ),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rules_choose_as_comparing_statement_by_statement_does_many_times_over(
    new_world, run, statements, order, priority
):
    choose_by_any_rules(new_world, run, statements, order, priority)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("attributes:\n  nickname: {order: [recency]}\n", "nickname is not an attribute", 2),
        ("attributes:\n  email: {order: [newest]}\n", "order", 2),
        ("attributes:\n  email: {order: []}\n", "order", 2),
        ("attributes:\n  phone:\n    order:\n      - recency\n      - verified\n", "nothing says of a phone", 5),
        ("attributes:\n  email: {order: [recency, recency]}\n", "recency stands there twice", 2),
        ("source_priority:\n  - orders\n  - parcels\n", "parcels does not state it", 3),
        ("source_priority: [orders, crm/orders, orders]\n", "orders stands there twice", 1),
        (
            "attributes:\n  last_name:\n    order: [source_priority]\n    source_priority: [orders]\n",
            "orders does not state it",
            4,
        ),
        ("orders: 3\n", "unknown key orders", 1),
        ("attributes: 3\n", "attributes", 1),
    ],
)
def test_mistakes_name_their_line(tmp_path, text, message, line):
    (tmp_path / "profile.yml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogProblems, match=message) as caught:
        load_profile_rules(tmp_path)
    assert caught.value.problems[0].line == line
