with subscriptions as (
    select
        *,
        case
            when lower(subscription_status) in ('active', 'past_due') then 1
            when lower(subscription_status) in ('trialing', 'trial') then 2
            when lower(subscription_status) = 'paused' then 3
            else 4
        end as status_rank
    from {{ ref('stg_sources__subscriptions') }}
    -- One that starts later is nobody's current one yet.
    where started_at is null or {{ is_known('started_at') }}
),

{{ attribute_to_members(
    'subscriptions',
    [
        'source',
        'subscription_id',
        'plan',
        'subscription_status',
        'status_rank',
        'mrr_micros',
        'seats',
        'started_at',
        'renews_at',
        'updated_at',
    ],
    lookup=ref('stg_identity__identifier_lookup'),
    memberships=ref('stg_identity__customer_accounts'),
) }},

ranked as (
    select
        *,
        -- The current subscription: a live one before an ended one, then the one started last.
        row_number() over (
            partition by customer_id
            order by
                status_rank asc,
                started_at desc nulls last,
                source asc,
                subscription_id asc
        ) as subscription_rank,
        max(updated_at) over (partition by customer_id) as last_subscription_change_at
    from owned
),

final as (
    select
        customer_id,
        plan,
        subscription_status,
        last_subscription_change_at,
        case when status_rank < 4 then coalesce(mrr_micros, 0) else 0 end as mrr_micros,
        case when status_rank < 4 then coalesce(seats, 0) else 0 end as seats,
        case when status_rank < 4 then renews_at end as renews_at
    from ranked
    where subscription_rank = 1
)

select * from final
