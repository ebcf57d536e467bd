with final as (
    select
        origin_charge_id,
        charge_version,
        incurred_date,
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
