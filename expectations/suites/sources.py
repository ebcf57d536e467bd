"""What must be true of newly landed rows before they join the published ones.

Belongs here: truths over `sources.candidate_files`, `sources.candidate` (figures), the quarantine and the
findings. Does not belong here: judging single rows, which loading does (`segmentation/sources`). A run
without new files has empty candidate tables and passes.
"""

from expectations.truths import Suite, holds_nowhere
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.sources.reasons import BETWEEN, REJECTED

FILES = "candidate_files"
FIGURES = "candidate"
QUARANTINE = "candidate_quarantine"
FINDINGS = "candidate_findings"

#: Share of a source's rows that may be refused for reasons its mapping does not name, and how few are too few to judge.
_REFUSED_SHARE = 0.05
_REFUSED_FLOOR = 20

_CHECK = "see what is wrong with it: strata check-source FILE; then correct the file or its mapping in catalog/sources"
_BUG = "report it: no row may be lost between file, table and quarantine"

#: A cause other than one that the mapping names under `reject`, whose author expects it.
_OWN_CAUSE = (
    f"len(list_filter(string_split(reason_code, '{BETWEEN}'), lambda code: not starts_with(code, '{REJECTED}:'))) > 0"
)
_NAMES = [name for name, entity in ENTITIES.items() if set(IDENTITY_COLUMNS) <= set(entity.column_names)]
_NAMING = ", ".join(f"'{name}'" for name in _NAMES)
_COUNTED = " union all ".join(
    f"select '{name}' as entity, count(*) as rows_found from sources.candidate_{name}" for name in ENTITIES
)
# A run may describe a moment in the past, so what has happened is what lies before the run was made, too.
_NOW = "(select max_by(greatest(as_of, created_at), candidate_seq) from ops.candidates where stage = 'sources')"

SUITE = Suite(
    "sources",
    (
        holds_nowhere(
            "every_file_is_readable",
            FILES,
            "select source, entity, path from {batch} where status = 'rejected'",
            expected="no file that could not be read as a whole",
            repair=_CHECK,
            may_be_accepted=True,
        ),
        holds_nowhere(
            "few_rows_are_refused",
            FILES,
            f"""
            select files.source, files.entity, refused.n as rows_refused, sum(files.rows_read)::bigint as rows_read
            from {{batch}} as files
            join (
                select source, entity, count(*) as n from sources.candidate_quarantine
                where {_OWN_CAUSE} group by all
            ) as refused using (source, entity)
            group by all
            having rows_refused >= {_REFUSED_FLOOR} and rows_refused > {_REFUSED_SHARE} * sum(files.rows_read)
            """,
            expected=f"at most {_REFUSED_SHARE:.0%} of rows refused for reasons that the mapping does not name",
            repair="see the reasons: strata quarantine --candidate; correct the mapping in catalog/sources, "
            "or name the reason there under reject",
            may_be_accepted=True,
        ),
        holds_nowhere(
            "no_file_is_refused_whole",
            FILES,
            "select source, entity, path, rows_quarantined from {batch} "
            "where status = 'staged' and rows_read > 0 and rows_quarantined = rows_read",
            expected="of every file some rows that can be used",
            repair=_CHECK,
            may_be_accepted=True,
        ),
        holds_nowhere(
            "every_row_is_accounted_for",
            FILES,
            "select path, entity, rows_read, rows_loaded, rows_duplicate, rows_quarantined, rows_withheld from {batch} "
            "where status = 'staged' and rows_read <> rows_loaded + rows_duplicate + rows_quarantined + rows_withheld",
            expected="read = loaded + duplicate + quarantined + withheld",
            repair=_BUG,
        ),
        holds_nowhere(
            "loaded_rows_are_in_their_table",
            FIGURES,
            f"""
            select figures.entity, figures.rows_loaded, counted.rows_found
            from {{batch}} as figures join ({_COUNTED}) as counted using (entity)
            where figures.grain = 'entity' and figures.rows_loaded <> counted.rows_found
            """,
            expected="as many candidate rows as were counted",
            repair=_BUG,
        ),
        holds_nowhere(
            "refused_rows_are_in_quarantine",
            QUARANTINE,
            """
            select files.n as rows_counted, found.n as rows_found
            from (select count(*) as n from {batch}) as found
            cross join (
                select coalesce(sum(rows_quarantined), 0)::bigint as n from sources.candidate_files
            ) as files
            where files.n <> found.n
            """,
            expected="as many rows in quarantine as were counted",
            repair=_BUG,
        ),
        holds_nowhere(
            "some_rows_name_customers",
            FIGURES,
            f"""
            select total.rows_after from (
                select coalesce(sum(rows_after), 0)::bigint as rows_after from {{batch}}
                where grain = 'entity' and entity in ({_NAMING})
            ) as total where total.rows_after = 0
            """,
            expected="rows of an entity that names customers, now or from an earlier run",
            repair="land customer records, orders or events, and map them in catalog/sources",
        ),
        holds_nowhere(
            "events_have_happened",
            FILES,
            f"select source, entity, path, first_event_at from {{batch}} "
            f"where entity <> 'charges' and first_event_at > {_NOW} + interval 1 day",
            expected="no file with all of its events in the future",
            repair="correct the time's format or unit in catalog/sources",
        ),
        holds_nowhere(
            "no_event_is_from_the_future",
            FILES,
            f"select source, entity, path, last_event_at from {{batch}} where entity <> 'charges' "
            f"and last_event_at > {_NOW} + interval 1 day and first_event_at <= {_NOW} + interval 1 day",
            expected="no event more than a day after the run; such rows wait until a run reaches them",
            repair="see whether the source's clock is right",
            severity="warning",
        ),
        holds_nowhere(
            "most_rows_are_usable",
            FIGURES,
            "select entity, rows_read, rows_quarantined, quarantined_ratio from {batch} "
            f"where grain = 'entity' and quarantined_ratio > {_REFUSED_SHARE}",
            expected=f"at most {_REFUSED_SHARE:.0%} of an entity's rows in quarantine, for whatever reason",
            repair="see the reasons: strata quarantine --candidate",
            severity="warning",
        ),
        holds_nowhere(
            "withheld_rows_are_counted_by_reason",
            FILES,
            """
            select files.path, files.entity, files.rows_withheld, coalesce(found.n, 0) as rows_counted
            from {batch} as files
            left join (
                select file_id, entity, sum(n_rows) as n from sources.candidate_withheld where field = '' group by all
            ) as found using (file_id, entity)
            where files.rows_withheld <> coalesce(found.n, 0)
            """,
            expected="a purpose and a reason for every row that was withheld",
            repair=_BUG,
        ),
        holds_nowhere(
            "most_rows_may_be_kept",
            FIGURES,
            "select entity, rows_read, rows_withheld from {batch} "
            "where grain = 'entity' and rows_withheld > 0.5 * rows_read",
            expected="consent for at least half of the rows of an entity",
            repair="see why: the page of sources/candidate. Decisions that arrive after the rows they allow come too "
            "late for them: land both before the run, or ask for less in catalog/sources",
            severity="warning",
        ),
        holds_nowhere(
            "most_rows_name_a_customer",
            FIGURES,
            "select entity, rows_loaded, rows_without_identifier from {batch} "
            "where grain = 'entity' and without_identifier_ratio > 0.5",
            expected="an identifier in at least half of the rows of an entity that names customers",
            repair="map the columns that identify customers in catalog/sources",
            severity="warning",
        ),
        holds_nowhere(
            "everything_in_the_landing_folder_is_mapped",
            FINDINGS,
            "select kind, path from {batch}",
            expected="no folder or file that nothing reads",
            repair="map it in catalog/sources, or take it out of the landing folder",
            severity="warning",
        ),
    ),
)
