with features as (
    select * from {{ ref('stg_features__customer_features') }}
),

memberships as (
    select
        customer_id,
        count(*) as segment_count
    from {{ ref('stg_segments__membership') }}
    group by customer_id
),

final as (
    select
        cast(features.customer_id as string) as customer_id,
        cast(features.as_of as timestamp) as as_of,
        cast(features.first_seen_at as timestamp) as first_seen_at,
        cast(features.tenure_days as bigint) as tenure_days,
        cast(features.identifier_count as bigint) as identifier_count,
        cast(features.is_known as boolean) as is_known,
        cast(features.country as string) as country,
        cast(features.residency_region as string) as residency_region,
        cast(features.account_id as string) as account_id,
        cast(features.orders_total as bigint) as orders_total,
        cast(features.revenue_micros_365d as bigint) as revenue_micros_365d,
        cast(features.revenue_micros_total as bigint) as revenue_micros_total,
        cast(features.last_order_at as timestamp) as last_order_at,
        cast(features.recency_score as bigint) as recency_score,
        cast(features.frequency_score as bigint) as frequency_score,
        cast(features.monetary_score as bigint) as monetary_score,
        cast(features.last_seen_at as timestamp) as last_seen_at,
        cast(features.plan as string) as plan,
        cast(features.subscription_status as string) as subscription_status,
        cast(features.mrr_micros as bigint) as mrr_micros,
        cast(coalesce(memberships.segment_count, 0) as bigint) as segment_count
    from features
    left join memberships
        on features.customer_id = memberships.customer_id
)

select * from final
