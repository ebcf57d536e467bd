with memberships as (
    select * from {{ ref('stg_segments__membership') }}
),

sizes as (
    select
        segment_key,
        count(*) as member_count
    from memberships
    group by segment_key
),

shared as (
    select
        one.segment_key,
        other.segment_key as other_segment_key,
        count(*) as shared_count
    from memberships as one
    inner join memberships as other
        on
            one.customer_id = other.customer_id
            and one.segment_key < other.segment_key
    group by one.segment_key, other.segment_key
),

final as (
    select
        cast(sizes.segment_key as string) as segment_key,
        cast(other_sizes.segment_key as string) as other_segment_key,
        cast(sizes.member_count as bigint) as member_count,
        cast(other_sizes.member_count as bigint) as other_member_count,
        cast(coalesce(shared.shared_count, 0) as bigint) as shared_count,
        cast(coalesce(shared.shared_count, 0) as double)
        / (sizes.member_count + other_sizes.member_count - coalesce(shared.shared_count, 0))
            as jaccard_ratio
    from sizes
    inner join sizes as other_sizes
        on sizes.segment_key < other_sizes.segment_key
    left join shared
        on
            sizes.segment_key = shared.segment_key
            and other_sizes.segment_key = shared.other_segment_key
)

select * from final
