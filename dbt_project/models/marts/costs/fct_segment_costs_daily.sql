with final as (
    select
        cast(incurred_date as date) as cost_date,
        cast(allocation_view as string) as allocation_view,
        cast(segment_key as string) as segment_key,
        cast(pool_key as string) as pool_key,
        cast(min(case when is_additive then 1 else 0 end) = 1 as boolean) as is_additive,
        cast(sum(allocated_effective_micros) as bigint) as effective_micros,
        cast(sum(allocated_billed_micros) as bigint) as billed_micros
    from {{ ref('stg_costs__allocations') }}
    group by incurred_date, allocation_view, segment_key, pool_key
)

select * from final
