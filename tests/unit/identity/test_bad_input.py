"""Sources that send what they should not: nobody is mixed up, ids stay, and it can be seen."""

from datetime import datetime, timedelta

import pytest

DAY = datetime(2026, 10, 10)


def _customers(world):
    return dict(world.rows("select node_id, customer_id from identity.identifier_map"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paypal@shop.com", "p\u0430ypal@shop.com"),
        ("ann@shop.com", "ann@sh\u043ep.com"),
        ("lee@shop.com", "1ee@shop.com"),
        ("ann@shop.com", "a\u0301nn@shop.com"),
    ],
)
def test_addresses_that_look_alike_are_two_peoples(world, run, one, other):
    world.add("orders", source_customer_id="1", email=one)
    world.add("orders", source_customer_id="2", email=other)
    world.resolve(run)
    assert world.customer("1") != world.customer("2")
    assert len(world.rows("select distinct id_value from identity.identifiers where id_type = 'email'")) == 2


def test_a_value_of_a_megabyte_is_no_identifier_and_costs_its_row_nothing_else(world, run):
    huge = "x" * 1_000_000
    world.add("orders", source_customer_id="1", email=f"{huge}@shop.com")
    world.add("orders", source_customer_id="2", email=f"{huge}@shop.com")
    world.resolve(run)
    assert world.customer("1") not in (None, world.customer("2"))
    assert world.rows("select oversized_values from identity.candidate") == [(2,)]
    assert world.rows("select max(strlen(id_value)) from identity.identifiers") == [(1,)]
    assert world.rows("select count(*) from identity.identifier_lookup where strlen(raw_value) > 512") == [(0,)]


def test_null_bytes_make_no_second_identifier(world, run):
    world.add("orders", source_customer_id="1", email="ann@shop.com")
    world.add("orders", source_customer_id="2\x00", email="a\x00nn@shop.com\x00")
    world.resolve(run)
    assert world.customer("a\x00nn@shop.com\x00") == world.customer("ann@shop.com")
    assert world.rows("select id_value from identity.identifiers where id_type = 'source_customer_id' order by 1") == [
        ("1",),
        ("2",),
    ]


def _record(world, name, email, at, **values):
    first, last = name.split()
    world.add(
        "customer_records", source_customer_id="K7", first_name=first, last_name=last, email=email, at=at, **values
    )


def _reused(world):
    return world.rows("select n_reused_ids from identity.candidate")[0][0]


def test_a_source_that_gives_an_id_again_is_noticed_and_taken_apart(world, run, later):
    from segmentation.identity.drafts import read_draft
    from segmentation.identity.rule_book import Signature, add_rule

    _record(world, "Ann Lee", "ann@shop.com", DAY)
    world.resolve(run)
    assert _reused(world) == 0
    ann = world.customer("ann@shop.com")
    _record(world, "Bo Kim", "bo@shop.com", run.as_of + timedelta(hours=1))
    world.resolve(later(1))
    assert _reused(world) == 1
    # Nothing but the id says that they are one; people can say that they are two.
    assert world.customer("bo@shop.com") == ann
    draft = read_draft(world.con, world.catalog.rules, "split K7 --away bo@shop.com --keep ann@shop.com")
    add_rule(world.con, world.catalog.rules, draft, Signature("jo", "T-9", DAY))
    world.resolve(later(2))
    assert world.customer("ann@shop.com") == ann
    assert world.customer("bo@shop.com") not in (None, ann)


@pytest.mark.parametrize(
    ("name", "email"),
    [("Ann Kim", "ann.kim@shop.com"), ("ANN LEE", "new@shop.com"), ("Bo Kim", "ANN@shop.com"), ("Bo Kim", None)],
)
def test_a_person_who_changes_some_of_it_is_no_other_person(world, run, name, email):
    _record(world, "Ann Lee", "ann@shop.com", DAY)
    _record(world, name, email, DAY + timedelta(days=1))
    world.resolve(run)
    assert _reused(world) == 0


def test_an_id_that_goes_round_many_people_links_none_of_them(world, run):
    for number in range(8):
        _record(world, f"Name{number} Last{number}", f"p{number}@shop.com", DAY + timedelta(days=number))
        world.add("orders", user_id=f"u{number}", email=f"p{number}@shop.com")
    world.resolve(run)
    assert world.rows("select status, status_rule from identity.identifiers where id_value = 'K7'") == [
        ("shared", "R3 source_customer_id with more than 6 email")
    ]
    assert len({world.customer(f"u{number}") for number in range(8)}) == 8


def test_clocks_that_are_wrong_move_nobody(world, run, later):
    world.add("customer_records", source_customer_id="1", email="ann@shop.com", first_name="Ann", at=DAY)
    world.add("customer_records", source_customer_id="2", email="bo@shop.com", at=DAY)
    world.add("events", user_id="u", anonymous_id="cookie", at=DAY)
    world.resolve(run)
    before = _customers(world)
    # From the year before there were computers, and from the far future.
    world.add("events", user_id="u", anonymous_id="cookie", at=datetime(1970, 1, 1))
    world.add("orders", source_customer_id="1", anonymous_id="early", at=datetime(1, 1, 1))
    world.add("customer_records", source_customer_id="1", email="bo@shop.com", first_name="X", at=datetime(2999, 1, 1))
    world.add("events", user_id="u", source_customer_id="2", at=datetime(9999, 12, 31))
    world.resolve(later(1))
    after = _customers(world)
    assert {node: after[node] for node in before} == before
    assert world.customer("early") == world.customer("1")
    # What has not happened yet says nothing yet.
    assert world.rows("select first_name from identity.profiles where email = 'ann@shop.com'") == [("Ann",)]
    assert [event for event, *_ in world.events(later(1))] == []
    world.resolve(later(2))
    assert world.events(later(2)) == []


def test_a_phone_number_that_was_given_to_somebody_else_joins_nobody(world, run, later):
    number = "+447700900123"
    world.add("customer_records", source_customer_id="1", email="ann@shop.com", phone=number, at=DAY)
    world.add("orders", source_customer_id="1", user_id="ann")
    world.resolve(run)
    ann = world.customer("ann")
    world.add("customer_records", source_customer_id="2", email="bo@shop.com", phone=number, at=run.as_of)
    world.add("orders", source_customer_id="2", user_id="bo", at=run.as_of)
    world.resolve(later(1))
    assert world.customer("ann") == ann
    assert world.customer("bo") not in (None, ann)
    assert world.customer(number) == ann
    rule = "R4 more than 1 source_customer_id of shop"
    assert world.rows(
        "select e.reject_rule, e.reject_reason from identity.edges as e join identity.registry as r "
        f"on r.node_id in (e.node_a, e.node_b) where r.id_value = '{number}' and not e.admitted"
    ) == [(rule, "it would give one customer more than 1 source_customer_id of shop")]


def test_ids_that_change_type_are_other_identifiers(world, run, later):
    world.add("orders", user_id="4711", email="ann@shop.com")
    world.add("orders", user_id="4712", email="bo@shop.com")
    world.resolve(run)
    before = _customers(world)
    # From now on the source sends what were accounts as cookies, and an account's id as an e-mail address.
    world.add("events", anonymous_id="4711", email="bo@shop.com", at=run.as_of)
    world.add("events", device_id="4712", user_id="ann@shop.com", at=run.as_of)
    world.resolve(later(1))
    after = _customers(world)
    assert {node: after[node] for node in before} == before
    assert world.rows(
        "select id_type, count(distinct customer_id) from identity.identifier_lookup "
        "where raw_value = '4711' group by 1 order by 1"
    ) == [("anonymous_id", 1), ("user_id", 1)]
    [(cookie,)] = world.rows("select customer_id from identity.identifier_lookup where id_type = 'anonymous_id'")
    assert cookie == world.customer("bo@shop.com")
    [(typed,)] = world.rows(
        "select customer_id from identity.identifier_lookup where id_type = 'user_id' and raw_value = 'ann@shop.com'"
    )
    assert typed not in before.values()
