with final as (
    select
        segment_key,
        segment_version,
        definition_hash,
        rule_sql,
        lifecycle,
        group_key,
        precedence,
        owner,
        catalog_file
    from {{ source('segments', 'catalog') }}
)

select * from final
