"""The stage's proposal: what the catalog's rules say now, and what publishing it would change.

Belongs here: the order of the steps, and refusing what can't be decided. Does not belong here: the decisions
(``decisions.py``) and the difference (``changes.py``). Look next at ``publish.py``.
"""

import json
from datetime import datetime

from segmentation import contracts
from segmentation.audit import canonical_json
from segmentation.errors import CandidateError
from segmentation.run import Run, StageReport
from segmentation.segments.canary_rows import propose_canaries
from segmentation.segments.catalog import Catalog, normal_form
from segmentation.segments.changes import find_changes
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.conditions import PURPOSES, features_of
from segmentation.segments.decisions import FEATURES, decide, is_live
from segmentation.segments.overrides import resolve_overrides
from segmentation.segments.provenance import Provenance
from segmentation.segments.publications import Publication, latest_publication
from segmentation.segments.rule_sql import to_sql
from segmentation.segments.tombstones import refuse_used_keys
from segmentation.warehouse import Connection, count, table_exists, transaction

_CATALOG = """
create or replace table segments.candidate_catalog (
    segment_key varchar not null,
    segment_version integer not null,
    definition_hash varchar not null,
    membership_hash varchar not null,
    definition json not null,
    rule_sql varchar,
    lifecycle varchar not null,
    group_key varchar,
    precedence integer,
    owner varchar not null,
    name varchar not null,
    catalog_file varchar not null,
    catalog_line integer not null,
    is_evaluated boolean not null,
    is_expired boolean not null,
    is_decision_changed boolean not null,
    is_version_new boolean not null,
    purposes varchar[] not null,
    destinations varchar[] not null,
    limits json not null,
    author varchar not null,
    change_class varchar not null,
    pin_id varchar
)
"""

_GROUPS = """
create or replace table segments.candidate_groups (
    group_key varchar not null,
    name varchar not null,
    description varchar not null,
    parent_key varchar,
    default_segment varchar,
    is_costing boolean not null
)
"""

# Changes that wait for approval, the policy that would be in force, and the approvals that it all uses up.
_HELD = """
create or replace table segments.candidate_held (
    unit_key varchar not null,
    subject varchar not null,
    what varchar not null,
    change_class varchar not null,
    reasons varchar[] not null
);
create or replace table segments.candidate_policy (policy json not null);
create or replace table segments.candidate_approvals (approval_seq bigint not null, fate varchar not null)
"""

_PINNED = """
update segments.candidate_catalog as c set pin_id = p.pin_id
from segments.candidate_places as p where c.segment_key = p.segment_key and p.pin_id is not null
"""

_SUMMARY = """
create or replace table segments.candidate_summary as
select
    cast(? as varchar) as candidate_id,
    cast(? as varchar) as run_id,
    cast(? as timestamp) as as_of,
    cast(? as bigint) as base_publication_seq,
    cast(? as varchar) as features_candidate_id,
    cast(? as bigint) as identity_event_seq,
    cast(? as bigint) as population,
    (select coalesce(sum(members_after), 0)::bigint from segments.candidate_sizes) as members,
    (select count(*) from segments.candidate_moves where is_entry) as entering,
    (select count(*) from segments.candidate_moves where not is_entry) as leaving,
    (select count(*) from segments.candidate_conflicts) as conflicts,
    (select count(*) from segments.candidate_overrides where status = 'applied') as overrides_applied,
    (select count(*) from segments.candidate_overrides where status = 'unknown') as overrides_unknown,
    (select count(*) from segments.candidate_overrides where status = 'expired') as overrides_expired
"""


def build_candidate(con: Connection, run: Run, catalog: Catalog, *, pins_alone: bool = False) -> StageReport:
    """Evaluate the catalog on the published features and propose the outcome.

    Writes ``segments.candidate`` and ``segments.candidate_*`` in one transaction; what is published stays as
    it is.

    Args:
        con: The warehouse.
        run: The run; its ``as_of`` is that of the features.
        catalog: What ``load_catalog`` returned.
        pins_alone: Whether only pins are to act; see ``find_changes``.

    Raises:
        CandidateError: The features are missing, lack a column, hold a customer twice or describe another
            moment than the run, or a later moment has been published already.
        CatalogProblems: A segment takes the key of another one that ran and is gone.
    """
    contracts.ensure_schema(con, "identity")
    contracts.ensure_schema(con, "segments")
    with transaction(con):
        return write_candidate(con, run, catalog, pins_alone=pins_alone)


def write_candidate(con: Connection, run: Run, catalog: Catalog, *, pins_alone: bool = False) -> StageReport:
    """Do what ``build_candidate`` does, in the caller's transaction, on tables that are there."""
    _check_features(con, run, catalog)
    last = latest_publication(con)
    _check_order(run, last)
    refuse_used_keys(con, catalog)
    features = contracts.latest_candidate(con, "features", published=True)
    population = count(con, FEATURES)
    newest_event = _newest_identity_event(con)
    resolve_overrides(con, run, catalog.segments.values())
    _write_catalog(con, run, catalog)
    propose_canaries(con, run, catalog)
    places = decide(con, run, catalog, last.seq + 1 if last else 1)
    con.execute(_PINNED)
    find_changes(
        con,
        run,
        places,
        population=population,
        last_as_of=last.as_of if last else run.as_of,
        # The first publication explains nothing by what happened before it.
        identity_event_seq=last.identity_event_seq if last else newest_event,
        pins_alone=pins_alone,
    )
    candidate_id = contracts.stamp_candidate(con, "segments", run)
    con.execute(
        _SUMMARY,
        [
            candidate_id,
            run.run_id,
            run.as_of,
            last.seq if last else 0,
            features.candidate_id if features else None,
            newest_event,
            population,
        ],
    )
    return _report(con, candidate_id)


def _check_features(con: Connection, run: Run, catalog: Catalog) -> None:
    if not table_exists(con, "features", "customer_features"):
        raise CandidateError(
            "there are no features to decide on", where=FEATURES, expected="the stage features, published",
            repair="strata run --from features",
        )  # fmt: skip
    columns = {row[0] for row in con.execute(f"describe {FEATURES}").fetchall()}
    for segment in catalog.segments.values():
        needed = {name for condition in segment.conditions for name in features_of(condition)}
        parts = [part for _, part in segment.parts if part is not None]
        if any(part.required_purposes for part in parts):
            needed.add(PURPOSES)
        if any(part.definition.residency for part in parts):
            needed.add("residency_region")
        if segment.definition.canary:
            needed |= {metric.feature for metric in segment.definition.canary.metrics}
        lacking = sorted(needed - columns)
        if lacking and is_live(segment, run):
            raise CandidateError(
                f"the features lack {', '.join(lacking)}, which segment {segment.key} needs",
                where=f"{segment.file}:{segment.line('rule')}",
                expected=f"these columns in {FEATURES}",
                repair="strata run --from features",
            )
    found = con.execute(
        f"select count(*), count(distinct customer_id), min(as_of), max(as_of) from {FEATURES}"
    ).fetchall()[0]
    rows, customers, first, newest = found
    if rows != customers:
        raise CandidateError(
            f"the features hold {rows - customers} rows of customers that are there already, or without id",
            where=FEATURES,
            expected="one row per customer",
            repair="strata run --from features",
        )
    moments: set[datetime] = {first, newest} - {None}
    if moments - {run.as_of}:
        raise CandidateError(
            f"the features describe {' to '.join(str(moment) for moment in sorted(moments))}, the run {run.as_of}",
            where=FEATURES,
            expected="features as of the run's moment, so that no later event is seen",
            repair="strata run --from features",
        )


def _check_order(run: Run, last: Publication | None) -> None:
    if last and run.as_of < last.as_of:
        raise CandidateError(
            f"membership as of {last.as_of} has been published already; this run is as of {run.as_of}",
            where="segments.publications",
            expected="runs in the order of their moments: the change log can't be written backwards",
            repair=f"strata run with as_of {last.as_of} or later",
        )


def _newest_identity_event(con: Connection) -> int:
    return int(con.execute("select coalesce(max(seq), 0) from identity.events").fetchall()[0][0])


def _write_catalog(con: Connection, run: Run, catalog: Catalog) -> None:
    con.execute(_CATALOG)
    con.execute(_GROUPS)
    versions = {
        key: (version, digest)
        for key, version, digest in con.execute(
            "select segment_key, max(segment_version), arg_max(definition_hash, segment_version) "
            "from segments.versions group by 1"
        ).fetchall()
    }
    decided = dict(
        con.execute("select segment_key, membership_hash from segments.catalog where is_evaluated").fetchall()
    )
    rows = [_catalog_row(run, segment, versions, decided, catalog) for segment in catalog.segments.values()]
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        con.executemany(f"insert into segments.candidate_catalog values ({marks}, null)", rows)
    groups = [
        [group.key, group.definition.name, group.definition.description, group.definition.parent,
         group.definition.default, group.definition.costing]
        for group in catalog.groups.values()
    ]  # fmt: skip
    if groups:
        con.executemany("insert into segments.candidate_groups values (?, ?, ?, ?, ?, ?)", groups)
    con.execute(_HELD)
    held = [[one.unit_key, one.subject, one.what, one.change_class, list(one.reasons)] for one in catalog.held]
    if held:
        con.executemany("insert into segments.candidate_held values (?, ?, ?, ?, ?)", held)
    if catalog.fates:
        con.executemany("insert into segments.candidate_approvals values (?, ?)", [*catalog.fates.items()])
    if catalog.policy:
        con.execute("insert into segments.candidate_policy values (?)", [canonical_json(catalog.policy.facts())])


def _catalog_row(
    run: Run,
    segment: CatalogSegment,
    versions: dict[str, tuple[int, str]],
    decided: dict[str, str],
    catalog: Catalog,
) -> list[object]:
    definition = segment.definition
    version, digest = versions.get(segment.key, (0, ""))
    is_new = digest != segment.definition_hash
    live = is_live(segment, run)
    # Beside a canary, only what both versions ask of their members is asked of everybody.
    asked = [set(part.required_purposes) for _, part in segment.parts if part is not None]
    purposes = set.intersection(*asked) if asked else set(segment.required_purposes)
    provenance = catalog.provenance.get(segment.key, Provenance("non_breaking"))
    return [
        segment.key,
        version + 1 if is_new else version,
        segment.definition_hash,
        segment.membership_hash,
        json.dumps(normal_form(definition, segment.rule), sort_keys=True, ensure_ascii=False),
        None if segment.rule is None else to_sql(segment.rule),
        definition.lifecycle,
        definition.group,
        definition.precedence,
        f"team:{definition.owner.team}" if definition.owner else "",
        definition.name,
        segment.file,
        segment.line(),
        live,
        definition.is_evaluated and not live,
        decided.get(segment.key) != segment.membership_hash,
        is_new,
        sorted(purposes),
        sorted(set(definition.destinations)),
        segment.limits.model_dump_json(),
        provenance.author,
        provenance.change_class,
    ]


def _report(con: Connection, candidate_id: str) -> StageReport:
    names = ("population", "members", "entering", "leaving", "conflicts", "overrides_applied", "overrides_unknown")
    values = con.execute(f"select {', '.join(names)} from segments.candidate_summary").fetchall()[0]
    causes = con.execute(
        "select change || ' by ' || cause, count(*) from segments.candidate_changes group by 1 order by 2 desc, 1"
    ).fetchall()
    held = con.execute(
        "select segment_key from segments.candidate_sizes where not are_guards_kept order by 1"
    ).fetchall()
    pins = con.execute(
        "select segment_key, kind from segments.candidate_pins where is_live and pin_id is not null order by 1"
    ).fetchall()
    facts: dict[str, object] = {
        "segments": count(con, "segments.candidate_catalog"),
        "changes_by_cause": dict(causes),
        "guards_broken": [key for (key,) in held],
        "waiting_for_approval": [
            subject for (subject,) in con.execute("select subject from segments.candidate_held order by 1").fetchall()
        ],
        "pinned": dict(pins),
        "canaries": dict(
            con.execute(
                "select segment_key, percent || ' % ' || state from segments.candidate_canaries order by 1"
            ).fetchall()
        ),
    }
    return StageReport(candidate_id=candidate_id, rows=dict(zip(names, values, strict=True)), facts=facts)
