"""Matches in the identity stage: found once, asked of people, linked as the weakest evidence there is."""

from dataclasses import replace

import pytest

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.candidate import build_candidate
from segmentation.identity.matching import candidates
from segmentation.identity.matching.labels import add_label, draw_sample, read_pair
from segmentation.identity.state import export_state, restore_state
from segmentation.warehouse import transaction

from .town import (
    ANNA,
    ANNA_AGAIN,
    SIGNED,
    edges_of,
    label,
    pair_of,
    resolve,
    state_of,
    unlabel,
)

CANDIDATES = "select node_a, node_b, match_weight, state from identity.match_candidates order by all"


def test_switched_off_nothing_is_done(town, run):
    report = resolve(town, run, None)
    assert report.facts["n_match_links"] == 0
    assert town.rows("select count(*) from identity.match_records") == [(0,)]


def test_what_only_looks_alike_is_asked_of_people_and_links_nobody(town, run, matching):
    plain = resolve(town, run, None)
    customers = town.rows("select node_id, customer_id from identity.identifier_map order by all")
    report = resolve(town, replace(run, run_id="again"), matching)
    assert state_of(town) == [("review",)]
    assert report.facts["n_customers"] == plain.facts["n_customers"]
    assert edges_of(town) == []
    assert town.rows("select node_id, customer_id from identity.identifier_map order by all") == customers
    weight, parts = town.rows(
        f"select match_weight, parts from identity.match_candidates where node_a = {pair_of(town).node_a}"
    )[0]
    assert sum(part["bits"] for part in parts) == pytest.approx(weight)
    levels = {part["attribute"]: part["level"] for part in parts}
    assert (levels["given"], levels["family"], levels["town"]) == ("same", "a letter apart", "nothing to compare")


def test_a_label_links_and_its_end_gives_the_ids_back(known, run, matching, later):
    before = {name: known.customer(name) for name in ("A1", "A2", "anna@shop.example")}
    assert before["A1"] != before["A2"]
    label(known, "match")
    assert known.customer("A1") == before["A1"]
    second = later(1)
    resolve(known, second, matching)
    pair = pair_of(known)
    assert {known.customer(name) for name in before} == {min(before["A1"], before["A2"])}
    assert edges_of(known) == [(pair.node_a, pair.node_b, "model 1, labelled", 4, True, None)]
    merged = max(before["A1"], before["A2"])
    kept = min(before["A1"], before["A2"])
    assert known.events(second) == [("merge", merged, kept)]
    assert known.rows(f"select cause_rule from identity.events where run_id = '{second.run_id}'") == [
        (f"match {pair}",)
    ]
    assert known.rows(f"select match_basis from identity.customers where customer_id = '{kept}'") == [
        ("probabilistic",)
    ]
    [(probability,)] = known.rows("select match_probability from identity.edges where source = 'matching'")
    assert 0.9 < probability <= 1
    assert state_of(known) == [("match",)]
    # A run on the same data makes no event.
    again = replace(later(1), run_id="again")
    resolve(known, again, matching)
    assert known.events(again) == []
    unlabel(known)
    third = later(2)
    resolve(known, third, matching)
    assert {name: known.customer(name) for name in before} == before
    assert [event for event, _, _ in known.events(third)] == ["unmerge"]
    assert state_of(known) == [("review",)]
    assert known.rows("select action, subject from ops.audit_log order by seq") == [
        ("matching.match", str(pair)),
        ("matching.unlabel", str(pair)),
    ]


def test_only_new_and_changed_records_are_compared(town, run, matching, later, monkeypatch):
    compared = []
    plain = candidates.match_records

    def watched(con, relation, model, target, **given):
        compared.append(con.execute("select count(*) from newcomers").fetchall()[0][0])
        plain(con, relation, model, target, **given)

    monkeypatch.setattr(candidates, "match_records", watched)
    first = resolve(town, run, matching)
    assert first.facts["match_records_compared"] == compared[0] > 100
    resolve(town, later(1), matching)
    assert len(compared) == 1
    town.add("customer_records", source="forms", source_customer_id="A3", **ANNA)
    town.add("customer_records", source="crm", source_customer_id="A1", file_id=2, **{**ANNA, "city": "Leicester"})
    resolve(town, later(2), matching)
    assert compared[1:] == [2]
    found = town.rows("select node_a, node_b, match_weight from identity.match_candidates order by all")
    town.con.execute("delete from identity.match_records; delete from identity.match_basis")
    resolve(town, replace(later(2), run_id="anew"), matching)
    anew = town.rows("select node_a, node_b, match_weight from identity.match_candidates order by all")
    assert [pair[:2] for pair in found] == [pair[:2] for pair in anew]
    assert [pair[2] for pair in found] == pytest.approx([pair[2] for pair in anew])


def test_a_record_that_is_gone_takes_its_pairs_along(known, matching, later):
    pair = pair_of(known)
    known.con.execute("delete from sources.customer_records where source_customer_id = 'A2'")
    resolve(known, later(1), matching)
    assert state_of(known, pair) == []
    assert known.rows(f"select count(*) from identity.match_records where node_id = {known.node('A2')}") == [(0,)]


def test_what_identifiers_link_is_not_asked(town, run, matching):
    town.add("orders", source="shop", source_customer_id="A2", user_id="u1")
    town.add("requests", source="crm", source_customer_id="A1", user_id="u1")
    resolve(town, run, matching)
    assert town.customer("A1") == town.customer("A2")
    assert state_of(town) == [("evident",)]


def test_no_chain_of_matches_joins_what_people_call_two(town, run, matching, later):
    town.add("customer_records", source="forms", source_customer_id="A3", **ANNA)
    resolve(town, run, matching)
    label(town, "match", pair_of(town, "A1", "A3"))
    label(town, "match", pair_of(town, "A2", "A3"))
    label(town, "no_match")
    resolve(town, later(1), matching)
    assert town.customer("A1") != town.customer("A2")
    assert town.customer("A3") in {town.customer("A1"), town.customer("A2")}
    refused = [rule for *_, admitted, rule in edges_of(town) if not admitted]
    assert len(refused) == 1
    assert refused[0].startswith("R4 kept apart by m")
    unlabel(town)
    resolve(town, later(2), matching)
    assert len({town.customer(name) for name in ("A1", "A2", "A3")}) == 1


def test_identifiers_are_stronger_than_a_label(known, matching, later):
    label(known, "no_match")
    known.add("orders", source="shop", source_customer_id="A2", user_id="u1")
    known.add("requests", source="crm", source_customer_id="A1", user_id="u1")
    resolve(known, later(1), matching)
    assert known.customer("A1") == known.customer("A2")


def test_a_match_never_breaks_a_limit(town, run, matching, later):
    """Two accounts stay two customers, whatever anybody says of records that hang on them."""
    town.add("orders", source="crm", source_customer_id="A1", user_id="u1")
    town.add("orders", source="shop", source_customer_id="A2", user_id="u2")
    resolve(town, run, matching)
    label(town, "match")
    resolve(town, later(1), matching)
    assert town.customer("u1") != town.customer("u2")
    assert town.customer("A1") == town.customer("u1")
    assert town.customer("A2") == town.customer("u2")
    assert [(admitted, rule) for *_, admitted, rule in edges_of(town)] == [(False, "R4 more than 1 user_id")]


def test_two_records_of_one_source_are_one_owners_where_people_say_so(town, run, matching, later):
    town.add("customer_records", source="crm", source_customer_id="A9", **ANNA_AGAIN)
    resolve(town, run, matching)
    assert town.customer("A1") != town.customer("A9")
    label(town, "match", pair_of(town, "A1", "A9"))
    resolve(town, later(1), matching)
    assert town.customer("A1") == town.customer("A9")


def _consent(world, name, state):
    world.add("consent_events", source="shop" if name == "A2" else "crm", source_customer_id=name,
              purpose="marketing", consent_state=state)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ("granted", None, False),
        (None, "granted", False),
        ("granted", "granted", True),
        ("granted", "refused", False),
        ("refused", None, False),
    ],
)
def test_a_match_carries_refusals_and_no_grants(town, run, matching, later, first, second, allowed):
    for name, state in (("A1", first), ("A2", second)):
        if state:
            _consent(town, name, state)
    resolve(town, run, matching)
    asked = "select is_allowed from identity.customer_consents where purpose = 'marketing' and customer_id = '{}'"
    if first == "granted":
        assert town.rows(asked.format(town.customer("A1"))) == [(True,)]
    elsewhere = "select * exclude (run_id, recorded_at) from identity.customer_consents where customer_id not in {}"
    both = (town.customer("A1"), town.customer("A2"))
    others = sorted(town.rows(elsewhere.format(both)))
    label(town, "match")
    resolve(town, later(1), matching)
    assert town.rows(asked.format(town.customer("A1"))) == [(allowed,)]
    assert sorted(town.rows(elsewhere.format(both))) == others


def test_a_label_moves_no_evidence_of_a_source_forward(town, run, matching, later):
    town.add("events", event_type="login", user_id="second")
    for user in ({}, {"user_id": "first"}, {"user_id": "second"}):
        town.add("form_submissions", email="both@home.example", **user)
    resolve(town, run, matching)
    assert town.customer("both@home.example") == town.customer("first") != town.customer("second")
    label(town, "match", pair_of(town, "second", "both@home.example"))
    build_candidate(town.con, later(1), town.catalog, matching=matching, full=True)
    anew = town.rows("select node_id, customer_id from identity.candidate_identifier_map order by all")
    resolve(town, later(1), matching)
    assert town.rows("select node_id, customer_id from identity.identifier_map order by all") == anew
    assert town.customer("both@home.example") == town.customer("first") != town.customer("second")


def test_another_model_starts_anew_and_labels_stay(known, matching, later):
    label(known, "match")
    other = replace(matching, model=replace(matching.model, version=2, keys=matching.model.keys[:-1]))
    report = resolve(known, later(1), other)
    assert report.facts["match_records_compared"] > 100
    assert known.rows("select distinct model_version from identity.match_candidates") == [(2,)]
    assert known.customer("A1") == known.customer("A2")


def test_labels_come_back_with_the_state(known, matching, later, tmp_path):
    label(known, "match")
    with transaction(known.con):
        draw_sample(known.con, matching, 3, SIGNED)
    second = later(1)
    resolve(known, second, matching)
    kept = {name: known.customer(name) for name in ("A1", "A2")}
    export = export_state(known.con, tmp_path / "state", second)
    tables = ("match_labels", "match_samples")
    rows = {table: sorted(known.rows(f"select * from identity.{table}")) for table in tables}
    assert all(rows.values())
    for table in (*tables, "identifier_map"):
        known.con.execute(f"delete from identity.{table}")
    restore_state(known.con, export)
    assert {table: sorted(known.rows(f"select * from identity.{table}")) for table in tables} == rows
    assert known.rows("select count(*) from identity.match_candidates") == [(0,)]
    third = later(2)
    resolve(known, third, matching)
    assert {name: known.customer(name) for name in kept} == kept
    assert known.events(third) == []


def test_a_run_that_is_broken_off_leaves_everything_as_it_was(known, matching, later, monkeypatch):
    label(known, "match")
    tables = ("match_candidates", "match_records", "match_basis", "identifier_map")
    before = {table: sorted(known.rows(f"select * from identity.{table}"), key=str) for table in tables}
    known.add("customer_records", source="forms", source_customer_id="A3", **ANNA)
    monkeypatch.setattr(
        "segmentation.identity.candidate.settle_matches", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        resolve(known, later(1), matching)
    assert {table: sorted(known.rows(f"select * from identity.{table}"), key=str) for table in tables} == before


def test_labels_that_say_nothing_are_refused(known, matching):
    with pytest.raises(NotFoundError, match="is no pair that matching found"):
        read_pair(known.con, "1-999999")
    with pytest.raises(NotFoundError, match="is no pair"):
        read_pair(known.con, "anna@shop.example")
    pair = pair_of(known)
    assert read_pair(known.con, f"{pair.node_b}-{pair.node_a}") == pair
    with pytest.raises(StrataError, match="has no label"):
        unlabel(known)
    label(known, "match")
    with pytest.raises(StrataError, match="labelled match already"):
        label(known, "match")
    with pytest.raises(StrataError, match="names an e-mail address"), transaction(known.con):
        add_label(known.con, pair, "no_match", replace(SIGNED, reason="see anna@shop.example"))
    assert state_of(known) == [("match",)]


def test_matching_leaves_no_table_of_values_behind(known):
    tables = known.rows(
        "select schema_name, table_name from duckdb_tables() where schema_name not in ('sources', 'identity', 'ops')"
    )
    assert tables == []
    text = str(known.rows("from identity.match_candidates"))
    assert "review" in text
    assert "kesselring" not in text.lower()
