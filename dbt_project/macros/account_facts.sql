{# Select rows of a relation per customer: those that are the customer's own by an identifier, and those of the customer's
   account. Someone who is both sees a row once. `key` is unique with `source`. #}
{% macro attribute_to_members(relation, key, lookup, memberships) -%}
own as (
    {{ attribute_to_customer(relation, ['source', key], lookup=lookup) | indent(4) }}
),

members as (
    select
        memberships.customer_id,
        facts.source,
        facts.{{ key }}
    from {{ relation }} as facts
    inner join {{ memberships }} as memberships
        on facts.account_id = memberships.account_id
),

owners as (
    select * from own
    union distinct
    select * from members
)
{%- endmacro %}
