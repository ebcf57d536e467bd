"""Matching by probability on the sample company: people are asked, answer, see the link, and take it back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import ROOT, Settings

pytestmark = pytest.mark.timeout(1800)

NOW = "2026-11-01T00:00:00"
SIGNED = ("--author", "jo", "--reason", "case 12")


class Office:
    """An installation with a catalog of its own, and what people ask of it."""

    def __init__(self, house: Any, catalog: Path) -> None:
        self.house = house
        self.catalog = catalog
        given = {"data": house.settings.data, "dagster_home": house.settings.dagster_home, "lock_wait_seconds": 5}
        house.settings = Settings(catalog=catalog, **given)

    def ask(self, *arguments: str) -> Any:
        done = self.house.strata(*arguments, "--json", STRATA_CATALOG=str(self.catalog))
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def resolve(self, only: str | None = "identity") -> str:
        outcome = self.house.run(NOW, only=only)
        assert outcome.success, outcome.errors
        assert all(outcome.gates.values())
        return outcome.run_id

    def members(self) -> dict[object, object]:
        return dict(self.house.sql("select node_id, customer_id from identity.identifier_map"))

    def events(self, run_id: str) -> list[tuple[object, ...]]:
        return self.house.sql(
            f"select event, customer_id, other_customer_id from identity.events where run_id = '{run_id}' order by seq"
        )


@pytest.fixture
def office(company: Path, install: Callable[..., Any], tmp_path: Path) -> Office:
    return Office(install(copy_of=company), Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog")))


@pytest.mark.slow
def test_people_are_asked_and_what_they_say_holds_until_they_take_it_back(office: Office) -> None:
    before = office.members()
    trained = office.ask("matching", "train")
    assert trained["version"] == 1
    assert not trained["in_force"]
    file = office.catalog / "matching.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("enabled: false", "enabled: true").replace("# model: 1", "model: 1"), encoding="utf-8")
    assert office.ask("validate")["errors"] == 0
    assert [one["in_force"] for one in office.ask("matching", "models")] == [True]

    first = office.resolve()
    assert office.members() == before
    assert office.events(first) == []
    queue = office.ask("matching", "review")
    assert queue["states"]["review"] == len(queue["pairs"]) > 0
    assert queue["states"]["evident"] > 0
    one, other = queue["pairs"][0]["records"]
    assert one["customer_id"] != other["customer_id"]
    # Masked to their shape, unless somebody asks.
    assert all("•" in record["values"]["family"] for record in (one, other))
    revealed = office.ask("matching", "review", "--reveal")["pairs"][0]["records"]
    assert all("•" not in str(record["values"]) for record in revealed)

    pair = queue["pairs"][0]["pair"]
    shown = office.ask("matching", "show", pair)
    assert sum(part["bits"] for part in shown["parts"]) == pytest.approx(shown["weight"])
    assert office.ask("matching", "label", pair, "match", *SIGNED)["verdict"] == "match"
    # The whole chain, so that readers see it.
    second = office.resolve(only=None)
    kept, gone = sorted((one["customer_id"], other["customer_id"]))
    assert office.events(second) == [("merge", gone, kept)]
    why = office.ask("identity", "why", f"node:{one['node_id']}", f"node:{other['node_id']}")
    assert why["is_one_customer"]
    [evidence] = [edge for step in why["steps"] for edge in step["evidence"] if edge["tier"] == 4]
    assert (evidence["source"], evidence["evidence"]) == ("matching", "model 1, labelled")
    assert evidence["match_probability"] > 0.9
    assert office.ask("matching", "review", "--state", "match")["pairs"][0]["author"] == "jo"

    office.ask("matching", "unlabel", pair, *SIGNED)
    third = office.resolve()
    assert [event for event, *_ in office.events(third)] == ["unmerge"]
    assert office.members() == before

    unknown = office.house.strata("matching", "label", "1-2", "match", *SIGNED, STRATA_CATALOG=str(office.catalog))
    assert unknown.returncode == 5
    assert "is no pair that matching found" in unknown.stderr
    assert office.ask("audit", "verify")["problem"] is None


def test_a_run_refuses_a_model_that_is_not_there(office: Office) -> None:
    file = office.catalog / "matching.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("enabled: false", "enabled: true").replace("# model: 1", "model: 4"), encoding="utf-8")
    told = office.house.strata("validate", STRATA_CATALOG=str(office.catalog))
    assert told.returncode == 1
    line = next(number for number, one in enumerate(file.read_text().splitlines(), 1) if one.startswith("model: 4"))
    assert f"matching.yml:{line}" in told.stdout
    before = office.members()
    outcome = office.house.run(NOW, only="identity")
    assert not outcome.success
    assert "there is no matching model 4" in outcome.errors
    assert office.members() == before
