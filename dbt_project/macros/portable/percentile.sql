{# Percentile of a group by linear interpolation between the two nearest values. #}
{% macro percentile(expression, share) -%}
    {{ return(adapter.dispatch('percentile')(expression, share)) }}
{%- endmacro %}

{% macro default__percentile(expression, share) -%}
    percentile_cont({{ share }}) within group (order by {{ expression }})
{%- endmacro %}

{% macro spark__percentile(expression, share) -%}
    percentile({{ expression }}, {{ share }})
{%- endmacro %}
