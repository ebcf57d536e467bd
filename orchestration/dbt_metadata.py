"""What the pages of dbt assets show: rows, columns with their descriptions, and where each column comes from.

Belongs here: reading these from the warehouse and from what dbt compiled, once dbt has ended. Does not belong
here: running dbt (`dbt_build.py`). Dagster's integration can do the same while dbt runs, but it opens
the warehouse file a second time and spends thirty times as long on lineage (`docs/decisions/`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage

from orchestration.dbt_build import DbtBuild
from segmentation.warehouse import Connection, quote

Relation = tuple[str, str]


class ModelMetadata:
    """Metadata of the models that one dbt build has built."""

    def __init__(self, con: Connection, build: DbtBuild) -> None:
        """Read the columns of what was built.

        Args:
            con: The warehouse that dbt wrote.
            build: The build, which has ended.
        """
        self._con = con
        self._manifest: Mapping[str, Any] = build.invocation.manifest
        self._translator = build.invocation.dagster_dbt_translator
        self._sql = build.compiled_sql
        self._columns = _read_columns(con)

    def of(self, unique_id: str) -> dict[str, Any]:
        """Return the metadata of a model; empty for what is not one or was not built."""
        node = self._manifest["nodes"].get(unique_id)
        if node is None or node["resource_type"] != "model":
            return {}
        relation = _relation(node)
        columns = self._columns.get(relation)
        if not columns:
            return {}
        described = {name: column.get("description", "") for name, column in node["columns"].items()}
        return {
            **self._count(node, relation),
            "dagster/table_name": ".".join(relation),
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(name, type_, description=described.get(name)) for name, type_ in columns.items()
                ]
            ),
            "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=self._lineage(unique_id)),
        }

    def _count(self, node: Mapping[str, Any], relation: Relation) -> dict[str, int]:
        if node["config"]["materialized"] == "view":
            return {}  # Counting a view runs it.
        rows = self._con.execute(f"select count(*) from {quote(relation[0])}.{quote(relation[1])}").fetchall()
        return {"dagster/row_count": int(rows[0][0])}

    def _lineage(self, unique_id: str) -> dict[str, list[dg.TableColumnDep]]:
        keys: dict[Relation, dg.AssetKey] = {}
        schema: dict[str, dict[str, dict[str, str]]] = {}
        for parent_id in self._manifest["parent_map"].get(unique_id, []):
            parent = self._manifest["nodes"].get(parent_id) or self._manifest["sources"][parent_id]
            relation = _relation(parent)
            keys[relation] = self._translator.get_asset_key(parent)
            schema.setdefault(relation[0], {})[relation[1]] = self._columns.get(relation, {})
        return {
            column: [
                dg.TableColumnDep(asset_key=keys[relation], column_name=name)
                for relation, name in sorted(found)
                if relation in keys
            ]
            for column, found in column_lineage(self._sql.get(unique_id, ""), schema).items()
        }


def column_lineage(
    sql: str, schema: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> dict[str, set[tuple[Relation, str]]]:
    """Return the columns that each column of a query is computed from.

    Args:
        sql: A query in DuckDB's dialect.
        schema: Column types by schema and table, of the tables that the query reads.

    Returns:
        Source columns as ``((schema, table), column)`` by result column; empty where the query can't be followed.
    """
    try:
        query = sqlglot.parse_one(sql, dialect="duckdb") if sql else None
        if not isinstance(query, exp.Query):
            return {}
        for table in query.find_all(exp.Table):
            table.set("catalog", None)
        roots = lineage(None, query, schema, dialect="duckdb", copy=False, trim_selects=False)
    except SqlglotError:
        # Lineage explains; it must never fail a build that has succeeded.
        return {}
    return {
        column: {
            ((node.expression.db, node.expression.name), node.name.rpartition(".")[2])
            for node in root.walk()
            if not node.downstream and isinstance(node.expression, exp.Table)
        }
        for column, root in roots.items()
    }


def stream_with_metadata(con: Connection, build: DbtBuild) -> Iterator[Any]:
    """Yield the Dagster events of a build that has ended, with metadata on every model.

    Raises:
        DagsterDbtCliRuntimeError: dbt failed; raised after the events of what it did.
    """
    models: ModelMetadata | None = None
    for event in build.invocation.stream():
        if isinstance(event, dg.Output | dg.AssetMaterialization):
            models = models or ModelMetadata(con, build)
            unique_id = event.metadata.get("unique_id")
            found = models.of(str(unique_id.value)) if unique_id else {}
            yield event.with_metadata({**event.metadata, **found})
        else:
            yield event


def _relation(node: Mapping[str, Any]) -> Relation:
    return node["schema"], node.get("alias") or node["identifier"]


def _read_columns(con: Connection) -> dict[Relation, dict[str, str]]:
    rows = con.execute(
        "select table_schema, table_name, column_name, data_type from information_schema.columns "
        "where table_catalog = current_database() order by table_schema, table_name, ordinal_position"
    ).fetchall()
    columns: dict[Relation, dict[str, str]] = {}
    for schema, table, name, type_ in rows:
        columns.setdefault((schema, table), {})[name] = type_
    return columns
