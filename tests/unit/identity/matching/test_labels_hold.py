"""What people say of pairs holds: over whatever lies between, before what a model guesses, for whom it was said."""

from dataclasses import replace

import pytest

from segmentation.erasure.erase import Request, erase
from segmentation.identity.email_providers import EmailProvider
from segmentation.identity.matching import links
from segmentation.identity.matching.labels import (
    Pair,
    Precision,
    add_label,
    end_label,
    find_contradictions,
    read_pair,
)
from segmentation.identity.rule_book import Draft, add_rule
from segmentation.pseudonyms import PseudonymKey
from segmentation.warehouse import transaction

from .town import ANNA, SIGNED, START, edges_of, label, pair_of, resolve, unlabel

GMAIL = EmailProvider(domains=("gmail.com",), ignore_dots=True)
KEY = PseudonymKey("suppression-v1", b"k" * 32)


def decide(world, draft):
    with transaction(world.con):
        add_rule(world.con, world.catalog.rules, draft, SIGNED)


def propose(world, *pairs):
    """Let exactly these pairs of nodes look alike, each with its probability."""
    world.con.execute("delete from identity.match_candidates")
    for a, b, probability in pairs:
        world.con.execute(
            "insert into identity.match_candidates values "
            "(least($a, $b), greatest($a, $b), -log2(1 - $p), $p, 1, [], 'review', $at, 'run', $at)",
            {"a": a, "b": b, "p": probability, "at": START},
        )


@pytest.fixture
def trusted(monkeypatch):
    """A sample that shows enough, and pairs that a test proposes: what is linked is up to them alone."""
    monkeypatch.setattr(links, "assess", lambda *_: Precision(500, 500, 500, 0.99, 0.99))
    monkeypatch.setattr(links, "update_candidates", lambda *_: 0)


def test_no_match_holds_where_only_refused_links_lead_from_one_to_the_other(town, run, matching, later):
    """Sources connect the two over a third customer that fits neither, so before R4 they are in one component."""
    town.add("orders", source="crm", source_customer_id="A1", user_id="u1")
    town.add("orders", source="shop", source_customer_id="third", user_id="u3", email="third@shop.example")
    town.add("events", event_type="login", user_id="u3", device_id="tablet")
    town.add("events", event_type="login", user_id="u3", device_id="tablet")
    town.add("events", event_type="login", user_id="u1", device_id="tablet")
    town.add("form_submissions", email="third@shop.example", phone="+447700900123")
    town.add("form_submissions", email="third@shop.example", phone="+447700900123")
    town.add("form_submissions", email="anna@shop.example", phone="+447700900123")
    town.add("customer_records", source="forms", source_customer_id="A3", **ANNA)
    resolve(town, run, matching)
    assert len({town.customer(name) for name in ("A1", "A2", "third")}) == 3
    label(town, "match", pair_of(town, "A1", "A3"))
    label(town, "match", pair_of(town, "A2", "A3"))
    resolve(town, later(1), matching)
    assert town.customer("A1") == town.customer("A2") == town.customer("A3")
    label(town, "no_match")
    report = resolve(town, later(2), matching)
    assert town.customer("A1") != town.customer("A2")
    assert town.customer("A3") in {town.customer("A1"), town.customer("A2")}
    assert report.facts["n_labels_contradicted"] == 0
    assert [rule[:16] for *_, admitted, rule in edges_of(town) if not admitted] == ["R4 kept apart by"]
    [(cause,)] = town.rows(f"select cause_rule from identity.events where run_id = '{later(2).run_id}'")
    assert cause.startswith("R2 m")


def test_evidence_that_joins_what_people_call_two_is_told_and_people_can_decide(known, matching, later):
    label(known, "no_match")
    known.add("orders", source="shop", source_customer_id="A2", user_id="u1")
    known.add("requests", source="crm", source_customer_id="A1", user_id="u1")
    report = resolve(known, later(1), matching)
    assert known.customer("A1") == known.customer("A2")
    assert report.facts["n_labels_contradicted"] == 1
    [told] = find_contradictions(known.con)
    assert (told.pair, told.customer_id, told.author) == (str(pair_of(known)), known.customer("A1"), "jo")
    decide(known, Draft("must_not_link", nodes=(known.node("A1"),), other_nodes=(known.node("A2"),)))
    report = resolve(known, later(2), matching)
    assert known.customer("A1") != known.customer("A2")
    assert (report.facts["n_labels_contradicted"], find_contradictions(known.con)) == (0, [])


def test_a_separation_of_people_wins_over_a_label_and_over_any_chain_of_labels(town, run, matching, later):
    town.add("customer_records", source="forms", source_customer_id="A3", **ANNA)
    resolve(town, run, matching)
    decide(town, Draft("must_not_link", nodes=(town.node("A1"),), other_nodes=(town.node("A2"),)))
    for one, other in (("A1", "A2"), ("A1", "A3"), ("A2", "A3")):
        label(town, "match", pair_of(town, one, other))
    resolve(town, later(1), matching)
    assert town.customer("A1") != town.customer("A2")
    # A label in the same sense changes nothing, and the decision goes on being told as the reason.
    unlabel(town)
    label(town, "no_match")
    resolve(town, later(2), matching)
    assert town.customer("A1") != town.customer("A2")
    assert {rule for *_, admitted, rule in edges_of(town) if not admitted} == {"R4 kept apart by r1"}


@pytest.fixture
def chain(town, run, matching):
    """Four records, the inner ones newer; the outer ones are one source's, so no customer can hold all."""
    for place, source in ((0, "one"), (3, "one"), (1, "two"), (2, "three")):
        town.add("customer_records", source=source, source_customer_id=f"L{place}", last_name=f"name{place}")
    resolve(town, run, None)
    return [town.node(f"L{place}") for place in range(4)]


def test_a_label_goes_before_older_and_likelier_guesses(town, chain, matching, later, trusted):
    first, second, third, fourth = chain
    propose(town, (first, second, 0.9999), (third, fourth, 0.9998))
    report = resolve(town, later(1), matching)
    assert (town.customer("L0"), town.customer("L2")) == (town.customer("L1"), town.customer("L3"))
    assert report.facts["n_match_links_new"] == report.facts["n_match_links_automatic"] == 2
    label(town, "match", Pair(second, third))
    report = resolve(town, later(2), matching)
    assert town.customer("L1") == town.customer("L2") == town.customer("L0") != town.customer("L3")
    # Both guesses are of earlier runs, and a label is nobody's guess.
    assert (report.facts["n_match_links_new"], report.facts["n_match_links_automatic"]) == (0, 2)


def test_of_guesses_the_likelier_goes_first_whatever_is_older(town, chain, matching, later, trusted):
    first, second, third, fourth = chain
    propose(town, (first, second, 0.9991), (second, third, 0.9995), (third, fourth, 0.9999))
    resolve(town, later(1), matching)
    assert town.customer("L3") == town.customer("L2") == town.customer("L1") != town.customer("L0")
    # What the model thinks of them changes, and so does who is linked, though no source has sent anything.
    propose(town, (first, second, 0.9999), (second, third, 0.9995), (third, fourth, 0.9991))
    resolve(town, later(2), matching)
    assert town.customer("L0") == town.customer("L1") == town.customer("L2") != town.customer("L3")


def _name_provider(world):
    rules = world.catalog.rules.model_copy(update={"email_providers": (GMAIL,)})
    world.catalog = replace(world.catalog, rules=rules)
    return rules.email_providers


@pytest.fixture
def addressed(town, run, matching):
    """Two people known by an address alone, and Anna's record."""
    town.add("form_submissions", email="anne.k@gmail.com", first_name="Annegret", last_name="Kesselring")
    town.add("form_submissions", email="b.o@gmail.com", first_name="Bo", last_name="Kim")
    resolve(town, run, matching)
    return town


def test_labels_follow_an_address_whose_provider_is_named_later(addressed, matching, later):
    plain = addressed.catalog
    label(addressed, "match", pair_of(addressed, "A1", "anne.k@gmail.com"))
    resolve(addressed, later(1), matching)
    assert addressed.customer("A1") == addressed.customer("anne.k@gmail.com")
    providers = _name_provider(addressed)
    resolve(addressed, later(2), matching)
    assert addressed.customer("A1") == addressed.customer("anne.k@gmail.com")
    # It can be taken back by the name that the pair has now.
    pair = read_pair(addressed.con, str(pair_of(addressed, "A1", "annek@gmail.com")), providers)
    with transaction(addressed.con):
        end_label(addressed.con, pair, SIGNED, providers)
    resolve(addressed, later(3), matching)
    assert addressed.customer("A1") != addressed.customer("anne.k@gmail.com")
    assert addressed.rows("select * from identity.match_labels") == []
    with transaction(addressed.con):
        add_label(addressed.con, pair, "no_match", SIGNED, providers)
    # Where the provider is forgotten, labels are about the addresses that people saw.
    addressed.catalog = plain
    resolve(addressed, later(4), matching)
    assert addressed.rows("select node_a, node_b from identity.match_labels") == [(pair.node_a, pair.node_b)]


def test_no_match_follows_an_address_and_of_two_labels_the_later_holds(addressed, matching, later, trusted):
    addressed.add("form_submissions", email="annek@gmail.com")
    resolve(addressed, later(1), matching)
    dotted, plain = pair_of(addressed, "A1", "anne.k@gmail.com"), pair_of(addressed, "A1", "annek@gmail.com")
    label(addressed, "match", plain)
    label(addressed, "no_match", dotted)
    _name_provider(addressed)
    propose(addressed, (plain.node_a, plain.node_b, 0.99999))
    report = resolve(addressed, later(2), matching)
    assert addressed.customer("A1") != addressed.customer("annek@gmail.com")
    assert report.facts["n_match_links"] == 0
    assert addressed.rows("select count(*) from identity.match_labels") == [(2,)]


def test_addresses_called_two_that_become_one_mailbox_are_told(addressed, matching, later):
    addressed.add("form_submissions", email="annek@gmail.com")
    resolve(addressed, later(1), matching)
    label(addressed, "no_match", pair_of(addressed, "anne.k@gmail.com", "annek@gmail.com"))
    providers = _name_provider(addressed)
    report = resolve(addressed, later(2), matching)
    node = addressed.node("annek@gmail.com")
    assert report.facts["n_labels_contradicted"] == 1
    assert [one.pair for one in find_contradictions(addressed.con, providers)] == [f"{node}-{node}"]


def test_who_is_erased_leaves_no_former_address_and_no_label_of_it(addressed, matching, later):
    former = addressed.node("anne.k@gmail.com")
    label(addressed, "match", pair_of(addressed, "A1", "anne.k@gmail.com"))
    _name_provider(addressed)
    resolve(addressed, later(1), matching)
    request = Request(addressed.customer("anne.k@gmail.com"), "dpo", "T-1", later(1).as_of)
    erase(addressed.con, addressed.catalog.rules, KEY, request)
    assert addressed.rows("select * from identity.match_labels") == []
    assert addressed.rows(f"select id_value from identity.registry where node_id = {former}") == [(f"erased:{former}",)]
    assert addressed.rows("select count(*) from identity.registry where contains(id_value, 'anne')") == [(0,)]
    # Somebody else's address, with as many dots, stays.
    assert addressed.rows("select count(*) from identity.registry where id_value = 'b.o@gmail.com'") == [(1,)]
