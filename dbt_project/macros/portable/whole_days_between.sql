{# Whole days of 86,400 seconds from one timestamp to another, rounded down. #}
{% macro whole_days_between(earlier, later) -%}
    {{ return(adapter.dispatch('whole_days_between')(earlier, later)) }}
{%- endmacro %}

{% macro default__whole_days_between(earlier, later) -%}
    cast(floor(datediff('microsecond', {{ earlier }}, {{ later }}) / 86400000000.0) as bigint)
{%- endmacro %}

{% macro spark__whole_days_between(earlier, later) -%}
    cast(floor((unix_micros({{ later }}) - unix_micros({{ earlier }})) / 86400000000.0) as bigint)
{%- endmacro %}
