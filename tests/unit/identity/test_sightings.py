"""What was read before is not read again, and nobody can tell from the result."""

from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.tables import REPLACED
from segmentation.run import Run

_START = datetime(2026, 10, 1)

_ROWS = st.fixed_dictionaries(
    {"day": st.integers(0, 8), "file_id": st.integers(1, 3)},
    optional={
        "source_customer_id": st.sampled_from(["1", "2"]),
        "user_id": st.sampled_from(["u", "v", ""]),
        "email": st.sampled_from(["a@shop.com", "A@shop.com", "b@shop.com", "noreply@shop.com"]),
        "phone": st.sampled_from(["07700 900123", "+447700900123"]),
        "anonymous_id": st.sampled_from(["x", "y", "z"]),
    },
)
_CHANGES = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(["orders", "events", "form_submissions"]), _ROWS),
    st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
    st.tuples(st.just("update"), st.integers(0, 9), st.sampled_from(["a@shop.com", "c@shop.com"])),
)
#: Each run: what happened to the sources before it, and how many days after the run before it describes.
_HISTORIES = st.lists(st.tuples(st.lists(_CHANGES, max_size=5), st.integers(0, 3)), min_size=2, max_size=4)


def _change(world, change):
    what, where, value = change
    if what == "add":
        values = dict(value)
        at = _START + timedelta(days=values.pop("day"))
        world.add(where, at=at, **values)
    elif what == "delete":
        world.con.execute("delete from sources.orders where line = ?", [where])
    else:
        world.con.execute("update sources.orders set email = ? where line = ?", [value, where])


def _published(world):
    tables = (*REPLACED, "events", "identifier_map_history", "candidate")
    return {table: world.rows(f"select * from identity.{table} order by all") for table in tables}


def _after(history, new_world, *, anew):
    with duckdb.connect() as con:
        world = new_world(con)
        as_of, found = _START + timedelta(days=2), []
        for number, (changes, days) in enumerate(history):
            for change in changes:
                _change(world, change)
            as_of += timedelta(days=days)
            if anew:
                con.execute("delete from identity.readings") if number else None
            world.resolve(Run(f"run-{number}", as_of, as_of))
            found.append(_published(world))
        return found


def read_any_history_twice(new_world, history):
    assert _after(history, new_world, anew=False) == _after(history, new_world, anew=True)


@given(_HISTORIES)
@settings(max_examples=3, deadline=None)
def test_taking_up_gives_what_reading_anew_gives(new_world, history):
    read_any_history_twice(new_world, history)


@pytest.mark.slow
@given(_HISTORIES)
@settings(max_examples=15, deadline=None)
def test_taking_up_gives_what_reading_anew_gives_many_times_over(new_world, history):
    read_any_history_twice(new_world, history)


def _sightings(world):
    return world.rows("select * from identity.sightings order by all")


def _as_left(world):
    """Mark what was read, to see whether it is read again."""
    world.con.execute("update identity.readings set oversized_values = 1000 where row_count > 0")


def test_rows_that_were_read_are_not_read_again(world, run, later):
    world.add("orders", user_id="u", email="a@shop.com")
    world.resolve(run)
    _as_left(world)
    world.add("orders", user_id="u", anonymous_id="c", file_id=2)
    world.resolve(later(1))
    assert world.rows("select oversized_values, rows_read from identity.candidate") == [(1000, 2)]
    assert world.customer("c") == world.customer("a@shop.com")


@pytest.mark.parametrize(
    "change",
    [
        "update sources.orders set email = 'b@shop.com'",
        "update sources.orders set ordered_at = ordered_at - interval 1 day",
        "update sources.orders set country = 'FR'",
        "delete from sources.orders where user_id = 'v'",
        "delete from identity.registry; delete from identity.normalised_values",
    ],
)
def test_an_entity_whose_rows_changed_is_read_anew_and_no_other(world, run, later, change):
    world.add("orders", user_id="u", email="a@shop.com", phone="07700 900123", country="GB")
    world.add("orders", user_id="v")
    world.add("events", anonymous_id="c")
    world.resolve(run)
    _as_left(world)
    world.con.execute(change)
    world.build(later(1))
    [(oversized,)] = world.rows("select oversized_values from identity.candidate")
    assert oversized == (0 if "registry" in change else 1000)


def test_changed_rules_read_anew(world, run, later, catalog):
    world.add("orders", phone="07700 900123")
    world.resolve(run)
    _as_left(world)
    rules = catalog.rules.model_copy(update={"default_region": "DE"})
    build_candidate(world.con, later(1), IdentityCatalog(rules, catalog.purposes))
    assert world.rows("select oversized_values from identity.candidate") == [(0,)]


def test_a_held_candidate_of_a_later_moment_leaves_nothing_behind(world, run, later):
    world.add("orders", user_id="u", at=run.as_of + timedelta(days=1))
    world.build(later(2))
    world.resolve(later(0))
    assert world.customer("u") is None


def test_sightings_are_put_together_again_when_they_have_become_many(world, run, later):
    world.add("orders", user_id="u")
    world.resolve(run)
    for days in range(1, 5):
        world.add("orders", user_id="u", file_id=days + 1)
        world.resolve(later(days))
        assert len(_sightings(world)) <= 3
    assert world.rows("select rows_read from identity.candidate") == [(5,)]


def test_a_warehouse_of_an_earlier_version_is_read_anew(world, run, later):
    world.add("orders", user_id="u")
    world.add("orders")
    world.resolve(run)
    world.con.execute(
        "alter table identity.sightings add column n_without_identifier bigint default 0; "
        "alter table identity.sightings add column n_oversized bigint default 0; "
        "alter table identity.readings drop column rows_without_identifier; "
        "alter table identity.readings drop column oversized_values"
    )
    world.resolve(later(1))
    assert world.rows("select rows_read, rows_without_identifier from identity.candidate") == [(2, 1)]
    assert world.rows("select count(*) from identity.sightings") == [(2,)]
