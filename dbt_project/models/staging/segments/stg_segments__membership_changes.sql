with final as (
    select
        change_seq,
        customer_id,
        segment_key,
        change,
        cause,
        segment_version,
        effective_at
    from {{ source('segments', 'membership_changes') }}
)

select * from final
