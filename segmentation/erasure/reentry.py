"""What a source sends again about somebody who was erased: recognised by its keyed hash, and dropped.

Belongs here: screening the sources' candidate, before its gate judges it and before anything is published. Does not
belong here: reading files (`segmentation/sources`), or erasing what is there (`erase.py`). A row that names an erased
person by an id, an address or a number is dropped whole, whoever else it names; one that names only a device or a
cookie of theirs loses it, where something better says whose it is. Refused rows are looked through value by value.
What hangs on a dropped row, such as the lines of an order, goes with it (`parts.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from segmentation.erasure.parts import drop_parts, nameless_wholes, suppress_wholes
from segmentation.erasure.subject import owner_expression, suppressed_hash
from segmentation.errors import StrataError
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.email_providers import mailbox_expression
from segmentation.identity.normalise import NORMALISERS
from segmentation.pseudonyms import PseudonymKey, load_key
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS, PARTS, Entity
from segmentation.sources.summary import summarise_candidate
from segmentation.sources.tables import candidate_of
from segmentation.warehouse import Connection, count, literal, table_exists, transaction

_QUARANTINE = "sources.candidate_quarantine"

#: Rows that were dropped and that others hang on, by what they are recognised.
_WHOLES = "dropped_wholes"

#: Raw values that are in normal form but for space and, in addresses, case; the others are read one by one.
_PLAIN_ID = "^ *[!-~]+ *$"
_PLAIN_EMAIL = "^ *[A-Za-z0-9._+-]{1,64}@([A-Za-z0-9]+[.])+[A-Za-z0-9]+ *$"

#: Types of this priority or worse are a device's or a browser's, which several people may use.
_WEAK_PRIORITY = 3


@dataclass(frozen=True, slots=True)
class Screening:
    """What screening a candidate did.

    Attributes:
        rows_dropped: Rows, refused ones included, that named somebody who was erased.
        rows_stripped: Rows that lost a device or a cookie.
    """

    rows_dropped: int
    rows_stripped: int


def screen(con: Connection, run: Run, rules: IdentifierRules, keys: Path) -> Screening:
    """Take everything about erased people out of the candidate of sources; costs nothing where nobody was erased.

    Args:
        con: The warehouse, the candidate built and not judged yet.
        run: Who writes down what was dropped, in ``ops.suppressed_rows``.
        rules: Give namespaces, priorities and the country of phone numbers that name none.
        keys: Folder of the keys.

    Raises:
        StrataError: A key that suppressions were made with is gone: nobody could be recognised.
    """
    if not table_exists(con, "identity", "suppressions") or not count(con, "identity.suppressions"):
        return Screening(0, 0)
    with transaction(con):
        con.execute("delete from ops.suppressed_rows where run_id = ?", [run.run_id])
        in_use = _keys_in_use(con, keys)
        _write_suppressed_values(con, rules, in_use)
        con.execute(
            f"create or replace temp table {_WHOLES} "
            "(entity varchar, source varchar, part_of varchar, erasure_id varchar)"
        )
        dropped = stripped = 0
        for entity in _screened(con):
            gone, changed = _screen_entity(con, run, rules, in_use, entity)
            dropped, stripped = dropped + gone, stripped + changed
        dropped += _screen_refused(con, run)
        suppress_wholes(con, in_use[-1], _WHOLES, "sent again", run.recorded_at)
        dropped += drop_parts(con, run, in_use, _WHOLES)
        con.execute(
            "update sources.candidate_files as f set rows_read = rows_read - d.rows_dropped, "
            "rows_loaded = rows_loaded - d.loaded, rows_quarantined = rows_quarantined - d.refused from ("
            "select file_id, entity, sum(rows_dropped)::bigint as rows_dropped, "
            "coalesce(sum(rows_dropped) filter (not was_refused), 0)::bigint as loaded, "
            "coalesce(sum(rows_dropped) filter (was_refused), 0)::bigint as refused "
            "from ops.suppressed_rows where run_id = ? group by all) as d "
            "where d.file_id = f.file_id and d.entity = f.entity",
            [run.run_id],
        )
        summarise_candidate(con)
        con.execute(f"drop table suppressed_values; drop table {_WHOLES}")
    return Screening(dropped, stripped)


def _keys_in_use(con: Connection, folder: Path) -> list[PseudonymKey]:
    names = con.execute("select distinct key_id from identity.suppressions order by 1").fetchall()
    found = []
    for (key_id,) in names:
        purpose, _, version = key_id.rpartition("-v")
        if not (folder / f"{key_id}.key").exists():
            raise StrataError(
                f"the key {key_id} is gone: people who were erased can't be recognised",
                where=str(folder),
                expected=f"{key_id}.key, as it was when they were erased",
                repair="bring the file back from its backup, then strata run",
            )
        found.append(load_key(folder, purpose, version=int(version)))
    return found


def _screened(con: Connection) -> list[Entity]:
    return [
        entity
        for entity in ENTITIES.values()
        if set(IDENTITY_COLUMNS) <= set(entity.column_names) and count(con, candidate_of(entity))
    ]


def _write_suppressed_values(con: Connection, rules: IdentifierRules, keys: list[PseudonymKey]) -> None:
    """Write ``suppressed_values(id_type, source, raw_value, erasure_id)``: the candidate's values of the erased."""
    sent = [
        f"select distinct {literal(name)}, source, {name} from {candidate_of(entity)} where {name} is not null"
        for entity in _screened(con)
        for name in IDENTITY_COLUMNS
    ]
    # A refused row has not been taken apart: any of its values may be an identifier of any type.
    types = ", ".join(literal(name) for name in IDENTITY_COLUMNS)
    refused = f"select source, unnest(json_extract_string(raw, '$.*')) as value from {_QUARANTINE}"
    sent.append(f"select distinct unnest([{types}]), source, value from ({refused}) where value is not null")
    con.execute(
        "create or replace temp table sent_values as select distinct * "
        f"from ({' union all '.join(sent)}) as t (id_type, source, raw_value)"
    )
    con.execute(
        "create or replace temp table normal_values as select *, "
        "case when id_type = 'email' then lower(trim(raw_value)) else trim(raw_value) end as id_value "
        f"from sent_values where (id_type = 'email' and regexp_matches(raw_value, '{_PLAIN_EMAIL}')) "
        f"or (id_type not in ('email', 'phone') and regexp_matches(raw_value, '{_PLAIN_ID}'))"
    )
    _read_the_rest(con, rules)
    # Whether or not the provider was known when the address was erased, it is recognised.
    mailbox = mailbox_expression("id_value", rules.email_providers)
    con.execute(
        f"insert into normal_values select id_type, source, raw_value, {mailbox} from normal_values "
        f"where id_type = 'email' and {mailbox} <> id_value"
    )
    scoped = ", ".join(literal(name) for name in IDENTITY_COLUMNS if rules.identifiers[name].scope == "source")
    namespace = f"case when v.id_type in ({scoped or 'null'}) then {owner_expression(rules, 'v.source')} else '' end"
    recognised = " union all ".join(
        "select v.id_type, v.source, v.raw_value, s.erasure_id "
        "from normal_values as v join identity.suppressions as s "
        f"on s.value_hmac = {suppressed_hash(key, 'v.id_type', namespace, 'v.id_value')} "
        f"and s.key_id = {literal(key.key_id)}"
        for key in keys
    )
    con.execute(
        "create or replace temp table suppressed_values as select id_type, source, raw_value, "
        f"min(erasure_id) as erasure_id from ({recognised}) group by id_type, source, raw_value"
    )
    con.execute("drop table sent_values; drop table normal_values")


def _read_the_rest(con: Connection, rules: IdentifierRules) -> None:
    rest: pa.Table = con.sql(
        "select id_type, source, raw_value from sent_values anti join normal_values using (id_type, source, raw_value)"
    ).to_arrow_table()
    types, values = (rest.column(name).to_pylist() for name in ("id_type", "raw_value"))
    regions = _regions(con, rules)
    rows: list[tuple[int, str]] = []
    for place, (id_type, raw) in enumerate(zip(types, values, strict=True)):
        # A number that names no country is taken for the erased one's in whatever country it may be read.
        for region in regions if id_type == "phone" else ("",):
            normal = NORMALISERS[id_type](raw, region).id_value
            if normal is not None:
                rows.append((place, normal))
    read = pa.table(
        {name: rest.column(name).take(pa.array([place for place, _ in rows], pa.int64())) for name in rest.column_names}
    ).append_column("id_value", pa.array([normal for _, normal in rows], pa.string()))
    con.register("values_read", read)
    con.execute("insert into normal_values select distinct id_type, source, raw_value, id_value from values_read")
    con.unregister("values_read")


def _regions(con: Connection, rules: IdentifierRules) -> Iterable[str]:
    rows = con.execute("select distinct region from identity.normalised_values where region <> ''").fetchall()
    return sorted({rules.default_region, *(row[0] for row in rows)})


def _screen_entity(
    con: Connection, run: Run, rules: IdentifierRules, keys: list[PseudonymKey], entity: Entity
) -> tuple[int, int]:
    table = candidate_of(entity)
    strong = [name for name in IDENTITY_COLUMNS if rules.identifiers[name].priority < _WEAK_PRIORITY]
    weak = [name for name in IDENTITY_COLUMNS if name not in strong]

    joins = " ".join(
        f"left join (from suppressed_values where id_type = {literal(name)}) as of_{name} "
        f"on of_{name}.source = r.source and of_{name}.raw_value = r.{name}"
        for name in IDENTITY_COLUMNS
    )

    def names_erased(names: Iterable[str]) -> str:
        return " or ".join(f"of_{name}.raw_value is not null" for name in names)

    erasure = ", ".join(f"of_{name}.erasure_id" for name in (*strong, *weak))
    speaks = " or ".join(f"r.{name} is not null" for name in strong)
    marks = ", ".join(f"of_{name}.raw_value is not null as names_{name}" for name in weak)
    con.execute(
        "create or replace temp table screened as select r.rowid as row_number, r.file_id, "
        f"({names_erased(strong)}) or not ({speaks}) as is_dropped, coalesce({erasure}) as erasure_id, {marks} "
        f"from {table} as r {joins} where {names_erased((*strong, *weak))}"
    )
    con.execute(
        f"insert into screened by name select *, true as is_dropped from ({nameless_wholes(keys, entity.name)})"
    )
    for name in weak:
        con.execute(
            f"update {table} set {name} = null "
            f"where rowid in (select row_number from screened where not is_dropped and names_{name})"
        )
    gone, stripped = con.execute(
        "select count(*) filter (is_dropped), count(*) filter (not is_dropped) from screened"
    ).fetchall()[0]
    if entity.name in {whole for whole, _ in PARTS.values()}:
        con.execute(
            f"insert into {_WHOLES} select {literal(entity.name)}, r.source, r.{entity.key[0]}, s.erasure_id "
            f"from {table} as r join screened as s on s.row_number = r.rowid where s.is_dropped"
        )
    con.execute(f"delete from {table} where rowid in (select row_number from screened where is_dropped)")
    con.execute(
        "insert into ops.suppressed_rows by name select $run_id as run_id, file_id, $entity as entity, "
        "false as was_refused, count(*) filter (is_dropped) as rows_dropped, "
        "count(*) filter (not is_dropped) as rows_stripped, $recorded_at as recorded_at from screened group by file_id",
        {"run_id": run.run_id, "entity": entity.name, "recorded_at": run.recorded_at},
    )
    con.execute("drop table screened")
    return int(gone), int(stripped)


def _screen_refused(con: Connection, run: Run) -> int:
    con.execute(
        "create or replace temp table screened as select distinct q.row_number, q.file_id, q.entity from ("
        "select rowid as row_number, file_id, entity, source, unnest(json_extract_string(raw, '$.*')) as value "
        f"from {_QUARANTINE}) as q where (source, value) in (select (source, raw_value) from suppressed_values)"
    )
    gone = count(con, "screened")
    con.execute(f"delete from {_QUARANTINE} where rowid in (select row_number from screened)")
    con.execute(
        "insert into ops.suppressed_rows by name select $run_id as run_id, file_id, entity, true as was_refused, "
        "count(*) as rows_dropped, 0 as rows_stripped, $recorded_at as recorded_at "
        "from screened group by file_id, entity",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    con.execute("drop table screened")
    return gone
