"""Models attribute a row to the customer that identity does, in whatever order of identifiers the catalog gives."""

from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.dbt_project import dbt_environment
from orchestration.settings import ROOT, Settings
from segmentation.contracts import ensure_schema
from segmentation.identity.catalog import load_identifier_rules
from segmentation.identity.lookup import attribution
from segmentation.sources.entities import IDENTITY_COLUMNS

SQL = "{{ attribute_to_customer('facts', ['row_number'], lookup='identity.identifier_lookup', keep_unknown=true) }}"

SHIPPED = (ROOT / "catalog" / "identifiers.yml").read_text(encoding="utf-8")
#: Phones before e-mails, and accounts that mean something within their source alone.
OTHER = (
    SHIPPED.replace("  phone:\n    priority: 2", "  phone:\n    priority: 0")
    .replace("  user_id:\n    priority: 0\n    scope: global", "  user_id:\n    priority: 1\n    scope: source")
    .replace("  device_id:\n    priority: 3", "  device_id:\n    priority: 5")
)


@pytest.fixture(scope="module", params=[SHIPPED, OTHER], ids=["shipped", "another order"])
def attributed(request: Any, project: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The rules of a catalog, and the statement that models attribute rows by under them."""
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "identifiers.yml").write_text(request.param, encoding="utf-8")
    with dbt_environment(Settings(catalog=folder, data=folder / "data")):
        done = project.dbt("compile", "--inline", SQL, "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    return load_identifier_rules(folder), done.stdout


VALUES = st.one_of(st.none(), st.sampled_from(["1", "2", "3"]))
ROWS = st.lists(
    st.tuples(st.sampled_from(["crm", "shop"]), *(VALUES for _ in IDENTITY_COLUMNS)), min_size=1, max_size=20
)
KNOWN = st.sets(
    st.tuples(st.sampled_from(IDENTITY_COLUMNS), st.sampled_from(["crm", "shop"]), st.sampled_from(["1", "2"]))
)


def test_the_other_order_is_another(attributed: Any) -> None:
    rules, sql = attributed
    order = [sql.index(f"by_{name}.customer_id") for name in rules.types_by_priority]
    assert order == sorted(order)


@given(rows=ROWS, known=KNOWN)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_models_and_identity_agree_on_whose_a_row_is(attributed: Any, rows: Any, known: Any) -> None:
    rules, sql = attributed
    with duckdb.connect() as con:
        ensure_schema(con, "identity")
        entries = {
            (name, source if rules.identifiers[name].scope == "source" else "", value) for name, source, value in known
        }
        for node, (name, namespace, value) in enumerate(sorted(entries)):
            con.execute(
                "insert into identity.identifier_lookup values (?, ?, ?, ?, ?)",
                [name, namespace, value, node, f"c_{node}"],
            )
        columns = ", ".join(f"{name} varchar" for name in IDENTITY_COLUMNS)
        con.execute(f"create table facts (row_number bigint, source varchar, {columns})")
        for number, row in enumerate(rows):
            con.execute(f"insert into facts values ({', '.join('?' * (len(row) + 1))})", [number, *row])
        node, joins = attribution(con, rules, "facts", lookup="identity.identifier_lookup")
        by_identity = con.execute(f"select 'c_' || {node}, r.row_number from facts as r {joins} order by 2").fetchall()
        assert con.execute(f"{sql} order by row_number").fetchall() == by_identity
