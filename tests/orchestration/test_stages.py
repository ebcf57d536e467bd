"""Every stage has all of its places."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from orchestration.stages import STAGE_NAMES, STAGES, Stage, stage, upstream_of

ROOT = Path(__file__).resolve().parents[2]

each_stage = pytest.mark.parametrize("one", STAGES, ids=STAGE_NAMES)


def test_the_stages_are_in_the_order_of_the_flow() -> None:
    assert STAGE_NAMES == ("sources", "identity", "features", "segments", "costs", "sync")


@each_stage
def test_a_stage_has_its_asset_module(one: Stage) -> None:
    assert importlib.util.find_spec(one.asset_module) is not None


@each_stage
def test_a_stage_has_its_domain_package(one: Stage) -> None:
    package = importlib.import_module(one.domain_package)
    assert package.__doc__


@each_stage
def test_a_stage_has_a_schema_of_its_name(one: Stage) -> None:
    script = ROOT / "segmentation" / one.name / "schema.sql"
    created = re.findall(r"create table if not exists (\w+)\.", script.read_text(encoding="utf-8"))
    assert set(created) == {one.schema}


@each_stage
def test_a_stage_has_a_gate_with_a_suite(one: Stage) -> None:
    from expectations.gates import GATES

    gates = [gate for gate in GATES if gate.stage == one]
    assert len(gates) == 1
    assert gates[0].asset.path == list(one.candidate_key)
    assert gates[0].suite.truths


@each_stage
def test_a_stage_has_a_dbt_group_with_its_owner(one: Stage) -> None:
    groups = yaml.safe_load((ROOT / "dbt_project" / "models" / "groups.yml").read_text(encoding="utf-8"))["groups"]
    assert one.dbt_group in [group["name"] for group in groups]


@each_stage
def test_a_stage_has_tests(one: Stage) -> None:
    assert list((ROOT / one.test_folder).glob("test_*.py"))


def test_upstream_is_every_earlier_stage() -> None:
    assert [earlier.name for earlier in upstream_of("features")] == ["sources", "identity"]
    assert upstream_of("sources") == ()


def test_an_unknown_stage_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="the stages are sources, identity"):
        stage("segment")
