"""A destination that can't be written: what a person is told, who is served all the same, and how it is repaired."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import ROOT

pytestmark = pytest.mark.timeout(900)

AS_OF = "2026-11-08"


@dataclass(frozen=True)
class Obstacle:
    """What is wrong with a destination.

    Attributes:
        destination: Its name; the other one is served.
        old: Line of the catalog of destinations that is changed.
        new: What it becomes.
        said: Fact that the message names.
        repair: What the message says to do.
    """

    destination: str
    old: str
    new: str
    said: str
    repair: str


OBSTACLES = [
    Obstacle(
        "online_store",
        "url: sqlite:///{data}/online_store.db",
        # The user who runs the tests may be one whom no permission stops.
        "url: sqlite:///file:{data}/online_store.db?mode=ro&uri=true",
        "readonly database",
        "give the user of the run write permission, then `strata run --from sync`",
    ),
    Obstacle(
        "online_store",
        "url: sqlite:///{data}/online_store.db",
        "url: sqlite:///{data}/landing",
        "unable to open database file",
        "check the path and its permissions, then `strata run --from sync`",
    ),
    Obstacle(
        "feature_flags",
        'path: "{data}/flags/segments.flagd.json"',
        'path: "{data}/landing"',
        "Is a directory",
        "name a file, not a folder, in catalog/destinations.yml, then `strata run --from sync`",
    ),
]


@pytest.fixture
def behind(company: Path, week_later: Path, install: Callable[..., Any]) -> Any:
    """An installation whose destinations hold what they held a week ago, and whose catalog is its own."""
    house = install(copy_of=week_later)
    for place in ("online_store.db", "flags/segments.flagd.json"):
        shutil.copy(company / place, house.settings.data / place)
    shutil.copytree(ROOT / "catalog", house.settings.data / "catalog")
    return house


@pytest.mark.parametrize(
    "obstacle",
    [pytest.param(one, marks=() if one is OBSTACLES[0] else pytest.mark.slow) for one in OBSTACLES],
    ids=lambda one: f"{one.destination}: {one.said}",
)
def test_one_bad_destination_stops_no_other(
    behind: Any, company: Path, week_later: Path, installation: Any, obstacle: Obstacle
) -> None:
    before, after = installation(company), installation(week_later)
    assert before.online_store() != after.online_store()
    held_before = {"online_store": before.online_store(), "feature_flags": before.flags()}
    held_after = {"online_store": after.online_store(), "feature_flags": after.flags()}
    catalog = behind.settings.data / "catalog"
    destinations = catalog / "destinations.yml"
    good = destinations.read_text(encoding="utf-8")
    assert good.count(obstacle.old) == 1
    destinations.write_text(good.replace(obstacle.old, obstacle.new), encoding="utf-8")
    readers_copy = behind.settings.warehouse.published_path.read_bytes()

    run = ("run", "--only", "sync", "--as-of", AS_OF, "--json")
    failed = behind.strata(*run, STRATA_CATALOG=str(catalog))

    assert failed.returncode == 1, failed.stdout + failed.stderr
    (sync,) = json.loads(failed.stdout)["parts"]
    assert sync["state"] == "failed"
    assert sync["gate"] == "open"
    assert "1 of 2 destinations" in sync["message"]
    assert obstacle.destination in sync["message"]
    assert obstacle.said in sync["message"]
    assert obstacle.repair in sync["message"]
    # The bad one holds what it held, the other one what it should.
    held = {"online_store": behind.online_store(), "feature_flags": behind.flags()}
    other = next(name for name in held if name != obstacle.destination)
    assert held == {obstacle.destination: held_before[obstacle.destination], other: held_after[other]}
    assert behind.sql("select destination from sync.destinations where status = 'failed'") == [(obstacle.destination,)]
    assert behind.settings.warehouse.published_path.read_bytes() == readers_copy

    destinations.write_text(good, encoding="utf-8")
    repaired = behind.strata(*run, STRATA_CATALOG=str(catalog))
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert {"online_store": behind.online_store(), "feature_flags": behind.flags()} == held_after
