with final as (
    select
        customer_id,
        account_id,
        role,
        valid_from,
        valid_to
    from {{ source('identity', 'customer_accounts') }}
    where {{ is_known('valid_from') }} and (valid_to is null or not {{ is_known('valid_to') }})
)

select * from final
