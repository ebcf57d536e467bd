with final as (
    select
        source,
        file_id,
        line,
        event_id,
        event_type,
        occurred_at,
        received_at,
        session_id,
        platform,
        channel,
        page,
        source_customer_id,
        user_id,
        email,
        phone,
        device_id,
        anonymous_id
    from {{ source('sources', 'events') }}
    where {{ is_known('occurred_at') }}
)

select * from final
