"""Decisions of people: links, separations, blocks and limits, from the catalog and from the table of rules."""

from datetime import timedelta

import pytest

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.contradictions import ContradictionError
from segmentation.identity.decisions import ALWAYS
from segmentation.identity.operator_rules import Rule, read_rules, write_rules
from segmentation.identity.references import AmbiguousIdentifierError


@pytest.fixture
def decide(world):
    """Write a rule of a steward; identifiers are named by raw value."""
    count = 0

    def write(kind, nodes=(), other_nodes=(), **facts):
        nonlocal count
        count += 1
        facts = {"rule_id": f"r{count}", "decision_seq": count, "author": "jo", "reason": "ticket 1", **facts}
        facts |= {
            "kind": kind,
            "nodes": tuple(map(world.node, nodes)),
            "other_nodes": tuple(map(world.node, other_nodes)),
        }
        facts = {"origin": "steward", "valid_from": ALWAYS, "recorded_at": ALWAYS, **facts}
        write_rules(world.con, [Rule(**facts)], "identity.rules")
        return facts["rule_id"]

    return write


def _with(catalog, *decisions):
    from segmentation.identity.catalog import IdentifierRules

    told = catalog.rules.model_dump(exclude={"decisions"})
    decisions = [{"author": "jo", "reason": "ticket 2", **one} for one in decisions]
    return IdentityCatalog(IdentifierRules.model_validate({**told, "decisions": decisions}), catalog.purposes)


def _edges(world):
    return world.rows(
        "select admitted, tier, reject_rule from identity.edges order by tier, admitted desc, reject_rule"
    )


def test_a_link_joins_what_no_source_joins(world, run, later, decide):
    world.add("customer_records", source_customer_id="1", email="ann@shop.com")
    world.add("events", event_type="login", user_id="u", anonymous_id="c")
    world.resolve(run)
    first, second = world.customer("1"), world.customer("u")
    assert first != second
    decide("must_link", ["1", "u"])
    world.resolve(later(1))
    assert {world.customer(value) for value in ("1", "ann@shop.com", "u", "c")} == {first}
    assert world.events(later(1)) == [("merge", second, first)]
    assert world.rows("select cause_rule from identity.events where event = 'merge'") == [("R2 r1",)]
    assert world.rows("select source, evidence, tier, admitted from identity.edges where tier = 0") == [
        ("steward", "must_link", 0, True)
    ]
    assert world.rows("select match_basis from identity.customers where status = 'active'") == [("manual",)]


def test_a_link_of_two_accounts_says_that_they_are_one_persons(world, run, later, decide):
    for number in (1, 2):
        world.add("customer_records", source_customer_id=f"K{number}", email=f"a{number}@shop.com")
        world.add("events", event_type="login", user_id=f"u{number}", email=f"a{number}@shop.com")
    world.resolve(run)
    assert world.customer("K1") != world.customer("K2")
    decide("must_link", ["K1", "K2"])
    world.resolve(later(1))
    # The records are one owner; nobody said so of the accounts, so the second one stays apart.
    assert world.customer("K1") == world.customer("K2") == world.customer("a2@shop.com")
    decide("must_link", ["u1", "u2"])
    world.resolve(later(2))
    assert len({world.customer(v) for v in ("K1", "K2", "u1", "u2", "a1@shop.com", "a2@shop.com")}) == 1


def test_a_separation_unmerges_and_its_end_merges_again(world, run, later, decide):
    world.add("customer_records", source_customer_id="K1", email="ann@shop.com")
    world.add("events", event_type="login", user_id="u", anonymous_id="cookie")
    world.resolve(run)
    ann, user = world.customer("K1"), world.customer("u")
    world.add("form_submissions", email="ann@shop.com", anonymous_id="cookie")
    world.resolve(later(1))
    assert world.customer("u") == world.customer("K1") == ann
    decide("must_not_link", ["u"], ["ann@shop.com"], valid_to=run.as_of + timedelta(days=3))
    world.resolve(later(2))
    assert (world.customer("K1"), world.customer("u")) == (ann, user)
    assert world.events(later(2)) == [("unmerge", user, ann)]
    assert world.rows("select cause_rule from identity.events where event = 'unmerge'") == [("R2 r1",)]
    assert world.rows("select evidence, reject_rule from identity.edges where not admitted") == [
        ("form_submissions", "R4 kept apart by r1")
    ]
    world.resolve(later(3))
    assert world.customer("u") == world.customer("K1") == ann
    assert world.events(later(3)) == [("merge", user, ann)]


def test_a_rule_holds_from_its_first_moment_to_its_last(world, run, later, decide):
    world.add("orders", user_id="u", email="a@shop.com")
    world.resolve(run)
    decide("block_value", ["a@shop.com"], valid_from=run.as_of + timedelta(days=1), valid_to=run.as_of + timedelta(2))
    seen = []
    for days in (0, 1, 2):
        world.resolve(later(days))
        seen.append(world.customer("a@shop.com") is None)
    assert seen == [False, True, False]


def test_three_who_are_kept_apart_in_a_circle_stay_three(world, run, later, decide):
    for name in ("ann", "bob", "cid"):
        world.add("customer_records", source_customer_id=name, email=f"{name}@shop.com")
        world.add("form_submissions", email=f"{name}@shop.com", device_id="tablet")
    world.add("form_submissions", email="ann@shop.com", phone="+44 7700 900123")
    world.add("form_submissions", email="bob@shop.com", phone="+44 7700 900123")
    world.resolve(run)
    for pair in (("ann", "bob"), ("bob", "cid"), ("cid", "ann")):
        decide("must_not_link", [f"{pair[0]}@shop.com"], [f"{pair[1]}@shop.com"])
    world.resolve(later(1))
    assert len({world.customer(f"{name}@shop.com") for name in ("ann", "bob", "cid")}) == 3


def test_blocks_by_value_and_by_pattern_say_who_decided(world, run, later, decide):
    world.add("orders", user_id="u1", email="desk@shop.com")
    world.add("orders", user_id="u2", email="desk7@shop.com", phone="+447700900123")
    world.resolve(run)
    decide("block_value", ["desk@shop.com"])
    decide("block_pattern", id_type="email", pattern="^desk[0-9]+@")
    world.resolve(later(1))
    assert world.rows(
        "select id_value, status, status_rule from identity.identifiers where status <> 'active' order by 1"
    ) == [
        ("desk7@shop.com", "blocked", "R2 blocked by r2"),
        ("desk@shop.com", "blocked", "R2 blocked by r1"),
    ]
    assert world.customer("desk@shop.com") is None
    # What else the row had stays together.
    assert world.customer("u2") == world.customer("+447700900123")


def test_limits_of_people_win_over_the_catalogs_and_the_newest_over_all(world, run, later, decide):
    for number in range(3):
        world.add("orders", user_id="u", email=f"a{number}@shop.com")
        world.add("orders", user_id=f"v{number}", email="a0@shop.com")
    world.resolve(run)
    decide("max_per_customer", id_type="email", limit_value=1)
    decide("max_per_customer", id_type="email", limit_value=2)
    decide("degree_limit", id_type="email", other_type="user_id", limit_value=4)
    world.resolve(later(1))
    assert ("R4 more than 2 email",) in world.rows("select distinct reject_rule from identity.edges")
    assert world.rows("select count(*) from identity.identifiers where status = 'shared'") == [(0,)]
    decide("degree_limit", id_type="email", other_type="user_id", limit_value=1)
    decide("max_nodes", limit_value=2)
    world.resolve(later(2))
    assert world.rows("select status_rule from identity.identifiers where status = 'shared'") == [
        ("R3 email with more than 1 user_id",)
    ]
    assert world.rows("select max_customer_nodes, max_nodes_allowed from identity.candidate") == [(2, 2)]


def test_links_and_separations_that_contradict_are_refused_with_the_shortest_path(world, run, later, decide):
    for name in "abcdx":
        world.add("orders", user_id=name)
    world.resolve(run)
    before = world.rows("select * from identity.identifier_map order by all")
    decide("must_link", ["a", "b"])
    decide("must_link", ["b", "c"])
    decide("must_link", ["c", "d"])
    decide("must_link", ["a", "x"])
    decide("must_link", ["x", "c"])
    decide("must_not_link", ["a"], ["d"])
    node = {name: f"node:{world.node(name)} (user_id)" for name in "abcd"}
    with pytest.raises(ContradictionError) as told:
        world.resolve(later(1))
    assert (
        f"r6 keeps {node['a']} and {node['d']} apart, and others make them one customer: "
        f"{node['a']} = {node['b']} by r1, {node['b']} = {node['c']} by r2, {node['c']} = {node['d']} by r3"
    ) in told.value.what
    assert "undo r6; undo r1; undo r2; undo r3" in told.value.repair
    assert world.rows("select * from identity.identifier_map order by all") == before
    assert world.rows("select count(*) from ops.candidates where run_id = 'run-2'") == [(0,)]
    world.con.execute("delete from identity.rules where rule_id = 'r2'")
    decide("must_not_link", ["a"], ["c"])
    with pytest.raises(ContradictionError, match="r7 keeps"):
        # Two steps over x show it sooner than the three to d.
        world.resolve(later(1))


def test_rules_that_contradict_themselves_or_a_block_are_refused(world, run, later, decide):
    world.add("orders", user_id="a", email="a@shop.com")
    world.resolve(run)
    decide("must_not_link", ["a"], ["a"])
    with pytest.raises(ContradictionError, match="apart from itself"):
        world.resolve(later(1))
    world.con.execute("delete from identity.rules")
    decide("block_value", ["a@shop.com"])
    decide("must_link", ["a@shop.com", "a"])
    with pytest.raises(ContradictionError, match=r"r2 blocks .* and r3 links it"):
        world.resolve(later(1))


def test_a_link_at_a_shared_value_is_refused_and_says_why(world, run, later, decide):
    for user in range(5):
        world.add("events", event_type="login", user_id=f"u{user}", device_id="kiosk")
    world.resolve(run)
    decide("must_link", ["u0", "kiosk"])
    world.resolve(later(1))
    assert (False, 0, "R3 device_id with more than 3 user_id") in _edges(world)


def test_the_catalog_decides_as_commands_do_and_is_kept(world, run, later, catalog):
    world.add("customer_records", source_customer_id="1", email="Ann@Shop.com", phone="07700 900123")
    world.add("events", event_type="login", user_id="u", anonymous_id="c")
    world.add("orders", source="crm", source_customer_id="1")
    world.resolve(run)
    world.catalog = _with(
        catalog,
        {"rule_id": "ann", "kind": "must_link", "identifiers": ["email:ann@shop.com", "user_id:u"]},
        {
            "rule_id": "not-that-one",
            "kind": "must_not_link",
            "identifiers": ["phone:07700 900123"],
            "apart_from": ["user_id:u"],
        },
        {"rule_id": "crm", "kind": "block_value", "identifiers": ["source_customer_id@crm:1"]},
        {"rule_id": "devices", "kind": "max_per_customer", "id_type": "device_id", "limit": 2},
    )
    world.resolve(later(1))
    assert world.customer("u") == world.customer("Ann@Shop.com")
    assert world.customer("07700 900123") not in {None, world.customer("u")}
    assert world.rows("select status_rule from identity.identifiers where id_namespace = 'crm'") == [
        ("R2 blocked by crm",)
    ]
    kept = world.rows("select rule_id, origin, author, valid_to is null from identity.rules order by 1")
    assert kept == [(name, "catalog", "jo", True) for name in ("ann", "crm", "devices", "not-that-one")]
    world.catalog = catalog
    world.resolve(later(2))
    assert world.customer("u") != world.customer("Ann@Shop.com")
    ended = world.rows("select rule_id, valid_to, ended_by from identity.rules order by 1")
    assert ended == [(name, later(2).as_of, "catalog") for name in ("ann", "crm", "devices", "not-that-one")]


@pytest.mark.parametrize(
    ("identifier", "kind", "error", "says"),
    [
        ("user_id:nobody", "block_value", NotFoundError, "no run ever met this user_id"),
        ("node:99", "block_value", NotFoundError, "no run ever met this node"),
        ("source_customer_id:1", "block_value", AmbiguousIdentifierError, "2 identifiers have this value"),
    ],
)
def test_an_identifier_that_is_unknown_or_means_several_is_refused(
    world, run, later, catalog, identifier, kind, error, says
):
    world.add("orders", source_customer_id="1")
    world.add("orders", source="crm", source_customer_id="1")
    world.resolve(run)
    before = world.rows("select * from identity.identifier_map order by all")
    world.catalog = _with(catalog, {"rule_id": "wrong", "kind": kind, "identifiers": [identifier]})
    with pytest.raises(error, match=says) as told:
        world.resolve(later(1))
    assert told.value.where == "identifiers.yml, decision wrong, identifiers[0]"
    assert "nobody" not in told.value.message
    assert world.rows("select * from identity.identifier_map order by all") == before


def test_one_name_for_two_rules_is_refused(world, run, later, catalog, decide):
    world.add("orders", user_id="u")
    world.resolve(run)
    decide("block_value", ["u"], rule_id="same")
    world.catalog = _with(catalog, {"rule_id": "same", "kind": "block_value", "identifiers": ["user_id:u"]})
    with pytest.raises(StrataError, match="two rules are called same"):
        world.resolve(later(1))


def test_rules_are_read_as_they_were_written(world, run, decide):
    world.add("orders", user_id="u", email="a@shop.com")
    world.resolve(run)
    decide("must_not_link", ["u"], ["a@shop.com"])
    [rule] = read_rules(world.con)
    assert (rule.nodes, rule.other_nodes, rule.kind) == (
        (world.node("u"),),
        (world.node("a@shop.com"),),
        "must_not_link",
    )
