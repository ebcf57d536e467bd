"""Customer ids persist by anchor: the eight rules, one by one and under random histories."""

from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.contracts import ensure_schema
from segmentation.identity.assign import assign
from segmentation.identity.customer_ids import customer_id_expression, spell_customer_id
from segmentation.identity.tables import create_candidate_tables
from segmentation.run import Run


def _state(world):
    return world.rows(
        "select customer_id, anchor_node_id, anchor_priority, status, merged_into, n_nodes, created_at, first_seen_at "
        "from identity.customers order by customer_id"
    )


def test_replay_makes_no_event(world, run, later):
    world.add("customer_records", source_customer_id="1", email="a@shop.com")
    world.add("events", device_id="d", anonymous_id="c")
    world.resolve(run)
    before = _state(world)
    again = later(1)
    world.resolve(again)
    assert world.events(again) == []
    assert _state(world) == before


def test_a_known_customer_survives_an_older_anonymous_one_and_comes_back_apart(world, run, later):
    world.add("events", anonymous_id="cookie", device_id="phone")
    world.add("customer_records", source_customer_id="1", email="a@shop.com")
    world.resolve(run)
    anonymous, known = world.customer("cookie"), world.customer("1")
    assert anonymous != known

    second = later(1)
    world.add("orders", email="a@shop.com", anonymous_id="cookie")
    world.resolve(second)
    assert world.customer("cookie") == known
    assert world.events(second) == [("merge", anonymous, known)]
    assert world.rows("select old_customer_id, customer_id from identity.customer_aliases") == [(anonymous, known)]

    third = later(2)
    world.clear("orders")
    world.resolve(third)
    assert (world.customer("cookie"), world.customer("1")) == (anonymous, known)
    assert world.events(third) == [("unmerge", anonymous, known)]
    assert world.rows("select * from identity.customer_aliases") == []


def test_among_known_customers_the_oldest_survives(world, run, later):
    world.add("orders", user_id="old", at=run.as_of - timedelta(days=9))
    world.resolve(run)
    second = later(1)
    world.add("orders", source_customer_id="new", at=run.as_of - timedelta(days=30))
    world.resolve(second)
    old, new = world.customer("old"), world.customer("new")
    third = later(2)
    world.add("orders", source_customer_id="new", user_id="old")
    world.resolve(third)
    assert world.events(third) == [("merge", new, old)]


def test_a_split_leaves_the_id_with_the_anchor(world, run, later):
    world.add("events", event_type="login", user_id="u", anonymous_id="a1")
    world.add("events", event_type="login", user_id="u", anonymous_id="a2")
    world.add("form_submissions", anonymous_id="a1", email="a@shop.com")
    world.resolve(run)
    customer = world.customer("u")
    world.con.execute("delete from sources.events where anonymous_id = 'a1'")
    second = later(1)
    world.resolve(second)
    assert world.customer("u") == world.customer("a2") == customer
    side = world.customer("a@shop.com")
    assert world.events(second) == [("split", side, customer)]
    assert side == world.customer("a1") == spell_customer_id(1)


def test_a_customer_that_lost_its_anchor_stays_where_most_of_it_is(world, run, later):
    world.add("orders", user_id="u", email="a@shop.com", anonymous_id="a1", device_id="d1")
    world.resolve(run)
    customer = world.customer("a1")
    world.clear("orders")
    world.add("orders", email="a@shop.com", anonymous_id="a1", device_id="d1")
    second = later(1)
    world.resolve(second)
    assert world.customer("a1") == customer
    assert world.events(second) == []
    assert world.rows("select anchor_priority from identity.customers") == [(1,)]


def test_an_anchor_gives_way_only_to_a_better_kind(world, run, later):
    world.add("orders", email="b@shop.com")
    world.resolve(run)
    [(first_anchor,)] = world.rows("select anchor_node_id from identity.customers")
    world.add("orders", email="b@shop.com", anonymous_id="a")
    world.add("orders", email="older@shop.com", anonymous_id="a", at=run.as_of - timedelta(days=300))
    world.resolve(later(1))
    assert world.rows("select anchor_node_id from identity.customers") == [(first_anchor,)]
    world.add("orders", email="b@shop.com", user_id="u")
    world.resolve(later(2))
    assert world.rows(
        "select anchor_node_id <> ?, anchor_priority from identity.customers".replace("?", str(first_anchor))
    ) == [(True, 0)]


def test_a_customer_without_identifiers_retires_and_returns(world, run, later):
    world.add("orders", user_id="u")
    world.add("orders", user_id="v")
    world.resolve(run)
    gone = world.customer("u")
    world.con.execute("delete from sources.orders where user_id = 'u'")
    second = later(1)
    world.resolve(second)
    assert world.events(second) == [("retire", gone, None)]
    world.add("orders", user_id="u")
    third = later(2)
    world.resolve(third)
    assert world.customer("u") == gone
    assert world.events(third) == [("create", gone, None)]


def test_an_erased_customer_never_comes_back(world, run, later):
    world.add("orders", user_id="u")
    world.resolve(run)
    erased = world.customer("u")
    world.con.execute("update identity.customers set status = 'erased'; delete from identity.solve_inputs")
    world.resolve(later(1))
    assert world.customer("u") not in {None, erased}
    world.con.execute(
        "update identity.identifiers set status = 'erased', status_rule = 'request 7'; "
        "delete from identity.solve_inputs"
    )
    world.clear("orders")
    world.resolve(later(2))
    assert world.customer("u") is None
    assert world.rows("select status, status_rule from identity.identifiers") == [("erased", "request 7")]
    world.add("orders", user_id="u")
    world.resolve(later(3))
    assert world.customer("u") is None


def test_identifiers_that_change_sides_are_a_move(world, run, later):
    world.add("orders", user_id="u", email="a@shop.com")
    world.add("events", event_type="login", user_id="v", anonymous_id="x")
    world.add("form_submissions", email="a@shop.com", anonymous_id="c", device_id="d")
    world.resolve(run)
    u, v = world.customer("u"), world.customer("v")
    world.clear("form_submissions")
    world.add("form_submissions", anonymous_id="c", device_id="d")
    world.add("events", event_type="login", user_id="v", anonymous_id="c")
    second = later(1)
    world.resolve(second)
    assert world.customer("c") == v
    assert world.events(second) == [("move", v, u)]
    assert world.rows("select n_nodes from identity.events where event = 'move'") == [(2,)]


def test_merged_into_a_merged_one_follows_to_the_end(world, run, later):
    for number in range(3):
        world.add("events", anonymous_id=f"a{number}", device_id=f"d{number}")
    world.resolve(run)
    first, second, third = (world.customer(f"a{number}") for number in range(3))
    world.add("events", anonymous_id="a1", device_id="d2")
    world.resolve(later(1))
    assert world.customer("a2") == second
    world.add("events", anonymous_id="a0", device_id="d1")
    world.clear("orders")
    world.resolve(later(2))
    assert sorted(world.rows("select old_customer_id, customer_id from identity.customer_aliases")) == [
        (second, first),
        (third, first),
    ]


@pytest.mark.parametrize(("number", "spelled"), [(0, "c_0000000000"), (31, "c_000000000z"), (32, "c_0000000010")])
def test_spelling(con, number, spelled):
    assert spell_customer_id(number) == spelled
    assert con.execute(f"select {customer_id_expression(f'{number}::bigint')}").fetchall() == [(spelled,)]


@given(st.integers(0, 2**50 - 1))
@settings(max_examples=30, deadline=None)
def test_spelling_in_sql_agrees_and_sorts_like_the_number(number):
    sql = duckdb.sql(f"select {customer_id_expression(f'{number}::bigint')}").fetchall()[0][0]
    assert sql == spell_customer_id(number)
    assert spell_customer_id(max(number - 1, 0)) <= sql
    assert len(sql) == 12


@pytest.mark.parametrize("number", [-1, 2**50])
def test_numbers_that_can_not_be_spelled(number):
    with pytest.raises(ValueError, match="not a customer's"):
        spell_customer_id(number)


_TYPES = ("user_id", "email", "anonymous_id")
_PARTITIONS = st.lists(st.lists(st.integers(-1, 3), min_size=6, max_size=6), min_size=2, max_size=5)


@given(_PARTITIONS)
@settings(max_examples=10, deadline=None)
def test_any_history_keeps_the_invariants(request_run, rules, history):
    """Each entry gives the component of six identifiers, -1 for unseen."""
    with duckdb.connect() as con:
        ensure_schema(con, "identity")
        seen_ids: dict[int, str] = {}
        for step, labels in enumerate([*history, history[-1], history[0]]):
            run = replace(request_run, run_id=f"run-{step}", as_of=request_run.as_of + timedelta(days=step))
            n_events = _apply(con, run, rules, labels)
            members = con.execute("select node_id, customer_id from identity.identifier_map").fetchall()
            by_component: dict[int, set[str]] = {}
            for node, customer in members:
                by_component.setdefault(labels[node], set()).add(customer)
            assert sorted(node for node, _ in members) == [n for n, label in enumerate(labels) if label >= 0]
            assert all(len(ids) == 1 for ids in by_component.values()), "one id per component"
            ids = [next(iter(found)) for found in by_component.values()]
            assert len(set(ids)) == len(ids), "no id on two components"
            active = con.execute("select customer_id from identity.customers where status = 'active'").fetchall()
            assert {row[0] for row in active} == set(ids)
            aliases = con.execute("select old_customer_id, customer_id from identity.customer_aliases").fetchall()
            assert {target for _, target in aliases} <= set(ids), "aliases lead to active customers in one step"
            minted = {row[0] for row in con.execute("select customer_id from identity.customers").fetchall()}
            assert set(seen_ids.values()) <= minted, "no id is forgotten"
            seen_ids.update(enumerate(sorted(minted)))
            if step == len(history):
                assert n_events == 0, "a replay makes no event"


def _apply(con, run, rules, labels):
    """Assign customers to a partition and publish it by plain inserts."""
    create_candidate_tables(con)
    con.execute(
        "create or replace temp table nodes "
        "(node_id bigint, id_type varchar, id_namespace varchar, first_seen_at timestamp)"
    )
    con.execute("create or replace temp table components (node_id bigint, component bigint)")
    for node, label in enumerate(labels):
        if label >= 0:
            con.execute(
                "insert into nodes values (?, ?, '', ?)", [node, _TYPES[node % 3], run.as_of.replace(year=2020)]
            )
            con.execute("insert into components values (?, ?)", [node, label])
    con.execute("create or replace temp view known_customers as from identity.customers")
    con.execute("create or replace temp view known_members as from identity.identifier_map")
    assign(con, run, rules)
    for table in ("customers", "identifier_map", "customer_aliases"):
        con.execute(f"delete from identity.{table}")
        con.execute(f"insert into identity.{table} by name select * from identity.candidate_{table}")
    con.execute("insert into identity.events by name select * from identity.candidate_events")
    return con.execute("select count(*) from identity.candidate_events").fetchall()[0][0]


@pytest.fixture(scope="module")
def request_run():
    return Run("run", datetime(2026, 1, 1), datetime(2026, 1, 1))


@pytest.fixture(scope="module")
def rules(catalog):
    return catalog.rules
