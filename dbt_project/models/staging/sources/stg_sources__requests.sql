with final as (
    select
        source,
        file_id,
        line,
        request_id,
        occurred_at,
        account_id,
        service,
        endpoint,
        status_code,
        latency_ms,
        is_throttled,
        compute_ms,
        release,
        source_customer_id,
        user_id,
        email,
        phone,
        device_id,
        anonymous_id
    from {{ source('sources', 'requests') }}
    where {{ is_known('occurred_at') }}
)

select * from final
