{# Identifier columns, best first, and whether their values are unique within a source only (then the source is the
   namespace) or everywhere (then the namespace is empty). #}
{% macro identifier_columns() -%}
    {{ return([
        ('source_customer_id', true),
        ('user_id', false),
        ('email', false),
        ('phone', false),
        ('device_id', false),
        ('anonymous_id', false),
    ]) }}
{%- endmacro %}


{# Select `columns` of a relation together with the customer each row belongs to: the one of its best identifier that
   identity knows. Rows of nobody known are left out. The relation must carry `source` and all identifier columns. #}
{% macro attribute_to_customer(relation, columns, lookup, where='true') -%}
select
    coalesce(
        {%- for name, _ in identifier_columns() %}
        by_{{ name }}.customer_id{{ ',' if not loop.last }}
        {%- endfor %}
    ) as customer_id,
    {%- for column in columns %}
    facts.{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ relation }} as facts
{%- for name, is_namespaced in identifier_columns() %}
left join {{ lookup }} as by_{{ name }}
    on by_{{ name }}.id_type = '{{ name }}'
    and by_{{ name }}.id_namespace = {{ 'facts.source' if is_namespaced else "''" }}
    and by_{{ name }}.raw_value = facts.{{ name }}
{%- endfor %}
where
    {{ where }}
    and coalesce(
        {%- for name, _ in identifier_columns() %}
        by_{{ name }}.customer_id{{ ',' if not loop.last }}
        {%- endfor %}
    ) is not null
{%- endmacro %}
