{# The last fact of each concern that reached the features; its name is `source` in the contract's meta. #}
with latest as (
    select
        'orders' as concern,
        max(ordered_at) as max_event_at
    from {{ ref('int_orders__attributed') }}
    union all
    select
        'engagement' as concern,
        max(last_seen_at) as max_event_at
    from {{ ref('int_engagement__summarised') }}
    union all
    select
        'api_usage' as concern,
        max(occurred_at) as max_event_at
    from {{ ref('stg_sources__requests') }}
    union all
    select
        'support' as concern,
        max(updated_at) as max_event_at
    from {{ ref('stg_sources__tickets') }}
    union all
    select
        'subscriptions' as concern,
        max(updated_at) as max_event_at
    from {{ ref('stg_sources__subscriptions') }}
    union all
    select
        'subscriptions' as concern,
        max(updated_at) as max_event_at
    from {{ ref('stg_sources__invoices') }}
    union all
    select
        'leads' as concern,
        max(submitted_at) as max_event_at
    from {{ ref('stg_sources__form_submissions') }}
    union all
    select
        'consent' as concern,
        max(occurred_at) as max_event_at
    from {{ ref('stg_sources__consent_events') }}
    union all
    select
        'identity' as concern,
        max(last_seen_at) as max_event_at
    from {{ ref('stg_identity__identifiers') }}
),

risk as (
    select
        'risk' as concern,
        max(max_event_at) as max_event_at
    from latest
    where concern in ('orders', 'engagement')
),

final as (
    select
        concern,
        max(max_event_at) as max_event_at
    from latest
    group by concern
    union all
    select
        concern,
        max_event_at
    from risk
)

select * from final
