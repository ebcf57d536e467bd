with final as (
    select
        size_date,
        segment_key,
        segment_version,
        members,
        entered,
        exited
    from {{ source('segments', 'sizes_daily') }}
)

select * from final
