"""What analysts read: marts built by dbt from published tables, and the copy that readers open.

Belongs here: the last steps of a run. No stage reads them, so they have no gate of their own; everything in
them has passed one.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import DbtProject, dbt_assets

from assets.features import run_dbt
from assets.stage_assets import WRITES_WAREHOUSE
from expectations import ledger
from orchestration.dbt_project import READERS_GROUP, StrataTranslator
from orchestration.resources import StrataResource
from segmentation.readers import readable_tables


def build_assets(
    project: DbtProject, translator: StrataTranslator, condition: dg.AutomationCondition
) -> list[dg.AssetsDefinition]:
    """Return the marts, which follow from the dbt manifest, and the readers' copy."""

    @dbt_assets(
        manifest=project.manifest_path,
        project=project,
        dagster_dbt_translator=translator,
        name="build_marts",
        selector="marts",
        **WRITES_WAREHOUSE,
    )
    def build_marts(context: dg.AssetExecutionContext, strata: StrataResource) -> Iterator[Any]:
        yield from run_dbt(context, strata, "sync")

    @dg.asset(
        key=["ops", "published_copy"],
        deps=[*build_marts.keys, ["sync", "receipts"]],
        group_name=READERS_GROUP,
        owners=["team:data-platform"],
        kinds={"duckdb", "file"},
        automation_condition=condition,
        description="A copy of all published tables, put in place at once: what the command line, notebooks and "
        "BI tools open, so that no reader ever waits for a writer.",
        **WRITES_WAREHOUSE,
    )
    def published_copy(strata: StrataResource) -> dg.MaterializeResult[None]:
        warehouse = strata.warehouse()
        with warehouse.write() as con:
            # Alone in a run of its own, this step would hand on stages that do not fit each other.
            ledger.require_upstream_open(con, "sync")
            tables = readable_tables(con)
            copied = warehouse.publish_copy(con, tables)
        return dg.MaterializeResult(
            metadata={
                "tables": copied,
                "bytes": warehouse.published_path.stat().st_size,
                "path": dg.MetadataValue.path(warehouse.published_path),
            }
        )

    return [build_marts, published_copy]
