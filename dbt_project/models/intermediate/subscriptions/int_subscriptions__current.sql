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
),

{{ attribute_to_members(
    'subscriptions',
    'subscription_id',
    lookup=ref('stg_identity__identifier_lookup'),
    memberships=ref('stg_identity__customer_accounts'),
) }},

ranked as (
    select
        owners.customer_id,
        subscriptions.plan,
        subscriptions.subscription_status,
        subscriptions.mrr_micros,
        subscriptions.seats,
        subscriptions.renews_at,
        subscriptions.status_rank < 4 as is_live,
        -- The current subscription: a live one before an ended one, then the one started last.
        row_number() over (
            partition by owners.customer_id
            order by
                subscriptions.status_rank,
                subscriptions.started_at desc nulls last,
                subscriptions.source,
                subscriptions.subscription_id
        ) as currency_rank
    from owners
    inner join subscriptions
        on
            owners.source = subscriptions.source
            and owners.subscription_id = subscriptions.subscription_id
),

final as (
    select
        customer_id,
        plan,
        subscription_status,
        case when is_live then coalesce(mrr_micros, 0) else 0 end as mrr_micros,
        case when is_live then coalesce(seats, 0) else 0 end as seats,
        case when is_live then renews_at end as renews_at
    from ranked
    where currency_rank = 1
)

select * from final
