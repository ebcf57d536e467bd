"""What a source sends again about somebody who was erased never gets in, however it is spelled."""

from datetime import datetime

import pytest

from segmentation.contracts import ensure_schema
from segmentation.erasure.erase import Request, erase
from segmentation.erasure.reentry import Screening, screen
from segmentation.errors import StrataError
from segmentation.pseudonyms import load_key
from segmentation.sources.entities import ENTITIES
from segmentation.sources.summary import write_summary
from segmentation.sources.tables import create_drafts, promote_drafts

AT = datetime(2026, 11, 2, 9)


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def erased(world, run, catalog, keys):
    """A world in which Maria was erased."""
    world.add("customer_records", source_customer_id="M1", email="maria@mail.example", phone="+34600048313")
    world.add("orders", source_customer_id="M1", device_id="d-maria")
    world.add("orders", source_customer_id="M1", source="web")
    world.resolve(run)
    request = Request(world.customer("maria@mail.example"), "dpo", "T-1", AT)
    erase(world.con, catalog.rules, load_key(keys, "suppression"), request)
    return world


def _send(world, run, catalog, keys, *rows, refused=()):
    """Make rows the candidate of sources, and screen it; return what was done and the orders that are left."""
    ensure_schema(world.con, "sources")
    create_drafts(world.con)
    promote_drafts(world.con)
    mark = world.line
    for row in rows:
        world.add("orders", **row)
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


def test_their_device_in_other_hands_is_unknown(erased, run, catalog, keys):
    done, left = _send(erased, run, catalog, keys, {"user_id": "p", "device_id": "d-maria", "order_id": "o9"})
    assert done == Screening(0, 1)
    assert left == [("o9", None)]


def test_refused_rows_are_looked_through(erased, run, catalog, keys):
    refused = ['{"contact": "Maria@mail.example", "when": "yesterday"}', '{"contact": "ann@mail.example"}']
    done, _ = _send(erased, run, catalog, keys, refused=refused)
    assert done == Screening(1, 0)
    assert erased.rows("select raw->>'contact' from sources.candidate_quarantine") == [("ann@mail.example",)]


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
