with memberships as (
    select * from {{ ref('stg_segments__membership') }}
),

catalog as (
    select * from {{ ref('stg_segments__catalog') }}
),

final as (
    select
        cast(memberships.customer_id as string) as customer_id,
        cast(memberships.segment_key as string) as segment_key,
        cast(memberships.segment_version as bigint) as segment_version,
        cast(catalog.group_key as string) as group_key,
        cast(memberships.entered_at as timestamp) as entered_at,
        {{ days_until_as_of('memberships.entered_at') }} as days_in_segment
    from memberships
    left join catalog
        on memberships.segment_key = catalog.segment_key
)

select * from final
