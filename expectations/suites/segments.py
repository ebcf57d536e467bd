"""What must be true of proposed membership before anybody acts on it.

Belongs here: truths over `segments.candidate_membership`, its winners, conflicts, changes and sizes. Does not
belong here: the rules (`catalog/segments`) or how they are evaluated (`segmentation/segments`). Whoever has
no features is unknown, which is not the same as "not a member", so no member may be without.
"""

from expectations.truths import Suite, has_rows, holds_nowhere, is_one_of, is_unique

CATALOG = "candidate_catalog"
MEMBERS = "candidate_membership"
WINNERS = "candidate_effective"
CONFLICTS = "candidate_conflicts"
CHANGES = "candidate_changes"
SIZES = "candidate_sizes"
LISTS = "candidate_overrides"
FIGURES = "candidate_summary"
ACCOUNTS = "candidate_account_membership"
HELD = "candidate_held"
PINS = "candidate_pins"
CANARIES = "candidate_canaries"

_BUG = "report it with the sample rows: membership must follow from the catalog"

SUITE = Suite(
    "segments",
    (
        has_rows("segments_are_defined", CATALOG, repair="write a segment in catalog/segments, then strata validate"),
        is_unique("segments_are_defined_once", CATALOG, "segment_key", repair="strata validate"),
        is_unique("memberships_are_unique", MEMBERS, "customer_id", "segment_key", repair=_BUG),
        holds_nowhere(
            "members_have_features",
            MEMBERS,
            """
            select members.customer_id, members.segment_key from {batch} as members
            anti join features.customer_features as features using (customer_id)
            """,
            expected="features of every member",
            repair="decide membership on today's features: strata run --from features",
        ),
        holds_nowhere(
            "members_are_in_segments_in_force",
            MEMBERS,
            """
            select members.customer_id, members.segment_key from {batch} as members
            anti join (
                select segment_key from segments.candidate_catalog where is_evaluated
            ) as in_force using (segment_key)
            """,
            expected="no member of a draft, retired or expired segment",
            repair=_BUG,
        ),
        holds_nowhere(
            "members_have_consented",
            MEMBERS,
            """
            select members.customer_id, members.segment_key, needed.purpose from {batch} as members
            join (
                select segment_key, unnest(purposes) as purpose from segments.candidate_catalog
            ) as needed using (segment_key)
            join features.customer_features as features using (customer_id)
            where list_contains(features.consented_purposes, needed.purpose) is not true
            """,
            expected="consent of every member to every purpose that the segment requires",
            repair="decide membership on today's consent: strata run --from identity",
        ),
        holds_nowhere(
            "excluded_customers_are_out",
            MEMBERS,
            """
            select members.customer_id, members.segment_key, lists.listed_in from {batch} as members
            join segments.candidate_overrides as lists using (customer_id, segment_key)
            where lists.side = 'exclude' and lists.status = 'applied'
                and members.via <> 'pin'
            """,
            expected="nobody who is on the segment's exclusion list, unless a pin holds the segment",
            repair=_BUG,
        ),
        holds_nowhere(
            "pins_hold_whom_they_name",
            MEMBERS,
            """
            select members.customer_id, members.segment_key from {batch} as members
            anti join segments.candidate_pinned as pinned using (customer_id, segment_key)
            where members.via = 'pin'
            """,
            expected="no member of a pinned segment whom the pin does not name",
            repair=_BUG,
        ),
        is_unique("accounts_are_in_a_segment_once", ACCOUNTS, "account_id", "segment_key", repair=_BUG),
        holds_nowhere(
            "inherited_members_belong_to_the_account",
            MEMBERS,
            """
            select members.customer_id, members.segment_key from {batch} as members
            anti join (
                select belonging.customer_id, accounts.segment_key
                from identity.customer_accounts as belonging
                join segments.candidate_account_membership as accounts using (account_id)
                where belonging.valid_to is null
                    or belonging.valid_to > (select as_of from segments.candidate_summary)
            ) as inherited using (customer_id, segment_key)
            where members.via = 'account'
            """,
            expected="an account in the segment behind everybody who inherits it",
            repair=_BUG,
        ),
        is_unique("exclusive_groups_have_one_winner", WINNERS, "customer_id", "group_key", repair=_BUG),
        holds_nowhere(
            "winners_are_members",
            WINNERS,
            """
            select winners.customer_id, winners.segment_key from {batch} as winners
            anti join segments.candidate_membership as members using (customer_id, segment_key)
            """,
            expected="membership of every winner",
            repair=_BUG,
        ),
        holds_nowhere(
            "losers_are_not_members",
            CONFLICTS,
            """
            select conflicts.customer_id, conflicts.winner_key, conflicts.loser_key from {batch} as conflicts
            join segments.candidate_membership as members
                on members.customer_id = conflicts.customer_id and members.segment_key = conflicts.loser_key
            """,
            expected="no membership of who lost to another segment of the group",
            repair=_BUG,
        ),
        is_one_of("changes_are_entries_or_exits", CHANGES, "change", "enter", "exit", repair=_BUG),
        is_one_of(
            "every_change_has_a_cause",
            CHANGES,
            "cause",
            "data",
            "rule",
            "model",
            "identity_merge",
            "identity_split",
            "consent",
            "override",
            "expiry",
            "erasure",
            "rollback",
            repair=_BUG,
        ),
        is_unique("customers_change_once_per_segment", CHANGES, "customer_id", "segment_key", repair=_BUG),
        holds_nowhere(
            "changes_explain_the_sizes",
            SIZES,
            "select segment_key, members_before, entering, leaving, members_after from {batch} "
            "where members_before + entering - leaving <> members_after",
            expected="before + entering - leaving = after",
            repair=_BUG,
        ),
        holds_nowhere(
            "guards_are_kept",
            SIZES,
            "select segment_key, members_before, members_after, leaving, churn_ratio from {batch} "
            "where not are_guards_kept and not are_guards_waived",
            expected="every segment within the guards that its definition and catalog/policy.yml set",
            repair="see why with strata segments; correct the segment's rule, or the guards in catalog/",
            may_be_accepted=True,
        ),
        holds_nowhere(
            "guards_are_kept_by_pins",
            SIZES,
            "select segment_key, pin_id, members_before, members_after, leaving, churn_ratio from {batch} "
            "where not are_guards_kept and are_guards_waived",
            expected="every segment within its guards, also where a pin holds it or one that it depends on",
            repair="look whether that is what the pin was meant for: strata segments",
            severity="warning",
        ),
        holds_nowhere(
            "segments_follow_their_rules",
            PINS,
            "select segment_key, pin_id, kind from {batch} where pin_id is not null",
            expected="no segment held by a pin for longer than it takes to correct its rule",
            repair="correct the segment in catalog/segments, then strata unfreeze SEGMENT",
            severity="warning",
        ),
        holds_nowhere(
            "pins_overrule_no_exclusion",
            MEMBERS,
            """
            select members.segment_key, count(*) as customers from {batch} as members
            join segments.candidate_overrides as lists using (customer_id, segment_key)
            where lists.side = 'exclude' and lists.status = 'applied' and members.via = 'pin'
            group by members.segment_key
            """,
            expected="nobody in a pinned segment who is on its exclusion list",
            repair="a pin restores who was in it, lists of today aside: strata unfreeze SEGMENT lets them count again",
            severity="warning",
        ),
        holds_nowhere(
            "membership_is_stable",
            SIZES,
            """
            select totals.members_before, totals.leaving from (
                select sum(members_before)::bigint as members_before, sum(leaving)::bigint as leaving from {batch}
            ) as totals where totals.members_before >= 100 and totals.leaving > 0.3 * totals.members_before
            """,
            expected="at most 30 % of all memberships end in one run",
            repair="see what changed with strata segments",
            severity="warning",
        ),
        holds_nowhere(
            "listed_customers_are_known",
            LISTS,
            "select segment_key, side, listed_in from {batch} where status = 'unknown'",
            expected="a customer behind every entry of an inclusion or exclusion list",
            repair="correct the entry at the place named",
            severity="warning",
        ),
        holds_nowhere(
            "no_list_entry_is_outdated",
            LISTS,
            "select segment_key, side, until_date, listed_in from {batch} where status = 'expired'",
            expected="no entry past its last day",
            repair="remove the entry at the place named, or give it a later day",
            severity="warning",
        ),
        holds_nowhere(
            "canaries_are_no_worse",
            CANARIES,
            "select segment_key, percent, state from {batch} where state in ('paused', 'aborted')",
            expected="no canary that is paused or aborted for longer than it takes to correct its rule",
            repair="see why with strata segments; correct the rule, or write lifecycle: active with the rule before",
            severity="warning",
        ),
        holds_nowhere(
            "changes_are_approved",
            HELD,
            "select unit_key, subject, what, change_class, reasons from {batch}",
            expected="no change of a definition that waits for approval; its approved version stays live until then",
            repair="strata plan --out plan.json shows what it would do, strata apply plan.json approves it",
            severity="warning",
        ),
    ),
)
