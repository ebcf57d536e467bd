"""What a source sends again about somebody who was erased never gets in, however it is spelled."""

from dataclasses import replace
from datetime import datetime

import pytest

from segmentation.contracts import ensure_schema
from segmentation.erasure.erase import Request, erase
from segmentation.erasure.reentry import Screening, screen
from segmentation.errors import StrataError
from segmentation.identity.email_providers import EmailProvider
from segmentation.pseudonyms import load_key
from segmentation.sources.entities import ENTITIES
from segmentation.sources.summary import write_summary
from segmentation.sources.tables import create_drafts, promote_drafts

AT = datetime(2026, 11, 2, 9)
ONE = {"quantity": 1, "unit_price_micros": 1}


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def erased(begin, run, catalog, keys):
    """A world in which Maria was erased."""

    def fill(world):
        world.add("customer_records", source_customer_id="M1", email="maria@mail.example", phone="+34600048313")
        world.add("orders", source_customer_id="M1", device_id="d-maria")
        world.add("orders", source_customer_id="M1", source="web")
        world.resolve(run)

    world = begin(fill)
    request = Request(world.customer("maria@mail.example"), "dpo", "T-1", AT)
    erase(world.con, catalog.rules, load_key(keys, "suppression"), request)
    return world


def _send(world, run, catalog, keys, *rows, lines=(), refused=()):
    """Make orders, and lines by their order's id, the candidate, and screen it; return what was done and left."""
    ensure_schema(world.con, "sources")
    create_drafts(world.con)
    promote_drafts(world.con)
    mark = world.line
    for row in rows:
        world.add("orders", **row)
    for order_id in lines:
        world.add("order_lines", order_id=order_id, order_line_id="1", ordered_at=AT, **ONE)
    for raw in refused:
        world.refuse(raw)
    for table in (*ENTITIES, "quarantine"):
        world.con.execute(
            f"insert into sources.candidate_{table} by name select * from sources.{table} where line > {mark}"
        )
        world.con.execute(f"delete from sources.{table} where line > {mark}")
    write_summary(world.con, run, {}, [])
    done = screen(world.con, run, catalog.rules, keys)
    return done, world.rows("select order_id, device_id from sources.candidate_orders order by 1")


@pytest.mark.parametrize(
    "named",
    [
        {"email": "maria@mail.example"},
        {"email": " MARIA@mail.example"},
        {"email": "maria＠mail.example"},
        {"phone": "+34600048313"},
        {"phone": "0034 600 048 313"},
        {"phone": "+34 (600) 048-313"},
        {"source_customer_id": "M1"},
        {"device_id": "d-maria"},
        {"source_customer_id": "P1", "email": "maria@mail.example"},
    ],
    ids=str,
)
def test_every_spelling_is_recognised(erased, run, catalog, keys, named):
    done, left = _send(erased, run, catalog, keys, named | {"order_id": "back"}, {"user_id": "p", "order_id": "other"})
    assert done == Screening(1, 0)
    assert left == [("other", None)]


@pytest.mark.parametrize(
    "named",
    [
        {"email": "mariah@mail.example"},
        {"phone": "+34600048314"},
        {"source_customer_id": "M1", "source": "billing"},
        {"user_id": "M1"},
        {"email": "none"},
    ],
    ids=str,
)
def test_nobody_else_is_taken_for_them(erased, run, catalog, keys, named):
    done, left = _send(erased, run, catalog, keys, named | {"order_id": "kept"})
    assert done == Screening(0, 0)
    assert [order for order, _ in left] == ["kept"]


@pytest.mark.parametrize(
    "domains", [(), ("googlemail.com", "gmail.com")], ids=["no longer known", "other first domain"]
)
@pytest.mark.parametrize("sent", ["Ann.Lee@gmail.com", "annlee+shop@googlemail.com"])
def test_an_address_is_recognised_though_its_provider_is_known_otherwise(world, run, catalog, keys, domains, sent):
    ignored = EmailProvider(domains=("gmail.com", "googlemail.com"), ignore_dots=True, plus_addressing=True)
    then = replace(catalog, rules=catalog.rules.model_copy(update={"email_providers": (ignored,)}))
    others = tuple(ignored.model_copy(update={"domains": domains}) for _ in domains[:1])
    now = replace(catalog, rules=catalog.rules.model_copy(update={"email_providers": others}))
    world.catalog = then
    for email in ("Ann.Lee@gmail.com", "annlee+shop@googlemail.com"):
        world.add("orders", source_customer_id="A1", email=email)
    world.resolve(run)
    request = Request(world.customer("A1"), "dpo", "T-1", AT)
    erase(world.con, then.rules, load_key(keys, "suppression"), request)
    rows = ({"email": sent, "order_id": "back"}, {"email": "ann@gmail.com", "order_id": "other"})
    done, left = _send(world, run, now, keys, *rows)
    assert (done, left) == (Screening(1, 0), [("other", None)])


def test_their_device_in_other_hands_is_unknown(erased, run, catalog, keys):
    done, left = _send(erased, run, catalog, keys, {"user_id": "p", "device_id": "d-maria", "order_id": "o9"})
    assert done == Screening(0, 1)
    assert left == [("o9", None)]


def test_refused_rows_are_looked_through(erased, run, catalog, keys):
    refused = ['{"contact": "Maria@mail.example", "when": "yesterday"}', '{"contact": "ann@mail.example"}']
    done, _ = _send(erased, run, catalog, keys, refused=refused)
    assert done == Screening(1, 0)
    assert erased.rows("select raw->>'contact' from sources.candidate_quarantine") == [("ann@mail.example",)]


def _lines(world, table="candidate_order_lines"):
    return [order for (order,) in world.rows(f"select order_id from sources.{table} order by 1")]


def test_lines_of_a_dropped_order_go_with_it(erased, run, catalog, keys):
    maria, peter = {"email": "maria@mail.example", "order_id": "n1"}, {"user_id": "p", "order_id": "n2"}
    done, left = _send(erased, run, catalog, keys, maria, peter, lines=("n1", "n1", "n2", "n3"))
    assert done == Screening(3, 0)
    assert (left, _lines(erased)) == ([("n2", None)], ["n2", "n3"])
    counted = "select entity, rows_dropped from ops.suppressed_rows order by 1"
    assert erased.rows(counted) == [("order_lines", 2), ("orders", 1)]


def test_lines_that_come_in_a_later_run_are_recognised(erased, run, catalog, keys, later):
    _send(erased, run, catalog, keys, {"email": "maria@mail.example", "order_id": "n1"})
    done, _ = _send(erased, later(1), catalog, keys, lines=("n1", "n2"))
    assert (done, _lines(erased)) == (Screening(1, 0), ["n2"])


def test_so_are_lines_of_an_order_that_was_erased_itself(world, run, catalog, keys):
    world.add("customer_records", source_customer_id="M1", email="maria@mail.example")
    world.add("orders", source_customer_id="M1", order_id="o1")
    world.resolve(run)
    request = Request(world.customer("M1"), "dpo", "T-1", AT)
    erase(world.con, catalog.rules, load_key(keys, "suppression"), request)
    done, _ = _send(world, run, catalog, keys, lines=("o1", "o2"))
    assert (done, _lines(world)) == (Screening(1, 0), ["o2"])


def test_lines_that_came_before_their_order_go_when_it_comes(erased, run, catalog, keys):
    ensure_schema(erased.con, "sources")
    for order_id in ("n1", "n2"):
        erased.add("order_lines", order_id=order_id, order_line_id="1", ordered_at=AT, **ONE)
    done, _ = _send(erased, run, catalog, keys, {"email": "maria@mail.example", "order_id": "n1"})
    assert (done, _lines(erased, "order_lines")) == (Screening(2, 0), ["n2"])


def test_lines_of_somebody_elses_order_of_that_id_stay(erased, run, catalog, keys, later):
    erased.add("orders", user_id="peter", order_id="n1")
    both = {"user_id": "peter", "email": "maria@mail.example", "order_id": "n1"}
    done, _ = _send(erased, run, catalog, keys, both, lines=("n1",))
    assert (done, _lines(erased)) == (Screening(1, 0), ["n1"])
    elsewhere = {"email": "maria@mail.example", "order_id": "n2"}
    _send(erased, later(1), catalog, keys, elsewhere)
    done, left = _send(erased, later(2), catalog, keys, {"user_id": "quinn", "order_id": "n2"}, lines=("n2",))
    assert (done, left, _lines(erased)) == (Screening(0, 0), [("n2", None)], ["n2"])


def test_their_order_without_a_name_is_still_theirs(erased, run, catalog, keys, later):
    _send(erased, run, catalog, keys, {"email": "maria@mail.example", "order_id": "n1"})
    done, left = _send(erased, later(1), catalog, keys, {"order_id": "n1"}, {"order_id": "n2"}, lines=("n1", "n2"))
    assert (done, left, _lines(erased)) == (Screening(2, 0), [("n2", None)], ["n2"])


def test_what_recognises_orders_is_kept_once_and_holds_no_id(erased, run, catalog, keys, later):
    for number in range(2):
        _send(erased, later(number), catalog, keys, {"email": "maria@mail.example", "order_id": "n1"})
    kept = erased.rows("select value_hmac, erasure_id, reason from identity.suppressions where id_type = 'orders'")
    key = load_key(keys, "suppression")
    assert [digest for digest, _, _ in kept].count(key.hash("orders\x1fshop\x1fn1")) == 1
    assert {erasure for _, erasure, _ in kept} == set(
        *zip(*erased.rows("select distinct erasure_id from identity.suppressions"), strict=True)
    )
    assert "n1" not in str(kept)


def test_what_was_dropped_is_counted(erased, run, catalog, keys):
    _send(erased, run, catalog, keys, {"email": "maria@mail.example"}, {"email": "maria@mail.example"})
    counted = "select entity, was_refused, rows_dropped, rows_stripped from ops.suppressed_rows"
    assert erased.rows(counted) == [("orders", False, 2, 0)]
    screen(erased.con, run, catalog.rules, keys)
    assert erased.rows(counted) == []


def test_where_nobody_was_erased_nothing_is_read(world, run, catalog, keys):
    assert screen(world.con, run, catalog.rules, keys) == Screening(0, 0)


def test_without_the_key_nothing_is_let_in(erased, run, catalog, keys):
    (keys / "suppression-v1.key").unlink()
    with pytest.raises(StrataError, match="key suppression-v1 is gone"):
        _send(erased, run, catalog, keys, {"email": "maria@mail.example"})
