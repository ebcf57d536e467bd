"""A plan says what the next run does, and nothing else: merges, splits, who moves, what is refused."""

import pytest

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.drafts import read_draft
from segmentation.identity.identity_plan import measure_plan
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Draft, Signature, add_rule
from segmentation.segments.identity_impact import RevenueImpact, measure_revenue, measure_segments


@pytest.fixture
def merged(begin, run):
    """Two people whom a borrowed login made one, each with an order; and a stranger."""

    def fill(world):
        world.add("customer_records", source_customer_id="K1", email="ann@shop.com")
        world.add("orders", source_customer_id="K1", amount_micros=100)
        world.add("orders", user_id="u", anonymous_id="cookie", amount_micros=30)
        world.add("orders", user_id="u", amount_micros=7, order_status="cancelled")
        world.add("orders", user_id="stranger", amount_micros=1000)
        world.resolve(run)

    return begin(fill)


def plan(world, run):
    """Build a candidate and compare it with what is published."""
    world.build(run)
    return measure_plan(world.con, run.as_of, ())


def decide(world, run, text):
    draft = read_draft(world.con, world.catalog.rules, text)
    assert isinstance(draft, Draft)
    return add_rule(world.con, world.catalog.rules, draft, Signature("jo", "case 7", run.recorded_at))


def test_without_decisions_nothing_would_change(merged, later):
    found = plan(merged, later(1))
    assert set(found.counts.values()) == {0}
    assert (found.customers_before, found.customers_after) == (3, 3)
    assert (found.customers_moved, found.identifiers_moved, found.refused, found.held) == (0, 0, (), ())
    assert measure_revenue(merged.con, later(1), merged.catalog.rules) == RevenueImpact(0, 0)
    assert measure_segments(merged.con) == ()


def test_a_link_is_foretold_and_then_happens(merged, run, later):
    decide(merged, run, "link ann@shop.com user_id:u")
    ann, user = merged.customer("K1"), merged.customer("u")
    found = plan(merged, later(1))
    assert found.counts["merge"] == 1
    assert (found.customers_before, found.customers_after) == (3, 2)
    assert (found.customers_moved, found.identifiers_moved) == (2, 2)
    [event] = found.events
    assert (event.event, event.customer_id, event.other_customer_id, event.cause_rule) == ("merge", user, ann, "R2 r1")
    # The cancelled order moves as well, and earned nothing.
    assert measure_revenue(merged.con, later(1), merged.catalog.rules) == RevenueImpact(2, 30)
    assert merged.customer("u") == user, "nothing is published by planning"
    publish(merged.con, later(1))
    assert merged.customer("u") == ann
    assert merged.events(later(1)) == [("merge", user, ann)]


def test_a_split_and_a_limit_are_foretold(merged, run, later):
    decide(merged, run, "link ann@shop.com user_id:u")
    merged.resolve(later(1))
    ann = merged.customer("K1")
    merged.con.execute("delete from identity.rules")
    merged.add("form_submissions", email="ann@shop.com", anonymous_id="cookie")
    merged.resolve(later(2))
    decide(merged, run, f"split {ann} --away user_id:u")
    found = plan(merged, later(3))
    assert found.counts["unmerge"] == 1
    assert [one.rule for one in found.refused] == ["R4 kept apart by r2"]
    assert measure_revenue(merged.con, later(3), merged.catalog.rules).orders_moved == 2
    merged.con.execute("delete from identity.rules")
    decide(merged, run, "limit max_nodes 2")
    assert "R4 more than 2 identifiers" in {one.rule for one in plan(merged, later(3)).refused}


def test_segments_of_those_who_move_are_told(merged, run, later):
    from segmentation.contracts import ensure_schema

    ensure_schema(merged.con, "segments")
    ann, user, stranger = (merged.customer(value) for value in ("K1", "u", "stranger"))
    for customer in (ann, user, stranger):
        merged.con.execute(
            "insert into segments.membership by name select ? as customer_id, 'buyers' as segment_key, "
            "1 as segment_version, timestamp '2026-11-01' as entered_at, 'rule' as via, 'run-1' as run_id, "
            "timestamp '2026-11-01' as recorded_at",
            [customer],
        )
    decide(merged, run, "link ann@shop.com user_id:u")
    plan(merged, later(1))
    [buyers] = measure_segments(merged.con)
    assert (buyers.segment_key, buyers.members, buyers.leaving, buyers.decided_again) == ("buyers", 3, 1, 1)


@pytest.mark.parametrize(
    ("text", "draft"),
    [
        ("limit email 3", Draft("max_per_customer", id_type="email", limit_value=3)),
        (
            "limit user_id 5 --per device_id",
            Draft("degree_limit", id_type="device_id", other_type="user_id", limit_value=5),
        ),
        ("limit max_nodes 50", Draft("max_nodes", limit_value=50)),
        (
            "block --type email --pattern '^desk [0-9]+@'",
            Draft("block_pattern", id_type="email", pattern="^desk [0-9]+@"),
        ),
        ("undo r7", "r7"),
    ],
)
def test_decisions_are_written_as_their_commands(merged, text, draft):
    assert read_draft(merged.con, merged.catalog.rules, text) == draft


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", StrataError, "is no decision"),
        ("lnk a b", StrataError, "did you mean link"),
        ("link 'a", StrataError, "is no decision"),
        ("link a", StrataError, "one identifier can't be linked"),
        ("link nobody user_id:u", NotFoundError, "no run ever met this"),
        ("split K1", StrataError, "is no decision"),
        ("split K1 --away user_id:stranger", StrataError, "is not an identifier of"),
        ("limit mail 3", StrataError, "did you mean email"),
        ("limit email many", StrataError, "is no decision"),
        ("block", StrataError, "a block is of identifiers, or of a pattern"),
        ("block user_id:u --forever", StrataError, "is no decision"),
    ],
)
def test_what_is_no_decision_is_refused(merged, text, error, says):
    with pytest.raises(error, match=says):
        read_draft(merged.con, merged.catalog.rules, text)
