"""Names that loading uses itself, and names that only look as if it did."""

import json
from collections.abc import Callable

import pytest

from segmentation.errors import CatalogProblems

Lines = Callable[..., str]

MAPPING = """\
source: desk
feeds:
  - folder: tickets
    entities:
      - entity: tickets
        columns:
          ticket_id: id
          ticket_status: {column: NAME}
          category: {expression: EXPRESSION}
          opened_at: opened
          updated_at: opened
          csat_score: score
"""


def land(yard, name: str, kind: str) -> str:
    """Land three rows of a file that has such a column, the second a bad one; return its path."""
    path = f"tickets/a.{kind}"
    values = [{"id": f"t{n}", name: f"v{n}", "opened": "2026-01-01", "score": s} for n, s in enumerate(("1", "x", "3"))]
    if kind == "csv":
        yard.land(path, "\n".join([",".join(values[0]), *(",".join(row.values()) for row in values)]) + "\n")
    elif kind == "ndjson":
        yard.land(path, "".join(f"{json.dumps(row)}\n" for row in values))
    else:
        rows = ", ".join("(" + ", ".join(f"'{value}'" for value in row.values()) + ")" for row in values)
        yard.land_parquet(path, f"from (values {rows}) as t({', '.join(json.dumps(key) for key in values[0])})")
    return path


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize(
    "name",
    ["_file_id", "_path", "_raw", "_text", "_row", "r0", "x0", "v", "shift", "line", "reason", "filename", "rid"],
)
def test_any_other_name_is_a_columns_own(yard, name: str, kind: str) -> None:
    yard.map(MAPPING.replace("NAME", name).replace("EXPRESSION", f"upper({name})"))
    path = land(yard, name, kind)
    yard.build()
    assert yard.rows(
        "select ticket_id, ticket_status, category, line from sources.candidate_tickets order by line"
    ) == [
        ("t0", "v0", "V0", 1),
        ("t2", "v2", "V2", 3),
    ]
    ((where, line, code, raw),) = yard.rows(
        "select path, line, reason_code, raw::varchar from sources.candidate_quarantine"
    )
    assert (where, line, code) == (path, 2, "wrong_type:csat_score")
    assert json.loads(raw) == {"id": "t1", name: "v1", "opened": "2026-01-01", "score": "x"}


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("name", ["rowid", "RowID"])
@pytest.mark.parametrize("is_read", [True, False])
def test_a_column_of_row_ids_does_not_number_the_rows(yard, name: str, kind: str, is_read: bool) -> None:
    yard.map(MAPPING.replace("NAME", name if is_read else "id").replace("EXPRESSION", "upper(id)"))
    land(yard, name, kind)
    yard.build()
    status = "ticket_status" if is_read else "replace(ticket_status, 't', 'v')"
    assert yard.rows(f"select ticket_id, {status}, line from sources.candidate_tickets order by line") == [
        ("t0", "v0", 1),
        ("t2", "v2", 3),
    ]
    ((line, raw),) = yard.rows("select line, raw::varchar from sources.candidate_quarantine")
    assert (line, json.loads(raw)[name]) == (2, "v1")


@pytest.mark.parametrize("name", ["_line", "_LINE", "file_row_number", "File_Row_Number", "_strata_raw"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_with_a_reserved_name_is_refused(yard, name: str, kind: str) -> None:
    yard.map(MAPPING.replace("NAME", "id").replace("EXPRESSION", "id"))
    path = land(yard, name, kind)
    message = str(yard.build().facts["files_rejected"][path])
    assert f"the reserved name '{name}'" in message
    assert "rename the column in the file" in message


@pytest.mark.parametrize("name", ["_line", "file_row_number", "_strata_raw"])
def test_a_key_of_a_reserved_name_that_nothing_reads_is_no_harm(yard, name: str) -> None:
    yard.map(MAPPING.replace("NAME", "id").replace("EXPRESSION", "cast(_line as varchar)"))
    land(yard, name, "ndjson")
    yard.build()
    assert yard.rows("select ticket_id, category from sources.candidate_tickets order by line") == [
        ("t0", "1"),
        ("t2", "3"),
    ]


@pytest.mark.parametrize("name", ["_line", "_LINE", "file_row_number", "_strata_raw"])
def test_a_mapping_can_not_read_a_reserved_name(yard, name: str) -> None:
    with pytest.raises(CatalogProblems, match=f"{name} is a name that loading uses itself") as caught:
        yard.map(MAPPING.replace("NAME", name).replace("EXPRESSION", "id"))
    assert [problem.line for problem in caught.value.problems] == [8]
    if name != "_line":
        text = MAPPING.replace("NAME", "id").replace("EXPRESSION", f"upper({name})")
        with pytest.raises(CatalogProblems, match="is a name that loading uses itself") as caught:
            yard.map(text + "        reject:\n          - {when: " + f"'{name} = 7', reason: odd" + "}\n")
        assert [problem.line for problem in caught.value.problems] == [9, 14]
