{# Exclusive cost per member, per 1,000 requests and per order. A figure over fewer than 20 members
   could tell what one customer does, so it is left out. #}
{% set fewest_members = 20 %}

with costs as (
    select
        cast(date_trunc('month', incurred_date) as date) as cost_month,
        segment_key,
        sum(allocated_effective_micros) as exclusive_effective_micros
    from {{ ref('stg_costs__allocations') }}
    where allocation_view = 'exclusive'
    group by cast(date_trunc('month', incurred_date) as date), segment_key
),

drivers as (
    select
        cast(date_trunc('month', driver_date) as date) as cost_month,
        driver_date,
        segment_key,
        driver_key,
        quantity
    from {{ ref('stg_costs__drivers_daily') }}
    where
        allocation_view = 'exclusive'
        and driver_key in ('members', 'requests', 'orders')
),

-- A day on which a segment had no member has no row: the days of the month are counted over all
-- segments.
measured_days as (
    select
        cost_month,
        count(distinct driver_date) as day_count
    from drivers
    where driver_key = 'members'
    group by cost_month
),

quantities as (
    select
        cost_month,
        segment_key,
        sum(case when driver_key = 'members' then quantity else 0 end) as member_days,
        sum(case when driver_key = 'requests' then quantity else 0 end) as request_count,
        sum(case when driver_key = 'orders' then quantity else 0 end) as order_count
    from drivers
    group by cost_month, segment_key
),

measured as (
    select
        costs.cost_month,
        costs.segment_key,
        costs.exclusive_effective_micros,
        cast(coalesce(quantities.member_days, 0) as double)
        / nullif(measured_days.day_count, 0) as average_daily_members,
        coalesce(quantities.request_count, 0) as request_count,
        coalesce(quantities.order_count, 0) as order_count
    from costs
    left join quantities
        on
            costs.cost_month = quantities.cost_month
            and costs.segment_key = quantities.segment_key
    left join measured_days
        on costs.cost_month = measured_days.cost_month
),

judged as (
    select
        *,
        coalesce(
            average_daily_members > 0 and average_daily_members < {{ fewest_members }}, false
        ) as is_suppressed,
        case
            when average_daily_members >= {{ fewest_members }}
                then cast(exclusive_effective_micros as double)
        end as shown_micros
    from measured
),

final as (
    select
        cost_month,
        cast(segment_key as string) as segment_key,
        cast(exclusive_effective_micros as bigint) as exclusive_effective_micros,
        cast(average_daily_members as double) as average_daily_members,
        cast(request_count as bigint) as request_count,
        cast(order_count as bigint) as order_count,
        cast(is_suppressed as boolean) as is_suppressed,
        cast(round(shown_micros / nullif(average_daily_members, 0)) as bigint)
            as cost_per_member_micros,
        cast(round(shown_micros * 1000 / nullif(request_count, 0)) as bigint)
            as cost_per_thousand_requests_micros,
        cast(round(shown_micros / nullif(order_count, 0)) as bigint) as cost_per_order_micros
    from judged
)

select * from final
