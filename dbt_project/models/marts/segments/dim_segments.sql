with catalog as (
    select * from {{ ref('stg_segments__catalog') }}
),

members as (
    select
        segment_key,
        count(*) as member_count
    from {{ ref('stg_segments__membership') }}
    group by segment_key
),

final as (
    select
        cast(catalog.segment_key as string) as segment_key,
        cast(catalog.segment_version as bigint) as segment_version,
        cast(catalog.definition_hash as string) as definition_hash,
        cast(catalog.rule_sql as string) as rule_sql,
        cast(catalog.lifecycle as string) as lifecycle,
        cast(catalog.group_key as string) as group_key,
        cast(catalog.precedence as bigint) as precedence,
        cast(catalog.owner as string) as owner,
        cast(catalog.catalog_file as string) as catalog_file,
        cast(coalesce(members.member_count, 0) as bigint) as member_count
    from catalog
    left join members
        on catalog.segment_key = members.segment_key
)

select * from final
