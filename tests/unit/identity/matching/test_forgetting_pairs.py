"""Who is forgotten leaves no pair, no label, no record of what was compared, and no name in a model."""

from datetime import datetime

import pytest

from segmentation.erasure.erase import Request, erase
from segmentation.identity.candidate import build_candidate
from segmentation.identity.matching.labels import Pair, add_label, draw_sample
from segmentation.identity.matching.workshop import train
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Signature
from segmentation.pseudonyms import PseudonymKey
from segmentation.warehouse import transaction

from .town import START, settle

KEY = PseudonymKey("suppression-v1", b"k" * 32)
TABLES = ("match_candidates", "match_labels", "match_samples")


def test_pairs_and_labels_of_the_forgotten_vanish(world, run, matching, later, catalog):
    settle(world, 200)
    world.add("customer_records", source="crm", source_customer_id="A1", first_name="Annegret",
              last_name="Kesselring", birth_date="1961-04-17", postal_code="LE4 7QX")  # fmt: skip
    world.add("customer_records", source="shop", source_customer_id="A2", first_name="Annegret",
              last_name="Keselring", birth_date="1961-04-17", postal_code="LE4 7QX")  # fmt: skip

    def resolve(one):
        build_candidate(world.con, one, catalog, matching=matching)
        publish(world.con, one)

    resolve(run)
    pair = Pair(*sorted((world.node("A1"), world.node("A2"))))
    signed = Signature("jo", "case 12", START)
    with transaction(world.con):
        add_label(world.con, pair, "no_match", signed)
        drawn = draw_sample(world.con, matching, 1000, signed)
    assert drawn > 1
    forgotten, kept = world.node("A1"), world.node("A2")

    def naming(node):
        return [
            world.rows(f"select count(*) from identity.{table} where {node} in (node_a, node_b)")[0][0]
            for table in TABLES
        ]

    assert all(naming(forgotten))
    others = world.rows(
        f"select * from identity.match_candidates where {forgotten} not in (node_a, node_b) order by node_a, node_b"
    )
    assert others
    erase(world.con, catalog.rules, KEY, Request(world.customer("A1"), "dpo", "T-1", datetime(2026, 11, 2)))
    assert naming(forgotten) == [0, 0, 0]
    assert world.rows(f"select count(*) from identity.match_records where node_id = {forgotten}") == [(0,)]
    assert world.rows(f"select count(*) from identity.match_records where node_id = {kept}") == [(1,)]
    assert world.rows("select * from identity.match_candidates order by node_a, node_b") == others
    resolve(later(1))
    assert naming(forgotten) == [0, 0, 0]
    assert world.rows(f"select count(*) from identity.match_records where node_id = {forgotten}") == [(0,)]


@pytest.mark.parametrize(("customers", "is_kept"), [(1, False), (4, False), (5, True)])
def test_a_model_keeps_values_that_several_customers_have(world, run, matching, customers, is_kept):
    settle(world, 200)
    for number in range(6):
        world.add("customer_records", source=f"desk{number}", source_customer_id=f"A{number}", first_name="Annegret",
                  last_name="Kesselring", birth_date="1961-04-17", user_id=f"u{number % customers}")  # fmt: skip
    world.resolve(run)
    assert len({world.customer(f"A{number}") for number in range(6)}) == customers
    model = train(world.con, run, world.catalog.rules, matching.definition)
    kept = {value for known in model.frequencies.values() for value in known.shares}
    assert kept
    assert ("kesselring" in kept) is is_kept
