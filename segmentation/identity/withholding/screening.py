"""What landed rows may be kept: judged by the consent known when they arrive, before any gate or reader sees them.

Belongs here: the order of the steps, and the counts of the load ledger. Does not belong here: the steps (one module
each), or consent of customers once identity has resolved them (`segmentation/identity/consents.py`). Nothing is kept of
what is withheld but counts, so nothing of it comes back when somebody agrees later: rows that happen after that do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation.contracts import ensure_schema
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.purposes import Purposes
from segmentation.identity.withholding.asks import Ask, find_asks, parted_sources, write_asks
from segmentation.identity.withholding.rows import note, withhold
from segmentation.identity.withholding.subjects import UNREAD, find_subjects
from segmentation.identity.withholding.timelines import write_timelines
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, PARTS
from segmentation.sources.feeds import SourceMapping
from segmentation.sources.summary import measure_again, summarise_candidate
from segmentation.sources.tables import candidate_of, published_of
from segmentation.warehouse import Connection, count, literal, quote, transaction

_TEMPORARY = (
    "asks",
    "asked_lineage",
    "spoken",
    "subjects",
    "consent_spells",
    "consent_now",
    "withheld_wholes",
    UNREAD,
)


@dataclass(frozen=True, slots=True)
class Withholding:
    """What was not kept of a candidate.

    Attributes:
        rows_dropped: Rows whose person did not allow what they are for.
        values_stripped: Values that loaded rows lost.
    """

    rows_dropped: int
    values_stripped: int


def screen_consent(
    con: Connection,
    run: Run,
    mappings: Sequence[SourceMapping],
    rules: IdentifierRules,
    purposes: Purposes,
) -> Withholding:
    """Take out of the candidate of sources what nobody allowed to be kept; costs nothing where no mapping asks.

    Screening a candidate again changes nothing.

    Args:
        con: The warehouse, the candidate built, rid of erased people, and not judged yet.
        run: Decisions after its ``as_of`` grant nothing; those that refuse count.
        mappings: What `load_mappings` returned.
        rules: Give normal forms, namespaces and the order of identifiers.
        purposes: Give the hierarchy, and which purposes need consent.
    """
    asks = find_asks(mappings, purposes)
    if not asks:
        return Withholding(0, 0)
    ensure_schema(con, "identity")
    with transaction(con):
        write_asks(con, asks, purposes)
        con.execute("create or replace temp table withheld_wholes (entity varchar, source varchar, part_of varchar)")
        asked = [str(name) for (name,) in con.execute("select distinct entity from asks order by 1").fetchall()]
        if asked:
            find_subjects(con, rules)
            write_timelines(con, run, rules)
            for name in asked:
                withhold(con, run, rules, ENTITIES[name])
        parts = _withhold_parts(con, run, asks)
        done = _settle(con, {*asked, *parts})
        for table in _TEMPORARY:
            con.execute(f"drop table if exists {table}")
    return done


def _withhold_parts(con: Connection, run: Run, asks: Sequence[Ask]) -> set[str]:
    """Drop what hangs on dropped rows, and what hangs on no row that is known: its row may have been dropped before."""
    touched = set()
    for part, source, purpose in parted_sources(asks):
        whole, column = PARTS[part]
        table, key = candidate_of(ENTITIES[part]), quote(column)
        known = " union all ".join(
            f"select {key} from {relation} where source = {literal(source)}"
            for relation in (candidate_of(ENTITIES[whole]), published_of(ENTITIES[whole]))
        )
        con.execute(
            f"create or replace temp table withheld_parts as select rowid as row_number, file_id, "
            f"{literal(purpose)} as purpose, 'part' as reason from {table} where source = {literal(source)} and ("
            f"{key} not in ({known}) or {key} in (select part_of from withheld_wholes "
            f"where entity = {literal(whole)} and source = {literal(source)}))"
        )
        if count(con, "withheld_parts"):
            note(con, run, part, "", "withheld_parts")
            con.execute(f"delete from {table} where rowid in (select row_number from withheld_parts)")
            touched.add(part)
        con.execute("drop table withheld_parts")
    return touched


def _settle(con: Connection, entities: set[str]) -> Withholding:
    """Let the load ledger's counts of the candidate say what is in it now."""
    con.execute(
        "update sources.candidate_files as f set rows_loaded = rows_loaded - w.n_rows, "
        "rows_withheld = rows_withheld + w.n_rows from (select file_id, entity, sum(n_rows)::bigint as n_rows "
        "from sources.candidate_withheld where field = '' group by all) as w "
        "where w.file_id = f.file_id and w.entity = f.entity and f.rows_withheld = 0"
    )
    measure_again(con, entities)
    summarise_candidate(con)
    [(rows, values)] = con.execute(
        "select coalesce(sum(n_rows) filter (field = ''), 0)::bigint, "
        "coalesce(sum(n_rows) filter (field <> ''), 0)::bigint from sources.candidate_withheld"
    ).fetchall()
    return Withholding(rows, values)
