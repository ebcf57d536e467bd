with pairs as (
    select * from {{ ref('stg_segments__overlaps') }}
),

final as (
    select
        cast(segment_key as string) as segment_key,
        cast(other_segment_key as string) as other_segment_key,
        cast(members as bigint) as member_count,
        cast(other_members as bigint) as other_member_count,
        cast(shared as bigint) as shared_count,
        cast(claims as bigint) as claim_count,
        cast(other_claims as bigint) as other_claim_count,
        cast(shared_claims as bigint) as shared_claim_count,
        cast(shared as double) / nullif(members + other_members - shared, 0) as jaccard_ratio,
        cast(shared_claims as double) / nullif(claims + other_claims - shared_claims, 0)
            as claim_jaccard_ratio
    from pairs
)

select * from final
