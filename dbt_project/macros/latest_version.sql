{# Select the newest version of each row of a source table that is known by `as_of`. Tables are append-only: a changed row
   of the same key is a new row, and the one with the highest (file_id, line) stands. Both are put into one number, for
   up to 10 billion lines a file. Most rows have one version: only of the others the newest is remembered, so that all
   rows stream past a small table, without being ranked, sorted or kept. The last condition is one comparison on
   purpose: of an `or` DuckDB expects few rows to pass, and then keeps the wrong side of the next joins in memory. #}
{% macro latest_version(relation, key, columns, known) -%}
{%- set version = 'file_id * 10000000000 + line' -%}
with revised as (
    select
        {{ key | join(',\n        ') }},
        max({{ version }}) as newest_version
    from {{ relation }}
    where {{ known }}
    group by {{ key | join(', ') }}
    having count(*) > 1
),

final as (
    select
        {%- for column in columns %}
        versions.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ relation }} as versions
    left join revised
        on
            {% for column in key -%}
            {{ 'and ' if not loop.first }}versions.{{ column }} = revised.{{ column }}
            {% endfor -%}
    where
        {{ known }}
        and coalesce(revised.newest_version, {{ version }}) = {{ version }}
)

select * from final
{%- endmacro %}
