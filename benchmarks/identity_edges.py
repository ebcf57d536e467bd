"""From many edges to the published map: ``python -m benchmarks.identity_edges [--edges 10000000]``.

Makes a graph of people's identifiers (`identity_edges.sql`) and solves it in several ways, each in a process of its
own over the same file: by the stage; by bare scipy and the SQL that feeds it, the limit; by the SQL contraction; by
Splink's clustering. Then a second day with one per cent more edges, solved whole and solved where it changed. Belongs
here: what is measured, and in which order. Does not belong here: how it reads (`identity_edges_report.py`).
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from splink import DuckDBAPI
from splink.clustering import cluster_pairwise_predictions_at_threshold

from benchmarks.chain import run_module, tell
from benchmarks.identity_edges_report import TITLE, render
from benchmarks.machine import describe_machine
from benchmarks.measurement import Measurement, measured
from benchmarks.sections import replace_section
from segmentation.contracts import ensure_schema
from segmentation.identity import publish
from segmentation.identity.catalog import IdentifierRules, load_identity_catalog
from segmentation.identity.contraction import label_in_engine
from segmentation.identity.evidence import write_edges, write_identifiers
from segmentation.identity.incremental import resolve
from segmentation.identity.reasons import write_reasons
from segmentation.identity.tables import create_candidate_tables
from segmentation.run import Run
from segmentation.warehouse import Connection, Warehouse, transaction

ROOT = Path(__file__).resolve().parents[1]
RULES: IdentifierRules = load_identity_catalog(ROOT / "catalog").rules
MOMENT = datetime(2026, 11, 1, tzinfo=UTC)

#: Edges of one person, and the share of all that belongs to devices of nobody.
_EDGES_OF_A_PERSON = 3.87
_STRANGERS = 0.1

#: One person in so many comes on the second day; one in so many of the others has a new cookie then.
_NEWCOMERS, _REGULARS = 200, 50

Figures = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the section of the report; or do one measurement, for a parent that waits."""
    given = _parse(arguments)
    if given.measure:
        found = WAYS[given.measure](given.folder)
        print(json.dumps(found))
        return
    figures: Figures = {"machine": describe_machine(), "ways": {}, "date": datetime.now(UTC).date().isoformat()}
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="strata-edges-") as folder:
        with open_house(Path(folder)).write() as con:
            figures["world"] = build_world(con, given.edges, given.seed)
        for way in WAYS:
            tell(way)
            figures["ways"][way] = run_module("identity_edges", "--measure", way, "--folder", folder)
            tell(f"{way}: {figures['ways'][way]}")
    require_agreement(figures["ways"])
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    replace_section(given.results, TITLE, render(figures))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure solving identity over many edges.")
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where data goes meanwhile")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    parser.add_argument("--json", type=Path, help="where all figures go, for machines")
    parser.add_argument("--measure", choices=WAYS, help="one measurement over a world that is there")
    return parser.parse_args(arguments)


def open_house(folder: Path, name: str = "house") -> Warehouse:
    """Return a warehouse in a folder: the world's, or a copy to work on."""
    return Warehouse(folder / f"{name}.duckdb", folder / f"{name}.published.duckdb")


def build_world(con: Connection, edges: int, seed: int) -> Figures:
    """Make the graph in schema ``graph`` and the stage's empty schema; return its sizes by day."""
    people = max(1, int(edges * (1 - _STRANGERS) / _EDGES_OF_A_PERSON))
    script = files("benchmarks").joinpath("identity_edges.sql").read_text(encoding="utf-8")
    sizes = {"edges": edges, "daily": edges // 100, "people": people, "strangers": int(edges * _STRANGERS)}
    con.execute(script.format(**sizes, seed=seed, every=_NEWCOMERS, regulars=_REGULARS))
    ensure_schema(con, "identity")
    con.execute(
        "insert into identity.registry by name select node_id, id_type, '' as id_namespace, '' as id_value, "
        "true as is_raw from graph.nodes"
    )
    rows = con.execute(
        "select count(*) filter (day = 0), count(*) filter (day = 1), (select count(*) from graph.nodes) "
        "from graph.edges"
    ).fetchall()
    return dict(zip(("edges", "edges_of_the_second_day", "identifiers"), rows[0], strict=True))


def require_agreement(ways: dict[str, Figures]) -> None:
    """Refuse figures of ways that did not find the same.

    Raises:
        RuntimeError: Two ways that say the same thing count differently.
    """
    for group in (("limit", "limit_tables", "contraction", "splink"), ("second_day_whole", "second_day_changed")):
        found = {way: ways[way]["components"] for way in group}
        if len(set(found.values())) > 1:
            raise RuntimeError(f"the ways found different numbers of components: {found}")


def _by_stage(folder: Path) -> Figures:
    """Solve and publish the first day by the stage's own steps, and leave the file for the second."""
    with open_house(folder).write() as con:
        return _solve(con, day=0, full=True)


def _second_day(*, full: bool) -> Callable[[Path], Figures]:
    def measure(folder: Path) -> Figures:
        name = "whole" if full else "changed"
        shutil.copyfile(open_house(folder).path, open_house(folder, name).path)
        with open_house(folder, name).write() as con:
            found = _solve(con, day=1, full=full)
        open_house(folder, name).path.unlink()
        return found

    return measure


def _solve(con: Connection, *, day: int, full: bool) -> Figures:
    """Solve all edges up to a day and publish map, ids, history and events; writing the evidence is measured apart."""
    moment = MOMENT + timedelta(days=day)
    run = Run(f"day-{day}", moment, moment)
    _write_stage_tables(con, day)
    with transaction(con):
        create_candidate_tables(con)
        with measured() as solved:
            counted = resolve(con, run, RULES, full=full)
        with measured() as evidence:
            write_reasons(con)
            write_identifiers(con, run)
            write_edges(con, run)
    with measured() as published, transaction(con):
        for step in ("append_events", "close_history", "open_history", "swap_tables"):
            publish.STEPS[step](con, run)
    parts = {"solve": solved, "evidence": evidence, "publish": published}
    return {
        **_sum([solved, published]),
        "cpu_with_evidence": solved.cpu + evidence.cpu + published.cpu,
        "parts": {name: part.as_dict() for name, part in parts.items()},
        "components": _count(con, "identity.customers where status = 'active'"),
        "identifiers_resolved": counted["identifiers_resolved"],
        "edges_tried_singly": counted["edges_tried_singly"],
    }


def _write_stage_tables(con: Connection, day: int) -> None:
    """Write the temporary tables that the stage has when it solves."""
    con.execute(
        "create temp table nodes as select node_id, first_seen_at, first_seen_at as last_seen_at, "
        "false as is_verified, 1::bigint as n_seen_with, id_type, '' as id_namespace from graph.nodes "
        f"where day <= {day}; "
        "create temp table links as select node_a, node_b, 0 as evidence_code, n_obs::bigint as n_obs, first_seen_at, "
        "last_seen_at, 'app' as source, 'events' as evidence, tier, null::double as match_probability, "
        "null::varchar as reject_rule, true as is_raw "
        f"from graph.edges where day <= {day}; "
        "create temp table excluded (node_id bigint, status varchar, status_rule varchar); "
        "create temp table owner_pairs (node_a bigint, node_b bigint); "
        "create temp table operator_bars (node_a bigint, node_b bigint, rule_id varchar); "
        "create temp table match_bars (node_a bigint, node_b bigint, rule_id varchar)"
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[Connection]:
    """Open a file of its own with the world's edges and identifiers as tables, as the stage has them."""
    house = open_house(folder, "scratch")
    with house.write() as con:
        con.execute(f"attach '{open_house(folder).path}' as first_house (read_only)")
        con.execute(
            "create temp table nodes as select node_id, first_seen_at from first_house.graph.nodes where day = 0"
        )
        con.execute("create temp table links as select node_a, node_b from first_house.graph.edges where day = 0")
        yield con
    house.path.unlink()


def _limit(con: Connection) -> None:
    """Label by scipy, and write the map: nothing else is needed to say who belongs together."""
    _label(con)
    con.execute("create table map as select node_id, 'c_' || component as customer_id from labelled")


def _label(con: Connection) -> None:
    pairs = con.execute("select node_a, node_b from links").fetchnumpy()
    node_ids = con.execute("select node_id from nodes").fetchnumpy()["node_id"]
    numbers = np.empty(int(node_ids.max()) + 1, dtype=np.int64)
    numbers[node_ids] = np.arange(len(node_ids))
    ends = (numbers[pairs["node_a"]], numbers[pairs["node_b"]])
    graph = coo_matrix((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(len(node_ids), len(node_ids))).tocsr()
    _, labels = connected_components(graph, directed=False)
    con.register("labelled", pa.table({"node_id": node_ids, "component": labels}))


def _limit_tables(con: Connection) -> None:
    """Do so, and write by hand what else the stage publishes with the map, each table once and as it is."""
    con.execute("set force_compression = 'uncompressed'")
    _label(con)
    stamps = "'day-0' as run_id, timestamp '2026-11-01' as recorded_at"
    con.execute(f"create table map as select node_id, 'c_' || component as customer_id, {stamps} from labelled")
    con.execute(
        "create table customers as select 'c_' || component as customer_id, component as customer_seq, "
        "min(node_id) as anchor_node_id, 0 as anchor_priority, 'active' as status, null::varchar as merged_into, "
        "'deterministic' as match_basis, count(*) as n_nodes, timestamp '2026-11-01' as created_at, "
        f"min(first_seen_at) as first_seen_at, {stamps} from labelled join nodes using (node_id) group by component"
    )
    con.execute(
        "create table history as select node_id, customer_id, timestamp '2026-11-01' as valid_from, "
        f"null::timestamp as valid_to, {stamps} from map"
    )
    con.execute(
        "create table events as select row_number() over () as seq, 'create' as event, "
        "customer_id, null::varchar as other_customer_id, n_nodes, null::varchar as cause_rule, "
        f"timestamp '2026-11-01' as effective_at, {stamps} from customers"
    )


def _contraction(con: Connection) -> None:
    label_in_engine(con, "links", "labels")
    con.execute(
        "create table map as select node_id, 'c_' || coalesce(label, node_id) as customer_id "
        "from nodes left join labels on node = node_id"
    )


def _splink(con: Connection) -> None:
    api = DuckDBAPI(connection=con)
    found = cluster_pairwise_predictions_at_threshold(
        con.sql("select node_id from nodes"),
        con.sql("select node_a, node_b from links"),
        db_api=api,
        node_id_column_name="node_id",
        edge_id_column_name_left="node_a",
        edge_id_column_name_right="node_b",
    )
    con.execute(f"create table map as select node_id, 'c_' || cluster_id as customer_id from {found.physical_name}")


def _alone(work: Callable[[Connection], None]) -> Callable[[Path], Figures]:
    def measure(folder: Path) -> Figures:
        with _scratch(folder) as con:
            with measured() as taken:
                work(con)
            return {**taken.as_dict(), "components": _count(con, "(select distinct customer_id from map)")}

    return measure


def _sum(parts: list[Measurement]) -> Figures:
    return {
        "wall": sum(part.wall for part in parts),
        "cpu": sum(part.cpu for part in parts),
        "peak_bytes": max(part.peak_bytes for part in parts),
    }


def _count(con: Connection, rows: str) -> int:
    return int(con.execute(f"select count(*) from {rows}").fetchall()[0][0])


#: Every way of solving, by name, in the order they are measured: the second day needs what the stage left.
WAYS: dict[str, Callable[[Path], Figures]] = {
    "limit": _alone(_limit),
    "limit_tables": _alone(_limit_tables),
    "contraction": _alone(_contraction),
    "splink": _alone(_splink),
    "stage": _by_stage,
    "second_day_whole": _second_day(full=True),
    "second_day_changed": _second_day(full=False),
}


if __name__ == "__main__":
    main()
