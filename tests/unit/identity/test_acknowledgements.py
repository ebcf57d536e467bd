"""The publish gate (rule R7): each finding holds a candidate back, and lets go once somebody has looked at it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from expectations.suites.identity import SUITE
from segmentation import audit
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.acknowledgements import FINDINGS
from segmentation.identity.catalog import IdentityCatalog, KnownComponent
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Signature, acknowledge

GATE = {"known_ids_min": 1, "merges_min": 1, "history_min": 2, "known_raw_component": None}


@pytest.fixture
def gated(world, catalog):
    """A world whose gate judges small numbers."""

    def change(**changes):
        rules = world.catalog.rules
        gate = rules.publish_gate.model_copy(update=changes.pop("gate", {}))
        world.catalog = IdentityCatalog(rules.model_copy(update={**changes, "publish_gate": gate}), catalog.purposes)

    change(gate=GATE)
    world.change = change
    return world


def held_for(world) -> set[str]:
    """Names of the gate's truths about amounts that the newest candidate breaks."""
    queries = {truth.name: truth.query for truth in SUITE.truths if truth.name in FINDINGS}
    assert set(queries) == set(FINDINGS)
    return {name for name, query in queries.items() if world.rows(query.replace("{batch}", "identity.candidate"))}


def signed(run, reason="case 7"):
    return Signature("jo", reason, run.recorded_at)


def _kiosk(world, users, start=0):
    for user in range(start, users):
        world.add("events", event_type="login", user_id=f"u{user}", device_id="kiosk")


def test_a_large_raw_component_is_held_until_its_size_is_acknowledged(gated, run, later):
    gated.change(max_nodes=10)
    _kiosk(gated, 12)
    gated.build(run)
    assert gated.rows("select raw_max_component, raw_max_component_allowed from identity.candidate") == [(13, 10.0)]
    assert held_for(gated) == {"largest_raw_component_is_known"}
    done = acknowledge(gated.con, "largest_raw_component_is_known", signed(run))
    assert (done.value, done.allowed) == (13.0, 10.0)
    gated.resolve(replace(run, run_id="again"))
    assert held_for(gated) == set()
    # As large as it was seen it stays fine, also after publications; larger it is news.
    gated.build(later(1))
    assert held_for(gated) == set()
    publish(gated.con, later(1))
    _kiosk(gated, 13, start=12)
    gated.build(later(2))
    assert held_for(gated) == {"largest_raw_component_is_known"}


def test_the_catalog_can_know_a_large_component(gated, run):
    _kiosk(gated, 12)
    known = KnownComponent(ratio=1.0, author="jo", reason="one tablet per shop")
    gated.change(max_nodes=10, gate={"known_raw_component": known})
    gated.build(run)
    assert held_for(gated) == set()


def _accounts(world, count):
    for number in range(count):
        world.add("orders", user_id=f"u{number}", email=f"a{number}@shop.com")


def test_known_ids_that_move_are_held_and_acknowledged_once(gated, run, later):
    for number in range(4):
        gated.add("customer_records", source_customer_id=f"K{number}", email=f"a{number}@shop.com")
        gated.add("orders", user_id=f"u{number}", phone=f"+44770090012{number}")
    gated.resolve(run)
    for number in range(2):
        gated.add("form_submissions", email=f"a{number}@shop.com", phone=f"+44770090012{number}")
    second = later(1)
    gated.build(second)
    assert gated.rows("select known_moved, known_moved_allowed from identity.candidate") == [(2, 1.0)]
    assert held_for(gated) == {"known_customers_keep_their_id"}
    acknowledge(gated.con, "known_customers_keep_their_id", signed(second))
    gated.build(replace(second, run_id="again"))
    assert held_for(gated) == set()
    # More than was looked at is held again, and so is the next run, however little it moves.
    gated.add("form_submissions", email="a2@shop.com", phone="+447700900122")
    gated.build(replace(second, run_id="more"))
    assert held_for(gated) == {"known_customers_keep_their_id"}
    gated.con.execute("delete from sources.form_submissions where email = 'a2@shop.com'")
    gated.resolve(replace(second, run_id="published"))
    gated.clear("form_submissions")
    third = later(2)
    gated.build(third)
    assert gated.rows("select known_moved from identity.candidate") == [(2,)]
    assert held_for(gated) == {"known_customers_keep_their_id"}


def _quiet_days(world, later, days):
    for day in range(days):
        world.resolve(later(day))


def test_merges_beyond_the_usual_are_held_and_acknowledged(gated, later):
    for number in range(3):
        gated.add("orders", email=f"a{number}@shop.com")
        gated.add("orders", phone=f"+44770090012{number}")
    _quiet_days(gated, later, 2)
    for number in range(3):
        gated.add("form_submissions", email=f"a{number}@shop.com", phone=f"+44770090012{number}")
    third = later(2)
    gated.build(third)
    assert gated.rows("select merges, merges_allowed from identity.candidate") == [(3, 1.0)]
    assert held_for(gated) == {"merges_are_usual"}
    acknowledge(gated.con, "merges_are_usual", signed(third))
    gated.resolve(replace(third, run_id="again"))
    assert held_for(gated) == set()


def test_what_is_usual_is_the_median_of_the_days_before(gated, later):
    gated.change(gate={"merges_factor": 2.0})
    for day in range(5):
        for number in range(day):
            gated.add("events", anonymous_id=f"c{day}-{number}")
            gated.add("events", device_id=f"d{day}-{number}")
    gated.resolve(later(0))
    for day in range(1, 5):
        for number in range(day):
            gated.add("events", anonymous_id=f"c{day}-{number}", device_id=f"d{day}-{number}")
        run = later(day)
        gated.resolve(run)
        # Made again, the same day counts once, and is not compared with itself.
        gated.resolve(replace(run, run_id=f"again-{day}"))
    assert gated.rows(
        "select as_of - timestamp '2026-11-01', max(merges) from identity.publications group by 1 order by 1"
    ) == [(timedelta(days=day), day) for day in range(5)]
    gated.build(later(5))
    assert gated.rows("select merges, merges_allowed from identity.candidate") == [(0, 4.0)]


def test_a_rising_share_of_refused_links_is_held_and_acknowledged(gated, later):
    for number in range(20):
        gated.add("orders", user_id=f"u{number}", email=f"a{number}@shop.com")
    gated.add("orders", user_id="x", email="noreply@shop.com")
    _quiet_days(gated, later, 2)
    for number in range(3):
        gated.add("orders", user_id=f"y{number}", email="noreply@shop.com")
    third = later(2)
    gated.build(third)
    assert gated.rows("select n_edges_rejected, n_edges from identity.candidate") == [(4, 24)]
    assert held_for(gated) == {"refused_links_are_usual"}
    acknowledge(gated.con, "refused_links_are_usual", signed(third))
    gated.resolve(replace(third, run_id="again"))
    assert held_for(gated) == set()


def test_a_customer_over_its_size_is_held_and_acknowledged(gated, run):
    _accounts(gated, 1)
    gated.build(run)
    # No admission lets it come about; the gate does not trust that.
    gated.con.execute("update identity.candidate set max_customer_nodes = 101")
    assert held_for(gated) == {"customers_stay_within_their_size"}
    acknowledge(gated.con, "customers_stay_within_their_size", signed(run))
    gated.build(replace(run, run_id="again"))
    assert gated.rows("select max_nodes_allowed from identity.candidate") == [(101.0,)]


def test_without_history_nothing_is_unusual(gated, later):
    _accounts(gated, 3)
    gated.build(later(0))
    assert gated.rows("select merges_allowed, rejected_edge_ratio_allowed from identity.candidate") == [(None, None)]
    assert held_for(gated) == set()


def test_what_holds_or_is_unknown_can_not_be_acknowledged(gated, run):
    with pytest.raises(NotFoundError, match="no candidate"):
        acknowledge(gated.con, "merges_are_usual", signed(run))
    _accounts(gated, 1)
    gated.build(run)
    with pytest.raises(StrataError, match="merges_are_usual holds: merges is 0, allowed is any"):
        acknowledge(gated.con, "merges_are_usual", signed(run))
    with pytest.raises(NotFoundError, match="did you mean merges_are_usual"):
        acknowledge(gated.con, "merges_are_unusual", signed(run))
    with pytest.raises(StrataError, match="names an e-mail address"):
        acknowledge(gated.con, "merges_are_usual", signed(run, "ask ann@shop.com"))
    with pytest.raises(StrataError, match="the reason has 0 characters"):
        acknowledge(gated.con, "merges_are_usual", signed(run, "  "))
    assert gated.rows("select count(*) from identity.acknowledgements") == [(0,)]


def test_an_acknowledgement_is_in_the_audit_log(gated, run):
    gated.change(max_nodes=10)
    _kiosk(gated, 12)
    gated.build(run)
    acknowledge(gated.con, "largest_raw_component_is_known", signed(run))
    [entry] = audit.read_log(gated.con)
    assert (entry.actor, entry.action, entry.subject) == (
        "jo",
        "identity.acknowledge",
        "largest_raw_component_is_known",
    )
    assert entry.detail["value"] == "13"
    assert entry.detail["reason"] == "case 7"
    assert audit.verify(gated.con).problem is None


def test_the_message_gives_the_numbers_and_the_command(gated, run):
    [truth] = [truth for truth in SUITE.truths if truth.name == "largest_raw_component_is_known"]
    assert "strata identity acknowledge largest_raw_component_is_known --author YOU --reason WHY" in truth.repair
    assert "strata run --from identity" in truth.repair
    gated.change(max_nodes=10)
    _kiosk(gated, 12)
    gated.build(run)
    assert gated.rows(truth.query.replace("{batch}", "identity.candidate")) == [(13, 10.0, 13)]
