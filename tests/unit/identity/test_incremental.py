"""Solving what changed solves whom a change concerns, and no one else, and writes no more than that."""

from dataclasses import replace
from datetime import datetime

import pytest

from segmentation.erasure.erase import Request, erase
from segmentation.identity import publish as publishing
from segmentation.identity.candidate import build_candidate
from segmentation.identity.operator_rules import read_rules
from segmentation.identity.publish import publish

from .solving import KEY, decide, limited, place_of, resolve_both, snapshot


@pytest.fixture
def town(begin, run):
    """Forty people with an account, an address and a cookie each, resolved."""

    def fill(world):
        for number in range(40):
            world.add("customer_records", source_customer_id=f"k{number}", email=f"person{number}@post.net")
            world.add("orders", email=f"person{number}@post.net", user_id=f"u{number}")
            world.add("events", event_type="login", user_id=f"u{number}", anonymous_id=f"c{number}")
        world.resolve(run)

    return begin(fill)


def test_nothing_new_resolves_nobody(town, catalog, later):
    assert resolve_both(town, later(1), catalog) == 0


def test_only_who_is_concerned_is_resolved(town, catalog, later):
    town.add("events", event_type="login", user_id="u7", anonymous_id="c-new")
    assert resolve_both(town, later(1), catalog) == 5
    town.add("events", anonymous_id="stranger")
    assert resolve_both(town, later(2), catalog) == 1


def test_a_refused_edge_brings_back_both_of_its_customers(town, catalog, later):
    town.add("events", event_type="login", user_id="u1", anonymous_id="c2")
    assert resolve_both(town, later(1), catalog) == 8
    # Person 1 gains a device: person 2 came from the same component, and is looked at again.
    town.add("events", event_type="login", user_id="u1", device_id="d1")
    assert resolve_both(town, later(2), catalog) == 9


def test_what_goes_is_taken_apart(town, catalog, later):
    town.con.execute("delete from sources.orders where user_id = 'u3'")
    assert resolve_both(town, later(1), catalog) == 4
    assert town.customer("u3") != town.customer("person3@post.net")
    town.add("orders", email="person3@post.net", user_id="u3")
    assert resolve_both(town, later(2), catalog) == 4
    assert town.customer("u3") == town.customer("person3@post.net")


def test_other_limits_resolve_everybody(town, catalog, later):
    assert resolve_both(town, later(1), limited(catalog, 3, 3)) == 160
    assert town.rows("select max(n_nodes) from identity.customers") == [(3,)]
    assert resolve_both(town, later(2), catalog) == 160


def test_a_shared_device_touches_whom_it_held_together(town, catalog, later):
    for number in range(5):
        town.add("events", event_type="login", user_id=f"u{number}", device_id="kiosk")
        moment = later(number + 1)
        resolve_both(town, moment, catalog)
    assert town.rows("select status from identity.identifiers where id_value = 'kiosk'") == [("shared",)]


def test_an_edge_seen_before_it_was_known_is_a_change(town, catalog, later):
    town.add("events", event_type="login", user_id="u9", anonymous_id="c9", at=datetime(2025, 1, 1))
    assert resolve_both(town, later(1), catalog) == 4
    assert town.rows("select first_seen_at from identity.customers order by 1 limit 1") == [(datetime(2025, 1, 1),)]


def test_without_what_was_solved_before_everything_is_solved(town, catalog, later):
    town.con.execute("delete from identity.solve_inputs")
    assert resolve_both(town, later(1), catalog) == 160


def test_a_run_of_the_same_moment_again_changes_nothing(town, catalog, run):
    again = replace(run, run_id="again")
    assert resolve_both(town, again, catalog) == 0
    assert town.events(again) == []


def _decided(world, run, what, first, second):
    decide(world, run, what, *(place_of(world, value) for value in (first, second)))


@pytest.mark.parametrize(
    ("what", "first", "second", "resolved"),
    [
        ("must_link", "u1", "u2", 8),
        ("must_not_link", "u1", "c1", 4),
        ("block_value", "person1@post.net", "u1", 4),
    ],
)
def test_a_decision_touches_whom_it_is_about_and_so_does_its_end(town, catalog, later, what, first, second, resolved):
    _decided(town, later(0), what, first, second)
    assert len(read_rules(town.con)) == 1
    assert resolve_both(town, later(1), catalog) == resolved - (what == "block_value")
    decide(town, later(1), "undo", 0, 0)
    assert resolve_both(town, later(2), catalog) == resolved
    assert resolve_both(town, later(3), catalog) == 0


def test_an_erasure_resolves_everybody_once(town, catalog, later):
    decide(town, later(0), "erase", 0, 0)
    assert town.rows("select count(*) from identity.customers where status = 'erased'") == [(1,)]
    assert resolve_both(town, later(1), catalog) == 156
    assert resolve_both(town, later(2), catalog) == 0


def test_only_the_rows_of_who_is_concerned_are_written(town, catalog, later):
    town.add("events", event_type="login", user_id="u7", anonymous_id="c-new")
    build_candidate(town.con, later(1), catalog)
    before = town.rows("select * from identity.identifier_map order by all")
    assert town.rows("select count(*) from identity.candidate_identifier_map_rows") == [(5,)]
    assert town.rows("select count(*) from identity.candidate_identifier_map") == [(161,)]
    assert town.rows("select * from identity.identifier_map order by all") == before
    publish(town.con, later(1))
    written = "select run_id, count(*) from identity.{} group by 1 order by 1"
    assert town.rows(written.format("identifier_map")) == [("run-1", 156), ("run-2", 5)]
    assert town.rows(written.format("customers")) == [("run-1", 39), ("run-2", 1)]
    published = town.rows("select * from identity.identifier_map order by all")
    publish(town.con, later(1))
    assert town.rows("select * from identity.identifier_map order by all") == published
    assert town.rows("select * from identity.candidate_identifier_map order by all") == published


@pytest.mark.parametrize("step", list(publishing.STEPS))
def test_a_publish_that_breaks_off_leaves_the_difference_to_be_published(town, catalog, later, monkeypatch, step):
    town.add("events", event_type="login", user_id="u7", device_id="d-new")
    town.con.execute("delete from sources.orders where user_id = 'u3'")
    build_candidate(town.con, later(1), catalog)
    proposed = snapshot(town)
    before = town.rows("select * from identity.identifier_map order by all")

    def fail(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setitem(publishing.STEPS, step, fail)
        with pytest.raises(RuntimeError, match="killed"):
            publish(town.con, later(1))
    assert town.rows("select * from identity.identifier_map order by all") == before
    publish(town.con, later(1))
    assert snapshot(town) == proposed
    open_spells = "select node_id, customer_id from identity.identifier_map_history where valid_to is null order by all"
    assert town.rows(open_spells) == town.rows("select node_id, customer_id from identity.identifier_map order by all")


def test_an_erasure_before_publishing_leaves_its_tombstone(town, catalog, later):
    town.add("events", event_type="login", user_id="u7", device_id="d-new")
    build_candidate(town.con, later(1), catalog)
    erased = town.customer("u7")
    erase(town.con, catalog.rules, KEY, Request(erased, "dpo", "T-1", later(1).as_of))
    publish(town.con, later(1))
    assert town.rows(f"select status from identity.customers where customer_id = '{erased}'") == [("erased",)]
