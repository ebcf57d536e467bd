"""What the guards refused is kept, with the rule and a reason that people can read; and pages show it."""

import base64
import re
from datetime import datetime

import pytest

from assets.identity_pages import build_pages
from segmentation.identity.drafts import read_draft
from segmentation.identity.rule_book import Signature, add_rule

SIGNED = Signature("ann", "TICKET-7", datetime(2026, 11, 1))


@pytest.fixture
def refused(world, run, later):
    """A published map with something of everything that is refused."""
    for user in ("a", "b", "c", "d"):
        world.add("events", user_id=user, device_id="kiosk", anonymous_id="shop|window")
    world.add("orders", user_id="a", email="noreply@shop.com")
    world.add("orders", user_id="b", email="unknown")
    world.add("orders", user_id="c", email="mine@shop.com", phone="+447700900123")
    world.add("orders", user_id="d", phone="+447700900123")
    world.add("orders", user_id="erin", anonymous_id="erin-cookie")
    world.resolve(run)
    draft = read_draft(world.con, world.catalog.rules, "split erin --away erin-cookie")
    add_rule(world.con, world.catalog.rules, draft, SIGNED)
    world.resolve(later(1))
    return world


def test_every_refused_identifier_and_edge_has_rule_and_reason(refused):
    rules = dict(refused.rows("select distinct reject_rule, reject_reason from identity.edges where not admitted"))
    assert rules["R4 more than 1 user_id"] == "it would give one customer more than 1 user_id"
    assert rules["R3 device_id with more than 3 user_id"] == (
        "more than 3 user_id were seen with this device_id: people share it"
    )
    assert rules["R1 placeholder"] == "a placeholder, written where nothing was known: it is nobody's"
    [apart] = [reason for rule, reason in rules.items() if rule.startswith("R4 kept apart by")]
    assert apart == "kept apart by ann, rule r1: TICKET-7"
    assert any(reason.startswith("it matches ^(test|noreply") for reason in rules.values())
    assert refused.rows(
        "select count(*) from identity.edges where (reject_rule is null) <> (reject_reason is null) "
        "or admitted <> (reject_rule is null)"
    ) == [(0,)]
    assert refused.rows(
        "select count(*) from identity.identifiers where (status = 'active') <> (status_rule is null) "
        "or (status_rule is null) <> (status_reason is null)"
    ) == [(0,)]
    assert dict(refused.rows("select id_value, status_reason from identity.identifiers where status = 'blocked'"))[
        "unknown"
    ].startswith("a placeholder")


def _text(value):
    """A page's text, pictures included."""
    found = value.md_str
    for encoded in re.findall(r"base64,([^)]*)", found):
        found += base64.b64decode(encoded).decode()
    return found


def test_pages_tell_the_state_and_name_nobody(refused):
    pages = build_pages(refused.con)
    said = {(table, name): _text(value) for table, page in pages.items() for name, value in page.items()}
    everything = " ".join(said.values())
    for private in ("mine@shop.com", "447700900123", "erin", "kiosk"):
        assert private not in everything
    biggest = refused.rows("select customer_id, n_nodes from identity.customers order by n_nodes desc, 1 limit 1")[0]
    assert f"| {biggest[0]} | {biggest[1]} |" in said["customers", "biggest"]
    assert "people share it | 4 |" in said["edges", "rejected"]
    assert "| device_id | 0 | 1 | 0 | 0 |" in said["identifiers", "by_type"]
    assert "| 2026-11-02 | 0 | 0 | 1 | 0 | 0 |" in said["events", "by_day"]
    assert "Splits by day" in said["events", "splits"]
    assert "| shop | 9 | 9 | 100.0 % |" in said["attributions", "match_rate_by_source"]
    assert "user_id" in said["attributions", "shares"]


def test_pages_of_nothing_are_empty(world, run):
    world.resolve(run)
    assert set(build_pages(world.con)) == {
        "customers", "edges", "identifiers", "events", "attributions", "profile_conflicts", "match_candidates",
    }  # fmt: skip
