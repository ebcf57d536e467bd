"""Files that say who is who, and the identifiers they speak of.

Belongs here: reading labels, in any of the forms people have them, and matching them to node ids. Does not
belong here: scoring (`evaluation.py`, `scorecard.py`). Labels never reach resolution: nothing that decides who is who
imports this module.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from segmentation.errors import NotFoundError, SourceError, did_you_mean
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.email_providers import normalisers
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal, quote

#: Names that the column of the entity may have.
ENTITY_COLUMNS = ("entity_id", "person_id", "cluster")

#: Names that the column of the source may have; a value that means something in one source alone needs it.
SOURCE_COLUMNS = ("source", "id_namespace")

_FORMS = (
    f"a column {', '.join(ENTITY_COLUMNS[:-1])} or {ENTITY_COLUMNS[-1]}, and one of: id_type with id_value; node_id; "
    f"columns among {', '.join(IDENTITY_COLUMNS)}"
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a file of labels held; the labels are in temporary table ``labels(record, truth)``.

    Attributes:
        name: The file's name, without its folder.
        rows: Distinct pairs of identifier and entity.
        labelled: Identifiers with one entity: those that can be scored.
        shared: Identifiers that the file gives to several entities; nobody's, so left out.
        unknown: Pairs whose identifier no run ever met.
    """

    name: str
    rows: int
    labelled: int
    shared: int
    unknown: int


def read_truth(con: Connection, path: Path, rules: IdentifierRules) -> Truth:
    """Read a CSV or Parquet file of labels and write temporary table ``labels(record, truth)``, by node id.

    Args:
        con: A connection to published identity.
        path: Each row says that one identifier (``id_type, id_value`` or ``node_id``), or each identifier in the
            row's columns of identifier types, belongs to the entity in ``entity_id``. Identifiers of scope
            ``source`` need ``source`` where several sources have the value.
        rules: Say how values are normalised.

    Raises:
        NotFoundError: There is no such file.
        SourceError: It can't be read, lacks columns, or names nothing that is known.
    """
    columns = _open(con, path)
    try:
        _write_claims(con, path, columns, rules)
    finally:
        con.execute("drop view truth_file")
    _match(con, rules)
    [(rows, unknown)] = con.execute("select count(*), count(*) filter (record is null) from matched").fetchall()
    con.execute(
        "create or replace temp table labels as select record, any_value(truth) as truth from matched "
        "where record is not null group by record having count(distinct truth) = 1"
    )
    [(labelled,)] = con.execute("select count(*) from labels").fetchall()
    [(known,)] = con.execute("select count(distinct record) from matched").fetchall()
    for table in ("claims", "matched"):
        con.execute(f"drop table {table}")
    if not labelled:
        raise SourceError(
            f"none of the {rows:,} labels is about an identifier that a run met"
            if not known
            else f"all {known:,} identifiers have several entities",
            where=str(path),
            expected="identifiers as sources write them, each with its one entity",
            repair="check id_type, id_value and source against identity.identifiers",
        )
    return Truth(path.name, rows, labelled, known - labelled, unknown)


def _open(con: Connection, path: Path) -> dict[str, str]:
    """Create temporary view ``truth_file`` and return its columns' own names by their lower-case ones."""
    if not path.is_file():
        raise NotFoundError(
            "there is no such file of labels",
            where=str(path),
            expected=f"a CSV or Parquet file with {_FORMS}",
            repair="strata identity evaluate --truth FILE",
        )
    name = literal(str(path))
    reader = f"read_parquet({name})" if path.suffix == ".parquet" else f"read_csv({name}, all_varchar = true)"
    try:
        con.execute(f"create or replace temp view truth_file as select * from {reader}")
        names = [row[0] for row in con.execute("describe truth_file").fetchall()]
    except duckdb.Error as error:
        raise SourceError(
            f"the labels can't be read: {str(error).splitlines()[0]}",
            where=str(path),
            expected="a CSV file with a header, or a Parquet file",
            repair="export the labels again",
        ) from error
    return {one.strip().lower(): one for one in names}


def _write_claims(con: Connection, path: Path, columns: dict[str, str], rules: IdentifierRules) -> None:
    """Write ``claims(id_type, id_namespace, id_value, truth)``, each once; no namespace where no source is named."""
    entity = _find(columns, ENTITY_COLUMNS)
    identifiers = [name for name in IDENTITY_COLUMNS if name in columns]
    source = _find(columns, SOURCE_COLUMNS)
    named_source = f"nullif(trim({source}::varchar), '')" if source else "null::varchar"
    if {"id_type", "id_value"} <= columns.keys():
        parts = [
            f"select {quote(columns['id_type'])}::varchar as id_type, {quote(columns['id_value'])}::varchar as id_value"
        ]
    elif "node_id" in columns:
        parts = [f"select 'node' as id_type, {quote(columns['node_id'])}::varchar as id_value"]
    else:
        parts = [
            f"select {literal(name)} as id_type, {quote(columns[name])}::varchar as id_value" for name in identifiers
        ]
    if entity is None or not parts:
        missing, wanted = "no column names identifiers", IDENTITY_COLUMNS
        if entity is None:
            missing, wanted = "no column says which entity a row is about", ENTITY_COLUMNS
        hint = next(filter(None, (did_you_mean(one, wanted) for one in columns)), "")
        raise SourceError(
            f"{missing}; the columns are {', '.join(columns.values())}{hint}",
            where=str(path),
            expected=_FORMS,
            repair="rename the columns",
        )
    pieces = " union all ".join(
        f"{part}, {named_source} as named_source, {entity}::varchar as truth from truth_file" for part in parts
    )
    namespaces = " ".join(f"when {literal(a)} then {literal(b)}" for a, b in sorted(rules.shared_namespaces.items()))
    owner = f"case named_source {namespaces} else named_source end" if namespaces else "named_source"
    by_source = ", ".join(literal(n) for n in IDENTITY_COLUMNS if rules.identifiers[n].scope == "source")
    try:
        con.execute(
            "create or replace temp table claims as select distinct id_type, "
            f"case when id_type in ({by_source or 'null'}) then {owner} else '' end as id_namespace, id_value, truth "
            f"from ({pieces}) where id_value is not null and truth is not null"
        )
    except duckdb.Error as error:
        raise SourceError(
            f"the labels can't be read: {str(error).splitlines()[0]}",
            where=str(path),
            expected="rows that all have the header's columns",
            repair="export the labels again",
        ) from error


def _match(con: Connection, rules: IdentifierRules) -> None:
    """Write ``matched(claim, …, truth, record)``: by normal form, else as a source wrote it, else normalised now.

    A value that several sources use for several identifiers, without the source, stays without record.
    """
    con.execute(
        "create or replace temp table matched as select row_number() over () as claim, *, null::bigint as record "
        "from claims"
    )
    same_source = "(m.id_namespace is null or i.id_namespace = m.id_namespace)"
    _fill(
        con,
        "join identity.identifiers as i on m.id_type = 'node' and i.node_id = try_cast(m.id_value as bigint)",
    )
    _fill(
        con,
        f"join identity.identifiers as i on i.id_type = m.id_type and i.id_value = m.id_value and {same_source}",
    )
    _fill(
        con,
        f"join identity.identifier_lookup as i on i.id_type = m.id_type and i.raw_value = m.id_value and {same_source}",
    )
    rest: pa.Table = con.sql(
        "select distinct id_type, id_value from matched where record is null and id_type <> 'node'"
    ).to_arrow_table()
    types, values = (rest.column(name).to_pylist() for name in ("id_type", "id_value"))
    normalise = normalisers(rules.email_providers)
    normal = [
        normalise[id_type](value, rules.default_region).id_value if id_type in normalise else None
        for id_type, value in zip(types, values, strict=True)
    ]
    con.register("normalised_claims", rest.append_column("normal", pa.array(normal, pa.string())))
    _fill(
        con,
        "join normalised_claims as n on n.id_type = m.id_type and n.id_value = m.id_value "
        f"join identity.identifiers as i on i.id_type = n.id_type and i.id_value = n.normal and {same_source}",
    )
    con.unregister("normalised_claims")


def _fill(con: Connection, join: str) -> None:
    """Give claims that have no record yet the one that a join of ``matched as m`` to ``i`` finds, where it is one."""
    con.execute(
        "update matched set record = f.record from ("
        f"select m.claim, min(i.node_id) as record from (from matched where record is null) as m {join} "
        "group by m.claim having count(distinct i.node_id) = 1) as f where f.claim = matched.claim"
    )


def _find(columns: dict[str, str], names: tuple[str, ...]) -> str | None:
    """Return the quoted name of the first of ``names`` that is there."""
    return next((quote(columns[name]) for name in names if name in columns), None)
