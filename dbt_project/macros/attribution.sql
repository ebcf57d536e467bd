{# Identifier columns, best first, and whether their values are unique within a source only (then the source is the
   namespace) or everywhere (then the namespace is empty): as catalog/identifiers.yml says, which a run tells in
   STRATA_DBT_IDENTIFIERS (`user_id source_customer_id:source …`). Like the moment, it is read when SQL is written. #}
{% macro identifier_columns() -%}
    {%- set told = env_var('STRATA_DBT_IDENTIFIERS', '') if execute else '' -%}
    {%- set shipped = 'source_customer_id:source user_id email phone device_id anonymous_id' -%}
    {%- set columns = [] -%}
    {%- for identifier in (told or shipped).split() -%}
        {%- set name, _, scope = identifier.partition(':') -%}
        {%- do columns.append((name, scope == 'source')) -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}


{# All that decides which customer a row belongs to: rows equal in these may be counted together before the look-up. #}
{% macro attribution_key() -%}
    source{% for name, _ in identifier_columns() %}, {{ name }}{% endfor %}
{%- endmacro %}


{# Select `columns` of a relation together with the customer each row belongs to: the one of its best identifier that
   identity knows. Rows of nobody known are left out unless `keep_unknown`. The relation must carry `source` and all
   identifier columns. Where a relation names few identifiers, keeping only those of the look-up in memory halves the
   time, and takes a third of the memory: `named_in` is a relation with all its values, best itself where it is small,
   and `rare` the identifiers that are few, where not all are. #}
{% macro attribute_to_customer(relation, columns, lookup, keep_unknown=false, named_in=none, rare=none) -%}
{%- set customer_id -%}
coalesce(
{%- for name, _ in identifier_columns() %}by_{{ name }}.customer_id{{ ', ' if not loop.last }}{% endfor -%}
)
{%- endset -%}
select
    {{ customer_id }} as customer_id,
    {%- for column in columns %}
    facts.{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ relation }} as facts
{%- for name, is_namespaced in identifier_columns() %}
{%- if named_in and (rare is none or name in rare) %}
left join (
    select * from {{ lookup }}
    where
        id_type = '{{ name }}'
        and raw_value in (select {{ name }} from {{ named_in }} where {{ name }} is not null)
) as by_{{ name }}
{%- else %}
left join {{ lookup }} as by_{{ name }}
{%- endif %}
    on
        by_{{ name }}.id_type = '{{ name }}'
        and by_{{ name }}.id_namespace = {{ 'facts.source' if is_namespaced else "''" }}
        and by_{{ name }}.raw_value = facts.{{ name }}
{%- endfor %}
{%- if not keep_unknown %}
where {{ customer_id }} is not null
{%- endif %}
{%- endmacro %}


{# Common table expressions `attributed` and `owned`: rows of a relation per customer, those that are the customer's own
   by an identifier and those of the customer's account. Someone who is both has a row once. #}
{% macro attribute_to_members(relation, columns, lookup, memberships) -%}
attributed as (
    {{ attribute_to_customer(
        relation, ['account_id'] + columns, lookup=lookup, keep_unknown=true, named_in=relation
    ) | indent(4) }}
),

members as (
    select distinct
        customer_id,
        account_id
    from {{ memberships }}
),

owned as (
    select
        customer_id,
        {{ columns | join(',\n        ') }}
    from attributed
    where customer_id is not null
    union all
    select
        members.customer_id,
        {%- for column in columns %}
        attributed.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from attributed
    inner join members
        on
            attributed.account_id = members.account_id
            and (
                attributed.customer_id is null
                or attributed.customer_id <> members.customer_id
            )
)
{%- endmacro %}
