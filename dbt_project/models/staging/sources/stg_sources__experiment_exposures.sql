with final as (
    select
        source,
        file_id,
        line,
        exposure_id,
        experiment_key,
        variant,
        exposed_at,
        source_customer_id,
        user_id,
        email,
        phone,
        device_id,
        anonymous_id
    from {{ source('sources', 'experiment_exposures') }}
    where {{ is_known('exposed_at') }}
)

select * from final
