"""Publishing: all or nothing, once, and only what this run proposed."""

from dataclasses import replace

import pytest

from segmentation.errors import CandidateError
from segmentation.identity import publish as publishing
from segmentation.identity.publish import publish
from segmentation.identity.tables import REPLACED


def _published(world):
    tables = (*REPLACED, "events", "identifier_map_history")
    found = {table: world.rows(f"select * from identity.{table} order by all") for table in tables}
    return found | {"published": world.rows("select candidate_id from ops.candidates where published_at is not null")}


@pytest.fixture
def two_runs(begin, run, later):
    """A published map, and a proposal that would change it."""

    def fill(world):
        world.add("orders", user_id="u", email="a@shop.com")
        world.add("events", anonymous_id="c")
        world.add("consent_events", user_id="u")
        world.resolve(run)
        world.add("orders", user_id="u", anonymous_id="c")
        world.add("orders", user_id="new")
        world.build(later(1))

    begin(fill)
    return later(1)


@pytest.mark.parametrize("step", [*publishing.STEPS, "mark_published"])
def test_killed_before_any_step_the_published_map_stands(world, two_runs, step, monkeypatch):
    before = _published(world)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "mark_published":
            patch.setattr(publishing, "mark_published", killed)
        else:
            patch.setitem(publishing.STEPS, step, killed)
        with pytest.raises(KeyboardInterrupt):
            publish(world.con, two_runs)
    assert _published(world) == before
    publish(world.con, two_runs)
    assert world.customer("c") == world.customer("u")
    assert world.events(two_runs)[0][0] == "merge"


def test_killed_between_two_swaps_the_published_map_stands(world, two_runs, monkeypatch):
    before = _published(world)
    swapped = []

    def swap_then_die(con, schema, source, target):
        if len(swapped) == 3:
            raise KeyboardInterrupt
        swapped.append(target)
        publishing_swap(con, schema, source, target)

    publishing_swap = publishing.swap_table
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "swap_table", swap_then_die)
        with pytest.raises(KeyboardInterrupt):
            publish(world.con, two_runs)
    assert len(swapped) == 3
    assert _published(world) == before
    publish(world.con, two_runs)
    assert world.customer("c") == world.customer("u")


def test_killed_while_building_the_published_map_stands(world, two_runs, later, monkeypatch):
    before = _published(world)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("segmentation.identity.candidate.write_figures", killed)
        with pytest.raises(KeyboardInterrupt):
            world.build(later(2))
    assert _published(world) == before
    publish(world.con, two_runs)


def test_publishing_twice_adds_nothing(world, two_runs):
    publish(world.con, two_runs)
    once = _published(world)
    publish(world.con, two_runs)
    assert _published(world) == once


def test_running_a_finished_run_again_changes_no_content(world, two_runs):
    publish(world.con, two_runs)
    once = _published(world)
    world.resolve(two_runs)
    again = _published(world)
    assert {**again, "published": None} == {**once, "published": None}


def test_of_two_runs_at_once_the_replaced_one_is_refused(world, two_runs, run):
    before = _published(world)
    other = replace(run, run_id="other")
    world.build(other)
    with pytest.raises(CandidateError, match="another run replaced it"):
        publish(world.con, two_runs)
    assert _published(world) == before
    publish(world.con, other)


def test_nothing_to_publish_is_refused(world, run):
    with pytest.raises(CandidateError):
        publish(world.con, run)


def test_history_tells_who_was_whose_when(world, run, two_runs):
    known, anonymous = world.customer("u"), world.customer("c")
    publish(world.con, two_runs)
    spells = world.rows(
        "select h.customer_id, h.valid_from, h.valid_to from identity.identifier_map_history as h "
        "join identity.identifiers as i using (node_id) where i.id_value = 'c' order by valid_from"
    )
    assert spells == [(anonymous, run.as_of, two_runs.as_of), (known, two_runs.as_of, None)]


def test_an_earlier_moment_is_refused_and_changes_nothing(world, two_runs, later):
    publish(world.con, two_runs)
    before = {table: world.rows(f"select * from identity.{table} order by all") for table in (*REPLACED, "events")}
    with pytest.raises(CandidateError, match="has been published already"):
        world.resolve(later(-5))
    after = {table: world.rows(f"select * from identity.{table} order by all") for table in (*REPLACED, "events")}
    assert after == before


def test_the_candidate_stays_readable_after_publishing(world, two_runs):
    publish(world.con, two_runs)
    for table in REPLACED:
        assert world.rows(f"select * from identity.candidate_{table} order by all") == world.rows(
            f"select * from identity.{table} order by all"
        )


def test_no_rows_give_an_empty_map(world, run):
    report = world.resolve(run)
    assert set(report.rows.values()) == {0}


def test_missing_entity_tables_are_empty(con, run, catalog):
    from segmentation.identity.candidate import build_candidate

    report = build_candidate(con, run, catalog)
    assert report.rows["customers"] == 0
