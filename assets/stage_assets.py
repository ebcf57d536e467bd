"""What all stages' assets have in common: group, owner, the warehouse pool, and published tables.

Belongs here: arguments for Dagster decorators derived from the stage map. Does not belong here: anything
one stage does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.metadata import table_metadata
from orchestration.resources import WAREHOUSE_OP_TAGS, WAREHOUSE_POOL
from orchestration.stages import Stage
from segmentation.warehouse import Connection

#: Steps that write the warehouse wait for each other, under either executor.
WRITES_WAREHOUSE: dict[str, Any] = {"pool": WAREHOUSE_POOL, "op_tags": WAREHOUSE_OP_TAGS}


def candidate_arguments(stage: Stage) -> dict[str, Any]:
    """Arguments of ``@dg.asset`` for what a stage proposes and its gate judges."""
    return {
        "key": list(stage.candidate_key),
        "group_name": stage.name,
        "owners": [stage.owner],
        "kinds": {"python", "duckdb"},
        **WRITES_WAREHOUSE,
    }


def published_arguments(stage: Stage, tables: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of ``@dg.multi_asset`` for the tables that a stage publishes together.

    Args:
        stage: The stage.
        tables: What each table holds, by its name.
    """
    return {
        "name": f"publish_{stage.name}",
        "specs": [
            dg.AssetSpec(
                [stage.schema, table],
                deps=[dg.AssetKey(list(stage.candidate_key))],
                description=description,
                group_name=stage.name,
                owners=[stage.owner],
                kinds={"duckdb", "table"},
            )
            for table, description in tables.items()
        ],
        **WRITES_WAREHOUSE,
    }


def materialize_tables(
    con: Connection,
    stage: Stage,
    tables: Mapping[str, str],
    extra: Mapping[str, Mapping[str, dg.MetadataValue]] | None = None,
) -> Iterator[dg.MaterializeResult[None]]:
    """Yield one result per published table, with its row count and columns, and ``extra`` by table."""
    for table in tables:
        metadata = {**table_metadata(con, stage.schema, table), **(extra or {}).get(table, {})}
        yield dg.MaterializeResult(asset_key=[stage.schema, table], metadata=metadata)
