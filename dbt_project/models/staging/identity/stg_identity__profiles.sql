with final as (
    select
        customer_id,
        country,
        residency_region,
        is_known,
        best_source_customer_id
    from {{ source('identity', 'profiles') }}
)

select * from final
