"""Writing decisions: signed, checked before they stand, audited, and taken back."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from segmentation import audit
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.contradictions import ContradictionError
from segmentation.identity.operator_rules import node_types, read_rules
from segmentation.identity.references import PUBLISHED, AmbiguousIdentifierError, find_nodes
from segmentation.identity.rule_book import Draft, Signature, add_rule, end_rule, is_pending
from segmentation.identity.rule_words import describe_rule, explain_refusal
from segmentation.warehouse import transaction

AT = datetime(2026, 11, 2, 9)


@pytest.fixture
def merged(begin, run):
    """Two people whom a borrowed login made one."""

    def fill(world):
        world.add("customer_records", source_customer_id="K1", email="ann@shop.com")
        world.add("events", event_type="login", user_id="u", anonymous_id="cookie")
        world.add("form_submissions", email="ann@shop.com", anonymous_id="cookie")
        world.resolve(run)

    return begin(fill)


def signed(reason="case 7", author="jo"):
    return Signature(author, reason, AT)


def decide(world, kind, nodes=(), other_nodes=(), *, signature=None, **facts):
    times = {name: facts.pop(name) for name in ("valid_from", "valid_to") if name in facts}
    draft = Draft(kind, nodes=tuple(map(world.node, nodes)), other_nodes=tuple(map(world.node, other_nodes)), **facts)
    with transaction(world.con):
        return add_rule(world.con, world.catalog.rules, draft, signature or signed(), **times)


def test_a_decision_is_written_with_its_row_in_the_log(merged, run):
    rule = decide(merged, "must_not_link", ["u"], ["ann@shop.com"])
    assert (rule.rule_id, rule.origin, rule.valid_from, rule.valid_to) == ("r1", "steward", run.as_of, None)
    assert read_rules(merged.con) == [rule]
    [entry] = audit.read_log(merged.con)
    assert (entry.seq, entry.at, entry.actor, entry.action, entry.subject) == (
        1,
        AT,
        "jo",
        "identity.must_not_link",
        "r1",
    )
    assert entry.detail == {
        "nodes": [merged.node("u")],
        "other_nodes": [merged.node("ann@shop.com")],
        "reason": "case 7",
        "valid_from": "2026-11-01 00:00:00",
    }
    assert "ann@shop.com" not in entry.canonical()


def test_a_decision_acts_with_the_next_run_and_its_end_too(merged, later):
    one = merged.customer("u")
    rule = decide(merged, "must_not_link", ["u"], ["ann@shop.com"])
    assert is_pending(merged.con, rule)
    assert merged.customer("u") == merged.customer("K1") == one
    merged.resolve(later(0))
    assert merged.customer("u") != merged.customer("K1")
    assert not is_pending(merged.con, rule)
    with transaction(merged.con):
        ended = end_rule(merged.con, rule.rule_id, signed("case 8", "kim"))
    assert (ended.valid_to, ended.ended_by, ended.ended_reason) == (rule.valid_from, "kim", "case 8")
    assert is_pending(merged.con, ended)
    merged.resolve(later(1))
    assert merged.customer("u") == merged.customer("K1") == one
    assert not is_pending(merged.con, ended)
    assert [entry.action for entry in audit.read_log(merged.con)] == ["identity.must_not_link", "identity.undo"]
    assert audit.verify(merged.con).problem is None


def test_names_are_never_given_twice(merged, run, later):
    first = decide(merged, "block_value", ["cookie"])
    with transaction(merged.con):
        end_rule(merged.con, "r1", signed())
    second = decide(merged, "block_value", ["cookie"])
    assert (first.rule_id, second.rule_id) == ("r1", "r3")
    # Also where an old export took the rules back: the log goes on.
    merged.con.execute("delete from identity.rules")
    assert decide(merged, "block_value", ["cookie"]).rule_id == "r4"


def test_what_is_killed_half_way_leaves_neither_rule_nor_row(merged, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("segmentation.identity.rule_book.write_rules", killed)
        with pytest.raises(KeyboardInterrupt):
            decide(merged, "block_value", ["cookie"])
    assert read_rules(merged.con) == []
    assert list(audit.read_log(merged.con)) == []


def test_contradictions_are_refused_when_they_are_decided(merged, run):
    decide(merged, "must_link", ["u", "ann@shop.com"])
    with pytest.raises(ContradictionError, match=r"r2 keeps .* apart, and others make them one customer: .* by r1"):
        decide(merged, "must_not_link", ["u"], ["ann@shop.com"])
    # A rule of a later time counts when its time comes.
    with pytest.raises(ContradictionError):
        decide(merged, "must_not_link", ["u"], ["ann@shop.com"], valid_from=run.as_of + timedelta(days=9))
    assert [rule.rule_id for rule in read_rules(merged.con)] == ["r1"]
    assert audit.verify(merged.con).rows == 1


def test_the_catalogs_decisions_count(merged):
    from segmentation.identity.catalog import IdentifierRules

    told = merged.catalog.rules.model_dump(exclude={"decisions"})
    mine = {
        "rule_id": "ann",
        "kind": "must_link",
        "identifiers": ["user_id:u", "email:ann@shop.com"],
        "author": "jo",
        "reason": "case 1",
    }
    rules = IdentifierRules.model_validate({**told, "decisions": [mine]})
    merged.catalog = IdentityCatalog(rules, merged.catalog.purposes)
    with pytest.raises(ContradictionError, match="remove ann from catalog"):
        decide(merged, "must_not_link", ["u"], ["ann@shop.com"])


@pytest.mark.parametrize(
    ("kind", "facts", "says"),
    [
        ("must_link", {"nodes": ["u", "u"]}, "links an identifier with itself"),
        ("must_not_link", {"nodes": ["u"], "other_nodes": ["cookie", "u"]}, "is on both sides"),
        ("block_pattern", {"id_type": "email", "pattern": "("}, "is not a regular expression"),
        ("max_per_customer", {"id_type": "email", "limit_value": 0}, "0 is no limit"),
        ("max_nodes", {"limit_value": 1}, "1 is no limit"),
        ("degree_limit", {"id_type": "email", "other_type": "email", "limit_value": 3}, "can't be limited"),
        ("block_value", {"nodes": ["u"], "signature": signed(" ")}, "the reason has 0 characters"),
        ("block_value", {"nodes": ["u"], "signature": signed(author="")}, "the author has 0 characters"),
        ("block_value", {"nodes": ["u"], "signature": signed("x" * 501)}, "the reason has 501 characters"),
        ("block_value", {"nodes": ["u"], "signature": signed("see bob@shop.com")}, "names an e-mail address"),
        ("block_value", {"nodes": ["cookie"], "signature": signed("the Cookie one")}, "names an identifier"),
        ("block_value", {"nodes": ["u"], "valid_to": datetime(2026, 10, 1)}, "would end"),
    ],
)
def test_what_can_not_be_meant_is_refused(merged, kind, facts, says):
    with pytest.raises(StrataError, match=says):
        decide(merged, kind, **facts)
    assert read_rules(merged.con) == []
    assert list(audit.read_log(merged.con)) == []


def test_the_same_decision_twice_is_refused(merged):
    decide(merged, "block_value", ["cookie"])
    with pytest.raises(StrataError, match="r1 says the same"):
        decide(merged, "block_value", ["cookie"])


def test_only_a_commands_rule_in_force_can_be_taken_back(merged):
    with pytest.raises(NotFoundError, match="there is no rule r9"):
        end_rule(merged.con, "r9", signed())
    rule = decide(merged, "block_value", ["cookie"])
    with transaction(merged.con):
        end_rule(merged.con, rule.rule_id, signed())
    with pytest.raises(StrataError, match="r1 ended"):
        end_rule(merged.con, rule.rule_id, signed())
    merged.con.execute("update identity.rules set origin = 'catalog'")
    with pytest.raises(StrataError, match="remove r1 from the file"):
        end_rule(merged.con, rule.rule_id, signed())


def test_identifiers_are_found_as_people_name_them(merged, run):
    rules = merged.catalog.rules
    merged.add("orders", source="crm", source_customer_id="K1", phone="07700 900123")
    merged.add("orders", user_id="K1")
    merged.resolve(replace(run, run_id="again"))
    ann = merged.customer("ann@shop.com")

    def found(text, book=PUBLISHED):
        return find_nodes(merged.con, rules, [(text, "here")], book)[0]

    for text in ("email:Ann@Shop.com", " ann@shop.com ", f"node:{merged.node('ann@shop.com')}"):
        assert found(text) == merged.node("ann@shop.com"), text
    assert found("phone:07700 900123") == found("+44 7700 900123") == merged.node("+447700900123")
    anchor = merged.rows(f"select anchor_node_id from identity.customers where customer_id = '{ann}'")[0][0]
    assert found(ann) == anchor
    assert found("source_customer_id@crm:K1") != found("source_customer_id@shop:K1")
    with pytest.raises(AmbiguousIdentifierError, match="3 identifiers have this value"):
        found("K1")
    for text in ("user_id:nobody", "c_0000000zzz", "node:999999"):
        with pytest.raises(NotFoundError):
            found(text)


def test_rules_and_refusals_are_told_in_words(merged):
    rule = decide(merged, "must_not_link", ["u"], ["ann@shop.com"])
    node = {name: merged.node(name) for name in ("u", "ann@shop.com")}
    assert describe_rule(rule, node_types(merged.con, {*node.values()})) == (
        f"user_id node:{node['u']} and email node:{node['ann@shop.com']} are not one customer's"
    )
    people = {rule.rule_id: rule}
    assert explain_refusal("R4 kept apart by r1", people) == "kept apart by jo, rule r1: case 7"
    assert explain_refusal("R2 blocked by r9", people) == "blocked by rule r9"
    assert explain_refusal("R3 device_id with more than 3 user_id", people) == (
        "more than 3 user_id were seen with this device_id: people share it"
    )
    assert explain_refusal("R4 more than 1 source_customer_id of shop", {}) == (
        "it would give one customer more than 1 source_customer_id of shop"
    )
    assert explain_refusal("something new", {}) == "something new"
