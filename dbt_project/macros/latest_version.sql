{# Select the newest version of each row of a source table that is known by `as_of`. Tables are append-only: a changed row
   of the same key is a new row, and the one with the highest (file_id, line) stands. Most rows have one version, so only
   the others are ranked: ranking all of them costs twice the time. #}
{% macro latest_version(relation, key, columns, known) -%}
with known as (
    select
        {{ columns | join(',\n        ') }}
    from {{ relation }}
    where {{ known }}
),

revised as (
    select
        {{ key | join(',\n        ') }}
    from known
    group by {{ key | join(', ') }}
    having count(*) > 1
),

ranked as (
    select
        known.*,
        row_number() over (
            partition by known.{{ key | join(', known.') }}
            order by known.file_id desc, known.line desc
        ) as version_rank
    from known
    inner join revised
        on
            {% for column in key -%}
            {{ 'and ' if not loop.first }}known.{{ column }} = revised.{{ column }}
            {% endfor %}
),

final as (
    select known.*
    from known
    where not exists (
        select 1
        from revised
        where
            {% for column in key -%}
            {{ 'and ' if not loop.first }}known.{{ column }} = revised.{{ column }}
            {% endfor %}
    )
    union all
    select
        {{ columns | join(',\n        ') }}
    from ranked
    where version_rank = 1
)

select * from final
{%- endmacro %}
