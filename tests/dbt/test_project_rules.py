"""Rules of the dbt project, read from its manifest."""

import json
import re
from pathlib import PurePosixPath
from typing import Any

import pytest

from orchestration.stages import STAGES
from segmentation.sources.entities import ENTITIES

#: The one model that brings all concerns together may join them all.
WIDE_MODELS = {"customer_features"}

MOST_JOINS = 8


@pytest.fixture(scope="module")
def manifest(project: Any) -> dict[str, Any]:
    return json.loads((project.artifacts / "manifest.json").read_text())


@pytest.fixture(scope="module")
def models(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def attached_tests(manifest: dict[str, Any], model: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and node.get("attached_node") == model["unique_id"]
    ]


def test_only_staging_reads_sources_and_each_reads_one(models: dict[str, Any]) -> None:
    for name, model in models.items():
        sources = [parent for parent in model["depends_on"]["nodes"] if parent.startswith("source.")]
        others = [parent for parent in model["depends_on"]["nodes"] if not parent.startswith("source.")]
        if name.startswith("stg_"):
            assert (len(sources), others) == (1, []), name
        else:
            assert sources == [], name


def test_every_source_is_staged_once(manifest: dict[str, Any], models: dict[str, Any]) -> None:
    staged = [model["depends_on"]["nodes"][0] for name, model in models.items() if name.startswith("stg_")]
    assert sorted(staged) == sorted(manifest["sources"])


def test_staging_carries_every_column_of_its_entity(models: dict[str, Any]) -> None:
    for name, entity in ENTITIES.items():
        columns = list(models[f"stg_sources__{name}"]["columns"])
        assert columns == ["source", "file_id", "line", *entity.column_names], name


def test_nobody_reads_a_mart_but_people(models: dict[str, Any]) -> None:
    for name, model in models.items():
        parents = {parent.rsplit(".", 1)[-1] for parent in model["depends_on"]["nodes"]}
        assert not any(parent.startswith(("dim_", "fct_")) for parent in parents), name


def test_every_model_has_a_key_test(manifest: dict[str, Any], models: dict[str, Any]) -> None:
    for name, model in models.items():
        kinds = {test["test_metadata"]["name"] for test in attached_tests(manifest, model)}
        keyed = kinds & {"unique", "unique_combination"}
        assert keyed, name
        assert "not_null" in kinds, name


def test_every_rule_with_a_case_or_a_window_has_a_unit_test(manifest: dict[str, Any], models: dict[str, Any]) -> None:
    tested = {test["model"] for test in manifest["unit_tests"].values()}
    for name, model in models.items():
        has_rule = re.search(r"\bcase\b|is_within|over \(", model["raw_code"])
        if has_rule and name != "customer_features":
            assert name in tested, name


def test_everything_is_described(manifest: dict[str, Any], models: dict[str, Any]) -> None:
    for model in models.values():
        assert model["description"], model["name"]
        assert model["columns"], model["name"]
        missing = [name for name, column in model["columns"].items() if not column["description"]]
        assert missing == [], model["name"]
    for table in manifest["sources"].values():
        assert table["description"], table["unique_id"]
        assert table["source_description"], table["unique_id"]
    for unit_test in manifest["unit_tests"].values():
        assert unit_test["description"], unit_test["name"]


def test_described_columns_are_the_built_ones(project: Any, models: dict[str, Any]) -> None:
    built: dict[tuple[str, str], list[str]] = {}
    for row in project.rows(
        "select table_schema, table_name, column_name from information_schema.columns order by ordinal_position"
    ):
        built.setdefault((row["table_schema"], row["table_name"]), []).append(row["column_name"])
    for name, model in models.items():
        assert set(built[model["schema"], model["alias"]]) == set(model["columns"]), name


def test_what_is_public_keeps_a_contract(models: dict[str, Any]) -> None:
    for name, model in models.items():
        if model["access"] == "public":
            assert model["config"]["contract"]["enforced"], name
            assert all(column["data_type"] for column in model["columns"].values()), name
    public = {name for name, model in models.items() if model["access"] == "public"}
    assert public == {"customer_features", "account_features"} | {
        name for name in models if name.startswith(("dim_", "fct_"))
    }


def test_exposures_depend_on_public_tables_only(manifest: dict[str, Any], models: dict[str, Any]) -> None:
    used = set()
    for exposure in manifest["exposures"].values():
        for parent in exposure["depends_on"]["nodes"]:
            model = models[parent.rsplit(".", 1)[-1]]
            assert (model["access"], model["config"]["materialized"]) == ("public", "table"), exposure["name"]
            used.add(model["name"])
    assert used == {name for name, model in models.items() if model["access"] == "public"}


def test_every_stage_has_its_group(manifest: dict[str, Any], models: dict[str, Any]) -> None:
    assert {group["name"] for group in manifest["groups"].values()} == {stage.name for stage in STAGES}
    owners = {group["name"]: group["owner"]["name"] for group in manifest["groups"].values()}
    assert owners == {stage.name: stage.owner for stage in STAGES}
    # Sync keeps its state outside the warehouse.
    assert {model["group"] for model in models.values()} == {stage.name for stage in STAGES} - {"sync"}


def test_names_and_folders_say_the_layer(models: dict[str, Any]) -> None:
    for name, model in models.items():
        folder = PurePosixPath(model["original_file_path"]).parent.as_posix()
        if folder.startswith("models/staging/"):
            assert name.startswith(f"stg_{folder.rsplit('/', 1)[-1]}__")
            assert (model["schema"], model["config"]["materialized"]) == ("staging", "view")
        elif folder.startswith("models/intermediate/"):
            assert re.fullmatch(r"int_\w+?__\w+", name)
            assert (model["schema"], model["access"]) == ("intermediate", "private")
        elif folder.startswith("models/marts/"):
            assert re.match(r"(dim|fct)_", name)
            assert model["schema"] == "marts"
        else:
            assert name in {"customer_features", "account_features"}
            assert (model["schema"], model["alias"]) == ("features", f"candidate_{name}")


def test_every_model_is_built_in_exactly_one_step(models: dict[str, Any]) -> None:
    for name, model in models.items():
        assert len({"features", "marts"} & set(model["tags"])) == 1, name


def test_joins_stay_readable(compiled: dict[str, str]) -> None:
    joins = {name: len(re.findall(r"\bjoin\b", sql)) for name, sql in compiled.items()}
    assert {name for name, number in joins.items() if number > MOST_JOINS} == WIDE_MODELS


def test_no_model_names_a_table_itself(models: dict[str, Any]) -> None:
    for name, model in models.items():
        hard_coded = re.findall(
            r"\b(?:from|join)\s+(?:sources|identity|features|segments|costs|staging)\.", model["raw_code"]
        )
        assert hard_coded == [], name
