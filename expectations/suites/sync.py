"""What must be true of what destinations would receive before any of it is delivered.

Belongs here: truths over `sync.candidate` (figures per view), `sync.candidate_values` (what destinations
should hold), `sync.candidate_changes` (what would change) and `sync.candidate_deliveries` (what the next
delivery would do to each destination, and whether the last one is proven). Does not belong here: delivery itself, whose
receipts prove it (`segmentation/sync`).
"""

from expectations.truths import Suite, has_rows, holds_nowhere, is_one_of, is_unique

FIGURES = "candidate"
VALUES = "candidate_values"
CHANGES = "candidate_changes"
DELIVERIES = "candidate_deliveries"

_BUG = "report it with the sample rows: what is delivered must follow from what is published"

SUITE = Suite(
    "sync",
    (
        holds_nowhere(
            "nobody_is_delivered_without_consent",
            FIGURES,
            "select view_id, consent_violations from {batch} where consent_violations > 0",
            expected="every purpose of the view allowed for every customer in it",
            repair="run identity again: strata run --from identity",
        ),
        holds_nowhere(
            "nobody_is_delivered_outside_their_region",
            FIGURES,
            "select view_id, residency_violations from {batch} where residency_violations > 0",
            expected="only customers who are known to reside in a region of the destination",
            repair="run identity again: strata run --from identity",
        ),
        holds_nowhere(
            "members_are_known_customers",
            FIGURES,
            "select view_id, unknown_customers from {batch} where unknown_customers > 0",
            expected="no membership of a merged, retired or erased customer",
            repair="decide membership on the customers of today: strata run --from segments",
        ),
        holds_nowhere(
            "exclusive_groups_have_one_winner",
            FIGURES,
            "select view_id, group_conflicts from {batch} where group_conflicts > 0",
            expected="one segment per customer and exclusive group",
            repair="decide membership again: strata run --from segments",
        ),
        holds_nowhere(
            "delivered_segments_are_in_the_catalog",
            FIGURES,
            "select view_id, unlisted_segments from {batch} where unlisted_segments > 0",
            expected="only segments that the catalog defines",
            repair="decide membership again: strata run --from segments",
        ),
        holds_nowhere(
            "positions_never_go_back",
            FIGURES,
            "select view_id, base_seq, head_seq from {batch} where head_seq < base_seq",
            expected="a view's head at or after its base",
            repair=_BUG,
        ),
        holds_nowhere(
            "destinations_are_not_emptied",
            FIGURES,
            "select view_id, destinations, previous_customers from {batch} "
            "where previous_customers > 0 and customers = 0",
            expected="a view that had customers still has some",
            repair="see which gate let everybody go: strata segments; to empty a destination, take it out "
            "of catalog/destinations.yml, then strata destinations clear",
        ),
        is_unique("customers_are_delivered_once", VALUES, "view_id", "customer_id", repair=_BUG),
        holds_nowhere(
            "values_are_json",
            VALUES,
            "select view_id, customer_id from {batch} where value is null or not json_valid(value)",
            expected="a JSON document for everybody",
            repair=_BUG,
        ),
        is_one_of("values_are_of_a_known_kind", VALUES, "kind", "customer", "alias", "segments", repair=_BUG),
        is_one_of("changes_are_of_a_known_kind", CHANGES, "op", "insert", "update", "delete", repair=_BUG),
        holds_nowhere(
            "only_deletions_have_no_value",
            CHANGES,
            "select view_id, customer_id, op from {batch} where (value is null) <> (op = 'delete')",
            expected="a value for inserts and updates, none for deletions",
            repair=_BUG,
        ),
        holds_nowhere(
            "changes_have_their_own_place_in_the_log",
            CHANGES,
            """
            select changes.view_id, changes.seq, count(*) as n from {batch} as changes
            join sync.candidate as figures on figures.view_id = changes.view_id and not figures.is_snapshot
            group by all having count(*) > 1
            """,
            expected="one change per position",
            repair=_BUG,
        ),
        holds_nowhere(
            "changes_follow_what_was_delivered",
            CHANGES,
            """
            select changes.view_id, changes.customer_id, changes.seq, figures.base_seq, figures.head_seq
            from {batch} as changes
            left join sync.candidate as figures on figures.view_id = changes.view_id
            where figures.view_id is null or changes.seq <= figures.base_seq or changes.seq > figures.head_seq
            """,
            expected="positions after the view's base, up to its head",
            repair=_BUG,
        ),
        holds_nowhere(
            "deliveries_carry_their_proof",
            DELIVERIES,
            """
            select destination, delivered_seq, commit_ref, log_ref, rows_wrong from {batch}
            where is_delivered and not is_proven
            """,
            expected="for every destination that the ledger calls delivered, a receipt with the commit's reference as "
            "the log has it, and no wrong row where it was read back",
            repair="find what else writes to the state database of sync; then accept it for one run, which takes every "
            "destination over anew, asks it where it stands and writes a new receipt: strata run --from sync --accept "
            "deliveries_carry_their_proof",
            # A delivery is all that can write the receipt that is missing.
            may_be_accepted=True,
        ),
        holds_nowhere(
            "deliveries_change_few_members",
            DELIVERIES,
            """
            select destination, members_held, members_changed, round(changed_ratio, 3) as changed_ratio,
                max_changed_ratio
            from {batch} where members_held >= 100 and changed_ratio > max_changed_ratio
            """,
            expected="a delivery that changes at most max_changed_ratio of the customers that the destination holds",
            repair="see what changed: strata segments; where so much is meant to change for good, raise "
            "max_changed_ratio of the destination in catalog/destinations.yml",
            may_be_accepted=True,
        ),
        has_rows(
            "somebody_is_served",
            FIGURES,
            repair="enable a destination in catalog/destinations.yml",
            severity="warning",
        ),
        holds_nowhere(
            "destinations_are_stable",
            FIGURES,
            """
            select view_id, previous_customers, deletes from {batch}
            where previous_customers >= 100 and deletes > 0.3 * previous_customers and customers > 0
            """,
            expected="at most 30 % of a view's customers leave in one run",
            repair="see what changed: strata segments",
            severity="warning",
        ),
    ),
)
