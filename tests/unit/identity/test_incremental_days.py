"""Any sequence of days gives the same, solved by what changed or anew: rows, limits, decisions, matches, erasures."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from segmentation.identity.candidate import build_candidate
from segmentation.identity.contradictions import ContradictionError
from segmentation.identity.email_providers import EmailProvider
from segmentation.identity.matching import links
from segmentation.identity.matching.catalog import load_matching
from segmentation.identity.matching.labels import Precision
from segmentation.identity.publish import publish
from segmentation.sources.entities import ENTITIES

from .solving import build_both, decide, limited, place_of, resolve_both

ROOT = Path(__file__).resolve().parents[3]

_ENTITIES = ("orders", "events", "customer_records", "consent_events")
_COLUMNS = ("user_id", "email", "device_id", "anonymous_id", "source_customer_id")

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


def _value(name, number):
    return {"email": f"person{number % 4}{'+b' * (number // 4)}@post.net"}.get(name, f"{name[0]}{number}")


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


def solve_any_sequence_of_days(world, later, catalog, matching, days):
    _reset(world)
    for number, (rows, gone, limits, decisions) in enumerate(days):
        for decision in decisions if number else ():
            decide(world, later(number), *decision)
        for row in rows:
            _add(world, *row)
        for entity in _ENTITIES:
            world.con.execute(f"delete from sources.{entity} where line % 10 in (select unnest(?))", [sorted(gone)])
        rules = limited(catalog, **limits)
        try:
            full, incremental, _ = build_both(world, later(number), rules, matching)
        except ContradictionError:
            # What people keep apart is one mailbox now: nothing is published, solved anew or not.
            with pytest.raises(ContradictionError):
                build_candidate(world.con, later(number), rules, matching=matching)
            continue
        assert incremental == full
        publish(world.con, later(number))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_DAY, min_size=2, max_size=4))
def test_any_sequence_of_days_gives_what_a_full_solve_gives(world, later, catalog, matching, days):
    solve_any_sequence_of_days(world, later, catalog, matching, days)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_DAY, min_size=2, max_size=4))
def test_any_sequence_of_days_gives_what_a_full_solve_gives_many_times_over(world, later, catalog, matching, days):
    solve_any_sequence_of_days(world, later, catalog, matching, days)


#: What people and the model say of eight records on a day, and which of them share an address from then on.
_MATCHING_DAY = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from(["guess", "guess", "guess", "match", "no_match", "unlabel", "must_not_link", "undo"]),
            st.integers(0, 7),
            st.integers(0, 7),
        ),
        min_size=2,
        max_size=8,
    ),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=2),
)
#: A chain of guesses that no customer can hold, a label in it, one against it, and evidence against that.
_CHAIN = [
    ([("guess", 0, 4), ("guess", 4, 7), ("guess", 7, 1)], []),
    ([("match", 4, 7), ("guess", 1, 7)], []),
    ([("no_match", 0, 7), ("guess", 0, 4)], [(2, 5)]),
    ([("unlabel", 0, 0), ("must_not_link", 4, 7)], [(0, 7)]),
    ([("no_match", 0, 7), ("guess", 1, 2)], []),
]


def solve_any_sequence_of_matches(world, later, catalog, matching, days):
    _reset(world)
    for place in range(8):
        source = "one" if place < 4 else "two" if place < 7 else "three"
        world.add("customer_records", source=source, source_customer_id=f"m{place}")
    resolve_both(world, later(0), catalog, matching)
    places = {place: place_of(world, f"m{place}") for place in range(8)}
    for number, (said, shared) in enumerate(days, 1):
        for what, first, second in said:
            decide(world, later(number), what, places[first], places[second])
        for pair in shared:
            for place in pair:
                source = "one" if place < 4 else "two" if place < 7 else "three"
                world.add("orders", source=source, source_customer_id=f"m{place}", user_id=f"shared{pair}")
        resolve_both(world, later(number), catalog, matching)


@example(_CHAIN)
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_MATCHING_DAY, min_size=2, max_size=4))
def test_any_sequence_of_matches_gives_what_a_full_solve_gives(world, later, catalog, matching, days):
    solve_any_sequence_of_matches(world, later, catalog, matching, days)


@pytest.mark.slow
@example(_CHAIN)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_MATCHING_DAY, min_size=2, max_size=4))
def test_any_sequence_of_matches_gives_what_a_full_solve_gives_many_times_over(world, later, catalog, matching, days):
    solve_any_sequence_of_matches(world, later, catalog, matching, days)
