with last_seen as (
    select
        customer_id,
        max(last_used_at) as last_seen_at
    from {{ ref('int_devices__attributed') }}
    group by customer_id
),

visits as (
    select
        {{ attribution_key() }},
        session_id,
        cast(occurred_at as date) as active_date,
        -- A session has one channel; should a source say two, the first by name stands.
        min(channel) as channel
    from {{ ref('stg_sources__events') }}
    where {{ is_within('occurred_at', 30) }}
    group by {{ attribution_key() }}, session_id, cast(occurred_at as date)
),

attributed as (
    {{ attribute_to_customer(
        'visits',
        ['source', 'session_id', 'active_date', 'channel'],
        lookup=ref('stg_identity__identifier_lookup'),
        named_in=ref('stg_sources__events'),
        rare=['source_customer_id', 'phone'],
    ) | indent(4) }}
),

active_days as (
    select
        customer_id,
        count(distinct active_date) as days_active_30d
    from attributed
    group by customer_id
),

sessions as (
    select
        customer_id,
        source,
        session_id,
        min(channel) as channel
    from attributed
    where session_id is not null
    group by customer_id, source, session_id
),

channels as (
    select
        customer_id,
        channel,
        count(*) as session_count
    from sessions
    group by customer_id, channel
),

ranked_channels as (
    select
        customer_id,
        channel,
        sum(session_count) over (partition by customer_id) as sessions_30d,
        row_number() over (
            partition by customer_id
            order by
                case when channel is null then 1 else 0 end asc,
                session_count desc,
                channel asc
        ) as channel_rank
    from channels
),

final as (
    select
        last_seen.customer_id,
        last_seen.last_seen_at,
        ranked_channels.channel as top_channel,
        cast(coalesce(ranked_channels.sessions_30d, 0) as bigint) as sessions_30d,
        coalesce(active_days.days_active_30d, 0) as days_active_30d
    from last_seen
    left join active_days
        on last_seen.customer_id = active_days.customer_id
    left join ranked_channels
        on
            last_seen.customer_id = ranked_channels.customer_id
            and ranked_channels.channel_rank = 1
)

select * from final
