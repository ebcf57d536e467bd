with final as (
    select
        customer_id,
        segment_key,
        segment_version,
        entered_at
    from {{ source('segments', 'membership') }}
)

select * from final
