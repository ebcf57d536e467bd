"""Publishing the judged candidate: one transaction, one log.

Belongs here: the named steps that make a candidate what others read. Does not belong here: judging it (its
gate) or building it (``candidate.py``). A kill at any step leaves the last publication as it was, because all
steps are one transaction; a second publication of the same candidate changes nothing.
"""

from collections.abc import Callable

from segmentation import contracts
from segmentation.errors import CandidateError
from segmentation.run import Run, StageReport
from segmentation.segments.approvals import use_approvals
from segmentation.segments.canary_rows import publish_canaries
from segmentation.segments.conflicts import publish_conflicts
from segmentation.segments.publications import latest_publication
from segmentation.segments.rivalry import ranks_sql
from segmentation.warehouse import Connection, count, transaction

_GROUPS_BEFORE, _GROUPS_NOW = ranks_sql("segments.catalog"), ranks_sql("segments.candidate_catalog")

#: The steps in order, each a statement or a few, or what runs them. Exits come before entries in the log, so that a
#: reader who stops anywhere never sees a customer in two segments of one exclusive group.
STEPS: dict[str, tuple[str, ...] | Callable[[Connection, Run], None]] = {
    # First of all, while the published masks are still those of the membership.
    "conflicts": publish_conflicts,
    "changes": (
        """
        insert into segments.membership_changes
        select
            (select coalesce(max(change_seq), 0) from segments.membership_changes)
                + c.change_number as change_seq,
            c.customer_id, c.segment_key, c.change, c.cause, c.segment_version, $as_of, $run_id, $recorded_at
        from segments.candidate_changes as c
        """,
    ),
    # What was believed stays readable: the open row is superseded, its closed version is a new row. A stay that
    # ends at the moment it began never was, so it gets no closed version.
    "history": (
        # The open rows are looked for once: history has a row for all who ever were in, a publication few exits.
        """
        create or replace temp table segments_ending as
        select
            h.rowid as row_number, h.customer_id, h.segment_key, h.segment_version, h.valid_from, h.cause,
            c.cause as end_cause
        from segments.membership_history as h
        inner join segments.candidate_changes as c
            on h.customer_id = c.customer_id and h.segment_key = c.segment_key
        where c.change = 'exit' and h.valid_to is null and h.superseded_at is null
        """,
        """
        insert into segments.membership_history
        select
            customer_id, segment_key, segment_version, valid_from, $as_of, $recorded_at, null, cause, $run_id, end_cause
        from segments_ending where valid_from < $as_of
        """,
        """
        update segments.membership_history set superseded_at = $recorded_at
        where rowid in (select row_number from segments_ending)
        """,
        "drop table segments_ending",
        """
        insert into segments.membership_history
        select
            c.customer_id, c.segment_key, c.segment_version, $as_of, null, $recorded_at, null, c.cause, $run_id, null
        from segments.candidate_changes as c where c.change = 'enter'
        """,
    ),
    "membership": (
        """
        delete from segments.membership as m using segments.candidate_changes as c
        where m.customer_id = c.customer_id and m.segment_key = c.segment_key and c.change = 'exit'
        """,
        """
        update segments.membership as m set segment_version = n.segment_version
        from (
            select n.segment_key, n.segment_version
            from segments.candidate_catalog as n inner join segments.catalog as p on n.segment_key = p.segment_key
            where n.segment_version <> p.segment_version
        ) as n
        where m.segment_key = n.segment_key and m.segment_version <> n.segment_version
        """,
        """
        insert into segments.membership
        select c.customer_id, c.segment_key, c.segment_version, $as_of, $run_id, $recorded_at, c.via
        from segments.candidate_changes as c where c.change = 'enter'
        """,
    ),
    "effective": (
        """
        delete from segments.effective as e using segments.candidate_changes as c
        where e.customer_id = c.customer_id and e.segment_key = c.segment_key and c.change = 'exit'
        """,
        # A segment that left a group takes the members who stay with it out, too; one that joined brings them in.
        f"""
        delete from segments.effective as e using (
            from {_GROUPS_BEFORE} select segment_key, group_key except from {_GROUPS_NOW} select segment_key, group_key
        ) as p
        where e.segment_key = p.segment_key and e.group_key = p.group_key
        """,
        f"""
        insert into segments.effective
        select c.customer_id, n.group_key, c.segment_key
        from segments.candidate_changes as c
        inner join {_GROUPS_NOW} as n on c.segment_key = n.segment_key
        where c.change = 'enter'
        """,
        f"""
        insert into segments.effective
        select m.customer_id, n.group_key, m.segment_key
        from segments.membership as m
        inner join (
            select n.segment_key, n.group_key
            from {_GROUPS_NOW} as n
            semi join segments.catalog as p on n.segment_key = p.segment_key
            anti join {_GROUPS_BEFORE} as b on n.segment_key = b.segment_key and n.group_key = b.group_key
        ) as n on m.segment_key = n.segment_key
        anti join segments.candidate_changes as c
            on m.customer_id = c.customer_id and m.segment_key = c.segment_key
        """,
    ),
    "catalog": (
        "delete from segments.catalog",
        """
        insert into segments.catalog by name
        select
            * exclude (is_expired, is_decision_changed, is_version_new, limits, author, change_class),
            $run_id as run_id,
            $recorded_at as recorded_at
        from segments.candidate_catalog
        """,
        "delete from segments.groups",
        "insert into segments.groups select *, $run_id, $recorded_at from segments.candidate_groups",
        "delete from segments.overrides",
        """
        insert into segments.overrides by name
        select *, $run_id as run_id, $recorded_at as recorded_at from segments.candidate_overrides
        """,
    ),
    "accounts": (
        """
        delete from segments.account_membership as m
        where not exists (
            select 1 from segments.candidate_account_membership as c
            where c.account_id = m.account_id and c.segment_key = m.segment_key
        )
        """,
        """
        update segments.account_membership as m set segment_version = n.segment_version
        from segments.candidate_catalog as n
        where m.segment_key = n.segment_key and m.segment_version <> n.segment_version
        """,
        """
        insert into segments.account_membership
        select c.account_id, c.segment_key, n.segment_version, $as_of, $run_id, $recorded_at
        from segments.candidate_account_membership as c
        inner join segments.candidate_catalog as n on c.segment_key = n.segment_key
        anti join segments.account_membership as m on c.account_id = m.account_id and c.segment_key = m.segment_key
        """,
    ),
    "approvals_used": use_approvals,
    # What waits, and the policy in force where it differs from the one before.
    "approvals": (
        "delete from segments.held_changes",
        "insert into segments.held_changes select *, $run_id, $recorded_at from segments.candidate_held",
        """
        insert into segments.policies
        select
            (select coalesce(max(policy_seq), 0) + 1 from segments.policies), n.policy, $run_id, $recorded_at
        from segments.candidate_policy as n
        where cast(n.policy as varchar) is distinct from (
            select cast(arg_max(policy, policy_seq) as varchar) from segments.policies
        )
        """,
    ),
    "canaries": publish_canaries,
    "versions": (
        """
        insert into segments.versions
        select
            n.segment_key, n.segment_version, n.definition_hash, n.definition, n.rule_sql,
            $run_id, $as_of, $recorded_at, n.author, n.change_class
        from segments.candidate_catalog as n where n.is_version_new and n.is_evaluated
        """,
    ),
    "sizes": (
        "delete from segments.sizes_daily where size_date = cast($as_of as date)",
        """
        insert into segments.sizes_daily
        with moved as (
            select
                segment_key,
                count(*) filter (change = 'enter') as entered,
                count(*) filter (change = 'exit') as exited
            from segments.membership_changes
            where
                effective_at >= cast(cast($as_of as date) as timestamp)
                and effective_at < cast(cast($as_of as date) as timestamp) + interval 1 day
            group by segment_key
        )
        select
            cast($as_of as date), s.segment_key, coalesce(n.segment_version, p.segment_version, 1), s.members_after,
            coalesce(m.entered, 0), coalesce(m.exited, 0), $run_id, $recorded_at
        from segments.candidate_sizes as s
        left join segments.candidate_catalog as n on s.segment_key = n.segment_key
        left join (
            select segment_key, max(segment_version) as segment_version from segments.versions group by segment_key
        ) as p on s.segment_key = p.segment_key
        left join moved as m on s.segment_key = m.segment_key
        """,
    ),
    "outcomes": (
        """
        insert into segments.publication_segments
        select
            m.base_publication_seq + 1, s.segment_key, coalesce(c.segment_version, p.segment_version, 1),
            s.is_evaluated, s.pin_id, s.members_after, s.entering, s.leaving, $run_id, $recorded_at
        from segments.candidate_sizes as s
        cross join segments.candidate_summary as m
        left join segments.candidate_catalog as c on s.segment_key = c.segment_key
        left join (
            select segment_key, max(segment_version) as segment_version from segments.versions group by segment_key
        ) as p on s.segment_key = p.segment_key
        where s.is_evaluated or s.members_before > 0
        """,
    ),
    # The masks that were judged are now those of the membership; views keep them readable as the candidate.
    "masks": (
        "drop table if exists segments.masks",
        "alter table segments.candidate_masks rename to masks",
        "create view segments.candidate_masks as select * from segments.masks",
        "drop table if exists segments.places",
        "alter table segments.candidate_places rename to places",
        "create view segments.candidate_places as select * from segments.places",
    ),
    "publication": (
        """
        insert into segments.publications
        select
            s.base_publication_seq + 1, s.candidate_id, s.as_of, s.features_candidate_id, s.identity_event_seq,
            s.members, s.entering, s.leaving, $run_id, $recorded_at
        from segments.candidate_summary as s
        """,
    ),
}


def publish(con: Connection, run: Run, at_step: Callable[[str], None] | None = None) -> StageReport:
    """Make the run's candidate the membership that everyone reads, and log every change.

    Args:
        con: The warehouse.
        run: The run that built the candidate.
        at_step: Called with each step's name before it runs; tests stop the process there.

    Raises:
        CandidateError: The newest candidate is another run's, or was built against a publication that is no
            longer the newest.
    """
    contracts.ensure_schema(con, "segments")
    with transaction(con):
        candidate_id = contracts.mark_published(con, "segments", run)
        if _is_outstanding(con, candidate_id):
            values = {"as_of": run.as_of, "run_id": run.run_id, "recorded_at": run.recorded_at}
            for step, statements in STEPS.items():
                if at_step:
                    at_step(step)
                if callable(statements):
                    statements(con, run)
                    continue
                for statement in statements:
                    con.execute(statement, {name: values[name] for name in values if f"${name}" in statement})
    return _report(con, run, candidate_id)


def _is_outstanding(con: Connection, candidate_id: str) -> bool:
    """Say whether the candidate has yet to be published; refuse one that was overtaken."""
    proposed, base = con.execute(
        "select candidate_id, base_publication_seq from segments.candidate_summary"
    ).fetchall()[0]
    last = latest_publication(con)
    if last and last.candidate_id == candidate_id:
        return False
    if proposed != candidate_id or base != (last.seq if last else 0):
        raise CandidateError(
            "membership was published since this candidate was built",
            where=f"segments.publications, newest {last.seq if last else 0}, the candidate follows {base}",
            expected="a candidate built against what is published now",
            repair="strata run --from segments",
        )
    return True


def _report(con: Connection, run: Run, candidate_id: str) -> StageReport:
    changes = dict(
        con.execute(
            "select change, count(*) from segments.membership_changes where effective_at = ? and run_id = ? group by 1",
            [run.as_of, run.run_id],
        ).fetchall()
    )
    rows = {
        "membership": count(con, "segments.membership"),
        "entered": changes.get("enter", 0),
        "exited": changes.get("exit", 0),
        "conflicts": count(con, "segments.conflicts"),
        "segments": count(con, "segments.catalog"),
    }
    newest = con.execute("select coalesce(max(change_seq), 0) from segments.membership_changes").fetchall()[0][0]
    return StageReport(candidate_id=candidate_id, rows=rows, facts={"newest_change_seq": newest})
