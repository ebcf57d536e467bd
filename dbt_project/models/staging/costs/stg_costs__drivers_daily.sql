with final as (
    select
        driver_date,
        driver_key,
        allocation_view,
        segment_key,
        quantity
    from {{ source('costs', 'drivers_daily') }}
)

select * from final
