"""Persistent ids with people's decisions in play: replayed, rebuilt, undone, killed, met, restored."""

from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.contracts import ensure_schema
from segmentation.errors import CandidateError
from segmentation.identity import publish as publishing
from segmentation.identity.operator_rules import read_rules
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Draft, Signature, add_rule, end_rule, is_pending
from segmentation.identity.state import export_state, restore_state
from segmentation.state_exports import MANIFEST

AT = datetime(2026, 11, 2, 9)
SIGNED = Signature("jo", "case 7", AT)
STATE = ("customers", "identifier_map", "identifier_map_history", "customer_aliases", "events", "rules", "publications")


def decide(world, kind, nodes, other_nodes=()):
    draft = Draft(kind, nodes=tuple(map(world.node, nodes)), other_nodes=tuple(map(world.node, other_nodes)))
    return add_rule(world.con, world.catalog.rules, draft, SIGNED)


def owners(world):
    return dict(world.rows("select node_id, customer_id from identity.identifier_map"))


def state(world):
    return {table: world.rows(f"select * from identity.{table} order by all") for table in STATE}


@pytest.fixture
def people(begin, run):
    """Four people, each known by an address, a phone and a cookie."""

    def fill(world):
        for name in ("ann", "bob", "cid", "dot"):
            number = f"+44770090012{'abcd'.index(name[0])}"
            world.add("form_submissions", email=f"{name}@shop.com", phone=number)
            world.add("form_submissions", email=f"{name}@shop.com", anonymous_id=f"{name}-cookie")
        world.resolve(run)

    return begin(fill)


def test_a_replay_with_decisions_makes_no_event(people, later):
    decide(people, "must_link", ["ann@shop.com", "bob@shop.com"])
    decide(people, "must_not_link", ["cid@shop.com"], ["cid-cookie"])
    people.resolve(later(1))
    before = owners(people)
    people.resolve(later(2))
    assert people.events(later(2)) == []
    assert owners(people) == before


def test_known_ids_do_not_churn_from_day_to_day(people, later):
    known = owners(people)
    for day in range(1, 6):
        people.add("events", anonymous_id=f"new-{day}", device_id=f"phone-{day}")
        people.add("form_submissions", email=f"new{day}@shop.com", anonymous_id=f"new-{day}")
        people.add("events", anonymous_id="ann-cookie", device_id=f"ann-{day}")
        people.resolve(later(day))
        now = owners(people)
        assert {node: now[node] for node in known} == known
        assert people.rows("select known_moved from identity.candidate") == [(0,)]


def test_a_full_rebuild_keeps_ids_and_decisions(people, run, later, catalog, tmp_path):
    decide(people, "must_link", ["ann@shop.com", "bob@shop.com"])
    people.resolve(later(1))
    export_state(people.con, tmp_path, later(1))
    before = owners(people)
    with duckdb.connect() as fresh:
        restore_state(fresh, tmp_path)
        rebuilt = type(people)(fresh, catalog)
        for table in ("form_submissions", "events"):
            rows = people.con.execute(f"select * from sources.{table}").to_arrow_table()
            fresh.register("rows_of_old", rows)
            fresh.execute(f"insert into sources.{table} by name select * from rows_of_old order by line desc")
            fresh.unregister("rows_of_old")
        rebuilt.resolve(later(2))
        assert owners(rebuilt) == before
        assert rebuilt.events(later(2)) == []
        assert [rule.rule_id for rule in read_rules(fresh)] == ["r1"]


_NAMES = ("ann", "bob", "cid", "dot")
_PAIRS = [(a, b) for a in _NAMES for b in _NAMES if a < b]
_DECISIONS = st.lists(st.sampled_from(_PAIRS), min_size=1, max_size=4, unique=True)


def take_links_back(people, later, pairs):
    day = int(people.rows("select count(*) from identity.publications")[0][0])
    before = owners(people)
    rules = [decide(people, "must_link", [f"{a}@shop.com", f"{b}@shop.com"]) for a, b in pairs]
    people.resolve(later(day))
    assert len(set(owners(people).values())) < len(set(before.values()))
    for rule in rules:
        end_rule(people.con, rule.rule_id, replace(SIGNED, reason="case 8"))
    people.resolve(later(day + 1))
    assert owners(people) == before


@given(_DECISIONS)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_links_that_are_taken_back_restore_every_id(people, later, pairs):
    take_links_back(people, later, pairs)


@pytest.mark.slow
@given(_DECISIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_links_that_are_taken_back_restore_every_id_many_times_over(people, later, pairs):
    take_links_back(people, later, pairs)


@pytest.fixture
def undecided(people, later):
    """A candidate that a decision of a command shaped, judged and not yet published."""
    decide(people, "must_link", ["ann@shop.com", "bob@shop.com"])
    people.build(later(1))
    return later(1)


@pytest.mark.parametrize("step", list(publishing.STEPS))
def test_killed_at_any_step_decisions_and_map_stand_as_they_were(people, undecided, step, monkeypatch):
    before = state(people)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(publishing.STEPS, step, killed)
        with pytest.raises(KeyboardInterrupt):
            publish(people.con, undecided)
    assert state(people) == before
    publish(people.con, undecided)
    assert people.rows("select count(*) from identity.events where event = 'merge'") == [(1,)]


def test_a_decision_that_comes_while_a_run_is_at_work_is_neither_lost_nor_taken_for_done(people, undecided, later):
    late = decide(people, "must_link", ["cid@shop.com", "dot@shop.com"])
    publish(people.con, undecided)
    assert [rule.rule_id for rule in read_rules(people.con)] == ["r1", "r2"]
    assert is_pending(people.con, late)
    people.resolve(later(2))
    assert not is_pending(people.con, late)
    assert people.rows("select count(*) from identity.events where event = 'merge'") == [(2,)]


def test_of_two_runs_at_once_the_replaced_one_publishes_no_decision(people, undecided, later):
    before = state(people)
    other = replace(undecided, run_id="other")
    people.build(other)
    with pytest.raises(CandidateError, match="another run replaced it"):
        publish(people.con, undecided)
    assert state(people) == before
    publish(people.con, other)


def test_an_export_of_a_version_without_decisions_is_restored(people, later, tmp_path):
    import json

    folder = export_state(people.con, tmp_path, later(0))
    before = owners(people)
    manifest = json.loads((folder / MANIFEST).read_text())
    for table in ("rules", "publications", "acknowledgements"):
        (folder / f"{table}.parquet").unlink()
        del manifest["rows"][table]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    decide(people, "must_link", ["ann@shop.com", "bob@shop.com"])
    restore_state(people.con, folder)
    # Node ids given since the export are void, so what was decided about them is, too.
    assert read_rules(people.con) == []
    people.resolve(later(1))
    assert owners(people) == before
    assert people.events(later(1)) == []


def test_an_old_export_brings_its_own_decisions(people, later, tmp_path):
    first = decide(people, "must_link", ["ann@shop.com", "bob@shop.com"])
    people.resolve(later(1))
    folder = export_state(people.con, tmp_path, later(1))
    decide(people, "must_link", ["cid@shop.com", "dot@shop.com"])
    people.resolve(later(2))
    restore_state(people.con, folder)
    assert [rule.rule_id for rule in read_rules(people.con)] == [first.rule_id]
    assert pq.read_table(folder / "rules.parquet").num_rows == 1
    people.resolve(later(3))
    assert people.customer("cid@shop.com") != people.customer("dot@shop.com")
    # The next decision has a name that no row of the audit log has borne.
    assert decide(people, "must_not_link", ["cid@shop.com"], ["dot@shop.com"]).rule_id == "r3"


def test_an_empty_warehouse_has_no_decisions(later):
    with duckdb.connect() as con:
        ensure_schema(con, "identity")
        assert read_rules(con) == []
        assert later(1).as_of - later(0).as_of == timedelta(days=1)
