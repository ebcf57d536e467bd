{# Select the newest version of each row of a source table that is known by `as_of`. Tables are append-only: a changed row
   of the same key is a new row, and the one with the highest (file_id, line) stands. #}
{% macro latest_version(relation, key, columns, known) -%}
with ranked as (
    select
        *,
        row_number() over (
            partition by {{ key | join(', ') }}
            order by file_id desc, line desc
        ) as version_rank
    from {{ relation }}
    where {{ known }}
),

final as (
    select
        {{ columns | join(',\n        ') }}
    from ranked
    where version_rank = 1
)

select * from final
{%- endmacro %}
