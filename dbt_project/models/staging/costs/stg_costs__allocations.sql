with final as (
    select
        source,
        origin_charge_id,
        charge_version,
        incurred_date,
        pool_key,
        allocation_view,
        segment_key,
        allocated_method_id,
        allocated_ratio,
        allocated_effective_micros,
        allocated_billed_micros,
        is_additive
    from {{ source('costs', 'allocations') }}
)

select * from final
