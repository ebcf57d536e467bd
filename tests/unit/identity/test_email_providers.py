"""Several addresses of one mailbox: one identifier where the catalog says so, in SQL as in Python."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import CatalogProblems
from segmentation.identity.catalog import load_identifier_rules
from segmentation.identity.contradictions import ContradictionError
from segmentation.identity.email_providers import EmailProvider, find_mailbox, mailbox_expression, normalisers
from segmentation.identity.explain import resolve_customer
from segmentation.identity.references import PUBLISHED, find_nodes
from segmentation.identity.rule_book import Draft, Signature, add_rule
from segmentation.warehouse import literal, transaction

SHIPPED = (Path(__file__).resolve().parents[3] / "catalog" / "identifiers.yml").read_text(encoding="utf-8")
GMAIL = EmailProvider(domains=("gmail.com", "googlemail.com"), ignore_dots=True, plus_addressing=True)
PLUS = EmailProvider(domains=("mail.example",), plus_addressing=True)
DOTS = EmailProvider(domains=("dots.example", "o'dots.example"), ignore_dots=True)
ALL = (GMAIL, PLUS, DOTS)

ADDRESSES = st.builds(
    "{}@{}".format,
    st.text("ab.+'", min_size=1, max_size=8),
    st.sampled_from(["gmail.com", "googlemail.com", "mail.example", "dots.example", "other.example", "sub.gmail.com"]),
)


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("a.nn@gmail.com", "ann@gmail.com"),
        ("ann+shop+1@googlemail.com", "ann@gmail.com"),
        ("a.nn+shop@mail.example", "a.nn@mail.example"),
        ("a.nn+shop@dots.example", "ann+shop@dots.example"),
        ("a.nn+shop@other.example", "a.nn+shop@other.example"),
        ("+shop@gmail.com", "+shop@gmail.com"),
        ("..@gmail.com", "..@gmail.com"),
    ],
)
def test_what_a_provider_ignores_is_taken_away(address, mailbox):
    assert find_mailbox(address, ALL) == mailbox
    assert find_mailbox(address, ()) == address


@given(st.lists(ADDRESSES, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_sql_and_python_agree_and_a_mailbox_is_its_own(addresses):
    with duckdb.connect() as con:
        values = ", ".join(f"({number}, {literal(address)})" for number, address in enumerate(addresses))
        rows = con.execute(
            f"select {mailbox_expression('address', ALL)} from (values {values}) as v(number, address) order by number"
        ).fetchall()
    found = [find_mailbox(address, ALL) for address in addresses]
    assert [mailbox for (mailbox,) in rows] == found
    assert [find_mailbox(mailbox, ALL) for mailbox in found] == found


def test_all_addresses_of_a_mailbox_are_one_customers(world, run):
    rules = world.catalog.rules.model_copy(update={"email_providers": (GMAIL,)})
    world.catalog = replace(world.catalog, rules=rules)
    world.add("orders", source_customer_id="1", email="Ann.Lee@gmail.com")
    # The fast path in SQL, and the one in Python.
    world.add("orders", email="annlee+shop@googlemail.com")
    world.add("orders", email="ann\u200b.lee@GMAIL.com")
    world.add("orders", email="annlee@gmail.com")
    world.add("orders", email="ann.lee@other.example")
    world.resolve(run)
    customer = world.customer("1")
    for raw in ("Ann.Lee@gmail.com", "annlee+shop@googlemail.com", "ann\u200b.lee@GMAIL.com", "annlee@gmail.com"):
        assert world.customer(raw) == customer
    assert world.customer("ann.lee@other.example") != customer
    assert world.rows("select id_value from identity.identifiers where id_type = 'email' order by 1") == [
        ("ann.lee@other.example",),
        ("annlee@gmail.com",),
    ]
    # An address that no source has sent is read by the same rules.
    assert resolve_customer(world.con, "a.n.n.lee+new@gmail.com", providers=rules.email_providers) == customer
    [node] = find_nodes(world.con, rules, [("email:a.n.n.lee@googlemail.com", "argument")], PUBLISHED)
    assert node == world.node("annlee@gmail.com")


def test_naming_a_provider_normalises_anew_and_nodes_stay(world, run, later):
    world.add("orders", source_customer_id="1", email="annlee@gmail.com")
    world.add("orders", source_customer_id="2", email="bo@other.example")
    world.add("orders", email="ann.lee@gmail.com")
    world.resolve(run)
    customers = {value: world.customer(value) for value in ("1", "2")}
    nodes = {value: world.node(value) for value in ("1", "2", "annlee@gmail.com", "bo@other.example")}
    assert world.customer("ann.lee@gmail.com") not in customers.values()

    plain = world.catalog
    rules = plain.rules.model_copy(update={"email_providers": (GMAIL,)})
    assert rules.normalisation_hash != plain.rules.normalisation_hash
    world.catalog = replace(plain, rules=rules)
    world.resolve(later(1))
    assert world.customer("ann.lee@gmail.com") == customers["1"]

    world.catalog = plain
    world.resolve(later(2))
    assert world.customer("ann.lee@gmail.com") not in customers.values()
    assert {value: world.customer(value) for value in ("1", "2")} == customers
    assert {value: world.node(value) for value in nodes} == nodes


def _decide(world, run, draft):
    with transaction(world.con):
        add_rule(world.con, world.catalog.rules, draft, Signature("jo", "case 7", run.recorded_at))


def _name_provider(world):
    rules = world.catalog.rules.model_copy(update={"email_providers": (GMAIL,)})
    world.catalog = replace(world.catalog, rules=rules)


def test_decisions_about_an_address_hold_for_its_mailbox_once_the_provider_is_named(world, run, later):
    world.add("orders", source_customer_id="1", email="ann.lee@gmail.com")
    world.add("orders", source_customer_id="2", email="bo+shop@gmail.com")
    world.add("orders", user_id="u3")
    world.resolve(run)
    _decide(world, run, Draft("block_value", nodes=(world.node("ann.lee@gmail.com"),)))
    _decide(world, run, Draft("must_link", nodes=(world.node("bo+shop@gmail.com"), world.node("u3"))))
    _name_provider(world)
    world.resolve(later(1))
    assert world.rows("select status from identity.identifiers where id_value = 'annlee@gmail.com'") == [("blocked",)]
    assert world.customer("bo+shop@gmail.com") == world.customer("2") == world.customer("u3")
    # The decisions stay written as they were taken.
    kept = world.rows("select unnest(nodes) from identity.rules where kind = 'block_value'")
    assert kept == [(world.node("ann.lee@gmail.com"),)]


def test_a_separation_of_one_mailbox_from_itself_is_told(world, run, later):
    for number, email in enumerate(("ann.lee@gmail.com", "annlee@gmail.com")):
        world.add("orders", source_customer_id=str(number), email=email)
    world.resolve(run)
    one, other = world.node("ann.lee@gmail.com"), world.node("annlee@gmail.com")
    _decide(world, run, Draft("must_not_link", nodes=(one,), other_nodes=(other,)))
    _name_provider(world)
    with pytest.raises(ContradictionError, match=f"keeps node:{other} .email. apart from itself"):
        world.build(later(1))


def test_without_providers_nothing_is_normalised_otherwise(catalog):
    assert catalog.rules.email_providers == ()
    assert normalisers(()) is normalisers([])
    assert mailbox_expression("id_value", ()) == "id_value"


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        ("[{domains: []}]", "domains"),
        ("[{domains: [Gmail.com]}]", "Gmail.com is not a domain in normal form"),
        ("[{domains: [gmail]}]", "gmail is not a domain"),
        ("[{domains: [gmail.com], ignore_dots: true}, {domains: [gmail.com]}]", "gmail.com stands there twice"),
        ("[{domains: [gmail.com], ignore_points: true}]", "ignore_points"),
    ],
)
def test_mistakes_name_their_line(tmp_path, providers, message):
    text = SHIPPED.replace("email_providers: []", f"email_providers: {providers}")
    assert text != SHIPPED
    (tmp_path / "identifiers.yml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogProblems, match=message) as caught:
        load_identifier_rules(tmp_path)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "email_providers: [" in line)
    assert caught.value.problems[0].line == line
