{# Quotient of two integers cut towards zero, in integers throughout; null where the divisor is 0. #}
{% macro integer_quotient(dividend, divisor) -%}
    {{ return(adapter.dispatch('integer_quotient')(dividend, divisor)) }}
{%- endmacro %}

{% macro default__integer_quotient(dividend, divisor) -%}
    cast({{ dividend }} // nullif({{ divisor }}, 0) as bigint)
{%- endmacro %}

{% macro spark__integer_quotient(dividend, divisor) -%}
    cast({{ dividend }} div nullif({{ divisor }}, 0) as bigint)
{%- endmacro %}
