"""A register of made-up people with errors, and a model learned from it once."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest

from benchmarks.matching_world import write_people
from segmentation.identity.matching.candidates import Matching
from segmentation.identity.matching.catalog import load_matching
from segmentation.identity.matching.model import MatchingModel, model_of
from segmentation.identity.matching.profile import recognise
from segmentation.identity.matching.training import learn
from segmentation.identity.matching.workshop import train
from segmentation.identity.publish import publish
from segmentation.run import Run
from segmentation.warehouse import Connection

from .town import ANNA, ANNA_AGAIN, resolve, settle

ROOT = Path(__file__).resolve().parents[4]

RECORDS = 1_200


@dataclass(frozen=True)
class Register:
    """Records with their truth, and a model of them."""

    con: Connection
    model: MatchingModel
    truth: np.ndarray


def copy_of(register: Register) -> Connection:
    """Return a database of the test's own with the records."""
    con = duckdb.connect()
    table = register.con.sql("select * from records").to_arrow_table()
    con.register("given", table)
    con.execute("create table records as select * from given")
    con.unregister("given")
    return con


@pytest.fixture(scope="session")
def register() -> Register:
    con = duckdb.connect()
    con.execute("set threads = 2")
    write_people(con, RECORDS, seed=11)
    profile = recognise(con, "people", leave_out=("record_id", "person"))
    con.execute(f"create table records as {profile.select('people', 'record_id')}")
    truth = con.execute("select person from people order by record_id").fetchnumpy()["person"]
    return Register(con, model_of(learn(con, "records", profile.kinds, seed=3), {}), np.asarray(truth))


@pytest.fixture
def own(register: Register) -> Connection:
    """The records in a database of the test's own."""
    return copy_of(register)


@pytest.fixture(scope="session")
def matching(catalog, new_world) -> Matching:
    """Matching as the shipped catalog says, by a model learned from the town."""
    definition = load_matching(ROOT / "catalog").model_copy(update={"enabled": True, "model": 1})
    run = Run("training", datetime(2026, 11, 1), datetime(2026, 11, 1))
    with duckdb.connect() as con:
        world = new_world(con)
        settle(world, 1_200)
        world.build(run)
        publish(con, run)
        model = train(con, run, catalog.rules, definition)
    return Matching(definition, replace(model, version=1))


def people(world):
    settle(world, 120)
    world.add("customer_records", source="crm", source_customer_id="A1", **ANNA)
    world.add("customer_records", source="shop", source_customer_id="A2", email="anna@shop.example", **ANNA_AGAIN)


@pytest.fixture
def town(world):
    """A small town, and Anna in it, whom two sources know by nothing that they share."""
    people(world)
    return world


@pytest.fixture
def known(begin, run, matching):
    """The small town after a first run that looked for matches."""

    def fill(world):
        people(world)
        resolve(world, run, matching)

    return begin(fill)


@pytest.fixture
def city(world):
    """A town with pairs enough to draw from."""
    settle(world, 400)
    return world
