with final as (
    select
        driver_date,
        driver_key,
        driver_unit,
        allocation_view,
        segment_key,
        quantity
    from {{ source('costs', 'drivers_daily') }}
)

select * from final
