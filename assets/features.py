"""Stage `features`: dbt computes one wide row of facts per customer, behind a gate.

Belongs here: the order of the steps. The models are in `dbt_project/models`, the contract of the result in
their YAML, the gate in `expectations/suites/features.py`.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import DbtProject, dbt_assets

from assets.metadata import catalog_link, report_metadata
from assets.stage_assets import WRITES_WAREHOUSE, candidate_arguments, materialize_tables, published_arguments
from expectations import ledger
from orchestration.dbt_build import build_step
from orchestration.dbt_metadata import stream_with_metadata
from orchestration.dbt_project import StrataTranslator
from orchestration.resources import StrataResource, run_from_context
from orchestration.stages import stage
from segmentation.features.candidate import announce_candidate, build_candidate
from segmentation.features.contract import load_contract
from segmentation.features.publish import publish

STAGE = stage("features")

TABLES = {
    "customer_features": "One wide row per active customer, as of the run: the one table that rules see.",
    "account_features": "One row per account, as of the run: what rules of account segments see.",
    "feature_freshness": "How old each feature's newest fact is, against the age it may have.",
}

#: Key of the dbt model that computes the candidate.
MODEL_KEY = dg.AssetKey(["features", "candidate_customer_features"])
ACCOUNTS_MODEL_KEY = dg.AssetKey(["features", "candidate_account_features"])


@dg.asset(
    **candidate_arguments(STAGE),
    deps=[MODEL_KEY, ACCOUNTS_MODEL_KEY],
)
def features_candidate(context: dg.AssetExecutionContext, strata: StrataResource) -> dg.MaterializeResult[None]:
    """Figures about the computed features, and their stamp: what the gate judges."""
    run = run_from_context(context, strata)
    contract = load_contract(strata.settings.dbt_project)
    with strata.warehouse().write() as con:
        ledger.require_upstream_open(con, STAGE.name)
        report = build_candidate(con, run, contract)
    return dg.MaterializeResult(
        metadata=report_metadata(report) | {"contract": catalog_link(strata.settings.dbt_project / "models")}
    )


@dg.multi_asset(**published_arguments(STAGE, TABLES))
def publish_features(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[dg.MaterializeResult[None]]:
    """Let others read what the gate has passed."""
    run = run_from_context(context, strata)
    with strata.warehouse().write() as con:
        ledger.require_passed(con, STAGE.name, run)
        publish(con, run)
        yield from materialize_tables(con, STAGE, TABLES)


def build_assets(project: DbtProject, translator: StrataTranslator) -> list[dg.AssetsDefinition]:
    """Return the stage's assets; those that dbt builds follow from the project's manifest."""

    @dbt_assets(
        manifest=project.manifest_path,
        project=project,
        dagster_dbt_translator=translator,
        name="build_features",
        selector="features",
        **WRITES_WAREHOUSE,
    )
    def build_features(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[Any]:
        if MODEL_KEY in context.selected_asset_keys:
            # The first step of a run decides its moment, and writes that down: before the warehouse is held here.
            run = run_from_context(context, strata)
            with strata.warehouse().write() as con:
                ledger.require_upstream_open(con, STAGE.name)
                announce_candidate(con, run)
        yield from run_dbt(context, strata, STAGE.name)

    return [build_features, features_candidate, publish_features]


def run_dbt(context: dg.AssetExecutionContext, strata: StrataResource, stage_name: str) -> Iterator[Any]:
    """Build this step's models with their data tests, once every gate before the stage is open.

    ``stage_name`` is the stage whose place in the flow the models have, not always their owner: marts read what
    every stage but sync publishes, so they wait for the gates before sync.
    """
    run = run_from_context(context, strata)
    warehouse = strata.warehouse()
    with warehouse.write() as con:
        ledger.require_upstream_open(con, stage_name)
    # dbt opens the file itself: the lock keeps others out, and what it did is read once it has let go.
    with warehouse.exclusive():
        build = build_step(context, strata.settings, run, f"build_{stage_name}")
    with warehouse.write() as con:
        yield from stream_with_metadata(con, build)
