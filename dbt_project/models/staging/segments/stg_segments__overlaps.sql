with final as (
    select
        segment_key,
        other_segment_key,
        members,
        other_members,
        shared,
        claims,
        other_claims,
        shared_claims
    from {{ source('segments', 'overlaps') }}
)

select * from final
