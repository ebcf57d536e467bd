{# What an account's customers do is added up from their features, so that both tables tell the
   same; what it pays is its own subscriptions'. A customer of several accounts counts for each. #}
with memberships as (
    select distinct
        account_id,
        customer_id
    from {{ ref('stg_identity__customer_accounts') }}
),

stated as (
    select
        account_id,
        max(company_size) as company_size,
        max(industry) as industry,
        max(country) as country,
        max(residency_region) as residency_region,
        min(created_at) as created_at
    from {{ ref('stg_sources__accounts') }}
    where created_at is null or {{ is_known('created_at') }}
    group by account_id
),

known as (
    select account_id from memberships
    union
    select account_id from stated
),

customers as (
    select
        memberships.account_id,
        count(*) as customer_count,
        sum(features.orders_90d) as orders_90d,
        sum(features.orders_365d) as orders_365d,
        sum(features.revenue_micros_90d) as revenue_micros_90d,
        sum(features.revenue_micros_365d) as revenue_micros_365d,
        sum(features.requests_30d) as requests_30d,
        sum(features.tickets_open) as tickets_open,
        sum(features.tickets_90d) as tickets_90d,
        max(features.paid_late_count_365d) as paid_late_count_365d,
        max(features.last_seen_at) as last_seen_at
    from memberships
    inner join {{ ref('customer_features') }} as features
        on memberships.customer_id = features.customer_id
    group by memberships.account_id
),

subscriptions as (
    select
        account_id,
        sum(mrr_micros) as mrr_micros,
        sum(seats) as seats,
        count(*) as subscription_count
    from {{ ref('stg_sources__subscriptions') }}
    where
        lower(subscription_status) in ('active', 'past_due', 'trialing', 'trial', 'paused')
        and (started_at is null or {{ is_known('started_at') }})
    group by account_id
),

final as (
    select
        cast(known.account_id as string) as account_id,
        {{ as_of_literal() }} as as_of,
        cast(stated.created_at as timestamp) as created_at,
        {{ days_until_as_of('stated.created_at') }} as account_age_days,
        cast(stated.company_size as bigint) as company_size,
        cast(stated.industry as string) as industry,
        cast(stated.country as string) as country,
        cast(stated.residency_region as string) as residency_region,
        cast(coalesce(customers.customer_count, 0) as bigint) as customer_count,
        cast(coalesce(customers.orders_90d, 0) as bigint) as orders_90d,
        cast(coalesce(customers.orders_365d, 0) as bigint) as orders_365d,
        cast(coalesce(customers.revenue_micros_90d, 0) as bigint) as revenue_micros_90d,
        cast(coalesce(customers.revenue_micros_365d, 0) as bigint) as revenue_micros_365d,
        cast(coalesce(customers.requests_30d, 0) as bigint) as requests_30d,
        cast(coalesce(customers.tickets_open, 0) as bigint) as tickets_open,
        cast(coalesce(customers.tickets_90d, 0) as bigint) as tickets_90d,
        cast(customers.last_seen_at as timestamp) as last_seen_at,
        {{ days_until_as_of('customers.last_seen_at') }} as days_since_last_seen,
        cast(coalesce(subscriptions.subscription_count, 0) as bigint) as subscription_count,
        cast(coalesce(subscriptions.mrr_micros, 0) as bigint) as mrr_micros,
        cast(coalesce(subscriptions.seats, 0) as bigint) as seats,
        cast(coalesce(customers.paid_late_count_365d, 0) as bigint) as paid_late_count_365d
    from known
    left join stated
        on known.account_id = stated.account_id
    left join customers
        on known.account_id = customers.account_id
    left join subscriptions
        on known.account_id = subscriptions.account_id
    where known.account_id is not null
)

select * from final
