with final as (
    select
        customer_id,
        purpose,
        is_allowed,
        decided_at
    from {{ source('identity', 'customer_consents') }}
)

select * from final
