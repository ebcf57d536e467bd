"""What must be true of allocated costs before anyone reads a segment's bill.

Belongs here: truths over `costs.candidate` (one row of figures) and the candidates of the published tables.
Does not belong here: how a charge is shared (`segmentation/costs`) or the limits of coverage, which
`catalog/cost_pools.yml` sets. Without a bill every truth holds: there is nothing to allocate.
"""

from expectations.truths import Suite, holds_nowhere, is_known, is_one_of, is_unique
from segmentation.segments.rivalry import ranks_sql

FIGURES = "candidate"
CHARGES = "candidate_charges"
ALLOCATIONS = "candidate_allocations"
RECONCILIATION = "candidate_reconciliation"
FINDINGS = "candidate_findings"
DRIVERS = "candidate_drivers_daily"

_BUG = "report it with the sample rows: allocation must not lose or invent money"
_CHARGE = "source, origin_charge_id"

#: A segment that splits costs is judged by what it pays, another by all that its members cause. The cost of a member
#: is judged from as many members on as a figure needs to tell nothing of one of them.
_FEWEST_MEMBERS = 20
_OVER_CEILING = f"""
select segment_key, allocation_view, cost_micros, per_month_micros, cost_per_member_micros, per_member_micros
from (
    select
        limits.segment_key,
        limits.allocation_view,
        limits.per_month_micros,
        limits.per_member_micros,
        costs.cost_micros,
        case
            when members.average >= {_FEWEST_MEMBERS} then round(costs.cost_micros / members.average)::hugeint
        end as cost_per_member_micros
    from (
        select
            segment_key,
            if(segment_key in (
                select segment_key from {ranks_sql("segments.catalog")}
                where group_key = (select costing_group from costs.candidate)
            ), 'exclusive', 'full') as allocation_view,
            ((definition ->> '$.cost_ceiling.per_month')::decimal(24, 6) * 1000000)::hugeint as per_month_micros,
            ((definition ->> '$.cost_ceiling.per_member')::decimal(24, 6) * 1000000)::hugeint as per_member_micros
        from segments.catalog
        where is_evaluated and definition ->> '$.cost_ceiling' is not null
    ) as limits
    inner join (
        select segment_key, allocation_view, sum(allocated_effective_micros) as cost_micros
        from {{batch}}
        where date_trunc('month', incurred_date) = (select date_trunc('month', max(incurred_date)) from {{batch}})
        group by segment_key, allocation_view
    ) as costs using (segment_key, allocation_view)
    left join (
        select
            segment_key,
            allocation_view,
            sum(quantity) / (
                select count(distinct driver_date) from costs.candidate_drivers_daily
                where driver_key = 'members'
                    and date_trunc('month', driver_date)
                    = (select date_trunc('month', max(incurred_date)) from {{batch}})
            ) as average
        from costs.candidate_drivers_daily
        where driver_key = 'members'
            and date_trunc('month', driver_date) = (select date_trunc('month', max(incurred_date)) from {{batch}})
        group by segment_key, allocation_view
    ) as members using (segment_key, allocation_view)
) where cost_micros > per_month_micros or cost_per_member_micros > per_member_micros
"""

SUITE = Suite(
    "costs",
    (
        holds_nowhere(
            "costs_reconcile_with_the_bill",
            RECONCILIATION,
            f"""
            select {_CHARGE}, allocation_view, difference_effective_micros, difference_billed_micros from {{batch}}
            where is_additive and (difference_effective_micros <> 0 or difference_billed_micros <> 0)
            """,
            expected="of every charge, allocated minus charged is 0 micros, effective and billed",
            repair=_BUG,
        ),
        holds_nowhere(
            "totals_reconcile_with_the_bill",
            FIGURES,
            """
            select charged_effective_micros, allocated_effective_micros, charged_billed_micros, allocated_billed_micros
            from {batch}
            where charged_effective_micros <> allocated_effective_micros
                or charged_billed_micros <> allocated_billed_micros
            """,
            expected="the sum of allocations is the sum of charges",
            repair=_BUG,
        ),
        holds_nowhere(
            "every_charge_is_reconciled",
            CHARGES,
            f"""
            select {_CHARGE} from {{batch}} as charges
            anti join costs.candidate_reconciliation as reconciled using ({_CHARGE}, charge_version)
            """,
            expected="a reconciliation of every charge",
            repair=_BUG,
        ),
        holds_nowhere(
            "nothing_is_allocated_without_a_charge",
            ALLOCATIONS,
            f"""
            select {_CHARGE}, segment_key from {{batch}} as allocations
            anti join costs.candidate_charges as charges using ({_CHARGE}, charge_version)
            """,
            expected="a charge behind every allocation",
            repair=_BUG,
        ),
        is_unique(
            "charges_are_stated_once",
            CHARGES,
            "source",
            "origin_charge_id",
            repair="see whether two files state the same charge differently: strata check-source FILE",
        ),
        is_unique(
            "segments_are_charged_once",
            ALLOCATIONS,
            "source",
            "origin_charge_id",
            "allocation_view",
            "segment_key",
            repair=_BUG,
        ),
        holds_nowhere(
            "only_the_exclusive_view_adds_up",
            ALLOCATIONS,
            "select allocation_view, is_additive, count(*) as n from {batch} "
            "where is_additive <> (allocation_view = 'exclusive') group by all",
            expected="is_additive in view exclusive and nowhere else",
            repair=_BUG,
        ),
        is_one_of(
            "views_are_known",
            ALLOCATIONS,
            "allocation_view",
            "exclusive",
            "full",
            "fractional",
            repair="correct the views in catalog/cost_pools.yml",
        ),
        holds_nowhere(
            "costs_go_to_segments_that_exist",
            ALLOCATIONS,
            """
            select allocations.segment_key, count(*) as n from {batch} as allocations
            anti join (
                select segment_key from segments.catalog union all select segment_key from segments.versions
            ) as known using (segment_key)
            where not starts_with(allocations.segment_key, '__')
            group by all
            """,
            expected="segments of the catalog, now or before, or a named remainder such as __idle__",
            repair="correct the segment in catalog/cost_pools.yml, then strata validate",
        ),
        is_known("every_allocation_names_its_method", ALLOCATIONS, "allocated_method_id", repair=_BUG),
        holds_nowhere(
            "rounding_loses_no_micro",
            CHARGES,
            f"""
            select {_CHARGE}, residual_effective, residual_billed from {{batch}}
            where greatest(abs(residual_effective), abs(residual_billed)) > 0.0000005
            """,
            expected="at most half a micro left over per charge",
            repair=_BUG,
        ),
        holds_nowhere(
            "charges_are_in_one_currency",
            CHARGES,
            """
            select billing_currency, count(*) as n from {batch}
            where billing_currency <> (select reporting_currency from costs.candidate) and fx_rate = 1 group by all
            """,
            expected="the reporting currency, or a rate to it",
            repair="set reporting_currency in catalog/cost_pools.yml to the bill's",
        ),
        holds_nowhere(
            "no_charge_is_from_the_future",
            CHARGES,
            f"""
            select {_CHARGE}, incurred_date from {{batch}}
            where incurred_date > (
                select max_by(as_of, candidate_seq)::date from ops.candidates where stage = 'costs'
            )
            """,
            expected="no charge incurred after as_of",
            repair="correct the charge's dates at its source, or run with a later --as-of",
        ),
        holds_nowhere(
            "use_is_never_negative",
            DRIVERS,
            "select driver_key, driver_date, segment_key, quantity from {batch} where quantity < 0",
            expected="quantities of 0 or more",
            repair="correct the usage at its source: strata check-source FILE",
        ),
        holds_nowhere(
            "use_of_segments_adds_up_to_all_use",
            FINDINGS,
            "select subject, finding_date, expected_quantity, found_quantity from {batch} "
            "where finding = 'driver_mismatch'",
            expected="each driver's quantities by segment add up to the source's",
            repair="see whether a customer has two segments of the costing group on one day",
        ),
        holds_nowhere(
            "the_bill_is_attributed",
            FIGURES,
            "select allocation_coverage, coverage_fail_below from {batch} "
            "where allocation_coverage < coverage_fail_below",
            expected="a share of the bill with a known customer, of coverage.fail_below or more",
            repair="find usage without a customer in costs.candidate_drivers_daily, row __unattributed__, "
            "or lower coverage.fail_below in catalog/cost_pools.yml",
        ),
        holds_nowhere(
            "most_of_the_bill_is_attributed",
            FIGURES,
            "select allocation_coverage, coverage_warn_below from {batch} "
            "where allocation_coverage < coverage_warn_below and allocation_coverage >= coverage_fail_below",
            expected="a share of the bill with a known customer, of coverage.warn_below or more",
            repair="find usage without a customer in costs.candidate_drivers_daily, row __unattributed__",
            severity="warning",
        ),
        holds_nowhere(
            "nobody_uses_more_than_there_is",
            FINDINGS,
            "select subject, finding_date, expected_quantity, found_quantity from {batch} "
            "where finding = 'negative_idle'",
            expected="use within the pool's capacity",
            repair="correct the pool's capacity in catalog/cost_pools.yml",
            severity="warning",
        ),
        holds_nowhere(
            "no_usage_record_is_negative",
            FINDINGS,
            "select subject, finding_date, found_quantity from {batch} where finding = 'negative_driver'",
            expected="no negative usage record; those found count as 0",
            repair="correct the usage at its source: strata check-source FILE",
            severity="warning",
        ),
        holds_nowhere(
            "segments_cost_what_they_may",
            ALLOCATIONS,
            _OVER_CEILING,
            expected="in the newest month of the bill, no segment above the cost_ceiling of its definition",
            repair="see what it pays for in costs.allocations; then correct its use, or its cost_ceiling",
            severity="warning",
        ),
    ),
)
