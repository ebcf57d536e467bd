"""A place that a destination has left: every command that looks at the catalog names it, and one clears it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assets.sync import read_destinations
from orchestration.settings import Settings
from segmentation import contracts
from segmentation.run import Run
from segmentation.sync.left_places import note_place
from segmentation.sync.state import State
from segmentation.sync.stores.contract import Position
from segmentation.sync.stores.sqlalchemy_store import SqlAlchemyStore

Ask = Callable[..., Any]

RUN = Run("run-1", datetime(2026, 11, 1), datetime(2026, 11, 1, 5))
SIGNED = ("--author", "jo", "--reason", "moved")


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """An installation whose online store was delivered to another file than the catalog names; returns that file."""
    settings = Settings(data=tmp_path, dagster_home=tmp_path / "home")
    with settings.warehouse.write() as con:
        contracts.ensure_schema(con, "identity")
    old = tmp_path / "old.db"
    now = next(one for one in read_destinations(settings) if one.name == "online_store")
    before = now.model_copy(update={"url": f"sqlite:///{old}"})
    state = State(settings.sync_state)
    note_place(state, RUN, before, "some view")
    state.close()
    store = SqlAlchemyStore("online_store", before.url)
    store.acquire(1)
    rows = [("c_1", "{}"), ("c_2", "{}")]
    store.replace(1, [rows], Position("some view", 1, 2, "ref", RUN.as_of, RUN.recorded_at), lambda _: None)
    store.close()
    return old


def test_it_is_named_until_it_is_cleared(ask: Ask, tmp_path: Path, moved: Path) -> None:
    fact = f"destination online_store has left sqlite:///{moved}"
    listed = ask(tmp_path, "destinations", "left", "--json")
    assert (listed.code, [one["url"] for one in listed.json]) == (1, [f"sqlite:///{moved}"])
    [warning] = [one for one in ask(tmp_path, "validate", "--json").json["problems"] if fact in one["what"]]
    assert (Path(warning["file"]).name, warning["severity"]) == ("destinations.yml", "warning")
    assert warning["repair"] == "strata destinations clear online_store --author YOU --reason WHY"
    [told] = [one for one in ask(tmp_path, "doctor", "--json").json if one["subject"] == "destinations"]
    assert (told["state"], told["repair"]) == ("note", warning["repair"])

    cleared = ask(tmp_path, "destinations", "clear", "online_store", *SIGNED, "--json")
    assert (cleared.code, cleared.json["rows"]) == (0, 2)
    assert b"c_1" not in moved.read_bytes()
    [entry] = ask(tmp_path, "audit", "log", "--json").json
    assert (entry["action"], entry["subject"], entry["actor"]) == ("destination.clear", "online_store", "jo")
    assert ask(tmp_path, "destinations", "left").code == 0
    assert fact not in ask(tmp_path, "validate", "--json").out
    again = ask(tmp_path, "destinations", "clear", "online_store", *SIGNED, "--json")
    assert (again.code, again.json["error"]) == (5, "NotFoundError")


def test_one_of_several_places_has_to_be_named(ask: Ask, tmp_path: Path, moved: Path) -> None:
    settings = Settings(data=tmp_path, dagster_home=tmp_path / "home")
    now = next(one for one in read_destinations(settings) if one.name == "online_store")
    (tmp_path / "older.db").touch()
    state = State(settings.sync_state)
    note_place(state, RUN, now.model_copy(update={"url": f"sqlite:///{tmp_path}/older.db"}), "some view")
    state.close()
    unclear = ask(tmp_path, "destinations", "clear", "online_store", *SIGNED, "--json")
    assert (unclear.code, unclear.json["repair"]) == (5, "name one of them with --place")
    named = ask(tmp_path, "destinations", "clear", "online_store", *SIGNED, "--place", f"sqlite:///{moved}", "--json")
    assert (named.code, named.json["rows"]) == (0, 2)
