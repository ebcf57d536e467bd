with final as (
    select
        source,
        file_id,
        line,
        consent_event_id,
        purpose,
        consent_state,
        policy_version,
        jurisdiction,
        occurred_at,
        source_customer_id,
        user_id,
        email,
        phone,
        device_id,
        anonymous_id
    from {{ source('sources', 'consent_events') }}
    where {{ is_known('occurred_at') }}
)

select * from final
