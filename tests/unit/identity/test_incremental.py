"""Solving what changed gives what solving everything gives: after any batch, any deletion, any change of rules."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.erasure.erase import Request, erase
from segmentation.errors import StrataError
from segmentation.identity import publish as publishing
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.contradictions import ContradictionError
from segmentation.identity.email_providers import EmailProvider
from segmentation.identity.matching import links
from segmentation.identity.matching.catalog import load_matching
from segmentation.identity.matching.labels import Pair, Precision, add_label, end_label
from segmentation.identity.operator_rules import read_rules
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Draft, Signature, add_rule, end_rule
from segmentation.identity.tables import DIFFERENTIAL
from segmentation.pseudonyms import PseudonymKey
from segmentation.sources.entities import ENTITIES
from segmentation.warehouse import transaction

ROOT = Path(__file__).resolve().parents[3]

_ENTITIES = ("orders", "events", "customer_records", "consent_events")
_COLUMNS = ("user_id", "email", "device_id", "anonymous_id", "source_customer_id")
_TABLES = {
    "identifier_map": "node_id",
    "customers": "customer_id",
    "customer_aliases": "old_customer_id",
    "edges": "node_a, node_b, source, evidence",
    "events": "seq",
    "identifiers": "node_id",
    "identifier_lookup": "id_type, id_namespace, raw_value",
    "profiles": "customer_id",
    "customer_consents": "customer_id, purpose",
    "solve_inputs": "kind, node_a, node_b, detail",
}
#: Figures of the work that was done, not of its result.
_OF_THE_WORK = "identifiers_resolved, edges_tried_singly, new_values, values_by_python, new_identifiers"

#: Two spellings of one address, once the catalog names its provider.
_PROVIDER = EmailProvider(domains=("post.net",), plus_addressing=True)

_ROW = st.tuples(
    st.dictionaries(st.sampled_from(_COLUMNS), st.integers(0, 6), min_size=1, max_size=3),
    # As what: a record says of its address whether it is verified, a decision about consent whether it agrees.
    st.sampled_from(["activity", "activity", "customer_records", "consent_events"]),
    st.booleans(),
)
#: What people decide: about the identifiers, rules or customers that stand at these places, if there are any.
_DECISION = st.tuples(
    st.sampled_from(
        [
            *("must_link", "must_link", "must_not_link", "must_not_link", "block_value", "limit", "undo", "erase"),
            *("guess", "guess", "guess", "match", "no_match", "unlabel"),
        ]
    ),
    st.integers(0, 30),
    st.integers(0, 30),
)
#: A day: rows that come, the share of the rows there are that go, limits that hold from then on, and decisions.
_DAY = st.tuples(
    st.lists(_ROW, max_size=8),
    st.sets(st.integers(0, 9), max_size=2),
    st.fixed_dictionaries(
        {
            "max_nodes": st.sampled_from([100, 100, 100, 5]),
            "degree": st.sampled_from([3, 3, 3, 1]),
            "providers": st.sampled_from([(), (), (_PROVIDER,)]),
        }
    ),
    st.lists(_DECISION, max_size=5),
)
_KEY = PseudonymKey("suppression-v1", b"k" * 32)


def _value(name, number):
    return {"email": f"person{number % 4}{'+b' * (number // 4)}@post.net"}.get(name, f"{name[0]}{number}")


def _catalog(catalog, max_nodes, degree, providers=()):
    device = catalog.rules.identifiers["device_id"].model_copy(update={"degree_limits": {"user_id": degree}})
    types = {**catalog.rules.identifiers, "device_id": device}
    told = {"max_nodes": max_nodes, "identifiers": types, "email_providers": providers}
    return IdentityCatalog(catalog.rules.model_copy(update=told), catalog.purposes)


def _snapshot(world):
    # What stays as it was keeps the stamps of the run that wrote it.
    tables = {}
    for name, order in _TABLES.items():
        stamps = "exclude (run_id, recorded_at)" if name in DIFFERENTIAL else ""
        tables[name] = world.rows(f"select * {stamps} from identity.candidate_{name} order by {order}")
    known = {row[0] for row in world.rows("describe identity.candidate")}
    out = ", ".join(name for name in _OF_THE_WORK.split(", ") if name in known)
    return {**tables, "figures": world.rows(f"select * exclude ({out}) from identity.candidate")}


def _build_both(world, run, catalog, matching=None):
    """Build everything anew, then what changed; return both, and how much the second resolved."""
    build_candidate(world.con, run, catalog, full=True, matching=matching)
    full = _snapshot(world)
    report = build_candidate(world.con, run, catalog, matching=matching)
    return full, _snapshot(world), report.facts["identifiers_resolved"]


def _decide(world, run, what, first, second):
    """Decide as a command would; what the rule book refuses is not decided."""
    signed = Signature("jo", "case 7", run.recorded_at)
    nodes = [row[0] for row in world.rows("select node_id from identity.identifiers order by all")]
    rules = [rule.rule_id for rule in read_rules(world.con)]
    people = [row[0] for row in world.rows("select customer_id from identity.customers order by all")]
    if not nodes:
        return
    one, other = nodes[first % len(nodes)], nodes[second % len(nodes)]
    drafts = {
        "must_link": Draft("must_link", nodes=(one, other)),
        "must_not_link": Draft("must_not_link", nodes=(one,), other_nodes=(other,)),
        "block_value": Draft("block_value", nodes=(one,)),
        "limit": Draft("max_per_customer", id_type="device_id", limit_value=1 + second % 3),
    }
    pair = Pair(*sorted((one, other)))
    with suppress(StrataError):
        if what == "guess" and one != other:
            _guess(world, run, pair, 0.999 + (first + second) / 100_000)
        elif what in ("match", "no_match") and one != other:
            with transaction(world.con):
                add_label(world.con, pair, what, signed)
        elif what == "unlabel":
            for a, b in world.rows("select node_a, node_b from identity.match_labels order by all limit 1"):
                with transaction(world.con):
                    end_label(world.con, Pair(a, b), signed)
        elif what == "erase" and people:
            erase(world.con, world.catalog.rules, _KEY, Request(people[first % len(people)], "dpo", "T-1", run.as_of))
        elif what == "undo" and rules:
            with transaction(world.con):
                end_rule(world.con, rules[first % len(rules)], signed)
        elif what in drafts:
            with transaction(world.con):
                add_rule(world.con, world.catalog.rules, drafts[what], signed)


def _guess(world, run, pair, probability):
    """Let two records look alike, as likely as said."""
    con, named = world.con, {"a": pair.node_a, "b": pair.node_b}
    con.execute("delete from identity.match_candidates where node_a = $a and node_b = $b", named)
    con.execute(
        "insert into identity.match_candidates values ($a, $b, $p, $p, 1, [], 'review', $at, 'run', $at)",
        {**named, "p": probability, "at": run.recorded_at},
    )


@pytest.fixture
def matching(monkeypatch):
    """Matching with a sample that shows enough; which pairs look alike is up to the test."""
    monkeypatch.setattr(links, "assess", lambda *_: Precision(500, 500, 500, 0.99, 0.99))
    monkeypatch.setattr(links, "update_candidates", lambda *_: 0)
    return SimpleNamespace(definition=load_matching(ROOT / "catalog"))


def _reset(world):
    world.con.execute("drop schema if exists identity cascade")
    world.con.execute("drop schema if exists ops cascade")
    for entity in _ENTITIES:
        world.clear(entity)


def _add(world, row, entity, says_so):
    values = {name: _value(name, value) for name, value in row.items()}
    if entity == "customer_records":
        fits = {name: value for name, value in values.items() if name in ENTITIES[entity].column_names}
        world.add(entity, **{"source_customer_id": "s0", "email_is_verified": says_so, **fits})
    elif entity == "consent_events":
        world.add(entity, purpose="analytics", consent_state="granted" if says_so else "denied", **values)
    else:
        world.add("orders" if "source_customer_id" in row or "email" in row else "events", **values)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_DAY, min_size=2, max_size=4))
def test_any_sequence_of_days_gives_what_a_full_solve_gives(world, later, catalog, matching, days):
    _reset(world)
    for number, (rows, gone, limits, decisions) in enumerate(days):
        for decision in decisions if number else ():
            _decide(world, later(number), *decision)
        for row in rows:
            _add(world, *row)
        for entity in _ENTITIES:
            world.con.execute(f"delete from sources.{entity} where line % 10 in (select unnest(?))", [sorted(gone)])
        rules = _catalog(catalog, **limits)
        try:
            full, incremental, _ = _build_both(world, later(number), rules, matching)
        except ContradictionError:
            # What people keep apart is one mailbox now: nothing is published, solved anew or not.
            with pytest.raises(ContradictionError):
                build_candidate(world.con, later(number), rules, matching=matching)
            continue
        assert incremental == full
        publish(world.con, later(number))


@pytest.fixture
def town(world, run):
    """Forty people with an account, an address and a cookie each, resolved."""
    for number in range(40):
        world.add("customer_records", source_customer_id=f"k{number}", email=f"person{number}@post.net")
        world.add("orders", email=f"person{number}@post.net", user_id=f"u{number}")
        world.add("events", event_type="login", user_id=f"u{number}", anonymous_id=f"c{number}")
    world.resolve(run)
    return world


def _resolved(world, run, catalog):
    full, incremental, resolved = _build_both(world, run, catalog)
    assert incremental == full
    publish(world.con, run)
    return resolved


def test_nothing_new_resolves_nobody(town, catalog, later):
    assert _resolved(town, later(1), catalog) == 0


def test_only_who_is_concerned_is_resolved(town, catalog, later):
    town.add("events", event_type="login", user_id="u7", anonymous_id="c-new")
    assert _resolved(town, later(1), catalog) == 5
    town.add("events", anonymous_id="stranger")
    assert _resolved(town, later(2), catalog) == 1


def test_a_refused_edge_brings_back_both_of_its_customers(town, catalog, later):
    town.add("events", event_type="login", user_id="u1", anonymous_id="c2")
    assert _resolved(town, later(1), catalog) == 8
    # Person 1 gains a device: person 2 came from the same component, and is looked at again.
    town.add("events", event_type="login", user_id="u1", device_id="d1")
    assert _resolved(town, later(2), catalog) == 9


def test_what_goes_is_taken_apart(town, catalog, later):
    town.con.execute("delete from sources.orders where user_id = 'u3'")
    assert _resolved(town, later(1), catalog) == 4
    assert town.customer("u3") != town.customer("person3@post.net")
    town.add("orders", email="person3@post.net", user_id="u3")
    assert _resolved(town, later(2), catalog) == 4
    assert town.customer("u3") == town.customer("person3@post.net")


def test_other_limits_resolve_everybody(town, catalog, later):
    assert _resolved(town, later(1), _catalog(catalog, 3, 3)) == 160
    assert town.rows("select max(n_nodes) from identity.customers") == [(3,)]
    assert _resolved(town, later(2), catalog) == 160


def test_a_shared_device_touches_whom_it_held_together(town, catalog, later):
    for number in range(5):
        town.add("events", event_type="login", user_id=f"u{number}", device_id="kiosk")
        moment = later(number + 1)
        _resolved(town, moment, catalog)
    assert town.rows("select status from identity.identifiers where id_value = 'kiosk'") == [("shared",)]


def test_an_edge_seen_before_it_was_known_is_a_change(town, catalog, later):
    town.add("events", event_type="login", user_id="u9", anonymous_id="c9", at=datetime(2025, 1, 1))
    assert _resolved(town, later(1), catalog) == 4
    assert town.rows("select first_seen_at from identity.customers order by 1 limit 1") == [(datetime(2025, 1, 1),)]


def test_without_what_was_solved_before_everything_is_solved(town, catalog, later):
    town.con.execute("delete from identity.solve_inputs")
    assert _resolved(town, later(1), catalog) == 160


def test_a_run_of_the_same_moment_again_changes_nothing(town, catalog, run):
    again = replace(run, run_id="again")
    assert _resolved(town, again, catalog) == 0
    assert town.events(again) == []


def _decided(world, run, what, first, second):
    _decide(world, run, what, *(world.rows(_PLACE.format(value))[0][0] for value in (first, second)))


_PLACE = (
    "select count(*) from identity.identifiers where node_id < "
    "(select node_id from identity.identifiers where id_value = '{}')"
)


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
    assert _resolved(town, later(1), catalog) == resolved - (what == "block_value")
    _decide(town, later(1), "undo", 0, 0)
    assert _resolved(town, later(2), catalog) == resolved
    assert _resolved(town, later(3), catalog) == 0


def test_an_erasure_resolves_everybody_once(town, catalog, later):
    _decide(town, later(0), "erase", 0, 0)
    assert town.rows("select count(*) from identity.customers where status = 'erased'") == [(1,)]
    assert _resolved(town, later(1), catalog) == 156
    assert _resolved(town, later(2), catalog) == 0


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
    proposed = _snapshot(town)
    before = town.rows("select * from identity.identifier_map order by all")

    def fail(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setitem(publishing.STEPS, step, fail)
        with pytest.raises(RuntimeError, match="killed"):
            publish(town.con, later(1))
    assert town.rows("select * from identity.identifier_map order by all") == before
    publish(town.con, later(1))
    assert _snapshot(town) == proposed
    open_spells = "select node_id, customer_id from identity.identifier_map_history where valid_to is null order by all"
    assert town.rows(open_spells) == town.rows("select node_id, customer_id from identity.identifier_map order by all")


def test_an_erasure_before_publishing_leaves_its_tombstone(town, catalog, later):
    town.add("events", event_type="login", user_id="u7", device_id="d-new")
    build_candidate(town.con, later(1), catalog)
    erased = town.customer("u7")
    erase(town.con, catalog.rules, _KEY, Request(erased, "dpo", "T-1", later(1).as_of))
    publish(town.con, later(1))
    assert town.rows(f"select status from identity.customers where customer_id = '{erased}'") == [("erased",)]
