"""Resolution of the sample company against its truth: nobody is mixed, and little is missed."""

from datetime import datetime
from pathlib import Path

import pytest

from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.components import fetch_integers, label_components
from segmentation.identity.publish import publish
from segmentation.run import Run
from segmentation.sample.company import generate
from segmentation.sources import candidate as sources_candidate
from segmentation.sources import publish as sources_publish
from segmentation.sources.mapping import load_mappings
from segmentation.warehouse import Connection, Warehouse

ROOT = Path(__file__).resolve().parents[3]
RUN = Run("run-1", datetime(2026, 11, 1), datetime(2026, 11, 1, 5))

#: Identifiers and the persons they truly belong to; the household's tablet belongs to two.
_JUDGED = """
    create or replace temp table judged as
    select distinct p.person_id, p.id_type, p.origin, i.node_id, m.customer_id
    from read_parquet('{truth}/persons.parquet') as p
    join identity.identifiers as i on i.id_type = p.id_type and i.id_namespace = coalesce(p.source, '')
        and i.id_value = case when p.id_type = 'email' then lower(p.id_value) else p.id_value end
    left join identity.identifier_map as m using (node_id)
    where p.origin <> 'household'
"""

#: Pairs within cells, within customers and within persons: true positives, predicted, actual.
_PAIRS = """
    with cells as (select person_id, coalesce(customer_id, 'nobody ' || node_id) as found, count(*) as n
                   from judged group by all)
    select sum(n * (n - 1) / 2), (select sum(n * (n - 1) / 2) from (select sum(n) as n from cells group by found)),
           (select sum(n * (n - 1) / 2) from (select sum(n) as n from cells group by person_id))
    from cells
"""


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory, catalog: IdentityCatalog):
    """The sample company, resolved, with temporary table `judged`."""
    folder = tmp_path_factory.mktemp("company")
    landing, truth = folder / "landing", folder / "truth"
    generate(landing, truth, customers=800, days=90, seed=7, events_per_customer=15)
    warehouse = Warehouse(folder / "warehouse.duckdb", folder / "published.duckdb", memory_limit="1GB")
    with warehouse.write() as con:
        sources_candidate.build_candidate(
            con, RUN, landing=landing, mappings=load_mappings(ROOT / "catalog" / "sources")
        )
        sources_publish.publish(con, RUN)
        build_candidate(con, RUN, catalog)
        publish(con, RUN)
        con.execute(_JUDGED.format(truth=truth))
        yield con


def _persons_per_customer(con: Connection, condition: str) -> int:
    rows = con.execute(
        f"select count(distinct person_id) as n from judged where customer_id is not null and {condition} "
        "group by customer_id order by n desc limit 1"
    ).fetchall()
    return rows[0][0]


def test_no_known_customer_mixes_two_persons(resolved):
    assert _persons_per_customer(resolved, "id_type in ('source_customer_id', 'user_id')") == 1


def test_almost_no_pair_is_wrong(resolved):
    right, predicted, _ = resolved.execute(_PAIRS).fetchall()[0]
    assert right / predicted >= 0.999


def test_recall_comes_within_a_point_of_what_the_evidence_allows(resolved):
    right, _, actual = (float(value) for value in resolved.execute(_PAIRS).fetchall()[0])
    edges = fetch_integers(
        resolved,
        "select distinct e.node_a, e.node_b from identity.edges as e join judged as a on a.node_id = e.node_a "
        "join judged as b on b.node_id = e.node_b and b.person_id = a.person_id",
    )
    nodes = fetch_integers(resolved, "select max(node_id) + 1 as n from identity.registry")["n"][0]
    labels = label_components(int(nodes), edges["node_a"], edges["node_b"])
    cells: dict[tuple[str, int], set[int]] = {}
    for person, node in resolved.execute("select distinct person_id, node_id from judged").fetchall():
        cells.setdefault((person, int(labels[node])), set()).add(node)
    ceiling = sum(len(cell) * (len(cell) - 1) / 2 for cell in cells.values()) / actual
    assert ceiling - 0.01 <= right / actual <= ceiling + 1e-9


def test_shared_and_placeholder_identifiers_belong_to_nobody(resolved):
    truth = "read_parquet('{}/shared_identifiers.parquet')"
    folder = resolved.execute("select path from duckdb_databases() where not internal").fetchall()[0][0]
    shared = truth.format(Path(folder).parent / "truth")
    rows = resolved.execute(
        f"select s.id_value, count(m.customer_id) from {shared} as s join identity.identifiers as i "
        "on i.id_type = s.id_type and i.id_value = s.id_value left join identity.identifier_map as m using (node_id) "
        "where s.kind = 'placeholder' group by all"
    ).fetchall()
    assert rows
    assert all(n == 0 for _, n in rows)
    kiosks = resolved.execute(
        f"select i.status, count(*) from {shared} as s join identity.identifiers as i "
        "on i.id_type = s.id_type and i.id_value = s.id_value where s.kind = 'kiosk' group by all"
    ).fetchall()
    assert dict(kiosks).get("shared", 0) > 0
