with final as (
    select
        source,
        origin_charge_id,
        charge_version,
        incurred_date,
        charge_category,
        service_name,
        effective_micros,
        billed_micros,
        billing_currency,
        pool_key
    from {{ source('costs', 'charges') }}
)

select * from final
