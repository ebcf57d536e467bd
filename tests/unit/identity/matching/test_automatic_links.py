"""Links that no person was asked about: only where a labelled sample allows it, and never before what people say."""

from dataclasses import replace

import pytest

from segmentation.identity.matching import links
from segmentation.identity.matching.labels import Pair, Precision, assess, draw_sample
from segmentation.identity.rule_book import Draft, add_rule
from segmentation.warehouse import transaction

from .town import (
    ANNA,
    SIGNED,
    START,
    edges_of,
    label,
    resolve,
    with_automatic,
)


def test_automatic_links_wait_for_a_sample_that_people_labelled(city, run, matching, later):
    eager = with_automatic(matching, start=0.99, least_precision=0.9)
    resolve(city, run, eager)
    assert assess(city.con, eager).low is None
    assert edges_of(city) == []
    with transaction(city.con):
        drawn = draw_sample(city.con, eager, 60, SIGNED)
    assert drawn == 60
    pairs = [Pair(a, b) for a, b in city.rows("select node_a, node_b from identity.match_samples order by all")]
    for pair in pairs[:-3]:
        label(city, "match", pair)
    # What nobody labelled counts as wrong.
    told = assess(city.con, eager)
    assert (told.drawn, told.labelled, told.right) == (60, 57, 57)
    assert told.low < 0.9
    assert not told.suffices
    resolve(city, later(1), eager)
    assert {edge[2] for edge in edges_of(city)} == {"model 1, labelled"}
    for pair in pairs[-3:]:
        label(city, "match", pair)
    assert assess(city.con, eager).low > 0.9
    report = resolve(city, later(2), eager)
    automatic = [edge for edge in edges_of(city) if edge[2] == "model 1"]
    assert len(automatic) == report.facts["n_match_links_automatic"] > 0
    assert report.facts["match_precision_low"] >= report.facts["match_precision_least"] == 0.9
    states = dict(city.rows("select state, count(*) from identity.match_candidates group by all"))
    assert states["automatic"] == len(automatic)
    assert (
        min(city.rows("select match_probability from identity.match_candidates where state = 'automatic'"))[0] >= 0.99
    )
    # Another threshold, or another model, is another question.
    assert not assess(city.con, with_automatic(eager, start=0.95)).drawn
    assert not assess(city.con, replace(eager, model=replace(eager.model, keys=eager.model.keys[:-1]))).drawn
    assert assess(city.con, with_automatic(eager, start=0.9999)).drawn <= 60
    # A single wrong one, and nothing is linked any more that nobody looked at.
    for pair in pairs[:4]:
        label(city, "no_match", pair)
    resolve(city, later(3), eager)
    assert {edge[2] for edge in edges_of(city)} == {"model 1, labelled"}


@pytest.fixture
def trusted(monkeypatch):
    """A sample that shows enough: what is linked automatically is up to the pairs alone."""
    monkeypatch.setattr(links, "assess", lambda *_: Precision(500, 500, 500, 0.99, 0.99))


def propose(world, *pairs):
    """Let exactly these pairs of nodes look alike, each with its weight in bits."""
    world.con.execute("delete from identity.match_candidates")
    for a, b, weight in pairs:
        world.con.execute(
            "insert into identity.match_candidates values "
            "(least($a, $b), greatest($a, $b), $weight, 0.9999, 1, [], 'review', $at, 'run', $at)",
            {"a": a, "b": b, "weight": weight, "at": START},
        )


@pytest.fixture
def three(town, run, matching, later):
    """Two records of one source, and one of another between them by its node id, after two days of runs."""
    resolve(town, run, matching)
    town.add("customer_records", source="source1", source_customer_id="late", **ANNA)
    resolve(town, later(1), matching)
    low, middle = (
        town.rows(f"select min(node_id) from identity.registry where id_namespace = '{source}'")[0][0]
        for source in ("source1", "source2")
    )
    high = town.node("late")
    assert low < middle < high
    return low, middle, high


def admitted(world):
    return world.rows("select node_a, node_b from identity.edges where source = 'matching' and admitted order by all")


@pytest.mark.parametrize("is_later", [True, False])
def test_of_two_records_of_a_source_the_likelier_is_linked(town, three, matching, later, trusted, is_later):
    low, middle, high = three
    propose(town, (low, middle, 15.0 if is_later else 30.0), (middle, high, 30.0 if is_later else 15.0))
    report = resolve(town, later(2), matching)
    assert admitted(town) == [(middle, high) if is_later else (low, middle)]
    # The other is not even tried: admission would choose by age.
    assert report.facts["n_match_links_automatic"] == 1


@pytest.mark.parametrize("is_later", [True, False])
def test_what_people_say_goes_before_the_likelier(town, three, matching, later, trusted, is_later):
    low, middle, high = three
    said, guessed = ((middle, high), (low, middle)) if is_later else ((low, middle), (middle, high))
    propose(town, (*said, 14.0), (*guessed, 40.0))
    label(town, "match", Pair(*said))
    report = resolve(town, later(2), matching)
    assert admitted(town) == [said]
    assert report.facts["n_match_links_automatic"] == 0


def test_a_record_that_may_not_link_is_linked_by_no_guess(town, three, matching, later, trusted, monkeypatch):
    low, middle, high = three
    # Pairs are kept although a record of theirs is compared no more.
    monkeypatch.setattr(links, "update_candidates", lambda *_: 0)
    propose(town, (low, middle, 15.0), (middle, high, 30.0))
    with transaction(town.con):
        add_rule(town.con, town.catalog.rules, Draft("block_value", nodes=(high,)), SIGNED)
    report = resolve(town, later(2), matching)
    assert admitted(town) == [(low, middle)]
    assert report.facts["n_match_links_automatic"] == 1


def test_a_run_adds_no_more_than_the_catalog_allows_and_keeps_what_it_added(known, matching, later, trusted):
    propose(known)
    resolve(known, later(1), matching)
    spaces = [
        known.rows(f"select node_id from identity.registry where id_namespace = '{source}' order by 1")
        for source in ("source1", "source2")
    ]
    # The strongest pair is the last by its ids, so strength is what decides.
    pairs = [(a, b, 20.0 + place) for place, ((a,), (b,)) in enumerate(zip(*spaces, strict=False))][:6]
    assert len(pairs) == 6
    propose(known, *pairs)
    strongest = [pair[:2] for pair in reversed(pairs)]
    few = with_automatic(matching, max_links=2)
    customers = []
    for day in (2, 3, 4, 5):
        report = resolve(known, later(day), few)
        linked = min(2 * day - 2, 6)
        assert admitted(known) == sorted(strongest[:linked])
        assert report.facts["n_match_links_automatic"] == linked
        assert {event for event, *_ in known.events(later(day))} == ({"merge"} if day < 5 else set())
        customers.append(known.rows("select node_id, customer_id from identity.identifier_map order by all"))
    # A lower limit takes nobody apart, nor does a map without its edges, as after a state was restored.
    known.con.execute("delete from identity.edges; delete from identity.solve_inputs")
    resolve(known, later(6), with_automatic(matching, max_links=1))
    assert admitted(known) == sorted(strongest)
    assert known.rows("select node_id, customer_id from identity.identifier_map order by all") == customers[-1]
    # What is stronger comes on top; it takes nobody's place.
    propose(known, *pairs, (spaces[0][7][0], spaces[1][7][0], 90.0), (spaces[0][8][0], spaces[1][8][0], 80.0))
    resolve(known, later(7), with_automatic(matching, max_links=1))
    assert admitted(known) == sorted([*strongest, (spaces[0][7][0], spaces[1][7][0])])
