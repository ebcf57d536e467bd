with final as (
    select
        cast(size_date as date) as size_date,
        cast(segment_key as string) as segment_key,
        cast(segment_version as bigint) as segment_version,
        cast(members as bigint) as member_count,
        cast(entered as bigint) as entered_count,
        cast(exited as bigint) as exited_count
    from {{ ref('stg_segments__sizes_daily') }}
)

select * from final
