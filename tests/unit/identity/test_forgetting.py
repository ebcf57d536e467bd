"""A customer who is forgotten leaves no row, no value and no way back; everybody else stays who they were."""

from dataclasses import replace
from datetime import datetime

import pytest

from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.erasure import erase as erasing
from segmentation.erasure.erase import Request, erase, preview
from segmentation.erasure.requests import Erasure, Sink, find_request, read_requests, record_sinks
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.email_providers import EmailProvider
from segmentation.pseudonyms import PseudonymKey

AT = datetime(2026, 11, 2, 9)
KEY = PseudonymKey("suppression-v1", b"k" * 32)


@pytest.fixture
def house(begin, run):
    """Maria with two orders and a ticket; Peter, who once gave her number; Quinn, who has nothing to do with them."""

    def fill(world):
        ensure_schema(world.con, "sources")
        world.add("customer_records", source_customer_id="M1", email="maria@mail.example", phone="+34600048313",
                  first_name="Maria", last_name="Roca")  # fmt: skip
        world.add("orders", source_customer_id="M1", order_id="o1", device_id="d-maria")
        world.add("order_lines", order_id="o1", order_line_id="1", ordered_at=AT, quantity=1, unit_price_micros=1)
        world.add("orders", email=" Maria@MAIL.example", order_id="o2")
        world.add("customer_records", source_customer_id="P1", email="peter@mail.example")
        world.add("orders", source_customer_id="P1", order_id="o3", phone="+34 600 04 83 13")
        world.add("order_lines", order_id="o3", order_line_id="1", ordered_at=AT, quantity=1, unit_price_micros=1)
        world.add("orders", source_customer_id="Q1", order_id="o4")
        world.refuse('{"id": "M1", "when": "yesterday"}')
        world.refuse('{"id": "M12", "mail": "amaria@mail.example"}')
        world.resolve(run)

    return begin(fill)


def _forget(world, catalog, value="maria@mail.example"):
    request = Request(world.customer(value), "dpo", "T-1", AT)
    return erase(world.con, catalog.rules, KEY, request)


def _tables(world):
    rows = world.rows(
        "select schema_name || '.' || table_name from duckdb_tables() where not temporary "
        "and schema_name in ('sources', 'identity') order by 1"
    )
    return {table: world.rows(f"select * from {table} order by all") for (table,) in rows}


def test_theirs_go_and_others_stay(house, catalog):
    peter, quinn = house.customer("P1"), house.customer("Q1")
    told = preview(house.con, catalog.rules, house.customer("M1"))
    assert told["rows_deleted"] == 4
    assert told["rows_stripped"] == 1
    assert told["quarantined_rows_deleted"] == 1
    _forget(house, catalog)
    assert house.rows("select order_id, phone from sources.orders order by 1") == [("o3", None), ("o4", None)]
    assert house.rows("select order_id from sources.order_lines") == [("o3",)]
    assert house.rows("select count(*) from sources.customer_records") == [(1,)]
    assert house.rows("select count(*) from sources.quarantine where contains(raw::varchar, 'M12')") == [(1,)]
    assert house.customer("M1") is None
    assert (house.customer("P1"), house.customer("Q1")) == (peter, quinn)


def test_no_value_is_left_anywhere(house, catalog):
    values = ("maria", "600048313", "600 04 83 13", "roca", "d-maria", '"m1"')
    assert all(value in str(_tables(house)).replace("'", '"').lower() for value in values)
    _forget(house, catalog)
    found = str(_tables(house)).replace("'", '"').replace("amaria@", "").lower()
    assert [value for value in values if value in found] == []


def test_a_version_of_their_order_that_names_nobody_goes_too(house, catalog):
    house.add("orders", order_id="o1")
    house.add("orders", order_id="o5")
    _forget(house, catalog)
    assert house.rows("select order_id from sources.orders order by 1") == [("o3",), ("o4",), ("o5",)]


def test_a_preview_changes_nothing(house, catalog):
    before = _tables(house)
    preview(house.con, catalog.rules, house.customer("M1"))
    assert _tables(house) == before


@pytest.mark.parametrize("step", ["forget_source_rows", "forget_derived_rows", "record_request"])
def test_a_kill_in_between_changes_nothing(house, catalog, monkeypatch, step):
    before = _tables(house)

    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(erasing, step, stop)
    with pytest.raises(KeyboardInterrupt):
        _forget(house, catalog)
    assert _tables(house) == before
    assert read_requests(house.con) == []


def test_the_id_is_gone_for_good(house, catalog, run, later):
    maria = house.customer("M1")
    others = {house.customer("P1"), house.customer("Q1")}
    _forget(house, catalog)
    house.resolve(later(1))
    assert house.rows(f"select status from identity.customers where customer_id = '{maria}'") == [("erased",)]
    assert {house.customer("P1"), house.customer("Q1")} == others
    erased = "select event, customer_id from identity.events where run_id like 'erasure-%'"
    assert house.rows(erased) == [("erase", maria)]
    # Whoever comes with the same address is somebody new.
    house.add("orders", email="maria@mail.example", order_id="o9")
    house.resolve(later(2))
    assert house.customer("maria@mail.example") not in {None, maria, *others}


def test_ids_that_were_merged_in_are_gone_with_it(world, catalog, run, later):
    world.add("orders", user_id="u", order_id="o1")
    world.add("orders", email="a@mail.example", order_id="o2")
    world.resolve(run)
    former = world.customer("a@mail.example")
    world.add("orders", user_id="u", email="a@mail.example", order_id="o3")
    world.resolve(later(1))
    erasure = _forget(world, catalog, "u")
    assert erasure.former_ids == (former,)
    assert world.rows("select distinct status from identity.customers") == [("erased",)]
    assert world.rows("select count(*) from identity.customer_aliases") == [(0,)]


def test_a_number_that_is_two_peoples_deletes_nobody_elses_row(world, catalog, run):
    world.add("customer_records", source_customer_id="G1", phone="020 7946 0958", country="GB")
    world.add("customer_records", source_customer_id="D1", phone="020 7946 0958", country="DE")
    world.add("orders", phone="020 7946 0958", order_id="o1", country="DE")
    world.resolve(run)
    _forget(world, catalog, "G1")
    assert world.rows("select order_id from sources.orders") == [("o1",)]
    assert world.rows("select source_customer_id from sources.customer_records") == [("D1",)]


def test_what_recognises_them_holds_no_value(house, catalog):
    erasure = _forget(house, catalog)
    rows = house.rows("select id_type, value_hmac, key_id, erasure_id from identity.suppressions order by 1, 2")
    orders = [digest for kind, digest, _, _ in rows if kind == "orders"]
    assert orders == sorted(KEY.hash(f"orders\x1fshop\x1f{order}") for order in ("o1", "o2"))
    assert len(rows) - len(orders) == erasure.n_identifiers == 4
    email = next(digest for kind, digest, _, _ in rows if kind == "email")
    assert email == KEY.hash("email\x1f\x1fmaria@mail.example")
    assert {(key, request) for _, _, key, request in rows} == {(KEY.key_id, erasure.erasure_id)}


def test_a_request_is_recorded_and_audited_without_personal_data(house, catalog):
    erasure = _forget(house, catalog)
    assert find_request(house.con, erasure.erasure_id) == erasure
    (entry,) = list(audit.read_log(house.con))
    assert (entry.action, entry.subject) == ("customer.erase", erasure.customer_id)
    assert audit.verify(house.con).problem is None
    assert "maria" not in str(erasure.receipt()).lower()
    with pytest.raises(NotFoundError, match="no erasure"):
        find_request(house.con, "erasure-0")
    with pytest.raises(StrataError, match="nothing to erase"):
        erase(house.con, catalog.rules, KEY, Request(erasure.customer_id, "dpo", "T-2", AT))


def test_a_request_is_as_far_as_its_worst_place():
    bare = Erasure("e", "c_1", (), 1, "dpo", "T", "k", AT, AT)
    states = [("finished", "finished"), ("running", "running"), ("partial", "partial"), ("failed", "failed")]
    sinks: tuple[Sink, ...] = ()
    for state, whole in states:
        sinks += (Sink(state, state, {}),)
        assert replace(bare, sinks=sinks).state == whole
    assert bare.state == "received"


def test_the_newest_state_of_a_place_counts(house, catalog):
    erasure = _forget(house, catalog)
    record_sinks(house.con, erasure.erasure_id, [Sink("sync", "finished", {"rows_emptied": 2})], AT)
    sinks = {sink.name: sink for sink in find_request(house.con, erasure.erasure_id).sinks}
    assert sinks["sync"] == Sink("sync", "finished", {"rows_emptied": 2})
    assert sinks["exports"].state == "received"


_IGNORED = EmailProvider(domains=("gmail.com", "googlemail.com"), ignore_dots=True, plus_addressing=True)


def _naming(catalog, *providers):
    return replace(catalog, rules=catalog.rules.model_copy(update={"email_providers": providers}))


@pytest.mark.parametrize("is_known_otherwise", [False, True], ids=["by the address alone", "by an account too"])
def test_the_mailbox_that_an_address_once_stood_for_is_forgotten_with_it(
    world, catalog, run, later, is_known_otherwise
):
    """Its provider is not in the catalog any more, so nothing but what was read before tells of it."""
    named = {"source_customer_id": "A1"} if is_known_otherwise else {}
    world.add("orders", email="Ann.Lee@googlemail.com", **named)
    world.add("orders", source_customer_id="B2", email="bo@mail.example")
    world.catalog = _naming(catalog, _IGNORED)
    world.resolve(run)
    assert world.node("annlee@gmail.com") is not None
    world.catalog = catalog
    world.resolve(later(1))
    _forget(world, catalog, "Ann.Lee@googlemail.com")
    left = {table for table, rows in _tables(world).items() if "lee" in str(rows).lower()}
    assert left == set()
    assert world.customer("B2") is not None
    world.resolve(later(2))
    assert {table for table, rows in _tables(world).items() if "lee" in str(rows).lower()} == set()


def test_a_mailbox_that_is_somebodys_address_stays_theirs(world, catalog, run, later):
    world.add("orders", email="Ann.Lee@gmail.com")
    world.add("orders", source_customer_id="C3", email="annlee@gmail.com")
    world.catalog = _naming(catalog, _IGNORED)
    world.resolve(run)
    assert world.customer("Ann.Lee@gmail.com") == world.customer("C3")
    world.catalog = catalog
    world.resolve(later(1))
    theirs = world.customer("C3")
    assert world.customer("Ann.Lee@gmail.com") not in {None, theirs}
    _forget(world, catalog, "Ann.Lee@gmail.com")
    assert world.customer("C3") == world.customer("annlee@gmail.com") == theirs
    assert "ann.lee" not in str(_tables(world)).lower()


def test_an_id_that_was_another_sources_is_forgotten_with_it(world, catalog, run, later):
    """The same holds for ids whose source is taken to be another's."""
    world.add("orders", source="billing", source_customer_id="secret-7")
    world.resolve(run)
    rules = catalog.rules.model_copy(update={"shared_namespaces": {"billing": "crm"}})
    world.catalog = replace(catalog, rules=rules)
    world.resolve(later(1))
    erase(world.con, rules, KEY, Request(world.customer("secret-7"), "dpo", "T-1", AT))
    assert {table for table, rows in _tables(world).items() if "secret" in str(rows)} == set()
